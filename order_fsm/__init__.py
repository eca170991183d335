"""order_fsm: decide, record and undo what happens to the orders of a shop. See `order_fsm.shop` for the rules."""

from order_fsm.errors import (
    InvalidInput,
    KeyReused,
    OrderExists,
    OrderFsmError,
    OrderNotFound,
    Refused,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ToolMissing,
    UnknownTrigger,
    VersionConflict,
    WorkflowError,
)
from order_fsm.model import Entry, Line, Message, Order, Payment, Reason, Receipt, When
from order_fsm.orders import Orders
from order_fsm.rules import STOCK_SUFFICES, Guard, Rule, Status
from order_fsm.shop import shop_workflow
from order_fsm.workflow import Workflow

__all__ = [
    "STOCK_SUFFICES",
    "Entry",
    "Guard",
    "InvalidInput",
    "KeyReused",
    "Line",
    "Message",
    "Order",
    "OrderExists",
    "OrderFsmError",
    "OrderNotFound",
    "Orders",
    "Payment",
    "Reason",
    "Receipt",
    "Refused",
    "Rule",
    "Status",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "ToolMissing",
    "UnknownTrigger",
    "VersionConflict",
    "When",
    "Workflow",
    "WorkflowError",
    "shop_workflow",
]

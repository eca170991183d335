"""order_fsm: decide, record and undo what happens to the orders of a shop. See `order_fsm.rules.shop` for the rules."""

from order_fsm.errors import (
    InvalidInput,
    KeyReused,
    OrderExists,
    OrderFsmError,
    OrderNotFound,
    Reason,
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
from order_fsm.model import Entry, Line, Message, Order, Payment, Receipt, When
from order_fsm.orders.service import Orders
from order_fsm.rules.rule import STOCK_SUFFICES, Guard, Rule, Status
from order_fsm.rules.shop import shop_workflow
from order_fsm.rules.workflow import Workflow

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

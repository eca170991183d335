"""Decide, record and undo the status changes of a web shop's orders.

An order holds a set of statuses: separate tick boxes. The rules are one table, `order_fsm.rules.shop`. A shop embeds
the service `Orders`:

    orders = Orders(SqliteStore("shop.db"))
    orders.create("1001", total="49.90", currency="GBP")
    receipt = orders.fire("1001", "pay", amount="49.90", currency="GBP", reference="ch_1", key="evt_1")

A change passes through five values:

1. Request: the checked arguments of one call of `Orders`: the trigger, the facts, the actor and the time.
2. Call: a request about one order, and the way to decide it, such as firing a trigger or saving a form.
3. Decision: the result of the rules, computed without a store: the order after the change and the history entry, or
   `Refused` with every reason.
4. Change: everything that one commit writes atomically: order, entries, ledger, stock, messages, key.
5. Receipt: the return value: the order after the change, and the new entries.

`order_fsm.rules` makes decisions. `order_fsm.orders` runs a call: it reads the order from the store, decides, and
commits the change. If another process changed the order, it decides again. `order_fsm.store` has the protocol and the
guarantees of stores. The stores are in `order_fsm_adapters`.
"""

from order_fsm.errors import (
    InvalidInput,
    KeyReused,
    MissingDependency,
    OrderExists,
    OrderFsmError,
    OrderNotFound,
    Reason,
    Refused,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TransactionLost,
    Undelivered,
    UnknownTrigger,
    VersionConflict,
    WorkflowError,
)
from order_fsm.model import Entry, Line, Message, Order, Payment, Receipt, Sales, Shipment, When
from order_fsm.orders.service import Orders
from order_fsm.rules.rule import STOCK_SUFFICES, Guard, Rule, Status
from order_fsm.rules.shop import shop_workflow
from order_fsm.rules.workflow import Workflow
from order_fsm.stock_levels import StockLevel
from order_fsm.validation import CLOCK, GATEWAY

__version__ = "0.1.0"

__all__ = [
    "CLOCK",
    "GATEWAY",
    "STOCK_SUFFICES",
    "Entry",
    "Guard",
    "InvalidInput",
    "KeyReused",
    "Line",
    "Message",
    "MissingDependency",
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
    "Sales",
    "Shipment",
    "Status",
    "StockLevel",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "TransactionLost",
    "Undelivered",
    "UnknownTrigger",
    "VersionConflict",
    "When",
    "Workflow",
    "WorkflowError",
    "__version__",
    "shop_workflow",
]

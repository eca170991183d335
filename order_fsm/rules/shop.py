"""START HERE: the rules of a shop, complete. No legal change is coded anywhere else.

The five tick boxes are those of a shop manual, "Order status" in the Kartris User Guide (5.2.1): an order is sent to
the shop owner, invoiced, paid, dispatched, cancelled, each ticked by hand or, for paid, by the payment gateway.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import Order, When
from order_fsm.money import minus, plus
from order_fsm.rules.rule import REASONED, STOCK_SUFFICES, Facts, Guard, Rule, Status
from order_fsm.rules.workflow import Workflow

STATUSES = (
    Status("sent", tick="place", untick="unplace"),
    Status("invoiced", tick="invoice", untick="uninvoice"),
    Status("paid", tick="pay", untick="unpay"),
    Status("dispatched", tick="dispatch", untick="undispatch"),
    Status("cancelled", tick="cancel", untick="reinstate"),
)


def _covers(order: Order, facts: Facts) -> bool:
    return plus(order.received, facts["amount"]) >= order.total


def _still_covers(order: Order, facts: Facts) -> bool:
    left = minus(order.received, facts["amount"])
    return left > 0 and left >= order.total


ONLINE = Guard("not_online", "no gateway reports it: it has no reference", lambda order, facts: facts.get("reference"))
COVERS = Guard("not_covered", "the money does not cover the total", _covers)
STILL_COVERS = Guard("not_covered", "the money that is left does not cover the total", _still_covers)
CURRENCY = Guard(
    "wrong_currency",
    "the money is in another currency than the order",
    lambda order, facts: facts["currency"] == order.currency,
)
SOME_MONEY = Guard(
    "nothing_outstanding",
    "nothing is outstanding, so give the amount that came",
    lambda order, facts: facts["amount"] > 0,
)
REFUNDABLE = Guard(
    "not_refundable",
    "a refund is more than nothing, and at most what was captured and is not refunded or reversed yet",
    lambda order, facts: 0 < facts["amount"] <= order.held,
)
REVERSIBLE = Guard(
    "not_reversible",
    "a reversal is at most what was captured and is not reversed yet",
    lambda order, facts: facts["amount"] <= order.received,
)
SOME_REVERSED = Guard(
    "nothing_received",
    "a reversal is of more than nothing, but where a free order is paid with nothing",
    lambda order, facts: facts["amount"] > 0 or ("paid" in order.statuses and order.total == order.received == 0),
)
NO_MONEY = Guard("holds_money", "money was captured for it", lambda order, facts: order.received <= 0)
SETTLED = Guard("holds_money", "it holds money", lambda order, facts: order.held <= 0)

PAID = Guard("not_paid", "it is not paid", lambda order, facts: "paid" in order.statuses, policy=True)
PAID_OR_INVOICED = Guard(
    "not_paid_nor_invoiced",
    "it is neither paid nor invoiced",
    lambda order, facts: not order.statuses.isdisjoint({"paid", "invoiced"}),
    policy=True,
)
STAYS_ON_ACCOUNT = Guard(
    "dispatched_on_invoice",
    "it is dispatched and not paid, so it would be neither paid nor invoiced",
    lambda order, facts: "dispatched" not in order.statuses or "paid" in order.statuses,
    policy=True,
)

Dispatch = Literal["on_account", "prepaid", "cod"]

_TO_DISPATCH = {
    "on_account": (
        PAID_OR_INVOICED,
        When(has={"sent"}, has_any={"paid", "invoiced"}, lacks={"dispatched", "cancelled"}),
    ),
    "prepaid": (PAID, When(has={"sent", "paid"}, lacks={"dispatched", "cancelled"})),
    "cod": (None, When(has={"sent"}, lacks={"dispatched", "cancelled"})),
}


def shop_workflow(dispatch: Dispatch = "on_account", invoice_on_payment: bool = True) -> Workflow:
    """The workflow of a shop.

    Args:
        dispatch: what an order needs before the goods may leave: `on_account` paid or invoiced, `prepaid` paid,
            `cod` (cash on delivery) neither.
        invoice_on_payment: whether an online payment that covers the total ticks invoiced too, as the manual
            describes the most common case.

    Returns:
        The same workflow for the same options; it is immutable.

    Raises:
        InvalidInput: a dispatch policy that is none of the three, an option that is no bool.
    """
    if not isinstance(dispatch, str) or dispatch not in _TO_DISPATCH:
        raise InvalidInput(f"dispatch must be one of {', '.join(_TO_DISPATCH)}, not {validation.shown(dispatch)}")
    return _built(dispatch, validation.flag(invoice_on_payment, "invoice_on_payment"))


@cache
def _built(dispatch: Dispatch, invoice_on_payment: bool) -> Workflow:
    payable, to_dispatch = _TO_DISPATCH[dispatch]
    may_leave = () if payable is None else (payable,)
    may_lose_invoice = () if payable is None else (STAYS_ON_ACCOUNT,)
    online = {"sent", "paid", "invoiced"} if invoice_on_payment else {"sent", "paid"}
    # One row a line, however long: this is the table.
    # fmt: off
    rules = [
        Rule("place", forbids={"sent", "cancelled"}, adds={"sent"}, guards=(STOCK_SUFFICES,)),

        # A payment is a fact: recorded wherever it comes, and it never waits for stock. The first row that is open is
        # taken: online in full, online on a cancelled order, by hand in full, in part, once more when paid.
        Rule("pay", forbids={"paid", "cancelled"}, adds=online, guards=(ONLINE, COVERS, CURRENCY), ledger="captured", announces="order.paid"),
        Rule("pay", needs={"cancelled"}, forbids={"paid"}, adds={"sent", "paid"}, guards=(ONLINE, COVERS, CURRENCY), ledger="captured", announces="order.paid"),
        Rule("pay", forbids={"paid"}, adds={"sent", "paid"}, guards=(COVERS, CURRENCY), ledger="captured"),
        Rule("pay", forbids={"paid"}, adds={"sent"}, guards=(SOME_MONEY, CURRENCY), ledger="captured"),
        Rule("pay", needs={"paid"}, guards=(SOME_MONEY, CURRENCY), ledger="captured"),

        Rule("invoice", needs={"sent"}, forbids={"invoiced", "cancelled"}, adds={"invoiced"}),
        Rule("dispatch", needs={"sent"}, forbids={"dispatched", "cancelled"}, adds={"dispatched"}, guards=may_leave),
        Rule("cancel", forbids={"cancelled", "dispatched"}, adds={"cancelled"}),
        # By the clock: nobody paid, and nobody is waited for.
        Rule("expire", needs={"sent"}, forbids={"invoiced", "paid", "dispatched", "cancelled"}, adds={"cancelled"}, guards=(SETTLED,)),
        Rule("refund", guards=(REFUNDABLE, CURRENCY), ledger="refunded"),

        Rule("unplace", needs={"sent"}, forbids={"invoiced", "paid", "dispatched", "cancelled"}, drops={"sent"}, guards=(NO_MONEY,)),
        Rule("uninvoice", needs={"invoiced"}, forbids={"cancelled"}, drops={"invoiced"}, guards=may_lose_invoice),
        # A reversal is a fact too: of a part of what was overpaid, of what made the order paid, of a part payment.
        Rule("unpay", needs={"paid"}, guards=(STILL_COVERS, SOME_REVERSED, REVERSIBLE, REASONED, CURRENCY), ledger="reversed"),
        Rule("unpay", needs={"paid"}, drops={"paid"}, guards=(SOME_REVERSED, REVERSIBLE, REASONED, CURRENCY), ledger="reversed"),
        Rule("unpay", forbids={"paid"}, guards=(SOME_REVERSED, REVERSIBLE, REASONED, CURRENCY), ledger="reversed"),
        Rule("undispatch", needs={"dispatched"}, drops={"dispatched"}, guards=(REASONED,)),
        Rule("reinstate", needs={"cancelled"}, drops={"cancelled"}, guards=(STOCK_SUFFICES,)),
    ]
    # fmt: on
    return Workflow(
        STATUSES,
        rules,
        holds_stock=When(has={"sent"}, lacks={"cancelled"}),
        counts=When(has={"sent"}, lacks={"cancelled"}),
        queues={
            "unfinished": When(lacks={"sent", "cancelled"}),
            "to_invoice": When(has={"sent"}, lacks={"invoiced", "cancelled"}),
            "to_pay": When(has={"sent"}, lacks={"paid", "cancelled"}),
            "to_dispatch": to_dispatch,
            "debt": When(has={"dispatched"}, lacks={"paid"}),
            "complete": When(has={"paid", "dispatched"}),
            "cancelled": When(has={"cancelled"}),
        },
    )

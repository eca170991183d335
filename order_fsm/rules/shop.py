"""START HERE: the complete rules of a shop.

Every legal change of status is in this table, with two exceptions. `Orders.adopt` takes over the boxes of an older
system. `Orders.migrate` moves orders out of states that a changed table no longer has.

The five tick boxes come from a shop manual, "Order status" in the Kartris User Guide (5.2.1). An order is sent to the
shop owner (the manual's word for placed, not shipped), invoiced, paid, dispatched and cancelled. Staff tick each box by
hand. The payment gateway also ticks paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal, NamedTuple

from attrs import evolve

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.goods import less
from order_fsm.model import When
from order_fsm.rules.rule import REASONED, STOCK_SUFFICES, Guard, Rule, Status
from order_fsm.rules.workflow import Workflow

STATUSES = (
    # "sent" is the manual's word for placed. Customers read it as shipped, so it has another label.
    Status("sent", tick="place", untick="unplace", label="Received", customer_label="Order received"),
    Status("invoiced", tick="invoice", untick="uninvoice", label="Invoiced"),
    Status("paid", tick="pay", untick="unpay", label="Payment received"),
    Status("dispatched", tick="dispatch", untick="undispatch", label="Dispatched"),
    Status("cancelled", tick="cancel", untick="reinstate", label="Cancelled"),
)


# Money. `facts["outstanding"]` and `facts["online"]` describe the order after the entry.

COVERED = Guard("outstanding", "money would be outstanding", lambda order, facts: not facts["outstanding"])
ONLINE = Guard("not_online", "the order holds no money that came online", lambda order, facts: facts["online"])
MARKED = Guard(
    "invoiced_by_hand", "invoiced was not ticked by a payment", lambda order, facts: order.invoiced_by_payment
)
SOME_MONEY = Guard(
    "nothing_outstanding",
    "nothing is outstanding: give the amount that came, above 0",
    lambda order, facts: facts["amount"] > 0,
)
AMOUNT = Guard(
    "no_amount", "there is nothing to record: give an amount above 0", lambda order, facts: facts["amount"] > 0
)
ONE_PAYMENT = Guard(
    "which_payment",
    "it matches several payments: give the reference, the currency or the transaction_id",
    lambda order, facts: not facts["several"],
)
# A gateway may report a fact before the fact that raises its bound.
BOUND = Guard(
    "beyond_bound",
    "there is no such payment, refund or reversal, or the amount exceeds the amount left of it",
    lambda order, facts: facts["bound"] is None or facts["amount"] <= facts["bound"],
)
CREDIT = Guard(
    "beyond_cost",
    "the credit exceeds the cost of the order",
    lambda order, facts: facts.get("credit") is not True or facts["amount"] <= order.cost,
)
EXPLAINED = Guard(REASONED.code, REASONED.message, lambda order, facts: facts["gateway"] or REASONED.test(order, facts))
NO_CAPTURE = Guard(
    "holds_money",
    "a payment was recorded for the order",
    lambda order, facts: all(row.kind != "captured" for row in order.payments),
)
# Ignore rows of 0: they hold no money and only change credits.
NO_MONEY = Guard(
    "holds_money",
    "money was recorded for the order",
    lambda order, facts: not any(row.amount for row in order.payments),
)

PAID = Guard("not_paid", "the order is not paid", lambda order, facts: "paid" in order.statuses, policy=True)
PAID_OR_INVOICED = Guard(
    "not_paid_nor_invoiced",
    "the order is not paid or invoiced",
    lambda order, facts: not order.statuses.isdisjoint({"paid", "invoiced"}),
    policy=True,
)
STAYS_ON_ACCOUNT = Guard(
    "dispatched_on_invoice",
    "the order is dispatched and not paid, so it must stay invoiced",
    lambda order, facts: "dispatched" not in order.statuses or "paid" in order.statuses,
    policy=True,
)

# Goods

ONLY_ORDERED = Guard(
    "beyond_order", "the order has fewer pieces left to ship", lambda order, facts: not facts["beyond"]
)
ONLY_OUT = Guard("beyond_out", "fewer pieces are out", lambda order, facts: not facts["beyond"])
SOME_OUT = Guard("nothing_out", "no goods are out", lambda order, facts: order.goods.out)
NONE_OUT = Guard(
    "goods_out",
    "goods are out: record their return first",
    lambda order, facts: "dispatched" in order.statuses or not order.goods.out,
)
ALL_SHIPPED = Guard("goods_left", "goods are left to ship", lambda order, facts: not facts["goods_left"])

# Amendments. The guards see the order with its new lines.
SOME_SHIPPED = Guard("nothing_shipped", "nothing was shipped", lambda order, facts: order.goods.shipped)
NONE_LEFT = Guard("goods_left", "goods are left to ship", lambda order, facts: not order.to_ship)
SOME_LEFT = Guard("no_goods_left", "no goods are left to ship", lambda order, facts: order.to_ship)
COVERS_OUT = Guard(
    "below_out",
    "more pieces are out than the new lines have",
    lambda order, facts: not less(order.goods.out, order.quantities),
)


class Settlement(NamedTuple):
    """The part of a rule that changes `paid`, `invoiced` or `dispatched`.

    Attributes:
        needs, forbids: conditions on the boxes after the rest of the rule.
        adds, drops, guards, announces: as in `Rule`.
    """

    needs: frozenset[str] = frozenset()
    forbids: frozenset[str] = frozenset()
    adds: frozenset[str] = frozenset()
    drops: frozenset[str] = frozenset()
    guards: tuple[Guard, ...] = ()
    announces: str | None = None


_LIVE, _PAID, _BOTH = frozenset({"sent"}), frozenset({"paid"}), frozenset({"paid", "invoiced"})
_GONE = frozenset({"cancelled"})

# Nothing is outstanding.
TICKS_BOTH = Settlement(_LIVE, _PAID | _GONE, adds=_BOTH, guards=(COVERED, ONLINE), announces="order.paid")
TICKS_PAID = Settlement(_LIVE, _GONE, adds=_PAID, guards=(COVERED,))
KEEPS_PAID = Settlement(_LIVE | _PAID, _GONE, guards=(COVERED,))
# Something is outstanding, because no row above fired.
KEEPS_UNPAID = Settlement(forbids=_PAID | _GONE)
UNTICKS_BOTH = Settlement(_BOTH, _GONE | {"dispatched"}, drops=_BOTH, guards=(MARKED,))
UNTICKS_PAID = Settlement(forbids=_GONE, drops=_PAID)
# An invoice by payment lasts while the order is paid or dispatched, so these rows drop it with `dispatched`.
UNTICKS_INVOICED = UNTICKS_BOTH._replace(needs=frozenset({"invoiced"}))
# A cancelled order keeps its boxes until it is reinstated.
KEEPS_BOTH = Settlement(needs=_GONE)

# Goods leave.
TICKS_DISPATCHED = Settlement(adds=frozenset({"dispatched"}), guards=(ALL_SHIPPED,))
SHIPS_PART = Settlement()
SHIPPED = (TICKS_DISPATCHED, SHIPS_PART)

MONEY_IN = (TICKS_BOTH, TICKS_PAID, KEEPS_UNPAID, KEEPS_BOTH)
MONEY_OUT = (KEEPS_PAID, UNTICKS_BOTH, UNTICKS_PAID, KEEPS_BOTH)
RETURNED = (KEEPS_PAID, UNTICKS_INVOICED, UNTICKS_PAID)
REINSTATED = (TICKS_BOTH, TICKS_PAID, UNTICKS_BOTH, UNTICKS_PAID)
AMENDED = REINSTATED  # The last one also matches an unfinished order, which has no box to lose.
AMENDED_TO_SHIPPED = (TICKS_BOTH, TICKS_PAID, UNTICKS_PAID)
AMENDED_TO_SHIP = (TICKS_BOTH, TICKS_PAID, UNTICKS_INVOICED, UNTICKS_PAID)


def _settled(rule: Rule, *settlements: Settlement) -> list[Rule]:
    """Return one row for each settlement.

    The first open row whose guards hold fires.
    """
    return [
        evolve(
            rule,
            needs=rule.needs | (settlement.needs - rule.adds),
            forbids=rule.forbids | (settlement.forbids - rule.drops),
            adds=rule.adds | settlement.adds,
            drops=rule.drops | settlement.drops,
            guards=(*rule.guards, *settlement.guards),
            announces=settlement.announces,
        )
        for settlement in settlements
    ]


def _invoiced_by_hand(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Return the table without the changes that payments make to `invoiced`."""
    for rule in rules:
        if MARKED not in rule.guards:
            yield evolve(rule, adds=rule.adds - {"invoiced"}) if "paid" in rule.adds else rule


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
    """Return the workflow of a shop.

    Args:
        dispatch: the boxes that an order needs before the goods may leave. `on_account` needs paid or invoiced,
            `prepaid` needs paid. `cod` (cash on delivery) needs no box.
        invoice_on_payment: whether an online payment that covers the total also ticks invoiced.

    Returns:
        The workflow. The same options return the same immutable object.

    Raises:
        InvalidInput: if `dispatch` is not one of the three policies, or `invoice_on_payment` is not a bool.
    """
    if not isinstance(dispatch, str) or dispatch not in _TO_DISPATCH:
        hint = validation.did_you_mean(dispatch, _TO_DISPATCH)
        raise InvalidInput(f"dispatch must be one of {', '.join(_TO_DISPATCH)}, not {validation.shown(dispatch)}{hint}")
    return _built(dispatch, validation.flag(invoice_on_payment, "invoice_on_payment"))


@cache
def _built(dispatch: Dispatch, invoice_on_payment: bool) -> Workflow:
    payable, to_dispatch = _TO_DISPATCH[dispatch]
    may_leave = () if payable is None else (payable,)
    bounded = (AMOUNT, ONE_PAYMENT, BOUND)
    may_lose_invoice = () if payable is None else (STAYS_ON_ACCOUNT,)
    # fmt: off
    rules = [
        *_settled(Rule("place", forbids={"sent", "cancelled"}, adds={"sent"}, guards=(STOCK_SUFFICES,)), TICKS_PAID, KEEPS_UNPAID),

        # Money is a fact. It is recorded in every state, and never waits for stock.
        *_settled(Rule("pay", adds={"sent"}, guards=(SOME_MONEY,), ledger="captured"), *MONEY_IN),
        *_settled(Rule("refund_failed", needs={"sent"}, guards=bounded, ledger="refund_failed"), *MONEY_IN),
        *_settled(Rule("restore_payment", needs={"sent"}, guards=bounded, ledger="restored"), *MONEY_IN),
        *_settled(Rule("refund", needs={"sent"}, guards=(AMOUNT, BOUND, CREDIT), ledger="refunded", facts={"credit"}), *MONEY_OUT),
        *_settled(Rule("unpay", needs={"sent"}, guards=(*bounded, EXPLAINED), ledger="reversed"), *MONEY_OUT),

        Rule("invoice", needs={"sent"}, forbids={"invoiced", "cancelled"}, adds={"invoiced"}),
        # Goods are facts too. `dispatched` follows from the shipped and the remaining pieces. An order that was amended
        # to its shipped pieces while it was cancelled has no piece left, so the next `dispatch` ticks it.
        *_settled(Rule("dispatch", needs={"sent"}, forbids={"dispatched", "cancelled"}, guards=(ONLY_ORDERED, *may_leave), goods="shipped"), *SHIPPED),
        Rule("return_items", needs={"sent"}, forbids={"cancelled"}, guards=(SOME_OUT, ONLY_OUT), goods="returned"),
        Rule("cancel", forbids={"cancelled", "dispatched"}, adds={"cancelled"}, guards=(NONE_OUT,)),
        # Fired by the clock, if the order has no money and no goods out.
        Rule("expire", needs={"sent"}, forbids={"invoiced", "paid", "dispatched", "cancelled"}, adds={"cancelled"}, guards=(NO_MONEY, NONE_OUT)),

        # A free order is paid without a payment, so `paid` goes too.
        Rule("unplace", needs={"sent"}, forbids={"invoiced", "dispatched", "cancelled"}, drops={"sent", "paid"}, guards=(NO_CAPTURE, NONE_OUT)),
        Rule("uninvoice", needs={"invoiced"}, forbids={"cancelled"}, drops={"invoiced"}, guards=may_lose_invoice),
        *_settled(Rule("undispatch", needs={"dispatched"}, drops={"dispatched"}, guards=(REASONED,), lapses=True, goods="recalled"), *RETURNED),
        *_settled(Rule("reinstate", needs={"cancelled"}, drops={"cancelled"}, guards=(STOCK_SUFFICES,)), *REINSTATED),
        # The guards see the order as amended. `shortages` are the further pieces that the order would take and the shop
        # lacks. If no goods are left to ship, there are no shortages. The first rows have that guard only so that a
        # refusal names missing stock too.
        *_settled(Rule("amend", needs={"sent"}, forbids={"dispatched", "cancelled"}, adds={"dispatched"}, guards=(STOCK_SUFFICES, COVERS_OUT, SOME_SHIPPED, NONE_LEFT)), *AMENDED_TO_SHIPPED),
        *_settled(Rule("amend", needs={"dispatched"}, drops={"dispatched"}, guards=(STOCK_SUFFICES, COVERS_OUT, SOME_LEFT)), *AMENDED_TO_SHIP),
        *_settled(Rule("amend", guards=(STOCK_SUFFICES, COVERS_OUT)), *AMENDED),
        *_settled(Rule("amend"), KEEPS_BOTH),
    ]
    # fmt: on
    return Workflow(
        STATUSES,
        rules if invoice_on_payment else _invoiced_by_hand(rules),
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

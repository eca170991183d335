"""Adopt an order from an older system as a history of facts.

The history begins with `create`. It continues with one `adopt` entry per past payment, dated at the payment. One last
`adopt` entry ticks the boxes. Past payments obey the same identity rules and bounds as the payments that a gateway
reports. A refund without a reference was given back by hand, so it is at most the money that the order held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, cast

from msgspec.structs import replace

from order_fsm.errors import InvalidInput, KeyReused
from order_fsm.model import ADOPT, UNFINISHED, Entry, Fact, Order, PaymentKind, Shipment, placed_at
from order_fsm.money import ZERO
from order_fsm.rules.booking import Booking, book, recorded_before
from order_fsm.rules.request import Request
from order_fsm.rules.shipping import lines_of
from order_fsm.rules.workflow import Workflow
from order_fsm.validation import GATEWAY


class PastPayment(NamedTuple):
    """A row of the ledger from before the adoption.

    Attributes:
        at: the time of the payment.
        facts: its `kind` and the other members of the row. `credit` is True, False or the amount.
        number: its index in the caller's list, for error messages.
    """

    at: datetime
    facts: Mapping[str, Fact]
    number: int


def adopted(
    workflow: Workflow, new: Order, statuses: frozenset[str], payments: Iterable[PastPayment], last: Request
) -> tuple[Order, tuple[Entry, ...]]:
    """Return an adopted order and its entries after the first.

    Args:
        workflow: has the state.
        new: the new order, without payments and boxes.
        statuses: the ticked boxes.
        payments: the payments, sorted by time.
        last: the request of the adoption. All entries get its actor and key. The last entry also gets its time, facts
            and comment.

    Raises:
        InvalidInput: if the boxes are not a state of the workflow, a payment breaks a bound or was given twice, or the
            boxes contradict the payments.
    """
    state = workflow.state_name(statuses)
    if not workflow.has_state(state):
        raise InvalidInput(f"statuses must be a state that the rules can reach, and {state!r} is not one")
    order = replace(new, state=state, counted=workflow.counts_in(state))
    entries: list[Entry] = []
    for version, payment in enumerate(payments, new.version + 1):
        try:
            booking = _booked(order, payment.facts)
        except KeyReused as error:
            raise InvalidInput(f"payments[{payment.number}] contradicts another one: {error}") from None
        except InvalidInput as error:
            raise InvalidInput(f"payments[{payment.number}]: {error}") from None
        request = Request(ADOPT, payment.at, {}, last.by, key=last.key)
        row = booking.row(request, version)
        facts: dict[str, Fact] = {"kind": row.kind, "amount": row.amount, "currency": row.currency}
        facts |= {name: value for name in ("reference", "transaction_id", "provider") if (value := getattr(row, name))}
        if row.kind == "refunded":
            facts["credit"] = row.credit
        entries.append(Entry(version, ADOPT, UNFINISHED, UNFINISHED, row.at, last.by, key=last.key, facts=facts))
        order = replace(order, payments=(*order.payments, row))
    _check_boxes(workflow, order)
    entry = Entry(
        new.version + len(entries) + 1,
        ADOPT,
        UNFINISHED,
        state,
        last.at,
        last.by,
        last.comment,
        key=last.key,
        facts=last.facts,
        rules_fingerprint=workflow.fingerprint,
    )
    reserved = () if order.lines and workflow.holds(state) else None
    shipments: tuple[Shipment, ...] = ()
    if order.lines and "dispatched" in statuses:
        shipments = (Shipment("shipped", lines_of(order.quantities), (), entry.at, entry.version),)
    order = replace(
        order,
        version=entry.version,
        updated_at=entry.at,
        reserved=reserved,
        placed_at=placed_at((*entries, entry)),
        shipments=shipments,
    )
    return order, (*entries, entry)


def adopted_again(workflow: Workflow, new: Order, entries: Sequence[Entry]) -> Order:
    """Rebuild an adopted order from its entries.

    Args:
        workflow: has the state.
        new: the order as created.
        entries: the entries of the adoption. The last one has the boxes.

    Raises:
        InvalidInput: as in `adopted`.
    """
    *past, last = entries
    request = Request(ADOPT, last.at, last.facts, last.by, last.comment, key=last.key)
    payments = [PastPayment(entry.at, entry.facts, number) for number, entry in enumerate(past)]
    return adopted(workflow, new, last.after, payments, request)[0]


def _booked(order: Order, given: Mapping[str, Fact]) -> Booking:
    """Return a past payment as a ledger row.

    The caller has checked its kind.

    Raises:
        InvalidInput: if the payment has no amount, exceeds a bound, or is in the ledger already.
        KeyReused: if the ledger has it with another amount or currency.
    """
    facts = {name: value for name, value in given.items() if name not in ("kind", "credit")}
    kind, credit = cast(PaymentKind, given["kind"]), given.get("credit")
    if not facts.get("amount"):
        raise InvalidInput("the amount must be given, above 0")
    if recorded_before(order, kind, facts) is not None:
        raise InvalidInput("it is the same as an earlier one: each capture, refund and dispute counts once")
    if not isinstance(credit, Decimal):
        facts |= {"credit": credit} if isinstance(credit, bool) else {}
    # `GATEWAY` selects the bound of a fact that a gateway reports: the amount that the payment had left.
    by = None if kind == "refunded" and facts.get("reference") is None else GATEWAY
    booking = book(order, kind, Request(ADOPT, order.created_at, facts, by))
    if booking.adopts:
        raise InvalidInput("it is the same as an earlier capture that has no transaction_id: give that one its id")
    if booking.several:
        raise InvalidInput("it matches several payments: give the reference, the currency or the transaction_id")
    if booking.bound is not None and booking.amount > booking.bound:
        raise InvalidInput(
            f"the amount is {booking.amount:f}, and that payment, refund or reversal has {booking.bound:f}"
            f" {booking.currency} left at that time"
        )
    if isinstance(credit, Decimal):
        booking = replace(booking, credit=credit)
    if kind == "refunded" and not booking.credit <= min(booking.amount, order.cost):
        raise InvalidInput(f"the credit is {booking.credit:f}, more than the amount or than the order costs")
    return booking


def _check_boxes(workflow: Workflow, order: Order) -> None:
    """Check that the boxes match the payments.

    Raises:
        InvalidInput: if the boxes contradict the payments.
    """
    statuses, balance = order.statuses, order.balance
    came = any(row.kind == "captured" for row in order.payments)
    if came and workflow.knows("sent") and "sent" not in statuses:
        raise InvalidInput("statuses must have sent: a payment was captured")
    if not order.counted or not workflow.knows("paid"):
        return
    money = f"{balance.held:f} {order.currency} held, {balance.cost:f} to be paid"
    outstanding = balance.owed("cancelled" in statuses)
    if "paid" in statuses and outstanding > ZERO:
        raise InvalidInput(f"statuses must not have paid: {outstanding:f} {order.currency} is outstanding ({money})")
    if "paid" not in statuses and not outstanding:
        raise InvalidInput(f"statuses must have paid: nothing is outstanding ({money})")

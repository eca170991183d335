"""Derive the ledger row that a request would add.

The row has an amount, a payment, a bound and a credit.

A row is identified by (provider, kind, transaction_id). A capture without a transaction_id is identified by its
reference. The first capture with a transaction_id that repeats an unidentified capture adopts it: a row of 0 records
the id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from order_fsm import ledger
from order_fsm.errors import KeyReused
from order_fsm.model import Order, Payment, PaymentKind
from order_fsm.money import ZERO, minus, plus
from order_fsm.rules.request import Request

_LEFT: Mapping[PaymentKind, Mapping[PaymentKind, bool]] = {
    "refunded": {"captured": True, "refund_failed": True, "refunded": False},
    "reversed": {"captured": True, "restored": True, "reversed": False},
    "refund_failed": {"refunded": True, "refund_failed": False},
    "restored": {"reversed": True, "restored": False},
}
"""By the kind of a new row: the kinds that raise its bound (True) and the kinds that use it up (False)."""

_UNDOES: Mapping[PaymentKind, PaymentKind] = {"refund_failed": "refunded", "restored": "reversed"}
"""Kinds that undo one movement, instead of changing a payment as a whole."""


class _Subject(NamedTuple):
    """A payment, or one refund or reversal of it."""

    currency: str
    reference: str | None
    transaction_id: str | None = None


class Booking(Struct, frozen=True):
    """A ledger row that is not recorded yet.

    Attributes:
        kind, currency, reference, credit, transaction_id, provider: as in `Payment`.
        amount: the money that the request moves.
        bound: the largest allowed amount. None if there is no limit.
        several: whether the request matches several payments.
        adopts: whether it identifies a capture that is recorded already. Such a row moves no money.
    """

    kind: PaymentKind
    amount: Decimal
    currency: str
    reference: str | None
    bound: Decimal | None = None
    several: bool = False
    adopts: bool = False
    credit: Decimal = ZERO
    transaction_id: str | None = None
    provider: str | None = None

    def row(self, request: Request, version: int) -> Payment:
        """Return the row that the entry with this version records."""
        return Payment(
            self.kind,
            ZERO if self.adopts else self.amount,
            self.currency,
            self.reference,
            request.at,
            version,
            self.credit,
            self.transaction_id,
            self.provider,
        )


def recorded_before(order: Order, kind: PaymentKind, facts: Mapping[str, Any]) -> Payment | None:
    """Return the row that already records the same fact, if any.

    Raises:
        KeyReused: if it was recorded with another amount or currency.
    """
    if not order.payments:
        return None
    transaction_id, reference = facts.get("transaction_id"), facts.get("reference")
    if transaction_id is None and (kind != "captured" or reference is None):
        return None
    same = [
        row
        for row in _of_provider(order, facts.get("provider"))
        if row.kind == kind
        and (row.reference == reference if transaction_id is None else row.transaction_id == transaction_id)
    ]
    for row in same:
        amount = row.amount or _adopted_by(order, row)
        if facts.get("amount", amount) == amount and facts.get("currency", row.currency) == row.currency:
            return row
    if not same:
        return None
    identity = reference if transaction_id is None else transaction_id
    money = " and ".join(f"{row.amount or _adopted_by(order, row)} {row.currency}" for row in same)
    raise KeyReused(
        f"order {order.id!r} has {identity!r} ({kind}) of {money}, not of {facts.get('amount', 'the same amount')}"
        f" {facts.get('currency', order.currency)}; nothing was changed"
    )


def book(order: Order, kind: PaymentKind, request: Request) -> Booking:
    """Return the row that a request would add, with defaults filled in."""
    if kind != "captured":
        return _movement(order, kind, request)
    facts: dict[str, Any] = request.facts
    currency, reference = facts.get("currency", order.currency), facts.get("reference")
    amount = facts.get("amount")
    if amount is None:
        amount = order.outstanding if currency == order.currency else ZERO
    booking = Booking(
        "captured",
        amount,
        currency,
        reference,
        transaction_id=facts.get("transaction_id"),
        provider=facts.get("provider") or _provider_of(order, reference),
    )
    return replace(booking, adopts=True) if _adopts(order, booking) else booking


def _movement(order: Order, kind: PaymentKind, request: Request) -> Booking:
    """Return a row about money that was captured earlier."""
    facts: dict[str, Any] = request.facts
    subjects = _subjects(order, kind, facts)
    subject, bound = next(iter(subjects.items()), (_asked(order, facts), ZERO))
    if kind == "refunded" and not request.gateway:
        bound = _held(order, subject)
    given = facts.get("amount")
    booking = Booking(
        kind,
        _everything(order, kind, subject, bound) if given is None else given,
        subject.currency,
        subject.reference,
        bound,
        several=len(subjects) > 1,
        transaction_id=facts.get("transaction_id", subject.transaction_id),
        provider=facts.get("provider") or _provider_of(order, subject.reference),
    )
    if kind == "refunded" and subject.currency == order.currency:
        return replace(booking, credit=_credit(order, booking, facts.get("credit")))
    if kind == "refund_failed":
        return replace(booking, credit=_given_back(order, subject))
    return booking


def lapse(order: Order) -> Booking | None:
    """Return a refund of 0 that revokes all credits.

    The result is None if the order has no credit, or still holds money.
    """
    if not order.credited or order.held > 0:
        return None
    return Booking("refunded", ZERO, order.currency, None, credit=minus(ZERO, order.credited))


def correction(order: Order, facts: Mapping[str, Any]) -> Booking | None:
    """Return a refund of 0 that applies an amendment of the credits.

    The result is None if the amendment does not change the credits.
    """
    if "credited" not in facts:
        return None
    return Booking("refunded", ZERO, order.currency, None, credit=minus(facts["credited"], order.credited))


def _asked(order: Order, facts: Mapping[str, Any]) -> _Subject:
    return _Subject(facts.get("currency", order.currency), facts.get("reference"))


def _subjects(order: Order, kind: PaymentKind, facts: Mapping[str, Any]) -> dict[_Subject, Decimal]:
    """Return the payments that match a request, with their remaining amounts.

    A refund matches the payment that it names. Every other kind matches payments, refunds or reversals in the ledger.
    """
    if kind == "refunded":
        asked = _asked(order, facts)
        rows = [row for row in order.payments if _Subject(row.currency, row.reference) == asked]
        return {asked: _left(rows, kind)}
    found: dict[_Subject, list[Payment]] = {}
    naming = _naming(order, kind, facts)
    for row in order.payments:
        if row.kind in _LEFT[kind] and all(name not in facts or facts[name] == getattr(row, name) for name in naming):
            transaction_id = row.transaction_id if kind in _UNDOES and "transaction_id" in naming else None
            found.setdefault(_Subject(row.currency, row.reference, transaction_id), []).append(row)
    left = {subject: _left(rows, kind) for subject, rows in found.items()}
    if kind == "restored":
        # A restoration with its own id leaves less of its payment's reversals to restore.
        left = {subject: min(money, _left(_of_payment(order, subject), kind)) for subject, money in left.items()}
    return {subject: money for subject, money in left.items() if money > 0}


def _of_payment(order: Order, subject: _Subject) -> list[Payment]:
    paid_by = subject.currency, subject.reference
    return [row for row in order.payments if (row.currency, row.reference) == paid_by]


def _naming(order: Order, kind: PaymentKind, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the facts that identify the payment.

    A restoration may have its own id. Then it matches all reversals of its payment. A refund or reversal that was
    recorded by hand may have its id, and not the reference of the payment.
    """
    if kind not in _UNDOES:
        return "currency", "reference"
    if None not in (facts.get("transaction_id"), facts.get("reference")):
        undone = [row for row in order.payments if row.kind == _UNDOES[kind]]
        references = {row.reference for row in undone if row.transaction_id == facts["transaction_id"]}
        if kind == "restored" and not references:
            return "currency", "reference"
        if references == {None}:
            return "currency", "transaction_id"
    return "currency", "reference", "transaction_id"


def _left(rows: list[Payment], kind: PaymentKind) -> Decimal:
    signs = _LEFT[kind]
    money = ZERO
    for row in rows:
        if row.kind in signs:
            money = (plus if signs[row.kind] else minus)(money, row.amount)
    return money


def _held(order: Order, subject: _Subject) -> Decimal:
    """Return the upper limit of a refund by hand.

    It is the smaller one of the amounts that the order and the payment hold.
    """
    held = ledger.held(order.payments, subject.currency)
    if subject.reference is None:
        return held
    of_payment = [row for row in order.payments if row.reference == subject.reference]
    return min(held, ledger.held(of_payment, subject.currency))


def _everything(order: Order, kind: PaymentKind, subject: _Subject, bound: Decimal) -> Decimal:
    """Return the default amount of a request.

    A refund takes all money due back, or else all money held. Other kinds take everything that is left.
    """
    if kind == "refunded" and subject.currency == order.currency:
        return max(min(order.refund_due or order.held, bound), ZERO)
    return max(bound, ZERO)


def _credit(order: Order, booking: Booking, wanted: object) -> Decimal:
    """Return the amount by which a refund lowers the cost."""
    if wanted is True:
        return booking.amount
    dispatched = "dispatched" in order.statuses
    if not dispatched and minus(order.held, booking.amount) <= 0:
        return minus(ZERO, order.credited)  # All money went back, so the price was not reduced.
    if wanted is None and order.counted and (dispatched or not order.outstanding):
        return max(minus(booking.amount, order.refund_due), ZERO)
    return ZERO


def _given_back(order: Order, subject: _Subject) -> Decimal:
    """Return the credits that a failed refund took."""
    of_refund = [
        row
        for row in order.payments
        if row.amount  # A refund of 0 only ends or amends credits.
        and row.kind in _LEFT["refund_failed"]
        and (row.reference, row.transaction_id) == (subject.reference, subject.transaction_id)
    ]
    return max(minus(ZERO, ledger.balance(ZERO, of_refund, order.currency).credited), ZERO)


# Identity


def _of_provider(order: Order, provider: object) -> Iterator[Payment]:
    """Yield the rows of a provider.

    A row without a provider matches every provider. So does a request without a provider.
    """
    for row in order.payments:
        if provider is None or row.provider is None or row.provider == provider:
            yield row


def _provider_of(order: Order, reference: str | None) -> str | None:
    """Return the provider of the payment that a request refers to."""
    if reference is None or not order.payments:
        return None
    return next((row.provider for row in order.payments if row.reference == reference and row.provider), None)


def _adopts(order: Order, booking: Booking) -> bool:
    """Return whether a capture identifies an earlier, unidentified one."""
    if booking.reference is None or booking.transaction_id is None:
        return False
    of_payment = [row for row in _of_provider(order, booking.provider) if row.reference == booking.reference]
    captures = [row for row in of_payment if row.kind == "captured"]
    return any(
        row.transaction_id is None and (row.amount, row.currency) == (booking.amount, booking.currency)
        for row in captures
    ) and all(row.amount for row in captures)


def _adopted_by(order: Order, adopting: Payment) -> Decimal:
    """Return the amount of the capture that a row of 0 identifies."""
    for row in _of_provider(order, adopting.provider):
        if row.kind == adopting.kind and row.reference == adopting.reference and row.transaction_id is None:
            return row.amount
    return ZERO

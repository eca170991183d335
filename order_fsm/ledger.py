"""Sums over the rows of an order's ledger.

A row is a fact: it is never changed or removed. Money in another currency than the order's is also a row, and no sum of
the order includes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal, Protocol, get_args

from msgspec import Struct

from order_fsm.money import ZERO, minus, plus

PaymentKind = Literal["captured", "refunded", "refund_failed", "reversed", "restored"]

PAYMENT_KINDS: tuple[PaymentKind, ...] = get_args(PaymentKind)

HELD: Mapping[PaymentKind, bool] = {
    "captured": True,
    "refunded": False,
    "refund_failed": True,
    "reversed": False,
    "restored": True,
}
"""By kind of row, whether the shop gets the amount (True) or loses it (False)."""


class Row(Protocol):
    """The members of `Payment` that the sums read."""

    @property
    def kind(self) -> PaymentKind:
        """The kind of fact that the row records."""
        ...

    @property
    def amount(self) -> Decimal:
        """The amount, 0 or more."""
        ...

    @property
    def currency(self) -> str:
        """The currency of the amount."""
        ...

    @property
    def reference(self) -> str | None:
        """The payment. None if it was recorded by hand."""
        ...

    @property
    def credit(self) -> Decimal:
        """The amount by which the row lowers the order's cost."""
        ...


Rows = Sequence[Row]


class Balance(Struct, frozen=True):
    """The sums over the ledger of an order.

    Attributes:
        held: the money that the shop has. It is below zero after a loss.
        online: the part of `held` that came through a gateway.
        credited: the amount by which refunds lowered the price.
        cost: the price after the credits.
        missing: the part of the cost that the money held does not cover.
        overpaid: the part of the money held that exceeds the cost.
        others: the money held in other currencies, by currency.
    """

    held: Decimal
    online: Decimal
    credited: Decimal
    cost: Decimal
    missing: Decimal
    overpaid: Decimal
    others: Mapping[str, Decimal]

    def owed(self, cancelled: bool) -> Decimal:
        """Return the money still to be paid: the missing part, or 0 if the order is cancelled."""
        return ZERO if cancelled else self.missing

    def due(self, counted: bool) -> Decimal:
        """Return the money due back: the overpaid part, or all money held if the order does not count in totals."""
        return self.overpaid if counted else max(self.held, ZERO)


def balance(total: Decimal, rows: Rows, currency: str) -> Balance:
    """Return the sums over the ledger of an order.

    Args:
        total: the price of the order.
        rows: the ledger.
        currency: the currency of the order.
    """
    held = by_hand = credited = ZERO
    others: dict[str, Decimal] = {}
    for row in rows:
        move = plus if HELD[row.kind] else minus
        if row.currency != currency:
            others[row.currency] = move(others.get(row.currency, ZERO), row.amount)
            continue
        held = move(held, row.amount)
        if row.reference is None:
            by_hand = move(by_hand, row.amount)
        if row.credit:
            credited = plus(credited, row.credit)
    cost = max(minus(total, credited), ZERO) if credited else total
    missing = minus(cost, held)
    return Balance(
        held,
        minus(held, by_hand) if by_hand else held,
        credited,
        cost,
        missing if missing >= ZERO else ZERO,
        minus(held, cost) if missing <= ZERO else ZERO,
        others,
    )


def held(rows: Rows, currency: str) -> Decimal:
    """Return the money in a currency that the shop keeps from rows."""
    return balance(ZERO, rows, currency).held


def recorded(rows: Rows, kind: PaymentKind, currency: str) -> Decimal:
    """Return the sum of one kind of row in a currency."""
    money = ZERO
    for row in rows:
        if row.kind == kind and row.currency == currency:
            money = plus(money, row.amount)
    return money

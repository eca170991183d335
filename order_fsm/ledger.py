"""Sums over the rows of an order's ledger.

A row is a fact. Nothing changes or removes it. Money in another currency than the order's is a row too, and no sum of
the order counts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal, Protocol

from order_fsm.money import ZERO, minus, plus

PaymentKind = Literal["captured", "refunded", "refund_failed", "reversed", "restored"]

HELD: Mapping[PaymentKind, bool] = {
    "captured": True,
    "refunded": False,
    "refund_failed": True,
    "reversed": False,
    "restored": True,
}
"""By kind of row, whether its amount comes to the shop (True) or leaves it (False)."""


class Row(Protocol):
    """The part of `Payment` that the sums read."""

    @property
    def kind(self) -> PaymentKind:
        """What the row records."""
        ...

    @property
    def amount(self) -> Decimal:
        """Not negative."""
        ...

    @property
    def currency(self) -> str:
        """Of the amount."""
        ...

    @property
    def reference(self) -> str | None:
        """The payment, None if it was recorded by hand."""
        ...

    @property
    def credit(self) -> Decimal:
        """How much less the order costs."""
        ...


Rows = Iterable[Row]


def held(rows: Rows, currency: str) -> Decimal:
    """Return the money of a currency that the shop has. It is below zero after a loss."""
    money = ZERO
    for row in rows:
        if row.currency == currency:
            money = (plus if HELD[row.kind] else minus)(money, row.amount)
    return money


def held_online(rows: Rows, currency: str) -> Decimal:
    """Return the part of the money held that came through a gateway."""
    return held([row for row in rows if row.reference is not None], currency)


def recorded(rows: Rows, kind: PaymentKind, currency: str) -> Decimal:
    """Return the sum of the rows of a kind in a currency."""
    money = ZERO
    for row in rows:
        if row.kind == kind and row.currency == currency:
            money = plus(money, row.amount)
    return money


def credited(rows: Rows) -> Decimal:
    """Return the sum of the credits: how much less the order costs than its total."""
    money = ZERO
    for row in rows:
        if row.credit:
            money = plus(money, row.credit)
    return money


def cost(total: Decimal, rows: Rows) -> Decimal:
    """Return the price of an order after its credits."""
    return max(minus(total, credited(rows)), ZERO)


def uncovered(total: Decimal, rows: Rows, currency: str) -> Decimal:
    """Return the part of an order's cost that the money held does not cover."""
    rows = tuple(rows)
    return max(minus(cost(total, rows), held(rows, currency)), ZERO) if rows else total

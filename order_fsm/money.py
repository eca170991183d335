"""Exact sums of money, independent of the host's decimal precision."""

from __future__ import annotations

from decimal import Context, Decimal

ZERO = Decimal(0)

EXACT = Context(prec=64)
plus = EXACT.add
minus = EXACT.subtract

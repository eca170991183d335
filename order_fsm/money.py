"""Exact sums of money, whatever precision the host has set for its own decimals."""

from __future__ import annotations

from decimal import Context, Decimal

ZERO = Decimal(0)

EXACT = Context(prec=64)
plus = EXACT.add
minus = EXACT.subtract

"""The reason for structs: the time to build a value, against a frozen class of attrs."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs

from order_fsm import Payment
from paired_times import Compare, Work

ROW = ("captured", Decimal("49.90"), "GBP", "ch_1", datetime(2026, 1, 5, 9, tzinfo=UTC), 2)
TIMES = 10_000


def test_building_a_value_against_building_one_of_attrs(compare: Compare) -> None:
    """The limit keeps the reason for the choice true."""
    names = Payment.__struct_fields__
    others = {name: attrs.field(default=None) for name in names[len(ROW) :]}
    fields = {name: attrs.field() for name in names[: len(ROW)]} | others
    frozen = attrs.make_class("Payment", fields, frozen=True, slots=True)

    def building(kind: Any) -> Work:
        def work() -> None:
            for _ in range(TIMES):
                kind(*ROW)

        return work

    compare(lambda: building(Payment), lambda: building(frozen), limit=0.5, rounds=7, changes=TIMES)

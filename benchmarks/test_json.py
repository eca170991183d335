"""The reason for msgspec: its speed against cattrs, the other library for attrs classes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from cattrs.preconf.json import make_converter

from order_fsm import Payment
from paired_times import Compare, Work

LEDGER = [
    Payment("captured", Decimal("49.90"), "GBP", f"ch_{n}", datetime(2026, 1, 5, 9, n, tzinfo=UTC), n)
    for n in range(20)
]
TIMES = 200


def test_msgspec_against_cattrs(compare: Compare) -> None:
    """Encode and decode. The limit of 1 keeps the reason for the choice true."""
    decoder = msgspec.json.Decoder(list[Payment])
    converter = make_converter()
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))

    def ours() -> Work:
        def work() -> None:
            for _ in range(TIMES):
                assert decoder.decode(msgspec.json.encode(LEDGER)) == LEDGER

        return work

    def theirs() -> Work:
        def work() -> None:
            for _ in range(TIMES):
                assert converter.loads(converter.dumps(LEDGER), list[Payment]) == LEDGER

        return work

    compare(ours, theirs, limit=1, rounds=7, changes=TIMES)

"""Many changes of one order in one batch, and one pass over many postponed messages."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from filled_stores import KINDS, opened
from order_fsm import Message, Orders
from order_fsm.testing.store_contract.changes import creation
from paired_times import Hold, timed

POSTPONED = 40_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_in_a_batch_of_1000_of_one_order_against_a_batch_of_100(hold: Hold, tmp_path: Path, kind: str) -> None:
    """Linear: a change costs the same after any number of changes of its order in the batch."""
    with closing(opened(kind, tmp_path)) as store:
        orders = Orders(store)
        created = iter(range(1_000_000))

        def seconds_a_change(number: int) -> float:
            order_id = f"o{next(created)}"
            orders.create(order_id, "49.90", "GBP")

            def work() -> None:
                with orders.batch() as batch:
                    for _ in range(number):
                        batch.comment(order_id, "Delayed by snow")

            return timed(work) / number

        def measure() -> tuple[float, float]:
            large = min(seconds_a_change(1_000) for _ in range(5))
            small = min(seconds_a_change(100) for _ in range(20))
            return large * 1e6, small * 1e6

        hold(measure, limit=1.3, unit="us")


@pytest.mark.parametrize("kind", KINDS)
def test_a_delivery_pass_over_postponed_messages_against_a_second(hold: Hold, tmp_path: Path, kind: str) -> None:
    """All 40,000 messages are postponed, each of a different order. No message is due in the pass."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with closing(opened(kind, tmp_path)) as store:
        changes = [creation(f"o{number}", at=now, topics=["order.updated"]) for number in range(POSTPONED)]
        for first in range(0, POSTPONED, 1_000):
            assert not any(store.commit_all(changes[first : first + 1_000]))
        until = now + timedelta(minutes=10)
        assert len(store.claim(now, until, POSTPONED)) == POSTPONED  # A lease postpones a message as a failure does.
        orders = Orders(store, clock=lambda: now)

        def unexpected(message: Message) -> None:
            raise AssertionError(message.id)

        def measure() -> tuple[float, float]:
            start = time.perf_counter()
            assert orders.deliver(unexpected) == 0
            return (time.perf_counter() - start) * 1_000, 1_000

        hold(measure, limit=1, unit="ms")

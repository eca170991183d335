"""S3 and S10 of a store without commits: closing it, and listing its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from order_fsm.errors import StoreUnavailable
from order_fsm.store import Need, Store
from order_fsm.testing.store_contract.changes import creation, moment, order_of, step
from order_fsm.testing.store_contract.expected import ALL, Expected, committed
from order_fsm.testing.store_contract.harness import StoreHarness


class Lifecycle(StoreHarness):
    """Tests of closing and listing."""

    def test_s3_a_closed_store_raises_store_unavailable(self, place: Path) -> None:
        """Every method of a closed store raises StoreUnavailable. Closing it again does nothing."""
        store = self.make_store(place)
        change = creation(topics=["order.updated"])
        order = order_of(change)
        store.commit(change)
        (message,) = store.claim(moment(10), moment(20), 1)
        store.close()
        calls: list[Callable[[], object]] = [
            lambda: store.load("1001"),
            lambda: store.history("1001"),
            lambda: store.prepare_many([Need("1001")]),
            lambda: store.commit(step(order)),
            lambda: store.commit_all([step(order)]),
            lambda: store.find(ALL),
            lambda: store.tally(None),
            lambda: store.totals(None, moment(0), None),
            lambda: store.report(None, None),
            lambda: store.stock(["CUP"]),
            lambda: store.set_stock("CUP", 1),
            lambda: store.claim(moment(30), moment(40), 1),
            lambda: store.delivered(message, moment(20)),
            lambda: store.retry_later(message, moment(20), None),
            lambda: store.dead_letters(1),
            lambda: store.requeue(message),
            lambda: store.remove(order),
            lambda: store.scrub(),
            lambda: list(store.order_ids()),
            lambda: list(store.messages()),
            lambda: store.faults(),
        ]
        for number, call in enumerate(calls):
            with pytest.raises(StoreUnavailable):
                pytest.fail(f"call {number} of a closed store returned {call()!r}")
        store.close()

    def test_s3_a_store_is_closed_at_the_end_of_its_block(self, place: Path) -> None:
        """A `with` block returns the store itself. It closes the store even if the block raises."""
        made = self.make_store(place)

        def fail() -> None:
            with made as store:
                assert store is made
                store.commit(creation())
                raise LookupError

        with pytest.raises(LookupError):
            fail()
        with pytest.raises(StoreUnavailable):
            made.load("1001")

    def test_s10_listings_are_complete_while_orders_change(self, store: Store) -> None:
        """A listing returns every lasting order once, even if others are created or removed during it."""
        expected = Expected()
        for number in range(20):
            committed(store, expected, creation(f"{number}", topics=["order.updated"]))
        ids, messages = store.order_ids(), store.messages()
        listed = [next(ids)]
        waiting = [next(messages).order_id]
        for number in range(0, 20, 4):
            store.remove(expected.orders[f"{number}"])
            committed(store, expected, creation(f"new {number}", topics=["order.updated"]))
        listed += ids
        waiting += [message.order_id for message in messages]
        kept = {f"{number}" for number in range(20) if number % 4}
        assert kept <= set(listed), "an order that exists during the whole listing must be listed"
        assert len(listed) == len(set(listed)), "an order must be listed once"
        assert kept <= set(waiting), "a message that waits during the whole listing must be listed"
        assert len(waiting) == len(set(waiting)), "a message must be listed once"

"""S3: commits outlive the process, and other processes see them at once."""

from __future__ import annotations

from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from msgspec.structs import replace

from order_fsm.errors import OrderNotFound
from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation, moment, seeded, taken
from order_fsm.testing.store_contract.crews import Worker
from order_fsm.testing.store_contract.expected import Expected, committed, drained, record_under
from order_fsm.testing.store_contract.harness import StoreHarness
from order_fsm.testing.store_contract.traffic import is_there, next_change, settle, stocked

KILLED = (0.004, 0.030)
"""The range of seconds after its first commit in which a writing process is killed."""


def _write(expected: Expected, number: int, store: Store, pipe: Connection) -> None:
    """Commit one change after the other, and report each one that has returned, until killed."""
    while True:
        committed(store, expected, next_change(expected, number))
        number += 1
        pipe.send(number)


def _write_when_asked(store: Store, pipe: Connection) -> None:
    """Commit a change for each request, until the pipe is closed."""
    expected = Expected()
    number = 0
    try:
        while pipe.recv():
            committed(store, expected, next_change(expected, number))
            number += 1
            pipe.send(number)
    except EOFError:
        pass


def _due(store: Store, seconds: float) -> list[tuple[str, int]]:
    """Claim messages with leases that end at once. Return the ids and attempts of `relayed` and `other`."""
    claimed = store.claim(moment(seconds), moment(seconds), 1000)
    return sorted((one.id, one.attempts) for one in claimed if one.order_id in {"relayed", "other"})


class Crash(StoreHarness):
    """Tests of ended processes, and of other processes that read. Skipped if `durable` is False."""

    def test_s3_all_content_outlives_the_store(self, durable_place: Path) -> None:
        """A reopened store has all orders, keys, stock, messages and leases."""
        with self.opened(durable_place) as store:
            expected = stocked(store)
            store.commit(creation("relayed", topics=["order.updated"] * 3))
            store.commit(creation("other", topics=["order.updated"] * 2))
            first, other = store.claim(moment(10), moment(20), 2)
            store.delivered(first, moment(20))
            (second,) = store.claim(moment(10), moment(21), 2)
            for number in range(30):
                committed(store, expected, next_change(expected, number))
        with self.opened(durable_place) as store:
            assert _due(store, 19) == [], "a lease must outlast a restart"
            store.retry_later(second, moment(20), moment(25))
            store.retry_later(second, moment(21), moment(30))
            store.delivered(other, moment(20))
        with self.opened(durable_place) as store:
            why = "the pause after a failed delivery must outlast a restart, and a delivered message must not return"
            assert _due(store, 29) == [("other#1.2", 0)], why
            assert _due(store, 30) == [("other#1.2", 0), ("relayed#1.2", 1)]
        with self.opened(durable_place) as store:
            for order_id, number in (("relayed", 3), ("other", 2)):
                order = store.load(order_id)
                change = creation(order_id, topics=["order.updated"] * number)
                expected.commit(change)
                delivered = {"relayed#1.1", "other#1.1"}
                expected.messages = [message for message in expected.messages if message.id not in delivered]
                assert order == change.order
            expected.messages = [
                replace(message, attempts=1) if message.id == "relayed#1.2" else message
                for message in expected.messages
            ]
            expected.check(store)

    def test_s3_dead_letters_and_removals_outlive_the_store(self, durable_place: Path) -> None:
        """A reopened store has the same dead letters and no removed order."""
        with self.opened(durable_place) as store:
            store.commit(creation("removed", topics=["order.updated"], key="key"))
            store.commit(creation("relayed", topics=["order.updated"] * 3))
            for _ in range(2):
                claimed = {one.order_id: one for one in store.claim(moment(10), moment(20), 10)}
                store.retry_later(claimed["relayed"], moment(20), None)
            store.remove(store.load("removed"))
        with self.opened(durable_place) as store:
            dead = store.dead_letters(10)
            assert [(one.id, one.attempts) for one in dead] == [("relayed#1.1", 1), ("relayed#1.2", 1)]
            store.requeue(dead[0])
        with self.opened(durable_place) as store:
            assert [one.id for one in store.dead_letters(10)] == ["relayed#1.2"]
            assert record_under(store, "key") is None
            with pytest.raises(OrderNotFound):
                store.load("removed")
            assert [(one.id, one.attempts) for one in drained(store)] == [("relayed#1.3", 0), ("relayed#1.1", 0)]

    def test_s3_another_store_sees_a_commit_at_once(self, durable_place: Path) -> None:
        """Two stores opened at one place see each other's commits at once, even after earlier reads."""
        with self.opened(durable_place) as one, self.opened(durable_place) as other:
            expected = stocked(one)
            for number in range(24):
                writer, reader = (one, other) if number % 3 else (other, one)
                committed(writer, expected, next_change(expected, number))
                expected.check(reader)
                assert set(reader.tally(None)) == expected.tally(None), "tally is out of date"

    def test_s3_another_process_sees_a_commit_at_once(self, durable_place: Path) -> None:
        """An open store sees a commit of another process as soon as the commit has returned."""
        opened = partial(self.opened, durable_place)
        with opened() as store:
            expected = stocked(store)
        worker = Worker(opened, _write_when_asked)
        try:
            with opened() as store:
                for number in range(20):
                    worker.pipe.send("one more")
                    worker.receive()
                    expected.commit(next_change(expected, number))
                    expected.check(store)
        finally:
            worker.end()

    def test_s3_a_killed_process_loses_nothing(self, durable_place: Path) -> None:
        """After kill -9 the store has every acknowledged change, and at most the one that was in progress.

        The test compares orders, histories, payments, stock, messages and keys. The next process continues with the
        same store, so that each crash meets the remains of the crash before it.
        """
        for era, rounds in self.eras(durable_place):
            opened = partial(self.opened, era)
            with opened() as store:
                expected = stocked(store)
            number = 0
            for turn in rounds:
                dice = seeded(f"kill {turn}")
                worker = Worker(opened, partial(_write, expected, number))
                try:
                    acknowledged = [worker.receive()]
                    if turn % 2:
                        acknowledged += worker.kill(dice.uniform(*KILLED))
                        with opened() as store:
                            number = self._survived(store, expected, number, acknowledged[-1])
                    else:
                        # An open store must recover as well as a newly opened one.
                        with opened() as store:
                            store.stock(expected.stock)
                            acknowledged += worker.kill(dice.uniform(*KILLED))
                            number = self._survived(store, expected, number, acknowledged[-1])
                finally:
                    worker.end()

    def _survived(self, store: Store, expected: Expected, number: int, acknowledged: int) -> int:
        """Compare a store with the acknowledged changes. Return the number of stored changes."""
        while number < acknowledged:
            expected.commit(next_change(expected, number))
            number += 1
        under_way = next_change(expected, number)
        if not self.local_disk:
            settle(store, under_way)
        if is_there(store, under_way):
            expected.commit(under_way)
            number += 1
        else:
            expected.refused = [under_way]
        expected.check(store, after_kill=True)
        committed(store, expected, creation(f"after change {number}", stock=[taken("CUP", 1, strict=False)]))
        expected.refused = []
        return number

"""S1, S3 and S9 when processes are killed that write concurrently, deliver messages or open a store."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

from order_fsm.model import Message
from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation, moment, seeded
from order_fsm.testing.store_contract.crews import Opened, Worker
from order_fsm.testing.store_contract.expected import ALL, LATE, Expected, committed, drained
from order_fsm.testing.store_contract.harness import StoreHarness
from order_fsm.testing.store_contract.traffic import is_there, next_change, settle, stocked

SHARE = 8
"""The number of kills of `Crash` per kill of these tests."""

KILLED = (0.001, 0.012)
"""The range of seconds after its first answer in which a process is killed."""

PREFIXES: tuple[str, ...] = ("ann", "bob", "eve")
"""The prefixes of the workers. Each worker changes its own orders, and all share the stock."""


def _write(expected: Expected, number: int, prefix: str, store: Store, pipe: Connection) -> None:
    """Commit one change after the other under a prefix, and report each one that has returned."""
    while True:
        committed(store, expected, next_change(expected, number, prefix))
        number += 1
        pipe.send(number)


def _relay(mailbox: _Mailbox, number: int, store: Store, pipe: Connection) -> None:
    """Change one message of an outbox after the other, and report each call that has returned."""
    while mailbox.waiting:
        doing, message_id = mailbox.next(number)
        if doing == "requeue":
            store.requeue(_found(store.dead_letters(ALL.limit), message_id))
        else:
            _deliver(store, _found(store.claim(LATE, LATE, ALL.limit), message_id), doing, number)
        mailbox.do(doing, message_id)
        number += 1
        pipe.send(number)
    pipe.recv()  # Wait for the kill.


def _repeat(mailbox: _Mailbox, number: int, store: Store) -> None:
    """Repeat an operation that was in progress when its process died, unless it is done. A server may still run it."""
    doing, message_id = mailbox.next(number)
    dead = [one for one in store.dead_letters(ALL.limit) if one.id == message_id]
    if doing == "requeue":
        for message in dead:
            store.requeue(message)
        return
    attempts = mailbox.waiting[message_id]
    for message in store.claim(LATE, LATE, ALL.limit):
        if message.id == message_id and message.attempts == attempts:
            _deliver(store, message, doing, number)


def _deliver(store: Store, message: Message, doing: str, number: int) -> None:
    if doing == "delivered":
        store.delivered(message, LATE)
    else:
        store.retry_later(message, LATE, None if doing == "give up" else moment(number))


def _found(messages: list[Message], message_id: str) -> Message:
    return next(message for message in messages if message.id == message_id)


class _Mailbox:
    """The content that an outbox must have, with one message per order.

    Attributes:
        waiting: the number of failed deliveries of each undelivered message, by id.
        dead: the number of failed deliveries of each dead letter, by id.
    """

    def __init__(self, messages: list[Message]) -> None:
        self.waiting = {message.id: message.attempts for message in messages}
        self.dead: dict[str, int] = {}

    def next(self, number: int) -> tuple[str, str]:
        """Return the next operation and its message. A number seeds the choice, so all processes agree."""
        dice = seeded(f"relay {number}")
        doing = dice.choice(["delivered", "retry later", "give up", "requeue"])
        if doing == "requeue" and self.dead:
            return doing, dice.choice(sorted(self.dead))
        return "retry later" if doing == "requeue" else doing, dice.choice(sorted(self.waiting))

    def do(self, doing: str, message_id: str) -> None:
        """Record an operation."""
        if doing == "requeue":
            del self.dead[message_id]
            self.waiting[message_id] = 0
            return
        attempts = self.waiting.pop(message_id)
        if doing == "retry later":
            self.waiting[message_id] = attempts + 1
        elif doing == "give up":
            self.dead[message_id] = attempts + 1

    def held_by(self, store: Store) -> bool:
        """Return whether an outbox has the content."""
        waiting = {message.id: message.attempts for message in store.claim(LATE, LATE, ALL.limit)}
        dead = {message.id: message.attempts for message in store.dead_letters(ALL.limit)}
        return (waiting, dead) == (self.waiting, self.dead)


class Kills(StoreHarness):
    """Tests of killed workers, openers and relays. Skipped if `durable` is False."""

    def test_s3_killed_workers_lose_nothing(self, durable_place: Path) -> None:
        """After kills of several writing processes at different times, the store has all reported changes."""
        for opened, rounds in self._stores(durable_place):
            with opened() as store:
                expected = stocked(store)
            numbers: dict[str, int] = dict.fromkeys(PREFIXES, 0)
            for turn in rounds:
                dice = seeded(f"kill workers {turn}")
                workers = {
                    prefix: Worker(opened, partial(_write, expected, number, prefix))
                    for prefix, number in numbers.items()
                }
                acknowledged = dict(numbers)
                try:
                    for prefix, worker in workers.items():
                        acknowledged[prefix] = worker.receive()
                    for prefix in dice.sample(PREFIXES, len(PREFIXES)):
                        said = workers[prefix].kill(dice.uniform(*KILLED))
                        acknowledged[prefix] = [acknowledged[prefix], *said][-1]
                finally:
                    for worker in workers.values():
                        worker.end()
                with opened() as store:
                    expected.refused = []
                    for prefix in PREFIXES:
                        while numbers[prefix] < acknowledged[prefix]:
                            expected.commit(next_change(expected, numbers[prefix], prefix))
                            numbers[prefix] += 1
                        under_way = next_change(expected, numbers[prefix], prefix)
                        if not self.local_disk:
                            settle(store, under_way)
                        if is_there(store, under_way):
                            expected.commit(under_way)
                            numbers[prefix] += 1
                        else:
                            expected.refused.append(under_way)
                    expected.check(store, after_kill=True)

    def test_s3_a_process_killed_while_opening_loses_nothing(self, durable_place: Path) -> None:
        """The process may open a new store, or recover the store of a killed process."""
        for opened, rounds in self._stores(durable_place):
            slowest = 0.0
            expected: Expected | None = None
            number = 0
            for turn in rounds:
                dice = seeded(f"kill as it opens {turn}")
                for _ in range(3):
                    opener = Worker(opened, lambda store, pipe: pipe.send("open"))
                    opener.kill(dice.uniform(0.0, slowest))
                    opener.end()
                with opened() as store:
                    expected = stocked(store) if expected is None else expected
                    expected.check(store, after_kill=True)
                began = monotonic()
                writer = Worker(opened, partial(_write, expected, number, "order"))
                try:
                    said = [writer.receive()]
                    slowest = max(slowest, monotonic() - began)
                    said += writer.kill(dice.uniform(*KILLED))
                finally:
                    writer.end()
                for _ in range(2):
                    opener = Worker(opened, lambda store, pipe: pipe.send("open"))
                    opener.kill(dice.uniform(0.0, slowest))
                    opener.end()
                with opened() as store:
                    while number < said[-1]:
                        expected.commit(next_change(expected, number))
                        number += 1
                    under_way = next_change(expected, number)
                    if not self.local_disk:
                        settle(store, under_way)
                    if is_there(store, under_way):
                        expected.commit(under_way)
                        number += 1
                    expected.check(store, after_kill=True)

    def test_s9_a_killed_relay_loses_no_message(self, durable_place: Path) -> None:
        """Messages that a killed relay delivered, postponed, gave up or requeued stay so. The others are unchanged."""
        for opened, rounds in self._stores(durable_place):
            number = 0
            for turn in rounds:
                dice = seeded(f"kill a relay {turn}")
                with opened() as store:
                    for one in range(16):
                        store.commit(creation(f"{turn}-{one}", topics=["order.updated"]))
                    assert store.dead_letters(1) == []
                    mailbox = _Mailbox(store.claim(LATE, LATE, ALL.limit))
                relay = Worker(opened, partial(_relay, mailbox, number))
                try:
                    said = [relay.receive(), *relay.kill(dice.uniform(*KILLED))]
                finally:
                    relay.end()
                while number < said[-1]:
                    mailbox.do(*mailbox.next(number))
                    number += 1
                with opened() as store:
                    if not self.local_disk and mailbox.waiting:
                        _repeat(mailbox, number, store)
                    if not mailbox.held_by(store):
                        assert mailbox.waiting, "the outbox must be empty after all messages were delivered or given up"
                        mailbox.do(*mailbox.next(number))
                        assert mailbox.held_by(store), (
                            "the outbox must match the calls that returned, with or without the one in progress"
                        )
                    for message in store.dead_letters(ALL.limit):
                        store.requeue(message)
                    drained(store)

    def _stores(self, place: Path) -> Iterator[tuple[Opened, range]]:
        """Yield new stores, and the rounds for each."""
        for era, rounds in self.eras(place, SHARE):
            yield partial(self.opened, era), rounds

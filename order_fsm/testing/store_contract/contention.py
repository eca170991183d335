"""S2, S4, S5, S8 and S9 when eight workers compete for a few orders, keys and pieces.

The workers call `Orders` as a shop does. `Orders` retries conflicts, so the tests show whether any worker starves.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from threading import Barrier
from typing import Any, NamedTuple

from order_fsm.errors import Refused
from order_fsm.model import Entry, Line, Receipt
from order_fsm.orders.service import Orders
from order_fsm.rules.shop import shop_workflow
from order_fsm.store import StockLevel, Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract.changes import seeded
from order_fsm.testing.store_contract.crews import PATIENCE, Crew, Threads
from order_fsm.testing.store_contract.expected import ALL, drained
from order_fsm.testing.store_contract.harness import StoreHarness, stress

WORKERS = 8
THREADS = 8
"""The number of threads per worker in the test of one key."""

HOT = tuple(f"hot {number}" for number in range(5))
"""The orders of half of all changes."""

LINES = (Line("TEAPOT", 1), Line("CUP", 2))
PIECES = 1_000_000
"""The first stock of each item: enough for all changes."""

ENOUGH = 400
"""The number of changes per worker at which starvation fails the test. With fewer changes the test starts again with
more, because a short run shows little on a fast store or a busy machine."""

TOTAL = "1000000"
"""The total of orders that are paid in parts: more than all parts of a long run."""


_Answer = tuple[bool | None, str]
"""Whether a receipt is a duplicate, and its content. Or None and the error."""


class _Made(NamedTuple):
    """A change of a worker: its order, version and key, and the time of its receipt in ns."""

    order_id: str
    version: int
    key: str
    at: int


def _begin(ids: Iterable[str], total: str, placed: bool, store: Store) -> None:
    """Create orders, and place them if they are to hold their stock."""
    orders = Orders(store)
    for order_id in ids:
        orders.create(order_id, total=total, currency="GBP", lines=LINES)
        if placed:
            orders.fire(order_id, "place")


def _call(orders: Orders, order_id: str, choice: float, key: str) -> Receipt:
    """Make one change of an order: a comment, a part payment, a cancellation or a reinstatement."""
    if choice < 0.25:
        return orders.comment(order_id, key, key=key, notify=choice < 0.1)
    if choice < 0.5:
        return orders.fire(order_id, "pay", amount=1, reference=key, key=key)
    cancelled = "cancelled" in orders.get(order_id).statuses
    return orders.fire(order_id, "reinstate" if cancelled else "cancel", key=key)


def _work(name: str, changes: int, cold: Sequence[str], store: Store) -> list[_Made]:
    """Change cold and hot orders in turn. Only another worker's change may cause a refusal."""
    orders, dice = Orders(store), seeded(name)
    made: list[_Made] = []
    for number in range(changes):
        order_id, key = dice.choice(HOT if number % 2 else cold), f"{name} {number}"
        with suppress(Refused):
            receipt = _call(orders, order_id, dice.random(), key)
            made.append(_Made(order_id, receipt.order.version, key, time.monotonic_ns()))
        time.sleep(0)  # Yields the processor, as a server does that waits for a request.
    return made


def _progress(of_workers: Iterable[Sequence[_Made]]) -> list[int]:
    """Return the number of changes of each worker at the time when the first worker ended."""
    moments = [[change.at for change in made] for made in of_workers]
    first = min(at[-1] for at in moments)
    return [sum(one <= first for one in at) for at in moments]


def _expected_topics(history: Iterable[Entry]) -> Iterator[str]:
    """Yield the topics of the messages that a history must have, each with its version."""
    captured = due = 0
    for entry in history:
        if entry.trigger == "pay":
            captured += 1
            if "cancelled" not in entry.after:
                yield f"{entry.version} payment.received"
        before, due = due, captured if "cancelled" in entry.after else 0
        if entry.notify:
            yield f"{entry.version} order.updated"
        if due > before:
            yield f"{entry.version} refund.due"


def _outbox_topics(store: Store) -> dict[str, list[str]]:
    """Return the topics and versions of the messages in the outbox, by order."""
    outbox_topics: dict[str, list[str]] = {}
    for message in drained(store):
        outbox_topics.setdefault(message.order_id, []).append(f"{message.version} {message.topic}")
    return outbox_topics


def _answer_of(gate: Barrier, call: Callable[[], Receipt]) -> _Answer:
    """Return the answer of a call that other workers make at the same time."""
    gate.wait()
    try:
        receipt = call()
    except Exception as error:  # A raised error would leave the others waiting at the barrier.
        return None, repr(error)
    return receipt.duplicate, json.dumps(exact((receipt.order, receipt.entries)), sort_keys=True)


class Contention(StoreHarness):
    """Tests of workers that compete."""

    def test_s5_contention_loses_no_change_and_starves_no_worker(self, crew: Crew) -> None:
        """If half of all changes are about five orders, each change is stored once and the slowest worker keeps up."""
        cold = [f"cold {number}" for number in range(4 * self._changes)]
        self._prepare(crew, [*HOT, *cold], TOTAL)
        made: list[_Made] = []
        progress: list[int] = []
        changes, fair = self._changes, False
        while not fair:
            jobs = [partial(_work, f"{worker} of {changes}", changes, cold) for worker in range(WORKERS)]
            of_workers = crew.run(jobs, self._patience)
            made += chain(*of_workers)
            progress = _progress(of_workers)
            fair = 3 * min(progress) >= max(progress)
            if changes >= ENOUGH:
                break
            changes = min(4 * changes, ENOUGH)

        with crew.opened() as store:
            assert Orders(store).audit().findings == ()
            found = store.find(ALL)
            histories = {order.id: store.history(order.id) for order in found}
            there = [
                (order_id, entry.version, entry.key)
                for order_id, history in histories.items()
                for entry in history
                if entry.trigger != "create"
            ]
            wanted = [(change.order_id, change.version, change.key) for change in made]
            assert sorted(there) == sorted(wanted), "each change with a receipt must be stored once, and no other"
            expected_topics = {order_id: list(_expected_topics(history)) for order_id, history in histories.items()}
            assert _outbox_topics(store) == {order_id: topics for order_id, topics in expected_topics.items() if topics}
            self._check_stock(store, sum(shop_workflow().holds(order.state) for order in found))
        assert fair, f"a worker starved: when the first one ended, they had made {progress} changes"

    def test_s4_contention_for_a_key_applies_one_change(self, crew: Crew) -> None:
        """If all threads of all workers use one key at once, one call applies and all get the same receipt."""
        ids = [f"order {number}" for number in range(2 * self._changes // 5)]
        self._prepare(crew, ids, "49.90")
        gate = crew.gate(WORKERS * THREADS)

        def call(number: int, orders: Orders) -> Receipt:
            if number % 2:
                return orders.fire(ids[number], "place", key=f"key {number}", notify=True)
            return orders.fire(ids[number], "pay", reference="ch_1", key=f"key {number}")

        def thread(store: Store) -> list[_Answer]:
            return [_answer_of(gate, partial(call, number, Orders(store))) for number in range(len(ids))]

        def work(store: Store) -> list[Counter[_Answer]]:
            return list(map(Counter, zip(*Threads(store).run([thread] * THREADS, self._patience), strict=True)))

        of_workers = crew.run([work] * WORKERS, self._patience)
        for order_id, counters in zip(ids, zip(*of_workers, strict=True), strict=True):
            answers = sum(counters, Counter[_Answer]())
            receipts = {receipt for _, receipt in answers}
            assert len(receipts) == 1, f"{order_id!r}: all calls must get the first receipt, not {receipts}"
            (receipt,) = receipts
            assert answers == {(False, receipt): 1, (True, receipt): WORKERS * THREADS - 1}
        with crew.opened() as store:
            assert Orders(store).audit().findings == ()
            topics = (["2 order.paid"], ["2 order.placed", "2 order.updated"])
            assert _outbox_topics(store) == {order_id: topics[number % 2] for number, order_id in enumerate(ids)}
            self._check_stock(store, len(ids))

    def test_s8_contention_of_cancel_and_pay_returns_stock_once(self, crew: Crew) -> None:
        """If one worker cancels an order while another pays it, stock returns once and the money is due back once."""
        ids = [f"order {number}" for number in range(4 * self._changes)]
        self._prepare(crew, ids, "49.90", placed=True)
        pairs = WORKERS // 2
        gates = [crew.gate(2) for _ in range(pairs)]

        def work(pair: int, trigger: str, facts: Callable[[str], dict[str, Any]], store: Store) -> list[_Answer]:
            orders = Orders(store)
            return [
                _answer_of(gates[pair], partial(orders.fire, order_id, trigger, **facts(order_id)))
                for order_id in ids[pair::pairs]
            ]

        jobs = [partial(work, pair, "cancel", lambda order_id: {}) for pair in range(pairs)]
        jobs += [
            partial(work, pair, "pay", lambda order_id: {"amount": "49.90", "reference": order_id})
            for pair in range(pairs)
        ]
        answers = chain(*crew.run(jobs, self._patience))
        failed = [said for duplicate, said in answers if duplicate is not False]
        assert not failed, f"the second change must be decided again, and its caller got: {failed[0]}"
        ways = {
            ("cancel", "pay"): ["2 order.placed", "4 refund.due"],
            ("pay", "cancel"): ["2 order.placed", "3 order.paid", "4 refund.due"],
        }
        with crew.opened() as store:
            assert Orders(store).audit().findings == ()
            outbox_topics = _outbox_topics(store)
            for order_id in ids:
                order, history = store.load(order_id), store.history(order_id)
                assert order.statuses >= {"sent", "cancelled"}
                assert ("paid" in order.statuses) == (history[2].trigger == "pay"), "a cancelled order keeps its boxes"
                assert order.refund_due == order.total
                assert outbox_topics[order_id] == ways[history[2].trigger, history[3].trigger]
            self._check_stock(store, 0)

    @property
    def _changes(self) -> int:
        return self.contention * stress() or max(5, self.contention // 5)

    @property
    def _patience(self) -> float:
        return PATIENCE * (1 + max(self._changes, ENOUGH) // 100)

    def _prepare(self, crew: Crew, ids: list[str], total: str, placed: bool = False) -> None:
        """Create the orders of a test and set their stock."""
        with crew.opened() as store:
            for line in LINES:
                store.set_stock(line.sku, PIECES)
        crew.run([partial(_begin, ids[n::WORKERS], total, placed) for n in range(WORKERS)], self._patience)

    @staticmethod
    def _check_stock(store: Store, held: int) -> None:
        """Check that a number of orders hold their stock and the rest is on hand."""
        pieces = {line.sku: held * line.quantity for line in LINES}
        levels = {sku: StockLevel(PIECES - number, held=number) for sku, number in pieces.items()}
        assert store.stock_levels(pieces) == levels, "available + held must be constant"

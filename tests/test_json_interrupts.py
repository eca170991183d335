"""An exception from a signal handler leaves no lock in the JSON store and loses no change."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from order_fsm.store import StockMove, Store
from order_fsm.testing.store_contract.changes import creation, moment, order_of, seeded, step, stock_change
from order_fsm.testing.store_contract.expected import ALL, record_under
from order_fsm.testing.store_contract.harness import stress, stressed
from order_fsm_adapters.json_files import JsonStore
from tests.interrupts import TimeLimit, raising_at_line

fcntl = pytest.importorskip("fcntl", reason="these tests need the signals and locks of Unix")

SIGNALS = 50_000 * stress() or 500
SIGNALS_PER_STORE = 250


def content(store: Store) -> list[Any]:
    orders = store.find(ALL)
    return [
        orders,
        [store.history(order.id) for order in orders],
        sorted(store.tally(None)),
        store.stock(["TEAPOT"]),
        sorted(message.id for message in store.messages()),
        store.dead_letters(99),
        [record_under(store, f"key {order.id}") for order in orders],
    ]


def check(store: JsonStore, folder: Path) -> None:
    """Check that no lock is left, and that the store agrees with a newly opened one."""
    with (folder / "orders.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for lock in ("_lock", "_appending"):
        assert not vars(store)[lock].is_held, "a lock between threads is left"
    with JsonStore(folder) as other:
        assert content(store) == content(other)
        assert not other.faults()


def _write(store: Store) -> None:
    change = creation("1001", topics=["order.updated"], key="key 1001")
    store.commit(change)
    store.commit_all([step(order_of(change), topics=["order.paid"]), creation("1002")])


def _deliver(store: Store) -> None:
    for message in store.claim(moment(0), moment(9), 2):
        store.retry_later(message, moment(9), None)
    for letter in store.dead_letters(1):
        store.requeue(letter)
    for message in store.claim(moment(50), moment(90), 1):
        store.delivered(message, moment(90))


def _remove(store: Store) -> None:
    store.remove(store.load("3"))


def _compact(store: JsonStore) -> None:
    store.compact()


def _open(store: JsonStore) -> None:
    JsonStore(vars(store)["_folder"]).close()


@pytest.mark.no_cover
@pytest.mark.parametrize("work", [_write, _deliver, _remove, _compact, _open, content])
def test_exception_at_any_line_leaves_the_store_intact(work: Callable[[Any], object], tmp_path: Path) -> None:
    """Under ORDER_FSM_STRESS=1 the exception comes at every line, otherwise at every fifth."""
    number, ran = 0, 0
    while number <= ran:
        number += 1 if stressed() else 5
        folder = tmp_path / f"{number}"
        with JsonStore(folder) as store:
            store.set_stock("TEAPOT", 9)
            store.commit_all([creation(f"{one}", topics=["order.updated"], key=f"key {one}") for one in range(5)])
            acknowledged = creation("9")
            store.commit(acknowledged)
            with raising_at_line(number) as lines, suppress(TimeLimit):
                work(store)
            ran = lines[0]
            check(store, folder)
            assert store.load("9") == acknowledged.order
            store.commit(stock_change(StockMove("TEAPOT", 1, strict=True)))
            check(store, folder)
    assert number > 20


# Python only reports exceptions in finalizers and in callbacks of the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.no_cover
def test_signals_at_random_times_leave_the_store_intact(tmp_path: Path) -> None:
    dice = seeded("signals")

    def raise_limit(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, raise_limit)
    try:
        # Each check compares the whole content, so no store becomes large.
        for first in range(0, SIGNALS, SIGNALS_PER_STORE):
            _interrupted(tmp_path / f"{first}", dice)
    finally:
        signal.signal(signal.SIGALRM, before)


def _duration(store: Store) -> float:
    """Return the time of the slowest of a few commits, in seconds."""
    durations = []
    for number in range(5):
        start = time.perf_counter()
        store.commit(creation(f"before {number}"))
        durations.append(time.perf_counter() - start)
    return max(durations)


def _interrupted(folder: Path, dice: Random) -> None:
    """Interrupt the changes of a new store, and check its content."""
    done: set[str] = set()
    store = JsonStore(folder)
    try:
        # On a busy machine a commit takes longer, and every signal would come before its end.
        longest = max(1.5e-3, 3 * _duration(store))
        for number in range(SIGNALS_PER_STORE):
            change = creation(f"{number}", topics=["order.updated"], key=f"key {number}")
            with suppress(TimeLimit):
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, longest))
                    store.commit(change)
                    done.add(f"{number}")
                    _deliver(store)
                    if number % 10 == 0:
                        store.compact()
                finally:  # The signal may come here too.
                    signal.setitimer(signal.ITIMER_REAL, 0)
            if number % 10 == 0:
                check(store, folder)
        check(store, folder)
        assert done <= {order.id for order in store.find(ALL)}, "an acknowledged change is lost"
        assert done
    finally:
        store.close()

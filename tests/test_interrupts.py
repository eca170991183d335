"""Exceptions of signal handlers during a change lose nothing and block no other thread."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import order_fsm.orders
import order_fsm_adapters
from order_fsm import Orders, StoreUnavailable
from order_fsm.testing.store_contract.harness import stress
from tests.interrupts import every_line, random_signals
from tests.stores import KINDS, opened

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no such signals"),
]

THREADS = 3
SIGNALS = 50_000 * stress() or 300


class Crew:
    """Threads that each comment on an order while the main thread is interrupted."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._ends = threading.Event()
        self._ids = [orders.create(f"crew {number}", total="1", currency="GBP").id for number in range(THREADS)]
        self._threads = [threading.Thread(target=self._work, args=(one,), daemon=True) for one in self._ids]
        self._done: dict[str, int] = dict.fromkeys(self._ids, 0)
        self.errors: list[BaseException] = []
        for thread in self._threads:
            thread.start()

    def _work(self, order_id: str) -> None:
        try:
            while not self._ends.is_set():
                self._comment(order_id, f"{self._done[order_id]}")
                self._done[order_id] += 1
        except BaseException as error:
            self.errors.append(error)

    def _comment(self, order_id: str, text: str) -> None:
        """As documented: if it is unknown whether a change is written, repeat it with its key."""
        for _ in range(100):
            try:
                self._orders.comment(order_id, text, key=f"{order_id} {text}")
            except StoreUnavailable:
                continue
            return
        raise AssertionError("each repetition was interrupted")

    def end(self) -> None:
        """End the threads. Check that each comment was written once and no thread got a foreign exception."""
        self._ends.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a thread waits for ever"
        assert self.errors == []
        for order_id, number in self._done.items():
            comments = [entry.comment for entry in self._orders.history(order_id)[1:]]
            assert comments == [f"{one}" for one in range(number)]


class Log:
    """The comments of the main thread on its own order."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._acknowledged: list[str] = []
        orders.create("main", total="1", currency="GBP")

    def write(self, number: int) -> None:
        self._orders.comment("main", f"{number}", notify=True, key=f"main {number}")

    def note(self, number: int, completed: bool) -> None:
        if completed:
            self._acknowledged.append(f"{number}")

    def check(self) -> None:
        """Check that each acknowledged comment is stored once, with its message."""
        self._orders.comment("main", "last")
        comments = [entry.comment for entry in self._orders.history("main")[1:]]
        assert set(comments) >= {*self._acknowledged, "last"}
        assert len(set(comments)) == len(comments)
        assert self._orders.deliver(bool, limit=10**6) == len(comments) - 1
        assert self._orders.audit().ok


@pytest.fixture(params=[False, True], ids=["alone", "group"])
def orders(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Iterator[Orders]:
    with opened(kind, tmp_path) as store:
        yield Orders(store, group_commit=request.param)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def crew(orders: Orders) -> Iterator[Crew]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.000_05)
    crew = Crew(orders)
    yield crew
    crew.end()
    sys.setswitchinterval(before)


def test_exception_at_any_line_loses_no_acknowledged_change(orders: Orders, crew: Crew, kind: str) -> None:
    log = Log(orders)
    modules = [order_fsm.orders, *([] if kind == "memory" else [order_fsm_adapters])]
    assert every_line(log.write, modules, log.note) > 30
    crew.end()
    log.check()


def test_exception_at_any_line_of_a_thread_alone_delays_no_later_one(orders: Orders) -> None:
    """The thread leads its group. After each exception, another thread can commit."""
    log = Log(orders)
    orders.create("other", total="1", currency="GBP")

    def check(number: int, completed: bool) -> None:
        log.note(number, completed)
        later = threading.Thread(target=orders.comment, args=("other", f"{number}"), daemon=True)
        later.start()
        later.join(60)
        assert not later.is_alive(), "a thread waits for ever"
        assert orders.history("other")[-1].comment == f"{number}"

    assert every_line(log.write, [order_fsm.orders], check) > 30
    log.check()


def test_real_signals_lose_no_acknowledged_change(orders: Orders, crew: Crew, kind: str) -> None:
    if kind == "memory":
        pytest.skip("the store in memory has nothing to roll back to")
    log = Log(orders)
    random_signals(log.write, SIGNALS, log.note)
    crew.end()
    log.check()

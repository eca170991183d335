"""An exception from a signal handler leaves no lock and no transaction in the SQLite store."""

from __future__ import annotations

import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from order_fsm.errors import OrderNotFound
from order_fsm.store import Need, Store
from order_fsm.testing.store_contract.changes import creation, moment, order_of, seeded, step
from order_fsm.testing.store_contract.crews import PATIENCE
from order_fsm.testing.store_contract.expected import ALL
from order_fsm.testing.store_contract.harness import stress
from order_fsm_adapters.sqlite import SqliteStore
from tests.interrupts import TimeLimit, raising_at_line

fcntl = pytest.importorskip("fcntl", reason="these tests need the signals and locks of Unix")

SIGNALS = 50_000 * stress() or 500


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def is_free(path: Path) -> bool:
    """Return True if no lock and no transaction is left: another program can write."""
    with open(f"{path}.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    return True


def another_thread_works(store: Store) -> bool:
    """Return whether no lock between threads is left."""
    thread = threading.Thread(target=store.set_stock, args=("TEAPOT", 1), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return not thread.is_alive()


def _version(store: Store, order_id: str) -> int:
    try:
        order = store.load(order_id)
    except OrderNotFound:
        return 0
    assert len(store.history(order_id)) == order.version
    return order.version


def _commit(store: Store, name: str) -> None:
    store.commit(creation(name, topics=["order.updated"], key=name))


def _refused(store: Store, name: str) -> None:
    with suppress(OrderNotFound):
        store.commit(step(order_of(creation(f"missing {name}"))))


def _batch(store: Store, name: str) -> None:
    store.commit_all([creation(name), step(order_of(creation(f"missing {name}"))), creation(f"second {name}")])


def _relay(store: Store, _: str) -> None:
    for message in store.claim(moment(10), moment(10), 5):
        store.retry_later(message, moment(10), moment(0))


def _read(store: Store, _: str) -> None:
    store.prepare_many([Need("1001", "key")])
    store.find(ALL)


def _open_and_close(store: SqliteStore, name: str) -> None:
    with SqliteStore(store._path) as another:
        another.commit(creation(name))


@pytest.mark.parametrize("call", [_commit, _refused, _batch, _relay, _read, _open_and_close])
def test_exception_at_any_line_leaves_no_lock_or_transaction(
    path: Path, call: Callable[[SqliteStore, str], None]
) -> None:
    with SqliteStore(path) as store:
        store.commit(creation("1001", topics=["order.updated"]))
        number = 0
        raised = True
        while raised:
            number += 1
            name = f"{call.__name__} {number}"
            try:
                with raising_at_line(number):
                    call(store, name)
                raised = False
            except TimeLimit:
                pass
            assert is_free(path)
            assert another_thread_works(store)
            assert _version(store, name) in ({0, 1} if raised else {0 if call in {_refused, _relay, _read} else 1})
        assert number > 10, "the lines of the adapters are traced"
        assert store.faults() == []


def test_exceptions_of_real_signals_lose_no_acknowledged_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signals are random. They may come at any line, and during the handling of an earlier one."""
    # Python reports exceptions in finalizers to this hook. `bool` is written in C, so no signal interrupts it.
    monkeypatch.setattr(sys, "unraisablehook", bool)
    draw = seeded("signals")
    left = 0

    def interrupt(_: int, __: object) -> None:
        nonlocal left
        if left:
            left -= 1
            raise TimeLimit

    before = signal.signal(signal.SIGALRM, interrupt)
    acknowledged: list[str] = []
    interrupted = 0
    try:
        with SqliteStore(path) as store:
            for number in range(SIGNALS):
                name = f"{number}"
                with suppress(TimeLimit):  # A signal may also come during the handling below.
                    try:
                        left = 2
                        signal.setitimer(
                            signal.ITIMER_REAL, draw.uniform(0.00001, 0.002), draw.uniform(0.00001, 0.0003)
                        )
                        store.commit(creation(name, topics=["order.updated"], key=name))
                        left = 0
                        acknowledged.append(name)
                    except TimeLimit:
                        interrupted += 1
                    finally:
                        left = 0
                signal.setitimer(signal.ITIMER_REAL, 0)
                if number % 50 == 0:
                    assert is_free(path)
            found = set(store.order_ids())
            assert found >= set(acknowledged)
            assert len(list(store.messages())) == len(found)
            assert store.faults() == []
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    assert acknowledged


def test_call_from_a_signal_handler_during_a_call_is_refused(path: Path) -> None:
    """The call in progress completes."""
    refused: list[Exception] = []
    with SqliteStore(path) as store:

        def handle(_: int, __: object) -> None:
            try:
                store.set_stock("CUP", 1)
            except Exception as error:
                refused.append(error)

        before = signal.signal(signal.SIGUSR1, handle)
        try:
            # sqlite3 runs the handler within a statement of this transaction.
            store._database.write(lambda transaction: _signal_within(transaction))
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert "must not call the store" in str(refused)
        assert store.stock(["TEAPOT", "CUP"]) == {"TEAPOT": 3}


def _signal_within(transaction: Any) -> None:
    from order_fsm.store import StockLevel
    from order_fsm_adapters.sql import stock

    stock.put(transaction, "TEAPOT", None, StockLevel(3))
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

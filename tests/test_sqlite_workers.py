"""The SQLite store with threads, forks, and other programs that use its file."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from order_fsm.errors import StoreCorrupt, StoreUnavailable
from order_fsm.model import When
from order_fsm.store import Query, Store
from order_fsm.testing.store_contract.changes import creation, moment
from order_fsm.testing.store_contract.crews import PATIENCE, Threads
from order_fsm_adapters.sqlite import SqliteStore, connections

from .open_files import needs_open_files, open_files
from .sqlite_files import by_hand, paid_order

fcntl = pytest.importorskip("fcntl", reason="these tests need the processes and locks of Unix")
FORKS = 100
"""Enough forks for one during the end of a thread. Without the lock, one of 20 children was stuck."""

forks_with_threads = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as store:
        yield store


def in_thread(call: Callable[[], object]) -> None:
    """Run a call in a new thread and wait for its end."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def in_child(call: Callable[[], object]) -> int:
    """Run a call in a forked child. Return 0 if it returned, 1 if it raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            call()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def descriptors(path: Path) -> int:
    """Return the number of open files of the database in this process."""
    return sum(str(one).startswith(str(path)) for one in open_files())


def test_commit_is_synced_to_a_write_ahead_log(store: SqliteStore) -> None:
    assert store._database.read_rows("PRAGMA journal_mode", ()) == [("wal",)]
    assert store._database.read_rows("PRAGMA synchronous", ()) == [(2,)]


# Connections


@needs_open_files
def test_ended_threads_leave_no_connection_open(path: Path, store: SqliteStore) -> None:
    store.set_stock("TEAPOT", 1)
    before = descriptors(path)
    # The garbage collector is off, so a connection must close without it.
    gc.disable()
    try:
        for number in range(250):
            in_thread(lambda number=number: store.set_stock("TEAPOT", number))  # type: ignore[misc]
        # SQLite keeps one file for the next connection, because closing it would release the locks of others.
        assert descriptors(path) <= before + 1
    finally:
        gc.enable()
    store.close()
    assert descriptors(path) == 0


@needs_open_files
def test_close_closes_the_connections_of_threads_that_still_run(path: Path, store: SqliteStore) -> None:
    used, end = threading.Event(), threading.Event()

    def use() -> None:
        store.set_stock("TEAPOT", 1)
        used.set()
        end.wait()

    thread = threading.Thread(target=use)
    thread.start()
    used.wait()
    try:
        store.close()
        assert descriptors(path) == 0
    finally:
        end.set()
        thread.join()


@needs_open_files
def test_unreferenced_store_closes_its_connections(path: Path) -> None:
    store = SqliteStore(path)
    store.set_stock("TEAPOT", 1)
    del store
    gc.collect()
    assert descriptors(path) == 0


@needs_open_files
def test_connection_of_a_failed_call_is_closed(path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.set_stock("TEAPOT", 1)
    monkeypatch.setattr(connections, "BUSY_MILLISECONDS", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = descriptors(path)
        with pytest.raises(StoreUnavailable):
            store.set_stock("TEAPOT", 2)
        assert descriptors(path) < before
        other.execute("ROLLBACK")
    store.set_stock("TEAPOT", 3)


def test_call_after_a_failed_one_works_on_the_repaired_database(path: Path, store: SqliteStore) -> None:
    paid_order(store)
    by_hand(path, "ALTER TABLE order_fsm_order RENAME TO aside")
    with pytest.raises(StoreCorrupt):
        store.load("1001")
    by_hand(path, "ALTER TABLE aside RENAME TO order_fsm_order")
    assert store.load("1001").version == 2


def test_calls_after_close_are_unavailable(store: SqliteStore) -> None:
    store.commit(creation())
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.load("1001"),
        lambda: store.commit(creation("1002")),
        lambda: store.find(Query(When())),
        lambda: list(store.order_ids()),
        lambda: store.backup("copy.db"),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="this store is closed"):
            call()


# Forks


@needs_open_files
def test_child_inherits_no_open_connection(path: Path, store: SqliteStore) -> None:
    """SQLite forbids the use of a connection across a fork."""
    store.set_stock("TEAPOT", 1)

    def check() -> None:
        assert descriptors(path) == 0
        store.set_stock("TEAPOT", 2)

    assert in_child(check) == 0
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 2}


def test_commit_of_a_child_survives_the_close_of_its_parent(path: Path) -> None:
    """The last connection to close deletes the WAL file, and the parent does not know of the child."""
    store = SqliteStore(path)
    store.set_stock("TEAPOT", 1)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.set_stock("TEAPOT", 2)
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            store.set_stock("TEAPOT", 3)
        finally:
            os._exit(0)
    os.read(ready[0], 1)
    store.close()
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    for descriptor in (*ready, *go):
        os.close(descriptor)
    with SqliteStore(path) as fresh:
        assert fresh.stock(["TEAPOT"]) == {"TEAPOT": 3}


@forks_with_threads
def test_fork_waits_for_the_calls_of_other_threads(store: SqliteStore) -> None:
    """Otherwise a child would wait for ever for a lock that another thread held at the fork."""
    done = threading.Event()

    def write(name: str) -> None:
        number = 0
        while not done.is_set():
            number += 1
            store.commit(creation(f"{name} {number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            assert in_child(lambda number=number: store.commit(creation(f"child {number}"))) == 0  # type: ignore[misc]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert store.faults() == []


@forks_with_threads
def test_fork_waits_for_the_connections_of_ended_threads(store: SqliteStore) -> None:
    """SQLite locks its memory while a connection closes. A child forked at that moment would hang."""
    enough = threading.Event()

    def read() -> None:
        store.stock(["TEAPOT"])

    def read_in_time() -> None:
        signal.alarm(int(PATIENCE))
        read()

    def fork(_: Store) -> None:
        try:
            for _number in range(FORKS):
                assert in_child(read_in_time) == 0
        finally:
            enough.set()

    def read_in_new_threads(_: Store) -> None:
        while not enough.is_set():
            in_thread(read)

    Threads(store).run([fork, *[read_in_new_threads] * 4])


def test_child_forked_without_hooks_cannot_use_an_inherited_connection(path: Path, store: SqliteStore) -> None:
    """Some servers fork in C. The message names the remedy."""
    store.set_stock("TEAPOT", 1)
    child = ctypes.CDLL(None).fork()
    if child == 0:
        status = 1
        try:
            store.set_stock("TEAPOT", 2)
        except StoreUnavailable as error:
            status = 0 if "make the store after the fork" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    store.set_stock("TEAPOT", 3)
    with SqliteStore(path) as other:
        assert other.stock(["TEAPOT"]) == {"TEAPOT": 3}


# Other programs


def test_writer_holds_the_lock_file_while_it_waits_for_another_program(path: Path, store: SqliteStore) -> None:
    seen = False
    with closing(sqlite3.connect(path, isolation_level=None)) as other, open(f"{path}.lock") as lock:
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=store.set_stock, args=("TEAPOT", 7))
        writer.start()
        while writer.is_alive() and not seen:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(lock, fcntl.LOCK_UN)
            except BlockingIOError:
                seen = True
        assert store.stock(["TEAPOT"]) == {}
        other.execute("COMMIT")
        writer.join()
    assert seen
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 7}


def test_wait_for_the_lock_of_another_program_is_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failed call leaves no lock and no transaction."""
    monkeypatch.setattr(connections, "BUSY_MILLISECONDS", 0)
    with SqliteStore(path) as first, SqliteStore(path) as second:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for store in (first, second):
                with pytest.raises(StoreUnavailable, match=f"^the database {str(path)!r}: .*SQLITE_BUSY.*retry later$"):
                    store.set_stock("TEAPOT", 7)
            other.execute("ROLLBACK")
        for number, store in enumerate((first, second)):
            store.set_stock("TEAPOT", number)
            assert first.stock(["TEAPOT"]) == second.stock(["TEAPOT"]) == {"TEAPOT": number}


def test_threads_that_wait_for_another_program_fail_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait starts with its own call, not with the end of the previous call."""
    monkeypatch.setattr(connections, "BUSY_MILLISECONDS", 400)
    waited: list[float] = []

    def write(store: SqliteStore) -> None:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            store.set_stock("TEAPOT", 7)
        waited.append(time.monotonic() - began)

    with SqliteStore(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            threads = [threading.Thread(target=write, args=(store,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            other.execute("ROLLBACK")
        store.set_stock("TEAPOT", 1)
    assert len(waited) == 8
    # Sequential waits would make the last call wait eight times as long as the first.
    assert max(waited) < 4 * min(waited)


def test_call_after_a_long_wait_has_the_full_timeout(store: SqliteStore) -> None:
    session = store._database._session()  # type: ignore[attr-defined]
    timeout = "PRAGMA busy_timeout"
    session.begin("BEGIN", waited=1000)
    assert session.rows(timeout) == [(0,)]
    session.run("COMMIT")
    session.begin("BEGIN")
    assert session.rows(timeout) == [(connections.BUSY_MILLISECONDS,)]
    session.run("COMMIT")
    assert store.claim(moment(0), moment(1), 1) == []

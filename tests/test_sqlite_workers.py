"""The SQLite store under threads, and beside other programs that have its file open."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from order_fsm import StoreCorrupt, StoreUnavailable, When
from order_fsm.store import Query
from order_fsm.testing.store_contract.changes import creation
from order_fsm_adapters.sqlite import SqliteStore
from order_fsm_adapters.sqlite import file as own_file
from order_fsm_adapters.sqlite.file import OwnFile

from .open_files import needs_open_files, open_files
from .sqlite_files import by_hand, paid_order

fcntl = pytest.importorskip("fcntl", reason="these tests use processes and locks as Unix has them")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def test_a_commit_is_synced_to_a_write_ahead_log(path: Path) -> None:
    file = OwnFile(str(path))
    assert file.rows("PRAGMA journal_mode", ()) == [("wal",)]
    assert file.rows("PRAGMA synchronous", ()) == [(2,)]
    file.close()


def test_a_file_that_need_not_outlast_the_power_is_not_synced_at_every_commit(path: Path) -> None:
    file = OwnFile(str(path), durable=False)
    assert file.rows("PRAGMA journal_mode", ()) == [("wal",)]
    assert file.rows("PRAGMA synchronous", ()) == [(1,)]
    file.close()


def descriptors(path: Path) -> int:
    """How many files of the database this process has open."""
    return sum(str(one).startswith(str(path)) for one in open_files())


@needs_open_files
def test_threads_that_ended_leave_no_connection_open(path: Path, store: SqliteStore) -> None:
    store.set_stock("TEAPOT", 1)
    before = descriptors(path)
    for number in range(20):
        thread = threading.Thread(target=store.set_stock, args=("TEAPOT", number))
        thread.start()
        thread.join()
    assert descriptors(path) == before
    store.close()
    assert descriptors(path) == 0


@needs_open_files
def test_a_connection_that_failed_is_closed_and_another_opened(path: Path, store: SqliteStore) -> None:
    paid_order(store)
    by_hand(path, "ALTER TABLE order_fsm_order RENAME TO aside")
    with pytest.raises(StoreCorrupt):
        store.load("1001")
    assert descriptors(path) == 0
    by_hand(path, "ALTER TABLE aside RENAME TO order_fsm_order")
    assert store.load("1001").version == 2


def test_a_closed_store_says_so(store: SqliteStore) -> None:
    store.commit(creation())
    store.close()
    store.close()
    for use in (lambda: store.load("1001"), lambda: store.commit(creation("1002")), lambda: store.find(Query(When()))):
        with pytest.raises(StoreUnavailable, match="closed by this program"):
            use()


def test_a_writer_queues_at_the_lock_file_and_waits_for_other_programs_too(path: Path, store: SqliteStore) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = threading.Thread(target=store.set_stock, args=("TEAPOT", 7))
    writer.start()
    lock = os.open(f"{path}.lock", os.O_RDWR)
    seen = False
    while writer.is_alive() and not seen:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(lock, fcntl.LOCK_UN)
        except BlockingIOError:
            seen = True
    os.close(lock)
    assert store.stock(["TEAPOT"]) == {}
    other.execute("COMMIT")
    other.close()
    writer.join()
    assert seen
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 7}


def test_another_program_that_writes_for_long_is_not_waited_for_without_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call says that it may be repeated, and keeps neither the lock of the writers nor a transaction."""
    monkeypatch.setattr(own_file, "BUSY_SECONDS", 0.0)
    first, second = SqliteStore(path), SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for store in (first, second):
        with pytest.raises(StoreUnavailable, match=f"^the database {str(path)!r}: .*SQLITE_BUSY.*retry later$"):
            store.set_stock("TEAPOT", 7)
    other.execute("ROLLBACK")
    other.close()
    for number, store in enumerate((first, second)):
        store.set_stock("TEAPOT", number)
        assert first.stock(["TEAPOT"]) == second.stock(["TEAPOT"]) == {"TEAPOT": number}
    first.close()
    second.close()

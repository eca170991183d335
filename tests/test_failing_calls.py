"""The stores on disk when each of their calls fails, and when an old database is opened whose calls fail."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest

from order_fsm import Orders, StoreUnavailable
from order_fsm.testing.store_contract.calls import Calls, Failing
from order_fsm.testing.store_contract.expected import ALL
from order_fsm.testing.store_contract.failures import FailingCommits, Failures
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore

from . import boundaries

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The power does not fail here: a flush is a call, and may fail, but need not reach the disk."""

    def fsync(descriptor: int) -> None:
        os.fstat(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def _skip_what_cannot_be(calls: Calls) -> None:
    if calls.how is Failing.AFTER:
        pytest.skip("what has no room takes no effect")


class TestSqliteStore(Failures):
    """One SQLite file; every statement, every call of the lock file."""

    @pytest.fixture(autouse=True)
    def _connections(self) -> Iterator[None]:
        with patch.object(sqlite3, "connect", boundaries.connect):
            yield

    def make_store(self, place: Path) -> SqliteStore:
        return SqliteStore(place / "orders.db")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        return boundaries.sqlite(calls)


class TestSqliteStoreWithoutRoom(FailingCommits):
    """Its commits, where the disk is full."""

    @pytest.fixture(autouse=True)
    def _connections(self) -> Iterator[None]:
        with patch.object(sqlite3, "connect", boundaries.connect):
            yield

    def make_store(self, place: Path) -> SqliteStore:
        return SqliteStore(place / "orders.db")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        _skip_what_cannot_be(calls)
        return boundaries.sqlite(calls, "SQLITE_FULL")


class TestJsonStore(Failures):
    """A folder of JSON files; every call of the file system."""

    def make_store(self, place: Path) -> JsonStore:
        return JsonStore(place / "orders")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        return boundaries.files(calls)


class TestJsonStoreWithoutRoom(FailingCommits):
    """Its commits, where the disk is full."""

    def make_store(self, place: Path) -> JsonStore:
        return JsonStore(place / "orders")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        _skip_what_cannot_be(calls)
        return boundaries.files(calls, errno.ENOSPC)


@pytest.mark.parametrize("how", Failing)
def test_an_old_database_whose_calls_fail_is_brought_up_to_date_later(how: Failing, tmp_path: Path) -> None:
    """Opening one of schema 1 fails with an error of the store; what was in it is there when it is opened again."""
    old = sqlite3.connect(tmp_path / "old.db")
    old.executescript((GOLDEN / "sqlite_schema_1.sql").read_text())
    old.close()
    with patch.object(sqlite3, "connect", boundaries.connect):
        for number in count(1):
            path = shutil.copy(tmp_path / "old.db", tmp_path / f"{number}.db")
            calls = Calls(number, how)
            with boundaries.sqlite(calls), suppress(StoreUnavailable):
                SqliteStore(path).close()
            store = SqliteStore(path)
            assert [order.id for order in store.find(ALL)] == ["1001", "1002"]
            assert [entry.trigger for entry in store.history("1001")] == ["create", "place", "pay"]
            assert Orders(store).fire("1001", "dispatch").order.version == 4
            store.close()
            if not calls.failed:
                assert number > 20, "opening makes calls"
                return

"""The stores on disk when each of their calls fails, and stores whose faults only that brings to light."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import pytest

from order_fsm.testing.calls import Calls, Failing
from order_fsm.testing.failures import Failures
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore

from . import boundaries


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


class TestSqliteStoreWithoutRoom(TestSqliteStore):
    """The same, where the disk is full."""

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        _skip_what_cannot_be(calls)
        return boundaries.sqlite(calls, "SQLITE_FULL")


class TestJsonStore(Failures):
    """A folder of JSON files; every call of the file system."""

    def make_store(self, place: Path) -> JsonStore:
        return JsonStore(place / "orders")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        return boundaries.files(calls)


class TestJsonStoreWithoutRoom(TestJsonStore):
    """The same, where the disk is full."""

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        _skip_what_cannot_be(calls)
        return boundaries.files(calls, errno.ENOSPC)

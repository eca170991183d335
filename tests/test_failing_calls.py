"""The SQLite store if one of its calls fails, also during the upgrade of a database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path

import pytest

from order_fsm import StoreUnavailable
from order_fsm.testing.store_contract.calls import Calls, Failing
from order_fsm.testing.store_contract.changes import creation, step
from order_fsm.testing.store_contract.expected import ALL
from order_fsm.testing.store_contract.failures import FailingCommits, Failures
from order_fsm_adapters.sqlite import SqliteStore, schema

from . import boundaries
from .sqlite_files import by_hand


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the disk in flushes, because the power does not fail in these tests. A flush can still fail."""

    def fsync(descriptor: int) -> None:
        os.fstat(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def _skip_lost_answers(calls: Calls) -> None:
    if calls.how is Failing.AFTER:
        pytest.skip("a call without room has no effect, so its answer cannot be lost")


class TestSqliteStore(Failures):
    """Failures of every statement and of every call on the lock file."""

    @pytest.fixture(autouse=True)
    def _connections(self) -> Iterator[None]:
        with boundaries.connections():
            yield

    def make_store(self, place: Path) -> SqliteStore:
        return SqliteStore(place / "orders.db")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        return boundaries.sqlite(calls)


class TestSqliteStoreWithoutRoom(FailingCommits):
    """Commits on a full disk."""

    @pytest.fixture(autouse=True)
    def _connections(self) -> Iterator[None]:
        with boundaries.connections():
            yield

    def make_store(self, place: Path) -> SqliteStore:
        return SqliteStore(place / "orders.db")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        _skip_lost_answers(calls)
        return boundaries.sqlite(calls, "SQLITE_FULL")


@pytest.mark.parametrize("how", Failing)
def test_database_whose_upgrade_fails_is_upgraded_later(
    how: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failed opening raises an error of the store. The next one upgrades the database with its orders."""
    with SqliteStore(tmp_path / "old.db") as old:
        old.commit(creation("1001"))
    second = ("ALTER TABLE order_fsm_order ADD COLUMN gift INTEGER", "CREATE TABLE order_fsm_gift (id TEXT) STRICT")
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, second))
    with boundaries.connections():
        for number in count(1):
            path = shutil.copy(tmp_path / "old.db", tmp_path / f"{number}.db")
            calls = Calls(number, how)
            with boundaries.sqlite(calls), suppress(StoreUnavailable):
                SqliteStore(path).close()
            with SqliteStore(path) as store:
                assert [order.id for order in store.find(ALL)] == ["1001"]
                assert by_hand(Path(path), "SELECT count(gift) FROM order_fsm_order, order_fsm_gift") == [(0,)]
                store.commit(step(store.load("1001")))
            if not calls.failed:
                assert number > 20, "opening makes calls"
                return

"""Backups of a store in use are whole snapshots and never overwrite an existing file."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from order_fsm import InvalidInput, Line, Orders, StoreUnavailable, When
from order_fsm.store import Query
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand

fcntl = pytest.importorskip("fcntl", reason="these tests use processes as Unix has them")

STOCK = 1000
Store = SqliteStore | JsonStore
Open = Callable[[Path], Store]


@pytest.fixture(params=["sqlite", "json"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open stores of a kind. They are closed after the test."""
    stores: list[Store] = []

    def open_one(path: Path) -> Store:
        stores.append(SqliteStore(path) if request.param == "sqlite" else JsonStore(path))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def work(open_one: Open, path: Path, name: str, told: Connection) -> None:
    """Place, pay and cancel many orders, and send the id of each one."""
    store = open_one(path)
    orders = Orders(store)
    for number in range(100):
        order_id = f"{name} {number}"
        orders.create(order_id, total="10", currency="GBP", lines=[Line("TEAPOT", 1), Line("CUP", 2)], key=order_id)
        orders.fire(order_id, "pay", reference="ch_1", key=f"pay {order_id}")
        orders.fire(order_id, "cancel" if number % 2 else "dispatch", notify=True)
        told.send(order_id)


def test_backup_under_writers_is_sound_and_has_every_commit_before_it(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "shop"
    store = opened(path)
    orders = Orders(store)
    for sku in ("TEAPOT", "CUP"):
        orders.set_stock(sku, STOCK)
    ours, theirs = get_context("fork").Pipe()
    workers = [get_context("fork").Process(target=work, args=(opened, path, name, theirs)) for name in "ab"]
    for worker in workers:
        worker.start()
    known = {ours.recv()}
    try:
        for number in range(6):
            while ours.poll():
                known.add(ours.recv())
            store.backup(tmp_path / f"backup {number}")
            restored = Orders(opened(tmp_path / f"backup {number}"))
            found = restored.find(limit=100_000)
            assert known <= {order.id for order in found if order.version == 3}
            assert restored.audit().findings == ()
            for sku in ("TEAPOT", "CUP"):
                held = sum(order.quantities[sku] for order in found if restored.workflow.holds(order.state))
                assert restored.stock(sku) == STOCK - held
    finally:
        for worker in workers:
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
    assert orders.audit().ok


def test_copy_is_an_independent_store(opened: Open, tmp_path: Path) -> None:
    store = opened(tmp_path / "shop")
    orders = Orders(store)
    orders.create("1001", total="10", currency="GBP")
    orders.fire("1001", "pay", reference="ch_1", key="evt_1")
    store.backup(tmp_path / "copy")
    restored = Orders(opened(tmp_path / "copy"))
    assert restored.fire("1001", "pay", reference="ch_1", key="evt_1").duplicate
    restored.fire("1001", "dispatch")
    assert orders.get("1001").version == 2
    orders.fire("1001", "cancel")
    told: list[str] = []
    restored.deliver(lambda message: told.append(message.topic))
    assert told == ["order.paid"]
    assert restored.audit().ok
    assert restored.get("1001").state == "sent+invoiced+paid+dispatched"


@pytest.mark.parametrize("there", ["file", "folder", "link to nothing"])
def test_backup_overwrites_nothing(opened: Open, tmp_path: Path, there: str) -> None:
    store = opened(tmp_path / "shop")
    copy = tmp_path / "copy"
    if there == "file":
        copy.write_text("mine")
    elif there == "folder":
        copy.mkdir()
    else:
        copy.symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.iterdir())
    if there == "link to nothing" and isinstance(store, SqliteStore):
        store.backup(copy)
        assert copy.is_symlink()
        return
    with pytest.raises(InvalidInput, match=re.escape(str(copy))):
        store.backup(copy)
    assert sorted(tmp_path.iterdir()) == before
    assert there != "file" or copy.read_text() == "mine"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_backup_does_not_overwrite_a_folder_made_after_its_start(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """This holds on a file system without hard links too."""
    store = opened(tmp_path / "shop")
    copy = tmp_path / "copy"
    fsync = os.fsync

    def make(descriptor: int) -> None:
        copy.mkdir(exist_ok=True)
        (copy / "mine").touch()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", make)
    if not links:
        monkeypatch.setattr(os, "link", cannot)
    with pytest.raises((InvalidInput, StoreUnavailable), match=re.escape(str(copy))):
        store.backup(copy)
    assert [file.name for file in copy.iterdir()] == ["mine"]
    assert not [file for file in tmp_path.iterdir() if file.name.endswith(".tmp")]


def flushes(copy: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Return a list that gets, at each flush, the inode and whether the copy has its name."""
    fsync = os.fsync
    flushed: list[tuple[int, bool]] = []

    def flush(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, copy.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    return flushed


def test_database_is_copied_in_the_folder_of_its_copy_and_its_name_is_flushed_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draft on another disk could not be renamed, and the name is durable only after a flush of its folder."""
    store = SqliteStore(tmp_path / "shop")
    (tmp_path / "backups").mkdir()
    copy = tmp_path / "backups" / "copy"
    link = os.link
    drafts: list[Path] = []
    flushed = flushes(copy, monkeypatch)

    def linked(draft: str, path: str) -> None:
        drafts.append(Path(draft))
        link(draft, path)

    monkeypatch.setattr(os, "link", linked)
    store.backup(copy)
    store.close()
    (draft,) = drafts
    assert (draft.parent, draft.name[:5], draft.suffix) == (copy.parent, "copy.", ".tmp")
    assert flushed == [(copy.stat().st_ino, False), (copy.parent.stat().st_ino, True)]


def test_failed_backup_leaves_nothing(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path / "shop")
    Orders(store).create("1001", total="10", currency="GBP")
    before = sorted(tmp_path.iterdir())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Exception, match="make room, then retry"):
            store.backup(tmp_path / "copy")
    with pytest.raises(StoreUnavailable, match=r"missing/copy.*(No such file|cannot be read or written)"):
        store.backup(tmp_path / "missing" / "copy")
    kept = [file for file in sorted(tmp_path.iterdir()) if not file.name.endswith(("-wal", "-shm"))]
    assert kept == [file for file in before if not file.name.endswith(("-wal", "-shm"))]
    store.backup(tmp_path / "copy")
    assert Orders(opened(tmp_path / "copy")).audit().orders == 1


def cannot(*_: object) -> None:
    raise OSError(1, "Operation not permitted")


def test_file_system_without_links_is_enough(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path / "shop")
    Orders(store).create("1001", total="10", currency="GBP", key="evt_1")
    monkeypatch.setattr(os, "link", cannot)
    store.backup(tmp_path / "copy")
    restored = Orders(opened(tmp_path / "copy"))
    assert restored.audit().ok
    assert restored.get("1001").version == 1


@pytest.mark.parametrize("path", ["", 7, None])
def test_invalid_path_is_refused(opened: Open, tmp_path: Path, path: object) -> None:
    store = opened(tmp_path / "shop")
    with pytest.raises(InvalidInput):
        store.backup(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("journal", ["-wal", "-journal"])
def test_journal_of_a_deleted_database_is_not_applied_to_a_backup(tmp_path: Path, journal: str) -> None:
    left = tmp_path / f"backup.db{journal}"
    left.touch()
    said = re.escape(f"{left}' is left from a deleted database")
    with SqliteStore(tmp_path / "shop.db") as store, pytest.raises(InvalidInput, match=said):
        store.backup(tmp_path / "backup.db")
    assert not (tmp_path / "backup.db").exists()


def test_backup_to_a_database_in_use_does_not_advise_deleting_its_journal(tmp_path: Path) -> None:
    """That journal contains acknowledged changes."""
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        assert Path(f"{path}-wal").exists()
        with pytest.raises(InvalidInput, match=re.escape(f"{str(path)!r} exists, and a copy never overwrites")):
            store.backup(path)


def test_backup_of_a_host_s_database_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "shop.db")
    with pytest.raises(InvalidInput, match="back it up with the shop's own rows"):
        SqliteStore(connection=connection).backup(tmp_path / "copy")
    connection.close()
    assert not (tmp_path / "copy").exists()


def test_damage_is_copied_and_found_by_an_audit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "shop.db")
    Orders(store).create("1001", total="10", currency="GBP")
    by_hand(tmp_path / "shop.db", "UPDATE order_fsm_entry SET facts = 'x'")
    store.backup(tmp_path / "copy.db")
    store.close()
    copy = SqliteStore(tmp_path / "copy.db")
    assert [finding[:2] for finding in Orders(copy).audit().findings] == [("1001", "corrupt")]
    assert len(copy.find(Query(When()))) == 1
    copy.close()

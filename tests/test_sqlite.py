"""The SQLite store on a file of its own: what it opens, and what it does where it cannot."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from order_fsm import (
    InvalidInput,
    Line,
    OrderFsmError,
    Orders,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    When,
)
from order_fsm.store import Query
from order_fsm.testing.store_contract.changes import START, step
from order_fsm_adapters.sqlite import SqliteStore, upgrade
from order_fsm_adapters.sqlite.errors import store_error

from .sqlite_files import by_hand, paid_order

resource = pytest.importorskip("resource", reason="these tests use processes and limits as Unix has them")

GOLDEN = Path(__file__).parent / "golden"
LATER = START + timedelta(days=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def schema_of(path: Path) -> list[tuple[object, ...]]:
    schema = "SELECT type, name, replace(replace(sql, '\n', ''), ' ', '') FROM sqlite_schema ORDER BY name"
    return [*by_hand(path, schema), *by_hand(path, "SELECT version FROM order_fsm_schema")]


# What it is given


def test_a_path_and_a_connection_exclude_each_other(path: Path) -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(InvalidInput, match="not both"):
        SqliteStore(path, connection=connection)
    connection.close()
    assert not path.exists()


def test_neither_a_path_nor_a_connection_is_refused() -> None:
    with pytest.raises(InvalidInput, match="either"):
        SqliteStore()


@pytest.mark.parametrize("path", ["", ":memory:", "shop\0.db", 7, b"shop.db"])
def test_a_path_that_is_none_is_refused(path: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"path must be that of a file, such as 'shop\.db'"):
        SqliteStore(path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_path_stays_that_file_wherever_the_program_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    store = SqliteStore("shop.db")
    os.chdir("elsewhere")
    # A forked child has to open it anew.
    child = get_context("fork").Process(target=store.set_stock, args=("TEAPOT", 1))
    child.start()
    child.join()
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 1}
    store.close()
    assert list(Path().iterdir()) == []


def test_a_symbolic_link_leads_to_the_same_lock(tmp_path: Path, path: Path, store: SqliteStore) -> None:
    (tmp_path / "link.db").symlink_to(path)
    linked = SqliteStore(tmp_path / "link.db")
    linked.set_stock("TEAPOT", 3)
    linked.close()
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 3}
    assert not (tmp_path / "link.db.lock").exists()


# Schemas


def test_a_file_of_schema_1_is_migrated_with_all_that_it_holds(path: Path, tmp_path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript((GOLDEN / "sqlite_schema_1.sql").read_text())
    old.close()
    store = SqliteStore(path)
    order = store.load("1001")
    assert (order.state, order.version, str(order.refund_due)) == ("sent+paid", 3, "2.00")
    assert order.data == {"gift": True}
    assert order.lines == (Line("TEAPOT", 2),)
    assert [entry.trigger for entry in store.history("1001")] == ["create", "place", "pay"]
    assert store.find(Query(When(), refund_due=True)) == store.find(Query(When(), customer="ann")) == [order]
    assert [found.id for found in store.find(Query(When()))] == ["1001", "1002"]
    assert [message.id for message in store.claim(LATER, LATER, 10)] == ["1001#3.1"]
    assert Orders(store).fire("1001", "dispatch").order.version == 4
    store.close()
    SqliteStore(tmp_path / "new.db").close()
    assert schema_of(path) == schema_of(tmp_path / "new.db")


def test_a_file_of_schema_2_is_migrated_with_all_that_it_holds(path: Path, tmp_path: Path) -> None:
    """Its messages are delivered, given up and revived as those of a new file."""
    old = sqlite3.connect(path)
    old.executescript((GOLDEN / "sqlite_schema_1.sql").read_text())
    old.executescript((GOLDEN / "sqlite_schema_2.sql").read_text())
    old.close()
    store = SqliteStore(path)
    (claimed,) = store.claim(LATER, LATER, 10)
    store.postpone(claimed, None)
    (dead,) = store.dead_letters(10)
    assert (dead.id, dead.payload, dead.attempts) == ("1001#3.1", {"state": "sent+paid"}, 1)
    store.revive(dead)
    assert store.claim(LATER, LATER, 10) == [claimed]
    assert store.load("1001").version == len(store.history("1001")) == 3
    store.close()
    SqliteStore(tmp_path / "new.db").close()
    assert schema_of(path) == schema_of(tmp_path / "new.db")


@pytest.mark.parametrize("page", [1, 500])
def test_a_file_of_schema_3_is_migrated_with_all_that_it_holds(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Its rows get their seals, the payments move into the rows of their orders, and the orders are counted; however
    few rows are read at a time."""
    monkeypatch.setattr(upgrade, "_PAGE", page)
    old = sqlite3.connect(path)
    for number in (1, 2, 3):
        old.executescript((GOLDEN / f"sqlite_schema_{number}.sql").read_text())
    (before,) = old.execute("SELECT count(*) FROM order_fsm_dead_letter").fetchone()
    old.close()
    store = SqliteStore(path)
    assert len(store.dead_letters(10)) == before == 2
    (payment,) = store.load("1001").payments
    assert (payment.kind, str(payment.amount), payment.reference, payment.version) == ("captured", "12.00", "ch_1", 3)
    assert payment.at == store.history("1001")[2].at
    assert store.keyed("evt_1") == ("1001", 3, 3, "c0ffee")
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 8}
    assert store.faults() == []
    assert by_hand(path, "SELECT unit, units FROM order_fsm_order ORDER BY id") == [("0.01", 1000), ("0.01", 750)]
    assert [len(store.history(order_id)) for order_id in store.order_ids()] == [3, 1]
    assert sorted((tally.state, tally.refund_due, tally.orders, str(tally.total)) for tally in store.tally(None)) == [
        ("sent+paid", True, 1, "10.00"),
        ("unfinished", False, 1, "7.50"),
    ]
    store.close()
    SqliteStore(tmp_path / "new.db").close()
    assert schema_of(path) == schema_of(tmp_path / "new.db")


def test_a_total_that_is_none_does_not_keep_a_file_of_schema_3_from_being_opened(path: Path) -> None:
    """It is found where it is read."""
    old = sqlite3.connect(path)
    for number in (1, 2, 3):
        old.executescript((GOLDEN / f"sqlite_schema_{number}.sql").read_text())
    old.execute("UPDATE order_fsm_order SET total = 'ten' WHERE id = '1001'")
    old.commit()
    old.close()
    store = SqliteStore(path)
    assert store.load("1002").version == 1
    with pytest.raises(StoreCorrupt, match="'1001'"):
        store.load("1001")
    with pytest.raises(StoreCorrupt, match="'ten'"):
        store.tally(None)
    store.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript((GOLDEN / "sqlite_schema_1.sql").read_text())
    old.execute("CREATE TABLE order_fsm_message_by_order (in_the_way)")
    old.close()
    before = schema_of(path)
    with pytest.raises(StoreCorrupt, match="order_fsm_message_by_order"):
        SqliteStore(path)
    assert schema_of(path) == before


def test_a_file_of_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    SqliteStore(path).close()
    by_hand(path, "UPDATE order_fsm_schema SET version = 5", "CREATE TABLE order_fsm_new (id)")
    before = schema_of(path)
    with pytest.raises(StoreUnavailable, match="schema 5, this one knows up to 4; update order_fsm"):
        SqliteStore(path)
    assert schema_of(path) == before


@pytest.mark.parametrize("edit", ["DELETE FROM order_fsm_schema", "UPDATE order_fsm_schema SET version = -1"])
def test_a_file_that_does_not_say_its_schema_is_corrupt(path: Path, edit: str) -> None:
    SqliteStore(path).close()
    by_hand(path, edit)
    with pytest.raises(StoreCorrupt, match="order_fsm_schema"):
        SqliteStore(path)


def test_the_tables_of_a_shop_in_the_same_file_are_left_alone(path: Path) -> None:
    by_hand(path, "CREATE TABLE invoice (id)", "PRAGMA user_version = 7")
    SqliteStore(path).close()
    assert by_hand(path, "PRAGMA user_version") == [(7,)]
    ours = by_hand(path, "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'")
    assert {str(name).startswith("order_fsm_") for (name,) in ours if name != "invoice"} == {True}


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreUnavailable, match=r"SQLite must be 3\.37\.0 or newer"):
        SqliteStore(path)


# Files that cannot be used


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    store = SqliteStore(path)
    assert store.find(Query(When())) == []
    store.close()


def test_a_file_that_is_no_database_is_corrupt_and_left_alone(path: Path) -> None:
    path.write_text("order;total\n1001;49.90\n" * 100)
    with pytest.raises(StoreCorrupt, match=r"shop\.db' is no SQLite database.*give another path"):
        SqliteStore(path)
    assert path.read_text() == "order;total\n1001;49.90\n" * 100


def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="a folder that can be written to"):
        SqliteStore(tmp_path / "missing" / "shop.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_the_file_is_unavailable(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreUnavailable, match="must be a file"):
        SqliteStore(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "kind", "advice"),
    [
        ("SQLITE_FULL", StoreFull, "make room, then retry"),
        ("SQLITE_IOERR_WRITE", StoreUnavailable, "see that its disk is well and has room, then retry"),
        ("SQLITE_READONLY", StoreUnavailable, "it must be a file in a folder that can be written to"),
        ("SQLITE_CANTOPEN", StoreUnavailable, "it must be a file in a folder that can be written to"),
        ("SQLITE_BUSY", StoreUnavailable, "retry later"),
        ("SQLITE_CORRUPT_INDEX", StoreCorrupt, "restore it from a backup"),
    ],
)
def test_what_sqlite_says_becomes_an_error_with_advice(name: str, kind: type[StoreError], advice: str) -> None:
    error = sqlite3.OperationalError("it says so")
    error.sqlite_errorname = name
    known = store_error(error, "shop.db")
    assert type(known) is kind
    assert str(known).startswith("shop.db")
    assert f"it says so ({name}): {advice}" in str(known)


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, StoreFull, "make room, then retry"),
        (errno.EDQUOT, StoreFull, "make room, then retry"),
        (errno.EACCES, StoreUnavailable, "it must be a file in a folder that can be written to"),
    ],
)
def test_what_a_file_system_says_becomes_an_error_with_advice(number: int, kind: type[StoreError], advice: str) -> None:
    known = store_error(OSError(number, "it says so"), "shop.db")
    assert type(known) is kind
    assert str(known) == f"shop.db: it says so: {advice}"


def _opened_by_nobody(path: Path, answer: Connection) -> None:
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        SqliteStore(path).close()
    except OrderFsmError as error:
        answer.send(type(error))
    else:
        answer.send(None)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_is_read_only_is_unavailable(there: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shop.db")
        if there:
            SqliteStore(path).close()
        os.chmod(folder, 0o555)  # noqa: S103 - the child must get in
        ours, childs = get_context("fork").Pipe()
        child = get_context("fork").Process(target=_opened_by_nobody, args=(path, childs))
        child.start()
        childs.close()
        assert ours.recv() is StoreUnavailable
        child.join()
        ours.close()
        os.chmod(folder, stat.S_IRWXU)


def test_a_commit_for_which_there_is_no_room_is_undone_and_can_be_repeated(path: Path, store: SqliteStore) -> None:
    order = paid_order(store)
    change = step(order, comment="x" * 50_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("shop.db-wal").stat().st_size, hard))
    try:
        with pytest.raises((StoreUnavailable, StoreFull)):
            store.commit(change)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.load("1001") == order
    store.commit(change)
    assert store.load("1001") == change.order
    assert by_hand(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_broken_schema_that_is_no_text_is_corrupt(path: Path) -> None:
    """SQLite's message quotes it, and the sqlite3 module cannot read that message."""
    SqliteStore(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        """PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = CAST(replace(CAST(sql AS BLOB), CAST('INTEGER' AS BLOB), x'ffff') AS TEXT);"""
    )
    connection.close()
    with pytest.raises(StoreCorrupt, match=r"malformed database schema.*\\xff"):
        SqliteStore(path)
    host = sqlite3.connect(path)
    with pytest.raises(StoreCorrupt, match="malformed database schema"):
        SqliteStore(connection=host)
    host.close()

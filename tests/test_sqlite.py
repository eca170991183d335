"""The SQLite store on its own file: opening it, its schema, and unusable files."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from order_fsm import InvalidInput, OrderFsmError, StoreCorrupt, StoreError, StoreFull, StoreUnavailable, When
from order_fsm.store import Query
from order_fsm.testing.store_contract.changes import order_of, step
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sqlite import SqliteStore, schema
from order_fsm_adapters.sqlite.errors import store_error

from .sqlite_files import by_hand, paid_order

resource = pytest.importorskip("resource", reason="these tests need the processes and limits of Unix")

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change the owner of a file"
)


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


# Arguments


def test_path_and_connection_together_are_refused(path: Path) -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(InvalidInput, match="not both"):
        SqliteStore(path, connection=connection)
    connection.close()
    assert not path.exists()


@pytest.mark.parametrize("arguments", [(), (None,)])
def test_store_without_path_and_connection_says_that_neither_was_given(arguments: tuple[None, ...]) -> None:
    with pytest.raises(InvalidInput, match="connection=: neither was given"):
        SqliteStore(*arguments)


def test_connection_as_path_is_refused_with_advice() -> None:
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(InvalidInput, match="connection="):
        SqliteStore(connection)  # type: ignore[arg-type]


def test_store_without_path_and_connection_is_refused() -> None:
    with pytest.raises(InvalidInput, match="either"):
        SqliteStore()


@pytest.mark.parametrize("path", ["", ":memory:", "shop\0.db", 7, b"shop.db"])
def test_invalid_path_is_refused(path: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"path must name a file, such as 'shop\.db'"):
        SqliteStore(path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_path_stays_valid_after_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    store = SqliteStore("shop.db")
    os.chdir("elsewhere")
    # A forked child reopens the file.
    child = get_context("fork").Process(target=store.set_stock, args=("TEAPOT", 1))
    child.start()
    child.join()
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 1}
    store.close()
    assert list(Path().iterdir()) == []


def test_symbolic_link_uses_the_same_lock(tmp_path: Path, path: Path, store: SqliteStore) -> None:
    (tmp_path / "link.db").symlink_to(path)
    linked = SqliteStore(tmp_path / "link.db")
    linked.set_stock("TEAPOT", 3)
    linked.close()
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 3}
    assert not (tmp_path / "link.db.lock").exists()


# Schemas

SECOND_VERSION: tuple[str, ...] = (
    "ALTER TABLE order_fsm_order ADD COLUMN gift INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE order_fsm_gift (id TEXT NOT NULL PRIMARY KEY) STRICT",
)


def test_database_of_an_older_version_is_upgraded_with_its_orders(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgraded: list[int] = []

    def count(transaction: Transaction) -> None:
        upgraded.append(len(transaction.rows("SELECT id FROM order_fsm_gift")))

    with SqliteStore(path) as store:
        order = paid_order(store)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, (*SECOND_VERSION, count)))
    for _ in range(2):
        with SqliteStore(path) as store:
            assert store.load("1001") == order
            assert store.faults() == []
    assert by_hand(path, "SELECT version FROM order_fsm_schema") == [(2,)]
    assert by_hand(path, "SELECT gift FROM order_fsm_order") == [(0,)]
    assert upgraded == [0]


def test_failed_upgrade_does_not_change_the_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteStore(path).close()
    by_hand(path, "CREATE TABLE order_fsm_gift (in_the_way)")
    before = schema_of(path)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, SECOND_VERSION))
    with pytest.raises(StoreCorrupt, match="order_fsm_gift"):
        SqliteStore(path)
    assert schema_of(path) == before


def test_new_database_gets_the_latest_version_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, SECOND_VERSION))
    SqliteStore(path).close()
    assert by_hand(path, "SELECT version FROM order_fsm_schema") == [(2,)]


def test_database_of_a_newer_version_is_refused_and_unchanged(path: Path) -> None:
    SqliteStore(path).close()
    by_hand(path, "UPDATE order_fsm_schema SET version = 2", "CREATE TABLE order_fsm_new (id)")
    before = schema_of(path)
    with pytest.raises(StoreUnavailable, match="schema 2, this version supports 1: update order_fsm"):
        SqliteStore(path)
    assert schema_of(path) == before


@pytest.mark.parametrize("edit", ["DELETE FROM order_fsm_schema", "UPDATE order_fsm_schema SET version = -1"])
def test_database_without_a_valid_version_is_corrupt(path: Path, edit: str) -> None:
    SqliteStore(path).close()
    by_hand(path, edit)
    with pytest.raises(StoreCorrupt, match="order_fsm_schema"):
        SqliteStore(path)


def test_tables_of_a_shop_in_the_same_file_do_not_change(path: Path) -> None:
    by_hand(path, "CREATE TABLE invoice (id)", "PRAGMA user_version = 7")
    SqliteStore(path).close()
    assert by_hand(path, "PRAGMA user_version") == [(7,)]
    ours = by_hand(path, "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'")
    assert {str(name).startswith("order_fsm_") for (name,) in ours if name != "invoice"} == {True}


def test_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreUnavailable, match=r"SQLite must be 3\.37\.0 or newer"):
        SqliteStore(path)


@needs_root
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_new_files_take_the_owner_and_mode_of_the_database(path: Path, umask: int) -> None:
    """Otherwise a job of root would create files that the web server cannot write to."""
    path.touch()
    path.chmod(0o660)
    os.chown(path, 65534, 65533)
    before = os.umask(umask)
    try:
        with SqliteStore(path) as store:
            store.set_stock("TEAPOT", 1)
            store.backup(path.with_name("copy.db"))
            files = {file.name: file.stat() for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    names = ["copy.db", "shop.db", "shop.db-shm", "shop.db-wal", "shop.db.lock"]
    found = {name: (stat.S_IMODE(of.st_mode), of.st_uid, of.st_gid) for name, of in files.items()}
    assert found == dict.fromkeys(names, (0o660, 65534, 65533))


# Files that cannot be used


def test_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    store = SqliteStore(path)
    assert store.find(Query(When())) == []
    store.close()


def test_file_that_is_not_a_database_is_corrupt_and_unchanged(path: Path) -> None:
    path.write_text("order;total\n1001;49.90\n" * 100)
    with pytest.raises(StoreCorrupt, match=r"shop\.db' is not a SQLite database.*use another path"):
        SqliteStore(path)
    assert path.read_text() == "order;total\n1001;49.90\n" * 100


def test_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="a writable folder"):
        SqliteStore(tmp_path / "missing" / "shop.db")
    assert list(tmp_path.iterdir()) == []


def test_folder_as_path_is_unavailable(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreUnavailable, match="must be a file"):
        SqliteStore(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "kind", "advice"),
    [
        ("SQLITE_FULL", StoreFull, "make room, then retry"),
        ("SQLITE_IOERR_WRITE", StoreUnavailable, "check the disk and its free space, then retry"),
        ("SQLITE_READONLY", StoreUnavailable, "it must be a file in a writable folder"),
        ("SQLITE_CANTOPEN", StoreUnavailable, "it must be a file in a writable folder"),
        ("SQLITE_BUSY", StoreUnavailable, "retry later"),
        ("SQLITE_CORRUPT_INDEX", StoreCorrupt, "restore it from a backup"),
    ],
)
def test_error_of_sqlite_becomes_an_error_with_advice(name: str, kind: type[StoreError], advice: str) -> None:
    error = sqlite3.OperationalError("the reason")
    error.sqlite_errorname = name
    known = store_error(error, "shop.db")
    assert type(known) is kind
    assert str(known).startswith("shop.db")
    assert f"the reason ({name}): {advice}" in str(known)


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, StoreFull, "make room, then retry"),
        (errno.EDQUOT, StoreFull, "make room, then retry"),
        (errno.EACCES, StoreUnavailable, "it must be a file in a writable folder"),
    ],
)
def test_error_of_a_file_becomes_an_error_with_advice(number: int, kind: type[StoreError], advice: str) -> None:
    known = store_error(OSError(number, "the reason"), "shop.db")
    assert type(known) is kind
    assert str(known) == f"shop.db: the reason: {advice}"


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


@pytest.mark.parametrize("exists", [False, True])
def test_read_only_folder_is_unavailable(exists: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shop.db")
        if exists:
            SqliteStore(path).close()
        os.chmod(folder, 0o555)  # noqa: S103 - the child must be able to enter
        ours, childs = get_context("fork").Pipe()
        child = get_context("fork").Process(target=_opened_by_nobody, args=(path, childs))
        child.start()
        childs.close()
        assert ours.recv() is StoreUnavailable
        child.join()
        ours.close()
        os.chmod(folder, stat.S_IRWXU)


def test_commit_on_a_full_disk_is_rolled_back_and_can_be_retried(path: Path, store: SqliteStore) -> None:
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
    assert store.load("1001") == order_of(change)
    assert by_hand(path, "PRAGMA integrity_check") == [("ok",)]


def test_damaged_schema_that_is_not_valid_unicode_is_corrupt(path: Path) -> None:
    """SQLite's message quotes the schema, and the sqlite3 module cannot decode that message."""
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

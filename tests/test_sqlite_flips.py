"""Reads or an audit detect any changed byte and any cut of a database, or the change is harmless.

Under stress every 101st byte is flipped, under ORDER_FSM_STRESS=101 every byte, otherwise every 1009th.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from order_fsm import Line, Orders, When, shop_workflow
from order_fsm.audit.auditor import audit
from order_fsm.store import Query
from order_fsm.testing.store_contract.expected import record_under
from order_fsm.testing.store_contract.harness import stress
from order_fsm_adapters.sqlite import SqliteStore

from .damage import Asked, changed, cut, verdict

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
IDS = ("1001", "1002", "1003")
KEYS = ("evt 1001", "evt 1002")
STRIDE = max(101 // stress(), 1) if stress() else 1009

PROMISED: Asked = {
    **{f"load {one}": lambda store, one=one: store.load(one) for one in IDS},  # type: ignore[misc]
    **{f"history {one}": lambda store, one=one: store.history(one) for one in IDS},  # type: ignore[misc]
    **{f"page of {one}": lambda store, one=one: store.history(one, 1, 2) for one in IDS},  # type: ignore[misc]
}
"""Queries that return the right answer, or raise StoreCorrupt or StoreUnavailable."""

AUDITED: Asked = {
    **{f"keyed {one}": lambda store, one=one: record_under(store, one) for one in KEYS},  # type: ignore[misc]
    "stock": lambda store: store.stock(["TEAPOT", "CUP"]),
    "find": lambda store: store.find(Query(When())),
    "find by state": lambda store: store.find(Query(When(has={"paid"}))),
    "find by customer": lambda store: store.find(Query(When(), customer="ann")),
    "find by refund": lambda store: store.find(Query(When(), refund_due=True)),
    "find by placing": lambda store: store.find(Query(When(), since=NOW)),
    "find by placing and customer": lambda store: store.find(Query(When(), customer="ann", until=LATER)),
    "tally": lambda store: sorted(store.tally(None), key=str),
    "totals": lambda store: store.totals(NOW, None, "ann"),
    "report": lambda store: store.report(NOW, LATER),
    "dead letters": lambda store: store.dead_letters(10),
    "messages": lambda store: [message.id for message in store.messages()],
}
"""Queries that may return a wrong answer from a damaged row or index. An audit then finds the damage."""


def fill(store: SqliteStore) -> None:
    """Create three orders, one of them long, with money, keys, stock, messages and dead letters."""
    orders = Orders(store, clock=lambda: NOW)
    orders.set_stock("TEAPOT", 10)
    orders.set_stock("CUP", 3)
    for order_id in IDS:
        note = "x" * (700 if order_id == "1003" else 3)
        orders.create(
            order_id, total="49.90", currency="GBP", lines=[Line("TEAPOT", 2)], customer="ann", data={"note": note}
        )
    for order_id in IDS[:2]:
        orders.fire(order_id, "pay", amount="20", reference="ch_1", key=f"evt {order_id}")
        orders.fire(order_id, "pay", amount="40", reference="ch_2")
        orders.fire(order_id, "dispatch", by="bob", comment="by mail", visible=True, notify=True)
    store.retry_later(store.claim(NOW, LATER, 1)[0], LATER, None)


def answers(store: SqliteStore) -> dict[str, object]:
    return {name: ask(store) for name, ask in (PROMISED | AUDITED).items()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with small pages, so that few bytes are unused."""
    path = tmp_path_factory.mktemp("flips") / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM")
    connection.close()
    store = SqliteStore(path)
    fill(store)
    store.close()
    return path


def judged(path: Path, contents: Iterable[bytes], right: dict[str, object]) -> Counter[str]:
    """Return the number of each verdict on a database.

    Args:
        path: the path of the database.
        contents: the damaged contents of the file.
        right: the answers of the undamaged database.
    """
    verdicts: Counter[str] = Counter()
    for content in contents:
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        path.write_bytes(content)
        verdicts[verdict(partial(SqliteStore, path), right, PROMISED, AUDITED, {})] += 1
    return verdicts


def test_changed_byte_of_a_database_is_detected_or_harmless(shop: Path, tmp_path: Path) -> None:
    content = shop.read_bytes()
    store = SqliteStore(shop)
    right = answers(store)
    store.close()
    verdicts = judged(tmp_path / "shop.db", changed(content, STRIDE), right)
    print(f"{len(content)} bytes, every {STRIDE}.: {dict(verdicts)}")
    assert min(verdicts["found"], verdicts["found by an audit"], verdicts["harmless"]) > 0


def test_database_cut_at_any_length_is_corrupt(shop: Path, tmp_path: Path) -> None:
    """Lengths 0 and 1 are exceptions, because SQLite treats both as an empty file, which becomes a new store."""
    content = shop.read_bytes()
    store = SqliteStore(shop)
    right = answers(store)
    store.close()
    verdicts = judged(tmp_path / "shop.db", cut(content, STRIDE, least=2), right)
    print(f"{len(content)} bytes, cut at every {STRIDE}.: {dict(verdicts)}")
    assert verdicts["found"] > 0
    assert verdicts["found by an audit"] == 0


def test_damaged_write_ahead_log_restores_an_earlier_commit(tmp_path: Path) -> None:
    """SQLite ends the log at the first damaged frame. Commits are lost, and no commit is wrong or partial."""
    path = tmp_path / "shop.db"
    SqliteStore(path).close()
    keeper = sqlite3.connect(path)
    keeper.execute("PRAGMA wal_autocheckpoint = 0")
    keeper.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    store = SqliteStore(path)
    orders = Orders(store, clock=lambda: NOW)
    tallies = [store.tally(None)]
    for act in (
        lambda: orders.create("1001", total="5", currency="GBP"),
        lambda: orders.fire("1001", "pay", reference="ch_1", key="evt_1"),
        lambda: orders.fire("1001", "dispatch"),
    ):
        act()
        tallies.append(store.tally(None))
    main, log = path.read_bytes(), path.with_name("shop.db-wal").read_bytes()
    store.close()
    keeper.close()
    seen = set()
    copy = tmp_path / "copy" / "shop.db"
    copy.parent.mkdir()
    for damaged in (*changed(log, STRIDE * 15), *cut(log, STRIDE * 15)):
        for file in copy.parent.iterdir():
            file.unlink()
        copy.write_bytes(main)
        copy.with_name("shop.db-wal").write_bytes(damaged)
        store = SqliteStore(copy)
        assert audit(store, shop_workflow()).ok
        seen.add(tallies.index(store.tally(None)))
        store.close()
    assert {0, 2} <= seen <= {0, 1, 2, 3}


def test_verdict_on_damage_that_no_audit_detects_fails(shop: Path, tmp_path: Path) -> None:
    """Seals do not detect the loss of all rows of an order."""
    store = SqliteStore(shop)
    right = answers(store)
    store.close()
    path = tmp_path / "shop.db"
    path.write_bytes(shop.read_bytes())
    store = SqliteStore(path)
    store.remove(store.load("1003"))
    store.close()
    with pytest.raises(AssertionError):
        judged(path, [path.read_bytes()], right)

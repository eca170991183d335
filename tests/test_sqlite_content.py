"""The SQLite store returns its values, and reads detect manual edits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from order_fsm import InvalidInput, Line, StoreCorrupt, When
from order_fsm.model import Payment
from order_fsm.store import Cursor, Need, Query, Snapshot, StockMove
from order_fsm.testing.store_contract.changes import START, creation, given_back, moment, order_of, step
from order_fsm_adapters.sql import audit
from order_fsm_adapters.sql.codec import time_text
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand, paid_order


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


_EDITS = {
    "total": "UPDATE order_fsm_order SET total = 'ten'",
    "total_nan": "UPDATE order_fsm_order SET total = 'NaN'",
    "lines": "UPDATE order_fsm_order SET lines = '['",
    "lines_none": """UPDATE order_fsm_order SET lines = '[{"sku":"TEAPOT","quantity":0}]'""",
    "data": "UPDATE order_fsm_order SET data = '[]'",
    "time": "UPDATE order_fsm_order SET created_at = 'yesterday'",
    "time_naive": "UPDATE order_fsm_order SET updated_at = '2024-02-29T12:30:15.123456'",
    "bytes": "UPDATE order_fsm_order SET email = CAST(x'ff' AS TEXT)",
    "amount": "UPDATE order_fsm_order SET payments = replace(payments, '49.90', '')",
    "kind": "UPDATE order_fsm_order SET payments = replace(payments, 'captured', 'stolen')",
    "payments": "UPDATE order_fsm_order SET payments = '{}'",
}


@pytest.mark.parametrize("edit", _EDITS.values(), ids=_EDITS.keys())
def test_damaged_order_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    paid_order(store)
    by_hand(path, edit)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="restore it from a backup"):
            store.load("1001")


def test_damaged_order_does_not_affect_other_orders(path: Path, store: SqliteStore) -> None:
    store.commit(creation("1002"))
    paid_order(store)
    by_hand(path, "UPDATE order_fsm_order SET lines = '[' WHERE id = '1001'")
    assert store.load("1002").version == 1


def test_damaged_order_is_not_overwritten(path: Path, store: SqliteStore) -> None:
    order = paid_order(store)
    by_hand(path, "UPDATE order_fsm_order SET lines = '['")
    with pytest.raises(StoreCorrupt, match="order '1001'"):
        store.commit(step(order))
    with pytest.raises(StoreCorrupt, match="order '1001'"):
        store.remove(order)
    assert by_hand(path, "SELECT lines FROM order_fsm_order") == [("[",)]


@pytest.mark.parametrize("edit", ["facts = '{'", """facts = '{"amount":{"decimal":"x"}}'""", "at = ''"])
def test_damaged_entry_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    paid_order(store)
    by_hand(path, f"UPDATE order_fsm_entry SET {edit} WHERE version = 2")  # noqa: S608 - a constant of this file
    with pytest.raises(StoreCorrupt, match="entry 2 of order '1001'"):
        store.history("1001")


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        ("order_fsm_order SET updated_at = 'yesterday'", "order '1001'"),
        ("order_fsm_entry SET at = 'yesterday' WHERE version = 2", "entry 2 of order '1001'"),
    ],
    ids=["order", "entry"],
)
def test_error_of_an_unreadable_row_names_the_row_and_the_reason(
    path: Path, store: SqliteStore, edit: str, named: str
) -> None:
    paid_order(store)
    by_hand(path, f"UPDATE {edit}")
    with pytest.raises(StoreCorrupt, match=rf"^{named} is damaged or was edited \(.*'yesterday'\): restore it from"):
        (store.load if named.startswith("order") else store.history)("1001")


# Damage in batches: each snapshot and each change has its own error


_DAMAGE = {
    "order": "UPDATE order_fsm_order SET total = 'ten' WHERE id = 'bad'",
    "text": "UPDATE order_fsm_order SET email = CAST(x'ff' AS TEXT) WHERE id = 'bad'",
    "lost order": "DELETE FROM order_fsm_order WHERE id = 'bad'",
    "record": "UPDATE order_fsm_key SET last = 9 WHERE key = 'evt bad'",
    "stock": "UPDATE order_fsm_stock SET available = 1000 WHERE sku = 'CUP'",
}


@pytest.mark.parametrize("damage", _DAMAGE)
def test_damaged_row_is_the_fault_of_its_own_snapshot(path: Path, store: SqliteStore, damage: str) -> None:
    store.set_stock("CUP", 3)
    good = paid_order(store, "good")
    paid_order(store, "bad")
    by_hand(path, _DAMAGE[damage])
    first, bad, last = store.prepare_many(
        [Need("good", "evt good", ("TEAPOT",)), Need("bad", "evt bad", ("CUP",)), Need(None, "new")]
    )
    assert (first.order, first.stock, first.fault) == (good, {"TEAPOT": 8}, None)
    assert first.record is not None
    assert isinstance(bad.fault, StoreCorrupt)
    assert (bad.order, bad.record, bad.stock) == (None, None, {})
    assert last == Snapshot(None, None, {})


@pytest.mark.parametrize("damage", ["order", "text", "lost order", "stock", "history"])
def test_damaged_row_fails_only_its_own_change_of_a_batch(path: Path, store: SqliteStore, damage: str) -> None:
    """This holds even if the commit finds the damage late, such as an entry that nobody committed."""
    store.set_stock("CUP", 3)
    good, bad = paid_order(store, "good"), paid_order(store, "bad")
    later = "UPDATE order_fsm_entry SET version = 3 WHERE version = 2 AND order_id = 'bad'"
    by_hand(path, _DAMAGE.get(damage, later))
    changes = [
        step(good, comment="first"),
        step(bad, stock=[given_back("CUP", 1), given_back("TEAPOT", 1)], key="k"),
        creation("new"),
    ]
    first, refused, last = store.commit_all(changes)
    assert (first, last) == (None, None)
    assert isinstance(refused, StoreCorrupt)
    assert store.history("good")[-1].comment == "first"
    assert store.load("new").version == 1
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 10 - 2}
    assert store.prepare_many([Need(None, "k")])[0].record is None


def test_find_logs_damaged_orders_and_fills_the_page_with_others(
    path: Path, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(9):
        store.commit(creation(f"{number}", customer="ann", email=f"{number}@example.com", at=moment(number)))
    by_hand(path, "UPDATE order_fsm_order SET lines = '[' WHERE id IN ('0', '2')")
    by_hand(path, "UPDATE order_fsm_order SET email = CAST(x'ff' AS TEXT) WHERE id = '3'")
    for query in (Query(When(), limit=4), Query(When(), customer="ann", limit=4)):
        caplog.clear()
        assert [order.id for order in store.find(query)] == ["1", "4", "5", "6"]
        assert [record.args for record in caplog.records] == [("0",), ("2",), ("3",)]
        assert {record.levelname for record in caplog.records} == {"ERROR"}
        assert "example.com" not in caplog.text
    rest = Query(When(), after=Cursor(moment(6), "6"))
    assert [order.id for order in store.find(rest)] == ["7", "8"]


def test_damaged_tally_is_corrupt(path: Path, store: SqliteStore) -> None:
    paid_order(store)
    by_hand(path, "UPDATE order_fsm_tally SET unit = 'ten'", "UPDATE order_fsm_customer_tally SET refund_is_due = 7")
    for customer in (None, "ann"):
        with pytest.raises(StoreCorrupt, match="tally is damaged"):
            store.tally(customer)


def test_entry_that_exists_before_its_commit_is_corrupt(path: Path, store: SqliteStore) -> None:
    order = paid_order(store)
    by_hand(path, "UPDATE order_fsm_entry SET version = 3 WHERE version = 2")
    with pytest.raises(StoreCorrupt, match="CONSTRAINT"):
        store.commit(step(order))
    assert store.load("1001") == order


# Values


@given(
    times=st.lists(
        st.datetimes(
            min_value=datetime(1, 1, 3),
            max_value=datetime(9999, 12, 29),
            timezones=st.sampled_from(
                [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9, microseconds=3))]
            ),
        ),
        min_size=2,
    )
)
def test_times_as_text_sort_like_times(times: list[datetime]) -> None:
    """Times of any zone, from the year 1 on, have the format of `isoformat`."""
    assert [time_text(at) for at in times] == [at.astimezone(UTC).isoformat(timespec="microseconds") for at in times]
    assert sorted(map(time_text, times)) == [time_text(at) for at in sorted(times)]
    assert len({len(time_text(at)) for at in times}) == 1


def test_text_with_nul_characters_is_returned(store: SqliteStore) -> None:
    change = creation("1001", data={"a\0b": ["\0", "\U0001f600", "\ufeff"]})
    store.commit(change)
    change = step(order_of(change), comment="before\0after", facts={"note": "\0"})
    store.commit(change)
    assert store.load("1001").data == {"a\0b": ["\0", "\U0001f600", "\ufeff"]}
    assert store.history("1001")[-1] == change.entries[0]


def test_order_created_with_money_is_returned_with_its_ledger(path: Path, store: SqliteStore) -> None:
    """The first commit of an adopted order has a ledger."""
    change = creation("1001", state="sent+paid", entries=3)
    payment = Payment("captured", Decimal("49.90"), currency="GBP", reference="ch_1", at=START, version=3)
    order = replace(order_of(change), payments=(payment,))
    store.commit(replace(change, order=order))
    with SqliteStore(path) as other:
        assert other.load("1001") == store.load("1001") == order
        store.commit(step(order, comment="x"))
        assert other.load("1001").payments == store.load("1001").payments == order.payments


@pytest.mark.parametrize(
    "amended",
    [
        {"total": Decimal("5.5"), "lines": (Line("CUP", 1),)},
        {"customer": None, "email": None, "data": {}},
        {"customer": "bob", "email": "bob@example.com", "data": {"gift": [1, 2.5]}},
        {"reserved": (), "currency": "EUR"},
    ],
    ids=str,
)
def test_amended_order_is_returned(store: SqliteStore, amended: dict[str, Any]) -> None:
    change = step(paid_order(store))
    order = replace(order_of(change), **amended)
    store.commit(replace(change, order=order))
    assert store.load("1001") == order
    assert len(store.history("1001")) == order.version
    assert store.faults() == []
    for customer in ("ann", "bob"):
        tallied = [(tally.total, tally.currency) for tally in store.tally(customer)]
        assert tallied == ([(order.total, order.currency)] if order.customer == customer else [])


def test_stock_beyond_64_bits_is_refused_and_changes_nothing(store: SqliteStore) -> None:
    store.set_stock("TEAPOT", 2**63 - 1)
    with pytest.raises(InvalidInput, match="the stock of 'TEAPOT' must be below"):
        store.commit(creation("1001", stock=[given_back("TEAPOT", 1)]))
    with pytest.raises(InvalidInput, match="the stock of 'CUP' must be below"):
        store.commit(creation("1001", stock=[StockMove("CUP", out=2**63)]))
    store.commit(creation("1002", stock=[StockMove("CUP", 2**64)]))
    assert store.stock(["TEAPOT", "CUP"]) == {"TEAPOT": 2**63 - 1}
    assert [order.id for order in store.find(Query(When()))] == ["1002"]


def test_stock_may_have_any_64_bit_number(store: SqliteStore) -> None:
    store.set_stock("TEAPOT", 2**63 - 2)
    store.commit(creation("1001", stock=[given_back("TEAPOT", 1)]))
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 2**63 - 1}
    store.set_stock("TEAPOT", 0)
    store.commit(creation("1002", stock=[StockMove("TEAPOT", -(2**63), strict=False)]))
    assert store.stock(["TEAPOT"]) == {"TEAPOT": -(2**63)}


def test_sums_of_totals_are_exact(store: SqliteStore) -> None:
    for number in range(3):
        store.commit(creation(f"{number}", total="999999999999999.10000001"))
    assert [str(tally.total) for tally in store.tally(None)] == ["2999999999999997.30000003"]


@pytest.mark.parametrize("page", [[("b",), ("a",)], [("a",), ("a",)], [(1,)], [(None,)]], ids=str)
def test_read_of_a_damaged_index_raises(page: list[tuple[object, ...]]) -> None:
    with pytest.raises(StoreCorrupt, match=r"^an index of the database is damaged"):
        list(audit.order_ids(lambda statement, values: page))

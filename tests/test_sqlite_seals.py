# ruff: noqa: S608 - the statements are of this file
"""The seals of the SQLite store: what was written is not changed, removed, inserted or moved without being found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_fsm import Line, OrderNotFound, Orders, StoreCorrupt, When
from order_fsm.store import Query
from order_fsm.testing.store_contract.changes import START, creation, step
from order_fsm_adapters.sqlite import SqliteStore
from order_fsm_adapters.sqlite.seals import chained

from .sqlite_files import by_hand, by_hand_and_sealed, paid_order


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store with an order of five entries, two of them with money, and another one."""
    store = SqliteStore(path)
    orders = Orders(store, clock=lambda: START)
    orders.set_stock("TEAPOT", 10)
    for order_id in ("1001", "1002"):
        orders.create(order_id, total="49.90", currency="GBP", lines=[Line("TEAPOT", 2)], customer="ann")
        orders.fire(order_id, "place", by="bob")
        orders.fire(order_id, "pay", amount="20", reference="ch_1", key=f"evt {order_id}")
        orders.fire(order_id, "pay", reference="ch_2")
        orders.fire(order_id, "dispatch")
    yield store
    store.close()


_OF_1001 = "order_id = '1001' AND version"
_HISTORY_EDITS = {
    "changed": (f"UPDATE order_fsm_entry SET comment = 'x' WHERE {_OF_1001} = 2", "entry 2"),
    "changed to nothing": (f"UPDATE order_fsm_entry SET by = NULL WHERE {_OF_1001} = 2", "entry 2"),
    "given to another": (
        f"UPDATE order_fsm_entry SET order_id = '1003' WHERE {_OF_1001} = 5",
        "entry 4, which is not the last",
    ),
    "the first removed": (f"DELETE FROM order_fsm_entry WHERE {_OF_1001} = 1", "entry 1"),
    "one removed": (f"DELETE FROM order_fsm_entry WHERE {_OF_1001} = 3", "entry 3"),
    "the last removed": (f"DELETE FROM order_fsm_entry WHERE {_OF_1001} = 5", "entry 4, which is not the last"),
    "all removed": ("DELETE FROM order_fsm_entry WHERE order_id = '1001'", "entry 0, which is not the last"),
    "its seal changed": (f"UPDATE order_fsm_entry SET seal = zeroblob(32) WHERE {_OF_1001} = 4", "entry 4"),
}


@pytest.mark.parametrize("edit", _HISTORY_EDITS)
def test_a_history_that_was_tampered_with_names_the_order_and_the_first_entry_that_does_not_follow(
    path: Path, store: SqliteStore, edit: str
) -> None:
    statement, named = _HISTORY_EDITS[edit]
    by_hand(path, statement)
    with pytest.raises(StoreCorrupt, match=named) as found:
        store.history("1001")
    assert "order '1001'" in str(found.value)


def test_entries_that_change_places_are_found(path: Path, store: SqliteStore) -> None:
    by_hand(
        path,
        f"UPDATE order_fsm_entry SET version = 99 WHERE {_OF_1001} = 3",
        f"UPDATE order_fsm_entry SET version = 3 WHERE {_OF_1001} = 4",
        f"UPDATE order_fsm_entry SET version = 4 WHERE {_OF_1001} = 99",
    )
    with pytest.raises(StoreCorrupt, match="entry 3 of order '1001'"):
        store.history("1001")


def test_an_entry_put_between_is_found(path: Path, store: SqliteStore) -> None:
    later = "UPDATE order_fsm_entry SET version = {} WHERE order_id = '1001' AND version = {}"
    by_hand(
        path,
        *(later.format(version + 1, version) for version in (5, 4, 3)),
        """INSERT INTO order_fsm_entry SELECT order_id, 3, trigger, state_before, state_after, at, by, comment, visible,
            notify, key, override, facts, seal FROM order_fsm_entry WHERE order_id = '1001' AND version = 2""",
    )
    with pytest.raises(StoreCorrupt, match="entry 3 of order '1001'"):
        store.history("1001")


def test_a_history_in_another_s_place_is_found(path: Path, store: SqliteStore) -> None:
    """Seals and all: each entry is sealed with its order's id."""
    by_hand(
        path,
        "DELETE FROM order_fsm_entry WHERE order_id = '1001'",
        "UPDATE order_fsm_entry SET order_id = '1001'",
    )
    with pytest.raises(StoreCorrupt, match="entry 1 of order '1001'"):
        store.history("1001")


_COLUMNS = (
    "total = '9.90'", "currency = 'EUR'", "customer = 'bob'", "customer = NULL", "email = 'bob@example.com'",
    "lines = '[]'", """data = '{"gift":true}'""", "created_at = '2026-01-01T00:00:00.000000+00:00'", "state = 'sent'",
    "counted = 0", "version = 4", "updated_at = '2026-01-01T00:00:00.000000+00:00'", "refund_is_due = 1",
    "last_seal = x''", "seal = x''", "unit = '1'", "units = 1", "payments = '[]'",
    "payments = replace(payments, '20', '2')", "payments = replace(payments, 'captured', 'refunded')",
    "payments = replace(payments, 'ch_1', 'ch_3')",
)  # fmt: skip


@pytest.mark.parametrize("edit", _COLUMNS)
def test_an_order_with_any_column_changed_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    by_hand(path, f"UPDATE order_fsm_order SET {edit} WHERE id = '1001'")
    with pytest.raises(StoreCorrupt, match="order '1001'"):
        store.load("1001")
    with pytest.raises(StoreCorrupt, match="order '1001'"):
        store.find(Query(When()))
    assert store.load("1002").version == 5


@pytest.mark.parametrize("edit", ["order_id = '1002'", "first = 2", "last = 4", "content = ''"])
def test_a_key_that_was_changed_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    by_hand(path, f"UPDATE order_fsm_key SET {edit} WHERE key = 'evt 1001'")
    with pytest.raises(StoreCorrupt, match="key 'evt 1001'"):
        store.keyed("evt 1001")


def test_stock_that_was_changed_is_corrupt(path: Path, store: SqliteStore) -> None:
    by_hand(path, "UPDATE order_fsm_stock SET on_hand = 1000")
    with pytest.raises(StoreCorrupt, match="the stock of 'TEAPOT'"):
        store.stock(["TEAPOT"])
    Orders(store).fire("1001", "undispatch", comment="a mistake")
    with pytest.raises(StoreCorrupt, match="the stock of 'TEAPOT'"):
        Orders(store).fire("1001", "cancel")
    store.set_stock("TEAPOT", 7)
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 7}


@pytest.mark.parametrize("column", ["id = 'x'", "order_id = '1003'", "topic = 'x'", "payload = '{}'"])
def test_a_message_that_was_changed_is_corrupt_alive_and_dead(path: Path, store: SqliteStore, column: str) -> None:
    messages = store.claim(START, START, 10)
    store.postpone(messages[0], None)
    for table in ("message", "dead_letter"):
        by_hand(path, f"UPDATE order_fsm_{table} SET {column}")
    with pytest.raises(StoreCorrupt, match="message"):
        store.claim(START, START, 10)
    with pytest.raises(StoreCorrupt, match="message"):
        store.dead_letters(10)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (
            "DELETE FROM order_fsm_order WHERE id = '1001'",
            "there are entries of order '1001', which is not there",
        ),
        (
            "UPDATE order_fsm_key SET order_id = '1002' WHERE key = 'evt 1001'",
            "key 'evt 1001' leads to order '1002', of which no entry carries it",
        ),
        (
            "UPDATE order_fsm_stock SET on_hand = 1000",
            "the stock of 'TEAPOT' is not as it was written, or does not follow what was written before it;"
            " restore it from a backup",
        ),
    ],
    ids=["order", "key", "stock"],
)
def test_a_fault_beside_the_orders_is_named(path: Path, store: SqliteStore, edit: str, fault: str) -> None:
    assert store.faults() == []
    by_hand(path, edit)
    assert store.faults() == [fault]


@pytest.mark.parametrize("column", ["state", "created_at", "customer"])
def test_an_index_that_does_not_fit_its_orders_is_corrupt(path: Path, store: SqliteStore, column: str) -> None:
    """Where it leads to an order; what it leaves out is found by an audit."""
    index = "order_fsm_order_by_customer" if column == "customer" else "order_fsm_order_by_state"
    by_hand(
        path,
        "CREATE TABLE other AS SELECT * FROM order_fsm_order",
        f"CREATE INDEX other_index ON other ({'customer, ' if column == 'customer' else 'state, '} created_at, id)",
    )
    # The index of another table, in which the column is another one, takes the place of the order's.
    by_hand(path, f"UPDATE other SET {column} = 'a'", "PRAGMA wal_checkpoint(TRUNCATE)")
    by_hand(
        path,
        "PRAGMA writable_schema = ON",
        f"""UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'other_index')
            WHERE name = '{index}'""",
    )
    store.close()
    store = SqliteStore(path)
    when = When(has={"a"} if column == "state" else ())
    with pytest.raises(StoreCorrupt, match="an index does not fit order '1001'"):
        store.find(Query(when, customer="a" if column == "customer" else None))
    store.close()


def test_the_order_that_an_index_leads_to_and_that_is_gone_is_corrupt(path: Path, store: SqliteStore) -> None:
    by_hand(
        path,
        "PRAGMA writable_schema = ON",
        "CREATE TABLE other AS SELECT * FROM order_fsm_order WHERE id = '1002'",
        "CREATE UNIQUE INDEX other_index ON other (id)",
        """UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'other_index')
            WHERE name = 'sqlite_autoindex_order_fsm_order_1'""",
    )
    store.close()
    store = SqliteStore(path)
    with pytest.raises(StoreCorrupt, match="an index does not fit order '1001'"):
        store.find(Query(When()))
    for read in (store.load, store.history):
        with pytest.raises(StoreCorrupt, match="order '1001' is gone, and its history is there"):
            read("1001")
        with pytest.raises(OrderNotFound):
            read("1003")
    store.close()


def test_seals_are_no_secret(path: Path, store: SqliteStore) -> None:
    """Who makes all of them anew can say what he likes: this is what they do not promise."""
    by_hand_and_sealed(path, "UPDATE order_fsm_entry SET by = 'eve' WHERE version = 2")
    assert store.history("1001")[1].by == "eve"


@given(st.lists(st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1), st.none() | st.binary()), min_size=1), st.data())
def test_no_other_rows_have_the_same_last_seal(rows: list[tuple[object, ...]], data: st.DataObject) -> None:
    last = chained(b"", rows)[-1][-1]
    others = data.draw(st.permutations(rows) | st.lists(st.sampled_from(rows), min_size=1))
    assert (chained(b"", others)[-1][-1] == last) == (others == rows)


def test_the_seals_of_rows_stay_what_they_were() -> None:
    """From release to release: a file of years ago would be found broken otherwise."""
    rows = [("1001", 1, "é", None), ("1001", 2, b"\0", -(2**63))]
    assert chained(b"", rows)[-1][-1].hex() == "f7f939cdb750ccc4a5b4ad4887d7e9918394a527bf0bcd4aca4c58ab45c96cd3"


def test_a_paid_order_of_many_commits_reads_back(store: SqliteStore) -> None:
    order = paid_order(store, "1003")
    for number in range(20):
        change = step(order, entries=1 + number % 3, comment=f"\0 {number} \U0001f600", payments=[("captured", "0.10")])
        store.commit(change)
        order = change.order
        assert store.load("1003") == order
    assert [entry.version for entry in store.history("1003")] == list(range(1, order.version + 1))
    store.commit(creation("1004", data={"deep": [1.5, 1e22, -0.0, {"é": None}]}))
    assert store.load("1004").data == {"deep": [1.5, 1e22, -0.0, {"é": None}]}

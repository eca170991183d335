# ruff: noqa: S608 - the statements are constants of this file
"""The seals of the SQLite store detect values that were changed, removed, inserted or moved manually."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from order_fsm.errors import OrderNotFound, StoreCorrupt
from order_fsm.model import Fact, Order, When
from order_fsm.store import Need, Query
from order_fsm.testing.store_contract.changes import START, creation, moment, order_of, step, stock_change, taken
from order_fsm.testing.store_contract.erasures import erasure
from order_fsm_adapters.sql.entry_rows import entry_row
from order_fsm_adapters.sql.seals import digest, seal
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand, by_hand_and_sealed, paid_order


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Return a store with two orders of five entries each."""
    with SqliteStore(path) as store:
        for order_id in ("1001", "1002"):
            order = paid_order(store, order_id)
            store.commit(step(order, by="bob", entries=3, facts={"amount": order.total}, topics=["order.updated"]))
        yield store


_OF_1001 = "order_id = '1001' AND version"
_HISTORY_EDITS = {
    "changed": (f"UPDATE order_fsm_entry SET comment = 'x' WHERE {_OF_1001} = 2", "entry 2"),
    "changed to null": (f"UPDATE order_fsm_entry SET by = NULL WHERE {_OF_1001} = 3", "entry 3"),
    "moved to another order": (
        f"UPDATE order_fsm_entry SET order_id = '1003' WHERE {_OF_1001} = 5",
        "entry 4, not with the last",
    ),
    "the first removed": (f"DELETE FROM order_fsm_entry WHERE {_OF_1001} = 1", "entry 1"),
    "one removed": (f"DELETE FROM order_fsm_entry WHERE {_OF_1001} = 3", "entry 3"),
    "the last removed": (f"DELETE FROM order_fsm_entry WHERE {_OF_1001} = 5", "entry 4, not with the last"),
    "all removed": ("DELETE FROM order_fsm_entry WHERE order_id = '1001'", "entry 0, not with the last"),
    "its seal changed": (f"UPDATE order_fsm_entry SET seal = zeroblob(32) WHERE {_OF_1001} = 4", "entry 4"),
}


@pytest.mark.parametrize("edit", _HISTORY_EDITS)
def test_error_of_an_edited_history_names_the_first_broken_entry(path: Path, store: SqliteStore, edit: str) -> None:
    statement, named = _HISTORY_EDITS[edit]
    by_hand(path, statement)
    with pytest.raises(StoreCorrupt, match=named) as found:
        store.history("1001")
    assert "order '1001'" in str(found.value)


def test_swapped_entries_are_detected(path: Path, store: SqliteStore) -> None:
    by_hand(
        path,
        f"UPDATE order_fsm_entry SET version = 99 WHERE {_OF_1001} = 3",
        f"UPDATE order_fsm_entry SET version = 3 WHERE {_OF_1001} = 4",
        f"UPDATE order_fsm_entry SET version = 4 WHERE {_OF_1001} = 99",
    )
    with pytest.raises(StoreCorrupt, match="entry 3 of order '1001'"):
        store.history("1001")


def test_inserted_entry_is_detected(path: Path, store: SqliteStore) -> None:
    later = "UPDATE order_fsm_entry SET version = {} WHERE order_id = '1001' AND version = {}"
    by_hand(
        path,
        *(later.format(version + 1, version) for version in (5, 4, 3)),
        """INSERT INTO order_fsm_entry
            SELECT order_id, 3, trigger, state_before, state_after, at, by, comment, visible, notify, key, override,
                facts, rules_fingerprint, personal_facts, salt, personal, seal
            FROM order_fsm_entry WHERE order_id = '1001' AND version = 2""",
    )
    with pytest.raises(StoreCorrupt, match="entry 3 of order '1001'"):
        store.history("1001")


def test_history_of_another_order_is_detected(path: Path, store: SqliteStore) -> None:
    """The seal of an entry covers the id of its order."""
    by_hand(
        path,
        "DELETE FROM order_fsm_entry WHERE order_id = '1001'",
        "UPDATE order_fsm_entry SET order_id = '1001'",
    )
    with pytest.raises(StoreCorrupt, match="entry 1 of order '1001'"):
        store.history("1001")


_COLUMNS = (
    "total = '9.90'", "currency = 'EUR'", "customer = 'bob'", "customer = NULL", "email = 'bob@example.com'",
    "lines = '[]'", """data = '{"gift":false}'""", "created_at = '2026-01-01T00:00:00.000000+00:00'", "state = 'sent'",
    "placed_at = NULL", "placed_at = '2026-01-01T00:00:00.000000+00:00'", "placed_at = 'yesterday'",
    "counted = 0", "counted = 2", "version = 4", "updated_at = '2026-01-01T00:00:00.000000+00:00'",
    "refund_is_due = 0", "last_seal = x''", "seal = x''", "unit = '1'", "units = 1", "payments = '[]'",
    "payments = replace(payments, '49.90', '4.90')", "payments = replace(payments, 'captured', 'refunded')",
    "reserved = NULL", "reserved = '[]'", "salt = zeroblob(16)", "salt = NULL", "personal = NULL",
    "personal = zeroblob(32)", "customer = NULL, email = NULL, data = '{}'",
)  # fmt: skip


@pytest.mark.parametrize("edit", _COLUMNS)
def test_order_with_an_edited_column_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    by_hand(path, f"UPDATE order_fsm_order SET {edit} WHERE id = '1001'")
    for read in (store.load, store.history):
        with pytest.raises(StoreCorrupt, match="order '1001'"):
            read("1001")
    assert store.load("1002").version == 5


_ENTRY_COLUMNS = (
    "trigger = 'x'", "state_before = 'x'", "state_after = 'x'", "at = '2026-01-01T00:00:00.000000+00:00'", "by = 'x'",
    "comment = 'x'", "visible = 1", "notify = 1", "key = NULL", "override = 1", "facts = '{}'",
    "rules_fingerprint = 'x'", "salt = NULL", "personal = NULL", "salt = NULL, personal = NULL", "comment = ''",
    """personal_facts = '{"x":1}'""", "personal_facts = ''", "comment = '', personal_facts = '{}'",
)  # fmt: skip


@pytest.mark.parametrize("edit", _ENTRY_COLUMNS)
def test_history_with_an_edited_column_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    by_hand(path, f"UPDATE order_fsm_entry SET {edit} WHERE {_OF_1001} = 2")
    with pytest.raises(StoreCorrupt, match="entry 2 of order '1001'"):
        store.history("1001")


@pytest.mark.parametrize("edit", ["order_id = '1002'", "order_id = NULL", "first = 1", "last = 4"])
def test_edited_key_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    by_hand(path, f"UPDATE order_fsm_key SET {edit} WHERE key = 'evt 1001'")
    (snapshot,) = store.prepare_many([Need("1001", "evt 1001")])
    assert "key 'evt 1001'" in str(snapshot.fault)


@pytest.mark.parametrize("edit", ["available = 1000", "available = NULL", "held = 9", "shipped = 1", "lost = 1",
                                  "backorder = 1", "sku = 'TEAPOT '"])  # fmt: skip
def test_edited_stock_is_corrupt_and_is_not_overwritten(path: Path, store: SqliteStore, edit: str) -> None:
    by_hand(path, f"UPDATE order_fsm_stock SET {edit}")
    sku = "TEAPOT " if edit.startswith("sku") else "TEAPOT"
    calls: list[Callable[[], object]] = [
        lambda: store.stock([sku]),
        lambda: store.stock_levels([sku]),
        lambda: store.commit(stock_change(taken(sku, 1))),
        lambda: store.set_stock(sku, 7),
    ]
    for call in calls:
        with pytest.raises(StoreCorrupt, match=f"the stock of '{sku}'"):
            call()
    assert [sku in fault for fault in store.faults()] == [True]


# Personal values


_ERASURE = "UPDATE order_fsm_order SET customer = NULL, email = NULL, data = '{}', salt = NULL WHERE id = '1001'"


def erased(order: Order) -> Order:
    return replace(order, customer=None, email=None, data={})


def test_order_without_its_personal_values_and_salt_still_verifies(path: Path, store: SqliteStore) -> None:
    before, history = store.load("1001"), store.history("1001")
    by_hand(path, _ERASURE)
    assert store.load("1001") == erased(before)
    assert store.history("1001") == history
    assert store.faults() == ["the personal values of order '1001' are missing without an erasure"]
    assert [order.id for order in store.find(Query(When(), customer="ann"))] == ["1002"]
    assert sum(tally.orders for tally in store.tally("ann")) == 1


def test_entry_without_its_comment_and_salt_still_verifies(path: Path, store: SqliteStore) -> None:
    before = store.history("1001")
    by_hand(path, f"UPDATE order_fsm_entry SET comment = '', salt = NULL WHERE {_OF_1001} = 2")
    assert store.history("1001") == (before[0], replace(before[1], comment="", erased=True), *before[2:])


def test_personal_facts_are_only_in_the_salted_digest(path: Path, store: SqliteStore) -> None:
    """So they can be erased. The seal covers lasting facts."""
    facts: dict[str, Fact] = {"amount": Decimal("1.50"), "parcel": "AB 1", "gift": True, "note": None}
    change = step(store.load("1001"), facts=facts)
    store.commit(change)
    (row,) = by_hand(path, f"SELECT facts, personal_facts FROM order_fsm_entry WHERE {_OF_1001} = 6")
    assert [json.loads(str(text)) for text in row] == [
        {"amount": {"decimal": "1.50"}},
        {"parcel": "AB 1", "gift": True, "note": None},
    ]
    assert store.history("1001")[-1] == change.entries[0]
    by_hand(path, f"UPDATE order_fsm_entry SET personal_facts = '{{}}' WHERE {_OF_1001} = 6")
    with pytest.raises(StoreCorrupt, match="entry 6"):
        store.history("1001")
    by_hand(path, f"UPDATE order_fsm_entry SET salt = NULL WHERE {_OF_1001} = 6")
    assert store.history("1001")[-1].facts == {"amount": Decimal("1.50")}


def test_erasure_keeps_the_seals_of_the_entries(path: Path, store: SqliteStore) -> None:
    seals = by_hand(path, "SELECT seal, personal FROM order_fsm_entry WHERE order_id = '1001' ORDER BY version")
    store.commit(erasure(store.load("1001")))
    now = by_hand(path, "SELECT seal, personal FROM order_fsm_entry WHERE order_id = '1001' ORDER BY version")
    assert now[:-1] == seals
    assert by_hand(path, "SELECT salt, personal FROM order_fsm_order WHERE id = '1001'") == [(None, None)]
    assert store.faults() == []


def test_order_can_change_after_erasing_its_rows(path: Path, store: SqliteStore) -> None:
    by_hand(path, _ERASURE)
    change = step(store.load("1001"), comment="later")
    store.commit(change)
    assert store.load("1001") == order_of(change)
    assert store.history("1001")[-1].comment == "later"
    by_hand(path, "UPDATE order_fsm_order SET customer = 'eve' WHERE id = '1001'")
    with pytest.raises(StoreCorrupt, match="order '1001'"):
        store.load("1001")


@pytest.mark.usefixtures("store")
def test_equal_personal_values_have_different_digests(path: Path) -> None:
    """Otherwise an attacker could test guesses after an erasure."""
    for table in ("order", "entry"):
        rows = by_hand(path, f"SELECT salt, personal FROM order_fsm_{table} WHERE salt IS NOT NULL")
        assert len(rows) == 2
        assert len(set(rows)) == len({salt for salt, _ in rows}) == len({digest for _, digest in rows}) == 2


def test_unchanged_personal_values_keep_their_salt(path: Path, store: SqliteStore) -> None:
    salt = by_hand(path, "SELECT salt, personal FROM order_fsm_order")
    store.commit(step(store.load("1001"), comment="x"))
    assert by_hand(path, "SELECT salt, personal FROM order_fsm_order") == salt


# Messages and other rows


@pytest.mark.parametrize("column", ["order_id = '1003'", "topic = 'x'", "payload = '{}'", "payload = ''"])
def test_edited_message_is_logged_and_left_out(
    path: Path, store: SqliteStore, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    (first, second) = store.claim(START, moment(1), 10)
    store.retry_later(first, moment(1), None)
    for table in ("message", "dead_letter"):
        by_hand(
            path, f"UPDATE order_fsm_{table} SET {column} WHERE id = '{first.id if table[0] == 'd' else second.id}'"
        )
    assert store.dead_letters(10) == []
    assert [message.id for message in store.claim(moment(2), moment(3), 10)] == ["1001#5.1"]
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [first.id, second.id]
    with pytest.raises(StoreCorrupt, match=second.id):
        list(store.messages())
    assert any(fault.startswith("dead letter 1: message '") and first.id in fault for fault in store.faults())


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (
            "DELETE FROM order_fsm_order WHERE id = '1001'; DELETE FROM order_fsm_payment WHERE order_id = '1001'",
            "order '1001' is missing, and its entries are not",
        ),
        (
            "UPDATE order_fsm_key SET order_id = '1002' WHERE key = 'evt 1001'",
            "key 'evt 1001' belongs to order '1002', which has no entry with it",
        ),
        (
            "UPDATE order_fsm_stock SET available = 1000",
            "the stock of 'TEAPOT' is damaged or was edited: restore it from a backup",
        ),
        ("UPDATE order_fsm_customer_tally SET units = 1", "the tally of customer 'ann' differs from the orders"),
        ("DELETE FROM order_fsm_customer_tally", "the tally of customer 'ann' differs from the orders"),
        (
            "UPDATE order_fsm_message SET head = 1 - head WHERE order_id = '1001'",
            "relays cannot claim the oldest message of order '1001', or can claim a later one",
        ),
    ],
    ids=["order", "key", "stock", "tally", "lost tally", "head"],
)
def test_fault_outside_of_orders_is_listed(path: Path, store: SqliteStore, edit: str, fault: str) -> None:
    assert store.faults() == []
    by_hand(path, *edit.split("; "))
    assert store.faults() == [fault]


def test_key_without_an_order_is_not_a_fault(store: SqliteStore) -> None:
    store.commit(stock_change(taken("TEAPOT", 1), key="adjusted"))
    assert store.faults() == []


@pytest.mark.parametrize("column", ["state", "created_at", "customer"])
def test_order_that_differs_from_its_index_is_logged_and_left_out(
    path: Path, store: SqliteStore, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The test replaces the index by the index of another table, in which the column differs."""
    columns = "customer, state, created_at, id" if column == "customer" else "state, created_at, id"
    condition = "WHERE customer IS NOT NULL" if column == "customer" else ""
    index = "order_fsm_order_by_customer" if column == "customer" else "order_fsm_order_by_state"
    by_hand(
        path,
        "CREATE TABLE other AS SELECT * FROM order_fsm_order",
        f"CREATE INDEX other_index ON other ({columns}) {condition}",
    )
    by_hand(path, f"UPDATE other SET {column} = 'a'", "PRAGMA wal_checkpoint(TRUNCATE)")
    by_hand(
        path,
        "PRAGMA writable_schema = ON",
        f"""UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'other_index')
            WHERE name = '{index}'""",
    )
    store.close()
    when = When(has={"a"} if column == "state" else ())
    with SqliteStore(path) as store:
        assert store.find(Query(when, customer="a" if column == "customer" else None)) == []
    assert [record.args for record in caplog.records] == [("1001",), ("1002",)]


def test_missing_order_with_a_history_is_corrupt(path: Path, store: SqliteStore) -> None:
    by_hand(path, "DELETE FROM order_fsm_order WHERE id = '1001'")
    for read in (store.load, store.history):
        with pytest.raises(StoreCorrupt, match="order '1001' is missing, and its history is not"):
            read("1001")
        with pytest.raises(OrderNotFound):
            read("1003")
    with pytest.raises(StoreCorrupt, match="order '1001' is missing"):
        store.commit(creation("1001"))


# The seals themselves


def test_recomputed_seals_are_accepted(path: Path, store: SqliteStore) -> None:
    """Seals contain no secret, so anyone can compute all of them again."""
    by_hand_and_sealed(path, "UPDATE order_fsm_entry SET by = 'eve' WHERE version = 2")
    assert store.history("1001")[1].by == "eve"
    assert store.load("1001").customer == "ann"


_VALUES = st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1), st.none() | st.binary() | st.booleans())


@given(st.lists(_VALUES, min_size=1, max_size=4), st.data())
def test_different_chains_end_with_different_seals(rows: list[tuple[object, ...]], data: st.DataObject) -> None:
    others = data.draw(st.permutations(rows) | st.lists(st.sampled_from(rows), min_size=1))
    assert (_last(others) == _last(rows)) == (others == rows)


def _last(rows: list[tuple[object, ...]]) -> bytes:
    last = b""
    for row in rows:
        last = seal(last, digest(row))
    return last


def test_seal_of_a_value_does_not_depend_on_the_order_of_its_keys() -> None:
    """A database may return the keys of a JSON object in another order."""
    assert digest(("x", {"a": 1, "b": {"c": 2, "d": 3}})) == digest(("x", {"b": {"d": 3, "c": 2}, "a": 1}))


def test_seals_are_stable_across_releases() -> None:
    """Otherwise existing databases would become corrupt."""
    change = step(
        order_of(creation("1001")),
        by="é",
        facts={"items": -(2**63), "credit": True, "amount": order_of(creation()).total},
    )
    found = entry_row("1001", change.entries[0], b"\0").seal
    assert found.hex() == "3a5972b4b7d335965e647b080c885e068b618b7b1dc2477c03fe6f1ac222b6f4"


def test_order_is_returned_after_each_of_many_commits(store: SqliteStore) -> None:
    order = paid_order(store, "1003")
    for number in range(20):
        payments = [("captured", "0.10")]
        change = step(order, entries=1 + number % 3, comment=f"\0 {number} \U0001f600", payments=payments)  # type: ignore[arg-type]
        store.commit(change)
        order = order_of(change)
        assert store.load("1003") == order
    assert [entry.version for entry in store.history("1003")] == list(range(1, order.version + 1))
    store.commit(creation("1004", data={"deep": [1.5, 1e22, -0.0, {"é": None}]}))
    assert store.load("1004").data == {"deep": [1.5, 1e22, -0.0, {"é": None}]}

"""What a file of the SQLite store holds: values that come back, and edits by hand that are found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from order_fsm import InvalidInput, StoreCorrupt, When
from order_fsm.model import Payment
from order_fsm.store import Query, StockMove
from order_fsm.testing.store_contract.changes import START, creation, given_back, step
from order_fsm_adapters.places import time_text
from order_fsm_adapters.sqlite import SqliteStore, inspection
from order_fsm_adapters.sqlite.rows import message_of, message_row, money

from .sqlite_files import by_hand, by_hand_and_sealed, paid_order

LATER = START + timedelta(days=1)


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
def test_an_order_that_cannot_be_read_back_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    paid_order(store)
    by_hand(path, edit)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="restore it from a backup"):
            store.load("1001")
    with pytest.raises(StoreCorrupt):
        store.find(Query(When()))


def test_a_broken_order_stops_no_other(path: Path, store: SqliteStore) -> None:
    store.commit(creation("1002"))
    paid_order(store)
    by_hand(path, "UPDATE order_fsm_order SET lines = '[' WHERE id = '1001'")
    assert store.load("1002").version == 1


@pytest.mark.parametrize("edit", ["facts = '{'", """facts = '{"amount":{"decimal":"x"}}'""", "at = ''"])
def test_an_entry_that_cannot_be_read_back_is_corrupt(path: Path, store: SqliteStore, edit: str) -> None:
    paid_order(store)
    by_hand(path, f"UPDATE order_fsm_entry SET {edit} WHERE version = 2")  # noqa: S608 - of this file
    with pytest.raises(StoreCorrupt, match="entry 2 of order '1001'"):
        store.history("1001")


def test_a_message_that_cannot_be_read_back_is_corrupt_and_not_claimed(path: Path, store: SqliteStore) -> None:
    paid_order(store)
    by_hand(path, "UPDATE order_fsm_message SET payload = ''")
    with pytest.raises(StoreCorrupt, match=r"message '1001#2\.1'"):
        store.claim(START, LATER, 10)
    assert by_hand(path, "SELECT not_before FROM order_fsm_message") == [(None,)]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("order_fsm_order SET updated_at = 'yesterday'", "order '1001'"),
        ("order_fsm_entry SET at = 'yesterday' WHERE version = 2", "entry 2 of order '1001'"),
    ],
    ids=["order", "entry"],
)
def test_what_is_sealed_and_cannot_be_read_says_of_what_it_is_and_why(
    path: Path, store: SqliteStore, edit: str, said: str
) -> None:
    """Seals are no secret: what another program writes may bear the right one."""
    paid_order(store)
    by_hand_and_sealed(path, f"UPDATE {edit}")
    with pytest.raises(StoreCorrupt, match=f"^{said} is not as it was written: .*'yesterday'; restore it from"):
        (store.load if said.startswith("order") else store.history)("1001")


def test_a_message_that_cannot_be_read_says_of_which_it_is_and_why(store: SqliteStore) -> None:
    paid_order(store)
    (message,) = store.messages()
    row = message_row(message)
    with pytest.raises(StoreCorrupt, match=r"^message '1001#2\.1' is not as it was written: .*'yesterday'; restore it"):
        message_of((*row[:-1], "yesterday"), 0)
    with pytest.raises(StoreCorrupt, match=r"^message '1001#2\.1' is not as it was written: .*'many'; restore it"):
        message_of(row, "many")
    assert message_of(row, 0) == message


def test_a_total_that_cannot_be_read_back_makes_no_tally(path: Path, store: SqliteStore) -> None:
    paid_order(store)
    by_hand(path, "UPDATE order_fsm_order SET unit = 'ten'")
    with pytest.raises(StoreCorrupt, match="'ten'"):
        store.tally(None)


def test_what_orders_are_counted_by_and_is_no_number_makes_no_tally(path: Path, store: SqliteStore) -> None:
    """A damaged byte makes a text of a number; SQLite itself lets nobody write one there."""
    paid_order(store)
    store.close()
    number, text = "orders INTEGER", "orders TEXT"
    declare = "UPDATE sqlite_schema SET sql = replace(sql, '{}', '{}') WHERE name = 'order_fsm_tally'"
    by_hand(path, "PRAGMA writable_schema = ON", declare.format(number, text))
    by_hand(path, "UPDATE order_fsm_tally SET orders = 'one'")
    by_hand(path, "PRAGMA writable_schema = ON", declare.format(text, number))
    damaged = SqliteStore(path)
    with pytest.raises(StoreCorrupt, match=r"counted by is not as it was written: .*'one'"):
        damaged.tally(None)
    assert damaged.load("1001").version == 2
    damaged.close()


def test_an_entry_that_is_there_before_its_commit_is_corrupt(path: Path, store: SqliteStore) -> None:
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
def test_times_as_text_sort_as_times(times: list[datetime]) -> None:
    """From the year 1 on, in whatever zone they were given. They are what `isoformat` gives."""
    assert [time_text(at) for at in times] == [at.astimezone(UTC).isoformat(timespec="microseconds") for at in times]
    assert sorted(map(time_text, times)) == [time_text(at) for at in sorted(times)]
    assert len({len(time_text(at)) for at in times}) == 1


def test_text_with_nul_characters_comes_back(store: SqliteStore) -> None:
    change = creation("1001", data={"a\0b": ["\0", "\U0001f600", "\ufeff"]})
    store.commit(change)
    change = step(change.order, comment="before\0after", facts={"note": "\0"})
    store.commit(change)
    assert store.load("1001").data == {"a\0b": ["\0", "\U0001f600", "\ufeff"]}
    assert store.history("1001")[-1] == change.entries[0]


def test_an_order_that_comes_with_its_money_comes_back_with_it(path: Path, store: SqliteStore) -> None:
    """One that a shop takes over from elsewhere, in its first commit; to another process too."""
    other = SqliteStore(path)
    change = creation("1001", state="sent+paid")
    order = evolve(change.order, payments=(Payment("captured", Decimal("49.90"), "ch_1", START, 1),))
    store.commit(evolve(change, order=order))
    assert other.load("1001") == store.load("1001") == order
    store.commit(step(order, comment="x"))
    assert other.load("1001").payments == store.load("1001").payments == order.payments
    other.close()


def test_stock_beyond_64_bits_is_refused_and_changes_nothing(store: SqliteStore) -> None:
    store.set_stock("TEAPOT", 2**63 - 1)
    with pytest.raises(InvalidInput, match="order '1001': the stock of 'TEAPOT' would be beyond 64 bits"):
        store.commit(creation("1001", stock=[given_back("TEAPOT", 1)]))
    store.commit(creation("1002", stock=[given_back("CUP", 2**64)]))
    assert store.stock(["TEAPOT", "CUP"]) == {"TEAPOT": 2**63 - 1}
    assert [order.id for order in store.find(Query(When()))] == ["1002"]


def test_stock_goes_to_the_ends_of_64_bits(store: SqliteStore) -> None:
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
def test_a_walk_along_a_broken_index_ends(page: list[tuple[object, ...]]) -> None:
    """Where it does not lead on, it would lead around for ever."""
    with pytest.raises(StoreCorrupt, match=r"^an index of the database is out of order: mend it with SQLite.s REINDEX"):
        list(inspection.order_ids(lambda statement, values: page))


@pytest.mark.parametrize(
    ("amount", "why"), [(None, "NoneType"), (b"10", "bytes"), ("ten", "ConversionSyntax"), ("NaN", "no finite number")]
)
def test_what_is_no_amount_is_corrupt(amount: str, why: str) -> None:
    with pytest.raises(StoreCorrupt, match=f"^an amount {amount!r} is not as it was written: .*{why}.*restore it"):
        money(amount)

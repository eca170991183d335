"""SQLite finds and counts orders correctly, and the cost does not grow with the number of orders."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_fsm import StoreCorrupt, When
from order_fsm.model import UNFINISHED, Order
from order_fsm.store import Cursor, Query
from order_fsm.testing.store_contract.changes import creation, moment, order_of, step
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand

_STATES = st.sampled_from([UNFINISHED, "sent", "sent+paid", "cancelled", "sent+paid+cancelled"])
_CUSTOMERS = st.sampled_from([None, "ann", "bob"])
_STATUSES = st.frozensets(st.sampled_from(["sent", "paid", "cancelled"]), max_size=2)
_WHENS = st.just(When()) | st.builds(When, has=_STATUSES) | st.builds(When, lacks=_STATUSES, has_any=_STATUSES)


@pytest.mark.no_cover
@settings(deadline=None, max_examples=200)
@given(
    orders=st.lists(st.tuples(_STATES, _STATES, _CUSTOMERS, st.integers(0, 3), st.booleans()), max_size=8),
    queries=st.lists(
        st.tuples(_WHENS, _CUSTOMERS, st.booleans(), st.none() | st.integers(0, 3), st.integers(1, 4)),
        min_size=1,
        max_size=8,
    ),
)
def test_find_and_tally_agree_with_a_scan_of_all_orders(
    orders: list[tuple[str, str, str | None, int, bool]],
    queries: list[tuple[When, str | None, bool, int | None, int]],
) -> None:
    memory = MemoryStore()
    connection = sqlite3.connect(":memory:")
    store = SqliteStore(connection=connection)
    for number, (first, second, customer, second_of_creation, overpaid) in enumerate(orders):
        change = creation(f"{9 - number}", state=first, customer=customer, at=moment(second_of_creation))
        payments = [("captured" if overpaid else "refunded", "80")]
        for one in (change, step(order_of(change), state=second, payments=payments)):  # type: ignore[arg-type]
            memory.commit(one)
            store.commit(one)
    everything = sorted((memory.load(f"{9 - number}") for number in range(len(orders))), key=_age)
    for when, customer, refund_due, place, limit in queries:
        after = None if place is None or place >= len(everything) else everything[place]
        wanted = [
            order
            for order in everything
            if when.matches(order.statuses)
            and (customer is None or order.customer == customer)
            and (not refund_due or order.refund_due > 0)
            and (after is None or _age(order) > _age(after))
        ]
        query = Query(when, customer, refund_due, None if after is None else Cursor(*_age(after)), limit)
        assert store.find(query) == wanted[:limit]
    for customer in (None, "ann", "nobody"):
        assert set(store.tally(customer)) == set(memory.tally(customer))
    connection.close()


def _age(order: Order) -> tuple[datetime, str]:
    return order.created_at, order.id


def steps_of(connection: sqlite3.Connection, call: Callable[[], object]) -> int:
    """Return the number of SQLite instructions of a call. It is the same on every machine."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    connection.set_progress_handler(count, 1)
    call()
    connection.set_progress_handler(None, 1)
    return counted


@contextmanager
def shop(number_of_orders: int) -> Iterator[tuple[sqlite3.Connection, SqliteStore]]:
    """Create many paid orders of ann and some others. The last ten have another state or a refund due."""
    with closing(sqlite3.connect(":memory:")) as connection:
        store = SqliteStore(connection=connection)
        for number in range(number_of_orders):
            rare = number >= number_of_orders - 10
            state = "sent+cancelled" if rare else ("sent+paid", "sent")[number % 2]
            customer = "ann" if rare or number % 5 else "bob"
            change = creation(f"{number:05}", state=state, customer=customer, at=moment(number))
            store.commit(change)
            if rare or number % 6 == 0:
                store.commit(step(order_of(change), payments=[("captured", "100")]))
        connection.commit()
        yield connection, store


PAGES = {
    "state": (Query(When(has=["sent"], lacks=["cancelled"]), after=Cursor(moment(50), "00050"), limit=20), 20),
    "customer": (Query(When(), customer="ann", limit=20), 20),
    "refund due": (Query(When(), refund_due=True, limit=20), 20),
    "rare state": (Query(When(has=["cancelled"]), limit=20), 10),
    "rare state of a customer": (Query(When(has=["cancelled"]), customer="ann", limit=20), 10),
    "refund due of a customer": (Query(When(), customer="ann", refund_due=True, limit=20), 20),
    "no such state of a customer": (Query(When(has=["dispatched"]), customer="ann"), 0),
}


@pytest.mark.parametrize("page", PAGES)
def test_cost_of_a_page_does_not_grow_with_the_orders(page: str) -> None:
    query, length = PAGES[page]
    steps: list[int] = []
    for number_of_orders in (200, 2000):
        with shop(number_of_orders) as (connection, store):
            assert len(store.find(query)) == length
            steps.append(steps_of(connection, lambda store=store: store.find(query)))  # type: ignore[misc]
    assert steps[1] <= steps[0] * 1.1


@pytest.mark.parametrize("customer", [None, "ann", "nobody"])
def test_cost_of_a_tally_does_not_grow_with_the_orders(customer: str | None) -> None:
    steps: list[int] = []
    for number_of_orders in (200, 2000):
        with shop(number_of_orders) as (connection, store):
            steps.append(steps_of(connection, lambda store=store: store.tally(customer)))  # type: ignore[misc]
    assert steps[1] <= steps[0] * 1.1


def test_removal_of_the_last_order_of_a_customer_deletes_the_name(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        change = creation("1001", customer="ann")
        store.commit(change)
        store.remove(order_of(change))
    for (table,) in by_hand(path, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%customer%'"):
        assert by_hand(path, f"SELECT * FROM {table}") == []  # noqa: S608


def test_order_without_a_customer_is_in_no_customer_tally(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        store.commit(creation("1001"))
        store.commit(step(store.load("1001"), state="sent"))
        assert [(tally.state, tally.orders) for tally in store.tally(None)] == [("sent", 1)]
    assert by_hand(path, "SELECT * FROM order_fsm_customer_tally") == []


@pytest.mark.parametrize("query", [Query(When()), Query(When(has={"sent"}), since=moment(0))], ids=["all", "dated"])
def test_state_that_is_not_text_is_corrupt(tmp_path: Path, query: Query) -> None:
    """A damaged page of an index may have a value of another type."""
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        store.commit(creation("1001"))
    by_hand(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'order_fsm_order'",
    )
    by_hand(path, "DROP TRIGGER order_fsm_tally_moves", "UPDATE order_fsm_order SET state = x'ff'")
    with SqliteStore(path) as store, pytest.raises(StoreCorrupt, match="an index of the orders is damaged"):
        store.find(query)


def test_audit_names_a_miscounted_customer_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        store.commit(creation("1001", customer="ann"))
    by_hand(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '') WHERE name = 'order_fsm_customer_tally'",
    )
    rows = ", ".join(f"({customer}, 'paid', 'GBP', 0, 0, 0, '0.01', 1, 100)" for customer in ("x'ff'", "'ann'"))
    by_hand(path, f"INSERT INTO order_fsm_customer_tally VALUES {rows}")  # noqa: S608
    with SqliteStore(path) as store:
        assert [fault for fault in store.faults() if "tally" in fault] == [
            "the tally of customer 'ann' differs from the orders",
            "the tally of customer b'\\xff' differs from the orders",
        ]

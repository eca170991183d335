"""Intervals, reports and pages of a history in SQLite read one range of an index.

An audit finds every missing, changed or extra row of order_fsm_payment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from order_fsm import Orders, StoreCorrupt, When
from order_fsm.store import Cursor, Query
from order_fsm.testing.store_contract.changes import creation, moment, order_of, step
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand
from .test_sqlite_find import shop, steps_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as store:
        yield store


@pytest.fixture
def orders(store: SqliteStore) -> Orders:
    """Create two paid orders, one with a refund that lowered its price."""
    orders = Orders(store)
    for number in ("1", "2"):
        orders.create(number, total="10.00", currency="GBP")
        orders.fire(number, "pay", reference=f"ch_{number}")
    orders.fire("1", "refund", amount="1", reference="ch_1", transaction_id="r_1")
    return orders


# The payments by time


def test_undamaged_payment_rows_have_no_fault(orders: Orders, store: SqliteStore) -> None:
    orders.fire("2", "pay", amount="1", currency="EUR")
    assert store.faults() == []
    store.remove(store.load("1"))
    assert store.faults() == []


LACKS = "order_fsm_payment lacks row {} of order '1'"
HAS = "order_fsm_payment has row {} of order {!r}, not in its ledger"


@pytest.mark.parametrize(
    ("edit", "faults"),
    [
        ("DELETE FROM order_fsm_payment WHERE kind = 'refunded'", [LACKS.format("1 (refunded)")]),
        ("DELETE FROM order_fsm_payment WHERE kind = 'credited'", [LACKS.format("1 (credited)")]),
        (
            "UPDATE order_fsm_payment SET units = 999 WHERE order_id = '1' AND kind = 'captured'",
            [LACKS.format("0 (captured)"), HAS.format("0 (captured)", "1")],
        ),
        (
            "UPDATE order_fsm_payment SET currency = 'EUR' WHERE kind = 'credited'",
            [LACKS.format("1 (credited)"), HAS.format("1 (credited)", "1")],
        ),
        (
            "UPDATE order_fsm_payment SET at = '2024' WHERE kind = 'credited'",
            [LACKS.format("1 (credited)"), HAS.format("1 (credited)", "1")],
        ),
        (
            "UPDATE order_fsm_payment SET number = 7 WHERE kind = 'credited'",
            [LACKS.format("1 (credited)"), HAS.format("7 (credited)", "1")],
        ),
        (
            "INSERT INTO order_fsm_payment VALUES ('2024', 'gone', 0, 'captured', 'GBP', '1', 1)",
            [HAS.format("0 (captured)", "gone")],
        ),
        (
            "INSERT INTO order_fsm_payment VALUES ('2024', '2', 0, 'captured', 'GBP', '1', 1)",
            [HAS.format("0 (captured)", "2")],
        ),
    ],
)
def test_damaged_payment_row_is_a_fault(
    path: Path, store: SqliteStore, orders: Orders, edit: str, faults: list[str]
) -> None:
    by_hand(path, edit)
    assert store.faults() == faults
    assert not orders.audit().ok


def test_damaged_order_is_not_a_fault_of_payment_rows(path: Path, store: SqliteStore, orders: Orders) -> None:
    by_hand(path, "UPDATE order_fsm_order SET payments = '[' WHERE id = '1'")
    assert not [fault for fault in store.faults() if "order_fsm_payment" in fault]
    assert next(finding.order_id for finding in orders.audit().findings if finding.code == "corrupt") == "1"


def test_unreadable_sum_is_corrupt(path: Path, store: SqliteStore) -> None:
    store.commit(creation("1", state="sent"))
    by_hand(path, "UPDATE order_fsm_order SET unit = 'ten'")
    with pytest.raises(StoreCorrupt, match="total of an order is damaged"):
        store.totals(None, None, None)
    by_hand(
        path,
        "UPDATE order_fsm_order SET unit = '0.01'",
        "INSERT INTO order_fsm_payment VALUES ('2024', '1', 0, 'captured', 'GBP', 'ten', 1)",
    )
    with pytest.raises(StoreCorrupt, match="a row of order_fsm_payment is damaged"):
        store.report(None, None)


# Pages of a history


@pytest.mark.parametrize(
    ("edit", "after", "limit"),
    [
        ("DELETE FROM order_fsm_entry WHERE version = 3", 2, 2),
        ("DELETE FROM order_fsm_entry WHERE version = 3", 3, 2),
        ("DELETE FROM order_fsm_entry WHERE version = 4", 2, 2),
        ("DELETE FROM order_fsm_entry WHERE version = 6", 4, 2),
        ("DELETE FROM order_fsm_entry WHERE version = 6", 4, None),
        ("UPDATE order_fsm_entry SET comment = 'x' WHERE version = 3", 2, 1),
        ("UPDATE order_fsm_entry SET seal = zeroblob(32) WHERE version = 2", 2, 1),
        ("UPDATE order_fsm_entry SET seal = zeroblob(32) WHERE version = 6", 6, 1),
        ("UPDATE order_fsm_entry SET version = 9 WHERE version = 6", 4, 2),
    ],
)
def test_damaged_page_of_a_history_is_corrupt(
    path: Path, store: SqliteStore, edit: str, after: int, limit: int | None
) -> None:
    store.commit(creation("1", entries=6))
    assert len(store.history("1", after, limit)) <= 6
    by_hand(path, edit)
    with pytest.raises(StoreCorrupt, match="order '1'"):
        store.history("1", after, limit)


def test_cost_of_a_history_page_does_not_grow_with_the_history() -> None:
    steps = []
    for entries in (20, 2000):
        connection = sqlite3.connect(":memory:")
        store = SqliteStore(connection=connection)
        store.commit(creation("1", entries=entries))
        steps.append(steps_of(connection, lambda store=store: store.history("1", 5, 10)))  # type: ignore[misc]
        connection.close()
    assert steps[1] <= steps[0] * 1.1


# Plans


QUERIES = [
    Query(when, customer, due, after, 20, unmatched, reference, since, until)
    for when, customer, (due, unmatched, reference), (since, until), after in product(
        (When(), When(has={"sent"})),
        (None, "ann"),
        ((False, False, None), (True, False, None), (False, True, None), (False, False, "ch_1")),
        ((None, None), (moment(100), None), (moment(100), moment(140))),
        (None, Cursor(moment(110), "00110")),
    )
]


def test_every_statement_that_finds_or_sums_uses_an_index() -> None:
    """No statement scans a table, except the small tallies. No statement sorts rows that an index could sort."""
    statements: set[str] = set()
    with shop(200) as (connection, store):
        connection.set_trace_callback(statements.add)
        for query in QUERIES:
            store.find(query)
        for customer in (None, "ann"):
            store.tally(customer)
            store.totals(moment(0), moment(100), customer)
        store.report(moment(0), moment(100))
        store.history("00001", 1, 1)
        connection.set_trace_callback(None)
        asked = [one for one in statements if one.split()[0] in {"SELECT", "WITH"}]
        assert len(asked) > len(QUERIES) / 2
        for statement in asked:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            scans = [line for line in plan if line.startswith("SCAN") and line not in _SMALL]
            assert not scans, f"{statement} reads a whole table or index: {scans}"
            sorts = [line for line in plan if line.startswith("USE TEMP B-TREE FOR ORDER BY")]
            of_few = "order_fsm_reference" in statement or "= 1 AND" in statement
            assert not sorts or of_few, f"{statement} sorts rows that an index could have sorted: {plan}"


_SMALL = {"SCAN order_fsm_tally", "SCAN present", "SCAN CONSTANT ROW"}


INTERVALS = {
    "orders": Query(When(), since=moment(50), until=moment(90), limit=20),
    "a state": Query(When(has=["sent"], lacks=["paid"]), since=moment(50), until=moment(130), limit=20),
    "a customer": Query(When(), customer="ann", since=moment(50), limit=20),
    "no such state": Query(When(has=["dispatched"]), since=moment(50), until=moment(90)),
}


@pytest.mark.parametrize("name", INTERVALS)
def test_cost_of_an_interval_page_does_not_grow_with_the_orders(name: str) -> None:
    steps: list[int] = []
    for number_of_orders in (200, 2000):
        with shop(number_of_orders) as (connection, store):
            steps.append(steps_of(connection, lambda store=store: store.find(INTERVALS[name])))  # type: ignore[misc]
    assert steps[1] <= steps[0] * 1.1


def test_cost_of_interval_sums_does_not_grow_with_the_orders() -> None:
    steps: list[int] = []
    for number_of_orders in (200, 2000):
        with shop(number_of_orders) as (connection, store):

            def ask(store: SqliteStore = store) -> None:
                store.report(moment(50), moment(90))
                store.totals(moment(50), moment(90), None)
                store.totals(moment(50), moment(90), "ann")

            assert sum(sales.orders for sales in store.report(moment(50), moment(90)).values()) == 40
            steps.append(steps_of(connection, ask))
    assert steps[1] <= steps[0] * 1.1


def test_other_changes_do_not_write_the_index_by_placing_time() -> None:
    """Only placing and cancelling write its rows."""
    steps = []
    for state in ("sent", "prepaid"):
        connection = sqlite3.connect(":memory:")
        store = SqliteStore(connection=connection)
        change = creation("1", state=state, customer="ann")
        store.commit(change)
        later = step(order_of(change), state=f"{state}+paid")
        steps.append(steps_of(connection, lambda store=store, later=later: store.commit(later)))  # type: ignore[misc]
        connection.close()
    assert steps[0] == steps[1]

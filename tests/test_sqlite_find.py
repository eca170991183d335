"""Finding in the SQLite store: the same as by looking at every order, in as few steps among many as among few."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_fsm import When
from order_fsm.model import UNFINISHED, Order
from order_fsm.store import Query
from order_fsm.testing.store_contract.changes import creation, moment, step
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

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
def test_find_and_tally_agree_with_a_look_at_every_order(
    orders: list[tuple[str, str, str | None, int, bool]],
    queries: list[tuple[When, str | None, bool, int | None, int]],
) -> None:
    memory = MemoryStore()
    connection = sqlite3.connect(":memory:")
    store = SqliteStore(connection=connection)
    for number, (first, second, customer, second_of_creation, overpaid) in enumerate(orders):
        change = creation(f"{9 - number}", state=first, customer=customer, at=moment(second_of_creation))
        payments = [("captured" if overpaid else "refunded", "80")]
        for one in (change, step(change.order, state=second, payments=payments)):  # type: ignore[arg-type]
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
        query = Query(when, customer, refund_due, None if after is None else after.id, limit)
        assert store.find(query) == wanted[:limit]
    for customer in (None, "ann", "nobody"):
        assert set(store.tally(customer)) == set(memory.tally(customer))
    connection.close()


def _age(order: Order) -> tuple[datetime, str]:
    return order.created_at, order.id


@pytest.mark.parametrize(
    "query",
    [
        Query(When(has=["sent"], lacks=["cancelled"]), after="00050", limit=20),
        Query(When(), customer="ann", limit=20),
        Query(When(), refund_due=True, limit=20),
    ],
    ids=["state", "customer", "refund_due"],
)
def test_a_page_takes_as_many_steps_among_many_orders_as_among_few(query: Query) -> None:
    """Counted in instructions of SQLite, which are the same on every machine."""
    steps: list[int] = []
    for number_of_orders in (200, 2000):
        connection = sqlite3.connect(":memory:")
        store = SqliteStore(connection=connection)
        for number in range(number_of_orders):
            state = ("sent", "sent+paid", "sent+cancelled", UNFINISHED)[number % 4]
            change = creation(f"{number:05}", state=state, customer="ann" if number % 5 else "bob", at=moment(number))
            store.commit(change)
            if number % 6 == 0:
                store.commit(step(change.order, payments=[("captured", "100")]))
        connection.commit()
        counted = [0]

        def count(counted: list[int] = counted) -> int:
            counted[0] += 1
            return 0

        connection.set_progress_handler(count, 1)
        assert len(store.find(query)) == 20
        connection.close()
        steps.append(counted[0])
    assert steps[1] <= steps[0] * 1.1

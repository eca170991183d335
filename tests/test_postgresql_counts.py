"""Counts, totals and searches in PostgreSQL agree with the orders during writes and folds of the tally."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Event
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel

from order_fsm.store import Query
from order_fsm.testing.store_contract.changes import creation, moment, seeded, step
from order_fsm.testing.store_contract.expected import ALL
from order_fsm_adapters.postgresql import PostgresStore

from .servers import PostgresServer

CUSTOMERS = ("ann", "bob")
STATES = ("sent", "sent+paid", "sent+cancelled")


@pytest.fixture
def url(postgresql: PostgresServer, request: pytest.FixtureRequest) -> str:
    return postgresql.address(request.node.nodeid)


_GROUPS = """
    SELECT state, currency, count(*), sum(units * unit::numeric) FROM order_fsm_order
    WHERE customer = coalesce(%s, customer) GROUP BY state, currency
"""


def _check_one_moment(store: PostgresStore, reader: psycopg.Connection[Any]) -> None:
    """Check in one snapshot that the results agree with the orders."""
    guest = store.within(reader)
    for customer in (None, *CUSTOMERS):
        counted = {
            (state, currency): (number, total)
            for state, currency, number, total in reader.execute(_GROUPS, (customer,))
        }
        told = {(one.state, one.currency): (one.orders, one.total) for one in guest.tally(customer) if one.orders}
        assert told == counted
        found = guest.find(Query(ALL.when, customer=customer, limit=1000))
        assert Counter(order.state for order in found) == Counter(
            {state: number for (state, _), (number, _) in counted.items()}
        )
        placed = sum((order.total for order in found if order.counted and order.placed_at), Decimal(0))
        assert sum(guest.totals(None, None, customer).values(), Decimal(0)) == placed
    reader.rollback()


def test_counts_totals_and_finds_agree_in_every_snapshot_while_others_write_and_fold(url: str) -> None:
    """Two threads change and remove orders. Two others fold the tally."""
    stopped = Event()

    def write(seed: int) -> None:
        dice = seeded(seed)
        with PostgresStore(url) as own:
            for number in range(30):
                order_id = f"{seed}.{number}"
                total = dice.choice(["1", "2.5", "1000"])
                own.commit(creation(order_id, state="sent", total=total, customer=dice.choice(CUSTOMERS)))
                order = own.load(f"{seed}.{dice.randrange(number + 1)}") if number % 7 else own.load(order_id)
                own.commit(step(order, state=dice.choice(STATES)))
                if number % 10 == 9:
                    own.remove(own.load(order_id))
                    own.commit(creation(order_id, customer="bob"))

    def fold() -> None:
        with PostgresStore(url) as own:
            while not stopped.is_set():
                own.scrub()
                own.claim(moment(1), moment(2), 1)

    with PostgresStore(url) as store, psycopg.connect(url) as reader, ThreadPoolExecutor() as threads:
        reader.isolation_level = IsolationLevel.REPEATABLE_READ
        writers = [threads.submit(write, seed) for seed in range(2)]
        folders = [threads.submit(fold) for _ in range(2)]
        try:
            while not all(writer.done() for writer in writers):
                _check_one_moment(store, reader)
        finally:
            stopped.set()
        for one in (*writers, *folders):
            one.result()
        _check_one_moment(store, reader)
        store.scrub()
        _check_one_moment(store, reader)
        assert reader.execute("SELECT count(*) FROM order_fsm_tally_step").fetchall() == [(0,)]

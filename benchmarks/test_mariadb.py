"""What a change costs in MariaDB, as a ratio to the bare rows by hand over the same link, in one run.

A change is several statements there. On the shop's connection each of them is a round trip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from typing import Any

import pytest

from order_fsm import Orders
from paired_times import Compare, Work

pymysql = pytest.importorskip("pymysql")
pytest.importorskip("psycopg")

import servers_by_hand as by_hand  # noqa: E402
from order_fsm_adapters.mariadb import MariaDbStore  # noqa: E402

CHANGES = 100


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    try:
        by_hand.mariadb_connected(by_hand.MARIADB).close()
    except pymysql.err.OperationalError as error:
        pytest.skip(f"MariaDB cannot be reached: {error}")
    with by_hand.mariadb_database() as url:
        with MariaDbStore(url) as store:
            store.install()
        yield url


@pytest.fixture
def store(url: str) -> Iterator[MariaDbStore]:
    with MariaDbStore(url) as store:
        yield store


@pytest.fixture
def hand(url: str) -> Iterator[Any]:
    with closing(by_hand.mariadb_connected(url)) as connection:
        yield connection


_numbers = count()


def new_orders(store: MariaDbStore) -> list[str]:
    ids = [f"o{next(_numbers)}" for _ in range(CHANGES)]
    by_hand.created(store, ids)
    return ids


def in_transactions_by_hand(hand: Any, ids: Sequence[str]) -> Work:
    execute = by_hand.by_pymysql(hand)

    def work() -> None:
        for order_id in ids:
            by_hand.place(execute, order_id)
            hand.commit()

    return work


def test_a_change_in_mariadb_against_the_same_rows_by_hand(compare: Compare, store: MariaDbStore, hand: Any) -> None:
    orders = Orders(store)

    def in_own_transactions(ids: Sequence[str]) -> Work:
        def work() -> None:
            for order_id in ids:
                orders.fire(order_id, "place")

        return work

    compare(
        lambda: in_own_transactions(new_orders(store)),
        lambda: in_transactions_by_hand(hand, new_orders(store)),
        limit=3.0,
        rounds=9,
        changes=CHANGES,
    )


def test_a_joined_change_in_mariadb_against_the_same_rows_by_hand(
    compare: Compare, store: MariaDbStore, hand: Any
) -> None:
    orders = Orders(store)

    def joined(ids: Sequence[str]) -> Work:
        def work() -> None:
            for order_id in ids:
                orders.within(hand).fire(order_id, "place")
                hand.commit()

        return work

    compare(
        lambda: joined(new_orders(store)),
        lambda: in_transactions_by_hand(hand, new_orders(store)),
        limit=3.0,
        rounds=9,
        changes=CHANGES,
    )

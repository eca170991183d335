"""What a change costs in MariaDB, as a ratio to the bare rows by hand over the same link, in one run.

A change is several statements there. On the shop's connection each of them is a round trip.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from order_fsm import Orders
from paired_times import Compare

pytest.importorskip("pymysql")
pytest.importorskip("psycopg")

import servers_by_hand as by_hand
from order_fsm_adapters.mariadb import MariaDbStore
from server_changes import CHANGES, in_own_transactions, in_transactions_by_hand, joined, new_orders


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
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


def test_a_change_in_mariadb_against_the_same_rows_by_hand(compare: Compare, store: MariaDbStore, hand: Any) -> None:
    orders = Orders(store)
    compare(
        lambda: in_own_transactions(orders, new_orders(store)),
        lambda: in_transactions_by_hand(by_hand.by_pymysql(hand), hand.commit, new_orders(store)),
        limit=3.0,
        rounds=9,
        changes=CHANGES,
    )


def test_a_joined_change_in_mariadb_against_the_same_rows_by_hand(
    compare: Compare, store: MariaDbStore, hand: Any
) -> None:
    orders = Orders(store)
    compare(
        lambda: joined(orders, hand, new_orders(store)),
        lambda: in_transactions_by_hand(by_hand.by_pymysql(hand), hand.commit, new_orders(store)),
        limit=3.0,
        rounds=9,
        changes=CHANGES,
    )

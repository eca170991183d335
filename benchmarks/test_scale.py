"""The cost of a store with many orders (`--orders`) against one with 1,000."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest

import store_user
from filled_stores import KINDS, Shop
from order_fsm_adapters.sqlite import SqliteStore
from paired_times import Compare, Hold, Work

SMALL = 1_000
PAGE = 50


Shops = tuple[Shop, Shop]
"""The large store and the small one."""


@pytest.fixture(scope="module", params=KINDS)
def shops(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    number = cast(int, request.config.getoption("--orders"))
    large, small = (Shop(tmp_path_factory.mktemp("scale"), request.param, one) for one in (number, SMALL))
    with closing(large), closing(small):
        yield large, small


ON_SQLITE = pytest.mark.parametrize("shops", ["sqlite"], indirect=True)


def changes(shop: Shop, number: int) -> Work:
    ids = shop.some(number)
    shop.read_through()

    def work() -> None:
        for order_id in ids:
            shop.orders.fire(order_id, "invoice")
        for order_id in ids:
            shop.orders.fire(order_id, "uninvoice")

    return work


def test_a_change_among_many_orders(compare: Compare, shops: Shops) -> None:
    large, small = shops
    compare(lambda: changes(large, 50), lambda: changes(small, 50), limit=1.2, rounds=15, changes=100)


def pages(shop: Shop) -> Work:
    middle = f"o{shop.number // 2}"

    def work() -> None:
        for _ in range(5):
            assert len(shop.orders.queue("complete", limit=PAGE)) == PAGE
            assert len(shop.orders.queue("complete", after=middle, limit=PAGE)) == PAGE

    return work


def test_a_page_of_50_of_a_queue_of_many_orders(compare: Compare, shops: Shops) -> None:
    """Read the first page, and one from the middle."""
    large, small = shops
    compare(lambda: pages(large), lambda: pages(small), limit=1.2, rounds=15, changes=10)


def counting(shop: Shop) -> Work:
    def work() -> None:
        for _ in range(5):
            assert shop.orders.counts()["complete"] == shop.number - shop.number // 50

    return work


@ON_SQLITE
def test_counts_of_many_orders(compare: Compare, shops: Shops) -> None:
    large, small = shops
    compare(lambda: counting(large), lambda: counting(small), limit=1.5, rounds=7, changes=5)


def adding_up(shop: Shop) -> Work:
    def work() -> None:
        for _ in range(5):
            assert len(shop.orders.totals()) == 1

    return work


@ON_SQLITE
def test_totals_of_many_orders(compare: Compare, shops: Shops) -> None:
    large, small = shops
    compare(lambda: adding_up(large), lambda: adding_up(small), limit=1.5, rounds=7, changes=5)


def opening(shop: Shop) -> Work:
    def work() -> None:
        for _ in range(5):
            with closing(SqliteStore(shop.path)) as store:
                store.load("o1")

    return work


@ON_SQLITE
def test_opening_a_store_of_many_orders(compare: Compare, shops: Shops) -> None:
    """Includes reading one order."""
    large, small = shops
    compare(lambda: opening(large), lambda: opening(small), limit=1.5, rounds=7, changes=5)


@ON_SQLITE
@pytest.mark.skipif(not store_user.STATUS.exists(), reason="the system does not report the peak memory of a process")
def test_the_memory_of_a_process_that_uses_many_orders(hold: Hold, shops: Shops) -> None:
    def megabytes(shop: Shop) -> float:
        command = [sys.executable, store_user.__file__, str(shop.path), str(shop.number)]
        return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    large, small = shops
    hold(lambda: (megabytes(large), megabytes(small)), limit=1.1, unit="MB")

"""What a store of many orders costs against one of 1,000: `--orders` says how many."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

import store_user
from filled_stores import KINDS, filled, place
from order_fsm import Orders
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore
from paired_times import Compare, Hold, Work

SMALL = 1_000
PAGE = 50


class Shop:
    """A store that is full, and the orders in it."""

    def __init__(self, folder: Path, kind: str, number: int) -> None:
        self.number = number
        self.path = place(folder, kind, number)
        self.store = filled(folder, kind, number)
        self.orders = Orders(self.store)
        self._begin = count(1, 7919)

    def some(self, number: int) -> list[str]:
        """The ids of some complete orders from all over the store: of others each time, as far as it has so many."""
        first, step = next(self._begin), self.number // number
        ids = ((first + one * step) % self.number for one in range(number))
        return [f"o{one if one % 50 else one + 1}" for one in ids]

    def close(self) -> None:
        if isinstance(self.store, SqliteStore | JsonStore):
            self.store.close()


Shops = tuple[Shop, Shop]
"""The large one, and the small one."""


@pytest.fixture(scope="module", params=KINDS)
def shops(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    numbers = (request.config.getoption("--orders"), SMALL)
    large, small = (Shop(tmp_path_factory.mktemp("scale"), request.param, number) for number in numbers)
    with closing(large), closing(small):
        yield large, small


ON_SQLITE = pytest.mark.parametrize("shops", ["sqlite"], indirect=True)


def changes(shop: Shop, number: int) -> Work:
    ids = shop.some(number)

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
    """The first one, and one from the middle."""
    large, small = shops
    compare(lambda: pages(large), lambda: pages(small), limit=1.5, rounds=15, changes=10)


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
    """And reading one."""
    large, small = shops
    compare(lambda: opening(large), lambda: opening(small), limit=1.5, rounds=7, changes=5)


@ON_SQLITE
@pytest.mark.skipif(not store_user.STATUS.exists(), reason="the system does not tell the most memory of a process")
def test_the_memory_of_a_process_that_uses_many_orders(hold: Hold, shops: Shops) -> None:
    def megabytes(shop: Shop) -> float:
        command = [sys.executable, store_user.__file__, str(shop.path), str(shop.number)]
        return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    large, small = shops
    hold(lambda: (megabytes(large), megabytes(small)), limit=1.1, unit="MB")

"""Queries of a customer and an interval in SQLite, with equal results, on many orders (`--orders`) and on 1,000."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from filled_stores import filled_sqlite, in_groups
from order_fsm import Orders, Receipt
from order_fsm.store import Store
from order_fsm.testing import FrozenClock
from paired_times import Compare, Work

SMALL = 1_000
PAGE = 50
RARE = 10
MINUTE = timedelta(minutes=1)


class Shop:
    """Placed and paid orders, one per minute. Ann has up to 20,000 of them, and ten of hers are cancelled."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.step = number // min(20_000, number // 5)
        self._clock = FrozenClock()
        self._begin = self._clock.now
        self._store = filled_sqlite(folder / f"{number}.db", self._fill)
        self.orders = Orders(self._store)

    def _fill(self, store: Store) -> None:
        orders = Orders(store, clock=self._clock)
        rare = self.number // self.step // RARE * self.step
        for numbers in in_groups(self.number):
            for one in numbers:
                customer = "ann" if one % self.step == 0 else f"customer {one % 9973}"
                orders.create(f"o{one}", total="49.90", currency="GBP", customer=customer)
            with orders.batch() as batch:
                for one in numbers:
                    self._clock.advance(MINUTE)
                    batch.fire(f"o{one}", "pay", reference=f"ch_{one}")
                    if one % rare == 0:
                        batch.fire(f"o{one}", "cancel")
            assert all(isinstance(result, Receipt) for result in batch.results)

    def middle(self, orders: int) -> tuple[datetime, datetime]:
        """Return an interval with a number of placed orders."""
        since = self._begin + MINUTE * (self.number // 2)
        return since, since + MINUTE * orders

    def close(self) -> None:
        self._store.close()


Shops = tuple[Shop, Shop]
"""The large store and the small one."""


@pytest.fixture(scope="module")
def shops(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    number = cast(int, request.config.getoption("--orders"))
    large, small = (Shop(tmp_path_factory.mktemp("reports"), one) for one in (number, SMALL))
    with closing(large), closing(small):
        yield large, small


def page_of_a_customer(shop: Shop) -> None:
    assert len(shop.orders.find(customer="ann", limit=PAGE)) == PAGE


def rare_orders_of_a_customer(shop: Shop) -> None:
    assert len(shop.orders.find(customer="ann", has={"cancelled"}, limit=PAGE)) == RARE


def totals_of_a_customer(shop: Shop) -> None:
    assert len(shop.orders.totals("ann")) == 1


def report(shop: Shop) -> None:
    assert shop.orders.report(*shop.middle(400))["GBP"].orders > 390


def find_in_an_interval(shop: Shop) -> None:
    since, until = shop.middle(400)
    page = shop.orders.find(since=since, until=until, limit=PAGE)
    assert len(page) == len(shop.orders.find(since=since, until=until, after=page[-1].id, limit=PAGE)) == PAGE
    assert len(shop.orders.find(since=since, until=until, has={"paid"}, limit=PAGE)) == PAGE


def find_of_a_customer_in_an_interval(shop: Shop) -> None:
    since, until = shop.middle(PAGE * shop.step)
    assert len(shop.orders.find(customer="ann", since=since, until=until, limit=PAGE)) == PAGE


def totals_in_an_interval(shop: Shop) -> None:
    assert len(shop.orders.totals(None, *shop.middle(400))) == 1


def totals_of_a_customer_in_an_interval(shop: Shop) -> None:
    assert len(shop.orders.totals("ann", *shop.middle(PAGE * shop.step))) == 1


@pytest.mark.parametrize(
    "ask",
    [
        page_of_a_customer,
        rare_orders_of_a_customer,
        totals_of_a_customer,
        report,
        find_in_an_interval,
        find_of_a_customer_in_an_interval,
        totals_in_an_interval,
        totals_of_a_customer_in_an_interval,
    ],
    ids=lambda ask: ask.__name__,
)
def test_an_equal_answer_among_many_orders(compare: Compare, shops: Shops, ask: Callable[[Shop], None]) -> None:
    def asked(shop: Shop) -> Work:
        def work() -> None:
            for _ in range(10):
                ask(shop)

        return work

    large, small = shops
    compare(lambda: asked(large), lambda: asked(small), limit=1.5, rounds=9, changes=10)

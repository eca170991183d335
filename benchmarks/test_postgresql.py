"""What a change costs in PostgreSQL, as a ratio to the bare rows by hand over the same link, in one run."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, cast

import pytest

from filled_stores import complete_most, in_groups
from order_fsm import Line, Orders
from order_fsm.testing.store_contract.changes import creation
from paired_times import Compare, Work

psycopg = pytest.importorskip("psycopg")
pytest.importorskip("pymysql")

import servers_by_hand as by_hand  # noqa: E402
from order_fsm_adapters.postgresql import PostgresStore  # noqa: E402
from server_changes import (  # noqa: E402
    CHANGES,
    in_own_transactions,
    in_transactions_by_hand,
    joined,
    new_ids,
    new_orders,
)

WORKERS = 8


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with by_hand.database() as url:
        with PostgresStore(url) as store:
            store.install()
        yield url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with PostgresStore(url) as store:
        yield store


@pytest.fixture
def hand(url: str) -> Iterator[Any]:
    with by_hand.connected(url) as connection:
        yield connection


def transactions_by_hand(hand: Any, ids: Sequence[str]) -> Work:
    return in_transactions_by_hand(by_hand.by_psycopg(hand), hand.commit, ids)


def test_a_change_against_the_same_rows_by_hand(compare: Compare, store: PostgresStore, hand: Any) -> None:
    orders = Orders(store)
    compare(
        lambda: in_own_transactions(orders, new_orders(store)),
        lambda: transactions_by_hand(hand, new_orders(store)),
        limit=2.0,
        rounds=9,
        changes=CHANGES,
    )


def test_the_processor_time_of_a_change_against_the_same_rows_by_hand(
    compare: Compare, store: PostgresStore, hand: Any, url: str
) -> None:
    """The client's and the server's together."""
    orders = Orders(store)
    with by_hand.processor_seconds(url) as seconds:

        def metered(work: Work) -> Work:
            def metered() -> float:
                start = seconds()
                work()
                return seconds() - start

            return metered

        compare(
            lambda: metered(in_own_transactions(orders, new_orders(store))),
            lambda: metered(transactions_by_hand(hand, new_orders(store))),
            limit=2.2,
            rounds=15,
            changes=CHANGES,
        )


def test_a_joined_change_against_the_same_rows_by_hand(compare: Compare, store: PostgresStore, hand: Any) -> None:
    orders = Orders(store)
    compare(
        lambda: joined(orders, hand, new_orders(store)),
        lambda: transactions_by_hand(hand, new_orders(store)),
        limit=2.0,
        rounds=9,
        changes=CHANGES,
    )


def test_a_change_in_a_batch_of_100_against_the_same_rows_by_hand(
    compare: Compare, store: PostgresStore, hand: Any
) -> None:
    orders = Orders(store)

    def together(ids: Sequence[str]) -> Work:
        def work() -> None:
            with orders.batch() as batch:
                for order_id in ids:
                    batch.fire(order_id, "place")
            assert len(batch.results) == len(ids)

        return work

    def by_hands(ids: Sequence[str]) -> Work:
        execute = by_hand.by_psycopg(hand)

        def work() -> None:
            for order_id in ids:
                by_hand.place(execute, order_id)
            hand.commit()

        return work

    compare(
        lambda: together(new_orders(store, 100)),
        lambda: by_hands(new_orders(store, 100)),
        limit=2.3,
        rounds=15,
        changes=100,
    )


def test_changes_of_8_processes_against_the_same_rows_by_hand(compare: Compare, store: PostgresStore, url: str) -> None:
    """Each on orders of its own."""
    compare(
        lambda: of_processes(_place, url, new_orders(store, CHANGES * WORKERS)),
        lambda: of_processes(_place_by_hand, url, new_orders(store, CHANGES * WORKERS)),
        limit=2.0,
        rounds=5,
        changes=CHANGES * WORKERS,
    )


def test_changes_of_8_processes_on_one_item_against_the_same_rows_by_hand(
    compare: Compare, store: PostgresStore, url: str
) -> None:
    """By hand the stock of the item is one more versioned UPDATE of the same transaction."""
    orders = Orders(store)
    for sku in ("HOT", "BY HAND"):
        orders.set_stock(sku, 10**9)

    def with_lines(number: int) -> list[str]:
        ids = new_ids(number)
        for order_id in ids:
            orders.create(order_id, total="49.90", currency="GBP", lines=[Line("HOT", 1)])
        return ids

    number = CHANGES * WORKERS // 4
    compare(
        lambda: of_processes(_place, url, with_lines(number)),
        lambda: of_processes(_take_by_hand, url, new_orders(store, number)),
        limit=2.0,
        rounds=5,
        changes=number,
    )


def of_processes(work: Callable[[str, Sequence[str], Any], None], url: str, ids: Sequence[str]) -> Work:
    """Return work that processes share, timed from the moment at which all are ready."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(WORKERS + 1)
    processes = [context.Process(target=work, args=(url, ids[one::WORKERS], ready)) for one in range(WORKERS)]

    def shared() -> float:
        for process in processes:
            process.start()
        ready.wait()
        start = time.perf_counter()
        for process in processes:
            process.join()
        assert not any(process.exitcode for process in processes)
        return time.perf_counter() - start

    return shared


_TAKE = "UPDATE order_fsm_stock SET available = available - 1, held = held + 1 WHERE sku = %s AND available > 0"


def _place(url: str, ids: Sequence[str], ready: Any) -> None:
    with PostgresStore(url) as store:
        orders = Orders(store)
        orders.counts()
        ready.wait()
        in_own_transactions(orders, ids)()


def _place_by_hand(url: str, ids: Sequence[str], ready: Any) -> None:
    with by_hand.connected(url) as hand:
        hand.execute("SELECT 1")
        hand.commit()
        ready.wait()
        transactions_by_hand(hand, ids)()


def _take_by_hand(url: str, ids: Sequence[str], ready: Any) -> None:
    with by_hand.connected(url) as hand:
        execute = by_hand.by_psycopg(hand)
        hand.execute("SELECT 1")
        hand.commit()
        ready.wait()
        for order_id in ids:
            by_hand.place(execute, order_id)
            hand.execute(_TAKE, ("BY HAND",))
            hand.commit()


# Many orders


class Shop:
    """Orders in a schema of their own. Every fiftieth waits for its payment, the others are complete.

    Ann has up to 20,000 of them.
    """

    def __init__(self, url: str, number: int) -> None:
        self.number = number
        of_ann = number // min(20_000, number // 5)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA shop_{number}")
        url = f"{url}?options=-csearch_path%3Dshop_{number}"
        self.store = PostgresStore(url)
        self.store.install()
        self.orders = Orders(self.store)
        for numbers in in_groups(number):
            now = datetime.now(UTC)
            customers = {one: f"customer {one % 9973}" if one % of_ann else "ann" for one in numbers}
            new = [creation(f"o{one}", at=now, customer=customer) for one, customer in customers.items()]
            assert not any(self.store.commit_all(new))
            complete_most(self.orders, numbers)
        self.orders.deliver(lambda message: None, limit=1)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        self._begin = count(1, 7919)

    def some(self, number: int) -> list[str]:
        first, step = next(self._begin), self.number // number
        ids = ((first + one * step) % self.number for one in range(number))
        return [f"o{one if one % 50 else one + 1}" for one in ids]


@pytest.fixture(scope="module")
def shops(request: pytest.FixtureRequest, url: str) -> Iterator[tuple[Shop, Shop]]:
    number = cast(int, request.config.getoption("--orders"))
    large, small = Shop(url, number), Shop(url, 1_000)
    with large.store, small.store:
        yield large, small


def changes(shop: Shop) -> Work:
    ids = shop.some(50)

    def work() -> None:
        for order_id in ids:
            shop.orders.fire(order_id, "invoice")
        for order_id in ids:
            shop.orders.fire(order_id, "uninvoice")

    return work


def pages(shop: Shop) -> Work:
    middle = f"o{shop.number // 2}"

    def work() -> None:
        for _ in range(5):
            assert len(shop.orders.queue("complete", limit=50)) == 50
            assert len(shop.orders.queue("complete", after=middle, limit=50)) == 50

    return work


def pages_of_a_customer(shop: Shop) -> Work:
    def work() -> None:
        for _ in range(5):
            page = shop.orders.find(customer="ann", limit=50)
            assert len(page) == len(shop.orders.find(customer="ann", after=page[-1].id, limit=50)) == 50

    return work


def sums(shop: Shop) -> Work:
    def work() -> None:
        for _ in range(5):
            assert shop.orders.counts()["complete"] == shop.number - shop.number // 50
            assert shop.orders.totals()

    return work


@pytest.mark.parametrize(
    ("work", "limit", "each"),
    [(changes, 1.5, 100), (pages, 1.5, 10), (pages_of_a_customer, 2, 10), (sums, 2, 10)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_among_many_orders_in_postgresql(
    compare: Compare, shops: tuple[Shop, Shop], work: Callable[[Shop], Work], limit: float, each: int
) -> None:
    large, small = shops
    compare(lambda: work(large), lambda: work(small), limit=limit, rounds=9, changes=each)

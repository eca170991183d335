"""S10 of intervals: `find`, `totals` and `report` agree with the orders. S5 of pages of a history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import product
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from order_fsm.errors import OrderNotFound
from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.model import Order, Payment, When
from order_fsm.store import Change, Cursor, Query, Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract import samples
from order_fsm.testing.store_contract.changes import START, creation, moment, order_of, seeded, step
from order_fsm.testing.store_contract.crews import Crew
from order_fsm.testing.store_contract.expected import Expected, committed, cursor_at, record_under
from order_fsm.testing.store_contract.harness import StoreHarness

STATES = ("unfinished", "sent", "sent+paid", "sent+cancelled", "cancelled", "resent")
CUSTOMERS = (None, "ann", "Ann", "a%")
AMOUNTS = ("0", "0.01", "49.90", "50", "999999999999999.99999999", "0.00000001")

MICROSECOND = timedelta(microseconds=1)

Interval = tuple[datetime | None, datetime | None]


def _intervals() -> Iterator[Interval]:
    """Return intervals with bounds around the times at which the orders of `_shop` are placed, or without bounds."""
    times = [None, moment(0), moment(3), moment(3) + MICROSECOND, moment(5)]
    for since, until in product(times, times):
        if since is None or until is None or since <= until:
            yield since, until
    yield START - timedelta(days=400), START + timedelta(days=400)


def _shop(store: Store, dice: Random, check: Callable[[Expected], None] | None = None) -> Expected:
    """Return thirty orders, placed, unplaced and placed again at a few times, with money in three currencies."""
    expected = Expected()
    for number in dice.sample(range(30), 30):
        customer, currency = dice.choice(CUSTOMERS), dice.choice(["GBP", "EUR"])
        change = creation(f"{number}", total=dice.choice(AMOUNTS), currency=currency, customer=customer)
        committed(store, expected, change)
    for number in range(60):
        order = expected.orders[dice.choice(list(expected.orders))]
        at = moment(dice.randrange(6)) + MICROSECOND * dice.randrange(2)
        change = step(order, state=dice.choice(STATES), at=at)
        committed(store, expected, _with_money(change, dice) if number % 2 else change)
        if check is not None and number % 6 == 0:
            check(expected)
    return expected


def _with_money(change: Change, dice: Random) -> Change:
    """Return a change that records two payments. One may be in another currency."""
    order = order_of(change)
    rows = tuple(
        Payment(
            dice.choice(PAYMENT_KINDS),
            Decimal(dice.choice(AMOUNTS)),
            currency,
            dice.choice([None, "ch_1"]),
            order.updated_at,
            order.version,
            Decimal(dice.choice(["0", "0", "3.33", "-3.33", "0.5", "-999999999999999.5"])),
        )
        for currency in (order.currency, dice.choice([order.currency, "XTS"]))
    )
    return replace(change, order=replace(order, payments=order.payments + rows))


def _agree(store: Store, expected: Expected) -> None:
    for since, until in _intervals():
        report = store.report(since, until)
        assert report == expected.report(since, until), f"the report from {since} to {until} is wrong"
        for customer in (*CUSTOMERS, "nobody"):
            totals = store.totals(since, until, customer)
            wanted = expected.totals(since, until, customer)
            assert totals == wanted, f"the totals of {customer!r} from {since} to {until} are wrong"


class Reports(StoreHarness):
    """Tests of intervals and of pages of a history."""

    def test_s7_the_time_of_placing_is_returned_unchanged(self, place: Path) -> None:
        """It is None or any time, and stays until the order is unplaced or placed again."""
        with self.opened(place) as store:
            expected = Expected()
            for number, at in enumerate(samples.MOMENTS):
                committed(store, expected, creation(f"{number}"), creation(f"at once {number}", state="sent", at=at))
                for state in ("sent", "sent+paid", "sent", "cancelled", "sent+paid"):
                    committed(store, expected, step(expected.orders[f"{number}"], state=state, at=at))
                    placed_at = store.load(f"{number}").placed_at
                    assert exact(placed_at) == exact(None if state == "cancelled" else at)
            expected.check(store)
        if self.durable:
            with self.opened(place) as another:
                expected.check(another)

    def test_s10_find_in_an_interval_agrees_with_the_orders(self, store: Store) -> None:
        """A dated query returns the orders that were placed in its interval, oldest first by (placed_at, id)."""
        expected = _shop(store, seeded("dated find"))
        whens = (When(), When(has={"sent"}), When(lacks={"sent"}), When(has={"cancelled"}), When(has_any={"paid"}))
        for (since, until), when, customer in product(_intervals(), whens, (None, "ann", "nobody")):
            self._find(store, expected, Query(when, customer, since=since, until=until))
        for (since, until), due, reference in product(_intervals(), (False, True), (None, "ch_1", "nothing")):
            self._find(store, expected, Query(When(), None, due, None, 50, due, reference, since, until))
            self._find(store, expected, Query(whens[1], "ann", due, None, 50, False, reference, since, until))

    def test_s10_pages_of_an_interval_give_every_order_once(self, store: Store) -> None:
        """A dated query continues after a position in its own sequence, even if no order is at that position."""
        expected = _shop(store, seeded("dated pages"))
        for limit, when, customer in product((1, 4, 50), (When(), When(has={"paid"})), (None, "ann")):
            query = Query(when, customer, limit=limit, since=moment(1), until=moment(5))
            pages: list[Order] = []
            after: Cursor | None = None
            while page := store.find(query._replace(after=after)):
                pages += page
                after = cursor_at(page[-1], dated=True)
            assert pages == expected.find(query._replace(limit=1000)), f"the pages of {query} lose or repeat orders"
        for at, order_id in product((moment(0), moment(3), moment(9)), ("", "1", "never there")):
            self._find(store, expected, Query(When(), after=Cursor(at, order_id), limit=5, since=moment(2)))

    def test_s10_totals_and_report_of_an_interval_agree_with_the_orders(self, store: Store) -> None:
        """Sums are exact in every currency, after every change and removal, and include only counted orders."""
        assert store.report(None, None) == store.totals(None, None, None) == {}, "an empty store must have no sums"
        expected = _shop(store, seeded("report"), partial(_agree, store))
        _agree(store, expected)
        for number in range(0, 30, 2):
            store.remove(expected.orders[f"{number}"])
            expected.remove(f"{number}")
        _agree(store, expected)
        change = creation("0", state="sent", entries=3, at=START - timedelta(days=300))
        imported = Payment("captured", order_of(change).total, "GBP", None, START - timedelta(days=200), 2)
        committed(store, expected, replace(change, order=replace(order_of(change), payments=(imported,))))
        _agree(store, expected)
        assert list(store.faults()) == [], "an undamaged store must report no fault"

    def test_s10_a_report_is_a_snapshot(self, crew: Crew) -> None:
        """While workers create orders and pay them in the same commit, the money and the orders of a report agree."""
        done = ["the first has read", "the second has read"]
        with crew.opened() as store:
            store.commit(creation("1001"))

        def write(number: int, store: Store) -> None:
            for turn in range(2000):
                change = creation(f"{number} {turn}", state="sent+paid", total="10")
                paid = Payment("captured", order_of(change).total, "GBP", None, START, 1)
                store.commit(replace(change, order=replace(order_of(change), payments=(paid,))))
                if all(record_under(store, key) for key in done):
                    break

        def read(key: str, store: Store) -> None:
            for _ in range(20):
                for sales in store.report(START, None).values():
                    sums = [sales.gross, sales.received, sales.refunded, sales.credited]
                    assert sums == [10 * sales.orders, 10 * sales.orders, 0, 0], "read it from one snapshot"
            store.commit(creation(key, key=key))

        jobs: list[Callable[[Store], None]] = [partial(read, key) for key in done]
        jobs += [partial(write, number) for number in range(min(crew.size - 2, 2))]
        crew.run(jobs)

    def test_s5_pages_of_a_history_give_every_entry_once(self, store: Store) -> None:
        """A page starts after any version, and has the wanted number of entries or all that are left."""
        expected = Expected()
        committed(store, expected, creation("1001", entries=4), creation("1002"))
        for entries in (1, 3, 1):
            committed(store, expected, step(expected.orders["1001"], entries=entries, comment="a reason"))
        history = expected.histories["1001"]
        for after, limit in product(range(11), (None, 1, 2, 8, 9, 10, 1000)):
            page = store.history("1001", after, limit)
            wanted = history[after:] if limit is None else history[after : after + limit]
            assert exact(page) == exact(wanted), f"the {limit} entries after {after} are wrong"
        with pytest.raises(OrderNotFound):
            store.history("1003", 1, 1)

    def _find(self, store: Store, expected: Expected, query: Query) -> None:
        found, wanted = store.find(query), expected.find(query)
        assert [order.id for order in found] == [order.id for order in wanted], f"find is wrong for {query}"
        assert found == wanted, "find must return the orders of the last commits"

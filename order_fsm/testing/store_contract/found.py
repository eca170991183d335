"""S10: `find` and `tally` agree with the orders."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import product
from random import Random
from typing import Any

from msgspec.structs import replace

from order_fsm.model import UNFINISHED, GoodsKind, Line, PaymentKind, When
from order_fsm.store import Cursor, Query, Store
from order_fsm.testing.store_contract.changes import START, creation, moment, moving, order_of, seeded, step
from order_fsm.testing.store_contract.expected import Expected, committed, cursor_at
from order_fsm.testing.store_contract.harness import StoreHarness

STATES = (
    UNFINISHED,
    "sent",
    "sent+paid",
    "sent+paid+dispatched",
    "sent+cancelled",
    "cancelled",
    "prepaid",
    "sent+prepaid",
)
CUSTOMERS = ("ann", "Ann", "ann ", "a_n", "a%", "\u00e9va", "e\u0301va")
LINES = (Line("TEAPOT", 2), Line("CUP", 1))
SHOP = ("paid", "sent", "dispatched", "cancelled")


def _shop(store: Store, dice: Random) -> Expected:
    """Return forty orders at a few times, not created in the sequence of these, and their changes."""
    expected = Expected()
    for number in dice.sample(range(40), 40):
        at = START + timedelta(microseconds=dice.choice([-1, 0, 1, 876544, 876545]))
        committed(
            store,
            expected,
            creation(
                f"{number}",
                state=dice.choice(STATES),
                total=dice.choice(["0", "0.01", "49.90", "50", "999999999999999.99999999"]),
                currency=dice.choice(["GBP", "EUR"]),
                lines=[Line("CUP", 2)],
                customer=dice.choice([None, *CUSTOMERS]),
                at=at,
            ),
        )
    kinds: list[PaymentKind] = ["captured", "captured", "captured", "refunded", "reversed"]
    goods: list[GoodsKind] = ["shipped", "shipped", "returned", "recalled"]
    for _ in range(60):
        order = expected.orders[dice.choice(list(expected.orders))]
        payments: list[tuple[PaymentKind, str]] = [
            (dice.choice(kinds), dice.choice(["49.90", "50", "0.00000001"])) for _ in range(dice.randrange(3))
        ]
        change = step(order, state=dice.choice(STATES), payments=payments)
        if dice.randrange(2):
            change = moving(change, dice.choice(goods), [Line("CUP", 1)])
        committed(store, expected, change)
    return expected


def _queries() -> Iterator[Query]:
    """Return queries on every status, on two statuses, on customers and on money, alone and combined."""
    whens = [When(), *(When(has={name}) for name in (*SHOP, "prepaid", "pre", "nothing"))]
    whens += [When(lacks={name}) for name in (*SHOP, "prepaid")]
    whens += [When(has={"sent"}, lacks={one}) for one in SHOP]
    whens += [When(has={"sent", "paid"}), When(lacks={"sent", "cancelled"}), When(has={"paid"}, lacks={"paid"})]
    whens += [
        When(has_any={"paid", "cancelled"}),
        When(has={"sent"}, has_any={"paid", "prepaid"}, lacks={"dispatched"}),
    ]
    whens += [When(has_any={"nothing"}), When(has={"paid"}, has_any={"nothing", "sent"})]
    for when, customer, refund_due in product(whens, (None, "ann", "a%", "nobody"), (False, True)):
        yield Query(when, customer, refund_due)
    for when, customer, refund_due in product(whens[:8], (None, "ann"), (False, True)):
        yield Query(when, customer, refund_due, part_dispatched=True)
    for customer in CUSTOMERS:
        yield Query(When(), customer)


class Found(StoreHarness):
    """Tests of queries and sums."""

    def test_s10_find_agrees_with_the_orders(self, store: Store) -> None:
        """Every query returns the orders that a scan of all orders returns, oldest first by (created_at, id)."""
        expected = _shop(store, seeded("find"))
        for query in _queries():
            found, wanted = store.find(query), expected.find(query)
            assert [order.id for order in found] == [order.id for order in wanted], f"find is wrong for {query}"
            assert found == wanted, "find must return the orders of the last commits"

    def test_s10_pages_give_every_order_once(self, store: Store) -> None:
        """Pages return every order once, for every query and page size."""
        expected = _shop(store, seeded("pages"))
        conditions = [When(), When(has={"sent"}), When(lacks={"cancelled"}), When(has_any={"paid", "prepaid"})]
        marks = ((False, False), (True, False), (False, True), (True, True))
        for when, customer, (refund_due, part), limit in product(conditions, (None, "ann"), marks, (1, 7, 50)):
            query = Query(when, customer, refund_due, part_dispatched=part, limit=limit)
            pages: list[str] = []
            after: Cursor | None = None
            while page := store.find(query._replace(after=after)):
                assert len(page) <= limit, "a page must have at most `limit` orders"
                pages += [order.id for order in page]
                after = cursor_at(page[-1])
            wanted = [order.id for order in expected.find(query._replace(limit=1000))]
            assert pages == wanted, f"the pages of {query} lose or repeat orders"

    def test_s10_a_page_continues_after_an_order_that_no_longer_matches(self, store: Store) -> None:
        """A cursor is a position among all orders, even if the query does not match the order at that position."""
        expected = Expected()
        for number in range(6):
            committed(store, expected, creation(f"{number}", state="sent", at=moment(number), customer="ann"))
        cursor = cursor_at(expected.orders["2"])
        committed(store, expected, step(expected.orders["2"], state="cancelled"))
        for query in (Query(When(has={"sent"}), after=cursor), Query(When(has={"sent"}), "ann", after=cursor, limit=2)):
            assert store.find(query) == expected.find(query)
        assert store.find(Query(When(), customer="eve", after=cursor)) == []

    def test_s10_a_page_continues_after_an_order_that_was_removed(self, store: Store) -> None:
        """A cursor stays valid if its order is removed or never existed. The orders after its position follow."""
        expected = Expected()
        for number in range(8):
            committed(store, expected, creation(f"{number}", state="sent", at=moment(number // 3), customer="ann"))
        cursor = cursor_at(expected.orders["4"])
        store.remove(expected.orders["4"])
        expected.remove("4")
        cursors = [cursor, Cursor(moment(1), "never there"), Cursor(moment(1), ""), Cursor(moment(99), "0"), None]
        for after, customer in product([*cursors, Cursor(START - timedelta(days=1), "9")], (None, "ann")):
            query = Query(When(has={"sent"}), customer, after=after, limit=3)
            assert store.find(query) == expected.find(query), f"find is wrong after {after}"
        assert [order.id for order in store.find(Query(When(), after=cursor))] == ["5", "6", "7"]

    def test_s10_orders_of_one_moment_are_sorted_by_id(self, store: Store) -> None:
        """Orders created in the same microsecond are sorted by id, compared by code point."""
        ids = ["10", "9", "1", "a", "B", "Z", "z", "\u00e9", "e\u0301", "\uffff", "\U00010000", "~", "a b", "a-b", "a"]
        expected = Expected()
        for order_id in seeded("ids").sample(sorted(set(ids)), len(set(ids))):
            committed(store, expected, creation(order_id))
        committed(store, expected, creation("first", at=START - timedelta(microseconds=1)))
        found = [order.id for order in store.find(Query(When()))]
        assert found == ["first", *sorted(set(ids))], (
            "ids must be compared by code point, not by the rules of a language"
        )

    def test_s10_an_order_is_found_by_its_current_state(self, store: Store) -> None:
        """After each commit an order matches the queries for its new state and no longer those for its old one."""
        expected = Expected()
        committed(store, expected, creation("1001", customer="ann", total="10"), creation("1002", customer="ann"))
        life: list[tuple[str, list[tuple[PaymentKind, str]]]] = [
            ("sent", []),
            ("sent+paid", [("captured", "10.00000001")]),
            ("sent", [("reversed", "10.00000001")]),
            ("sent+paid", [("captured", "10")]),
            ("sent+paid+cancelled", []),
            ("sent+paid+cancelled", [("refunded", "10.00")]),
            ("sent", []),
        ]
        for state, payments in life:
            committed(store, expected, step(expected.orders["1001"], state=state, payments=payments))
            for query in (*(Query(When(has={name})) for name in SHOP), Query(When(), refund_due=True)):
                assert store.find(query) == expected.find(query), f"find is wrong for {query} after {state}"
            assert set(store.tally(None)) == expected.tally(None), f"tally is wrong after {state}"

    def test_s10_an_amended_order_is_found_and_counted_as_amended(self, store: Store) -> None:
        """An amended customer, total, address, lines or data replace those of the creation."""
        expected = Expected()
        committed(store, expected, creation("1001", customer="ann", total="10", email="ann@example.com", lines=LINES))
        committed(store, expected, creation("1002", customer="ben", total="7"))
        paid = step(expected.orders["1001"], state="sent+paid", payments=[("captured", "10")])
        committed(store, expected, paid)
        amendments: list[dict[str, Any]] = [
            {"customer": "ben"},
            {"total": Decimal("4.00")},
            {"customer": None, "total": Decimal("12.345")},
            {"customer": "ann", "email": None},
            {"lines": LINES[:1], "email": "ben@example.com", "data": {"gift": True}},
            {"lines": (), "data": {}},
        ]
        for parts in amendments:
            change = step(expected.orders["1001"], state="sent+paid")
            committed(store, expected, replace(change, order=replace(order_of(change), **parts)))
            for customer in (None, "ann", "ben"):
                query = Query(When(), customer)
                assert store.find(query) == expected.find(query), f"find is wrong for {customer!r} after {parts}"
                assert set(store.tally(customer)) == expected.tally(customer), f"tally is wrong after {parts}"
            assert store.find(Query(When(), refund_due=True)) == expected.find(Query(When(), refund_due=True))
        expected.check(store)

    def test_s10_a_partly_shipped_order_is_found(self, store: Store) -> None:
        """Shipments, amended lines, a cancellation and a recall change whether an order is part-dispatched."""
        expected = Expected()
        for order_id, customer in (("1001", "ann"), ("1002", None)):
            ordered = [Line("CUP", 2), Line("TEAPOT", 1)]
            committed(store, expected, creation(order_id, state="sent", lines=ordered, customer=customer))
        life: list[tuple[str, GoodsKind | None, str, list[Line] | None]] = [
            ("sent", "shipped", "CUP", None),
            ("sent", "shipped", "CUP", None),
            ("sent+dispatched", "shipped", "TEAPOT", None),
            ("sent+dispatched", "returned", "CUP", None),
            ("sent", None, "", [Line("CUP", 3), Line("TEAPOT", 1)]),
            ("sent+cancelled", None, "", None),
            ("sent", None, "", None),
            ("sent+dispatched", None, "", [Line("CUP", 2), Line("TEAPOT", 1)]),
            ("sent", "recalled", "CUP", None),
            ("sent", "shipped", "TEAPOT", None),
        ]
        parts = []
        for state, kind, sku, amended in life:
            change = step(expected.orders["1001"], state=state)
            if kind is not None:
                change = moving(change, kind, [Line(sku, 1)])
            if amended is not None:
                change = replace(change, order=replace(order_of(change), lines=tuple(amended)))
            committed(store, expected, change)
            parts.append(order_of(change).part_dispatched)
            for customer in (None, "ann", "eve"):
                for when, since in product((When(), When(has={"sent"}), When(has={"dispatched"})), (None, START)):
                    query = Query(when, customer, part_dispatched=True, since=since)
                    assert store.find(query) == expected.find(query), f"find is wrong for {query} after {change}"
                assert set(store.tally(customer)) == expected.tally(customer), f"tally is wrong after {change}"
        assert parts == [True, True, False, False, True, False, True, False, False, True]
        store.remove(expected.orders["1001"])
        expected.remove("1001")
        assert store.find(Query(When(), part_dispatched=True)) == []
        assert set(store.tally(None)) == expected.tally(None)

    def test_s10_a_payment_reference_finds_its_orders(self, store: Store) -> None:
        """A reference finds the orders with its payments, oldest first, alone and with other conditions."""
        expected = Expected()
        names = ("ch_1", "CH_1", "ch_1 ", "ch_2", "ch/%2", "c_1", "\u00e9", "e\u0301", "0", "x" * 200)
        for number in range(12):
            customer = "ann" if number % 2 else None
            committed(store, expected, creation(f"{number}", at=moment(12 - number // 2), customer=customer))
        for number, name in enumerate((*names, "ch_1", "ch_2")):
            paid = step(expected.orders[f"{number}"], state="sent", payments=[("captured", "1")], reference=name)
            committed(store, expected, paid)
        more: list[tuple[PaymentKind, str | None]] = [("refunded", "ch_1"), ("captured", "second"), ("captured", None)]
        for kind, reference in more:
            committed(store, expected, step(expected.orders["0"], payments=[(kind, "1")], reference=reference))
            committed(store, expected, step(expected.orders["0"]))
        for name, when, customer in product(
            (*names, "second", "nothing", ""),
            (When(), When(has={"sent"}, lacks={"paid"}), When(has={"paid"})),
            (None, "ann"),
        ):
            query = Query(when, customer, reference=name)
            assert store.find(query) == expected.find(query), f"find is wrong for {query}"
        assert [order.id for order in store.find(Query(When(), reference="ch_1"))] == ["10", "0"]
        after = Query(When(), after=cursor_at(expected.orders["10"]), reference="ch_1")
        assert store.find(after) == expected.find(after), "a page of a reference must continue after its cursor"
        for query in (Query(When(), refund_due=True, reference="ch_1"), Query(When(), limit=1, reference="ch_1")):
            assert store.find(query) == expected.find(query), f"find is wrong for {query}"
        store.remove(expected.orders["0"])
        expected.remove("0")
        for name in ("ch_1", "second"):
            query = Query(When(), reference=name)
            assert store.find(query) == expected.find(query), "no payment reference may find a removed order"
        committed(store, expected, creation("0"))
        assert store.find(Query(When(), reference="second")) == [], (
            "a new order must not have the payments of a removed one"
        )
        assert list(store.faults()) == [], "an undamaged store must report no fault"

    def test_s10_a_removed_order_is_not_found(self, store: Store) -> None:
        """All queries, sums and pages are those of the remaining orders."""
        expected = _shop(store, seeded("removed"))
        gone = [expected.orders[f"{number}"] for number in range(0, 40, 2)]
        for order in gone:
            store.remove(order)
            expected.remove(order.id)
        for query in _queries():
            assert store.find(query) == expected.find(query), f"find is wrong for {query}"
        for customer in (None, *CUSTOMERS):
            assert set(store.tally(customer)) == expected.tally(customer), f"tally({customer!r}) is wrong"
        for order in gone:
            query = Query(When(), after=cursor_at(order))
            assert store.find(query) == expected.find(query), "a cursor must stay valid after the removal of its order"

    def test_s10_tally_agrees_with_the_orders(self, store: Store) -> None:
        """Numbers and sums by state, currency and refund due agree with the orders, for all and for each customer."""
        assert store.tally(None) == [], "an empty store must have an empty tally"
        expected = _shop(store, seeded("tally"))
        for customer in (None, *CUSTOMERS, "nobody"):
            tally = store.tally(customer)
            why = f"tally({customer!r}) must have one row with the right sums for each group that has orders"
            assert set(tally) == expected.tally(customer), why
            assert len(tally) == len(set(tally)), why

"""The time of placing, sums of an interval, many orders at once, and pages of a history, on every store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from order_fsm import InvalidInput, OrderNotFound, Sales, StoreCorrupt
from order_fsm.audit.consistency import Tables, findings
from tests.damaged import Damaged

if TYPE_CHECKING:
    from tests.conftest import Shop

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
TUESDAY, WEDNESDAY = MONDAY + DAY, MONDAY + 2 * DAY


@pytest.fixture
def shop(any_shop: Shop) -> Shop:
    return any_shop


def placed(shop: Shop, order_id: str, total: str = "10.00", currency: str = "GBP", customer: str = "ann") -> None:
    shop.orders.create(order_id, total, currency, customer=customer)
    shop.orders.fire(order_id, "place")


# The time of placing


def test_order_has_the_time_at_which_it_was_placed(shop: Shop) -> None:
    assert shop.create("1", lines=()).placed_at is None
    shop.clock.pass_by(hours=1)
    at = shop.clock.now
    assert shop.orders.fire("1", "place").order.placed_at == at
    shop.clock.pass_by(hours=1)
    for trigger in ("invoice", "dispatch", "uninvoice"):
        shop.orders.fire("1", trigger, override=True, comment="a reason")
    assert shop.orders.get("1").placed_at == at


def test_payment_places_an_order(shop: Shop) -> None:
    shop.create("1")
    assert shop.orders.fire("1", "pay", amount="1.00").order.placed_at == shop.clock.now


def test_unplaced_order_has_no_time_of_placing_until_it_is_placed_again(shop: Shop) -> None:
    placed(shop, "1")
    shop.clock.pass_by(hours=1)
    assert shop.orders.fire("1", "unplace").order.placed_at is None
    shop.clock.pass_by(hours=1)
    assert shop.orders.fire("1", "place").order.placed_at == shop.clock.now


def test_cancelled_order_keeps_its_time_of_placing(shop: Shop) -> None:
    placed(shop, "1")
    at = shop.clock.now
    shop.clock.pass_by(hours=1)
    assert shop.orders.fire("1", "cancel").order.placed_at == at
    assert shop.orders.fire("1", "reinstate").order.placed_at == at


def test_order_cancelled_before_it_was_placed_has_no_time_of_placing(shop: Shop) -> None:
    shop.create("1")
    assert shop.orders.fire("1", "cancel").order.placed_at is None


def test_repeated_call_returns_the_old_time_of_placing(shop: Shop) -> None:
    shop.create("1", lines=())
    first = shop.orders.fire("1", "place", key="k1").order
    shop.clock.pass_by(hours=1)
    noted = shop.orders.comment("1", "noted", key="k3").order
    shop.orders.fire("1", "unplace", key="k2")
    shop.clock.pass_by(hours=1)
    shop.orders.fire("1", "place")
    assert shop.orders.comment("1", "noted", key="k3").order == noted
    assert shop.orders.fire("1", "place", key="k1").order == first
    assert shop.orders.fire("1", "unplace", key="k2").order.placed_at is None


def test_wrong_time_of_placing_is_a_finding(shop: Shop) -> None:
    placed(shop, "1")
    order, history = shop.orders.get("1"), shop.orders.history("1")
    for wrong in (None, order.created_at + DAY):
        (finding,) = findings(Tables(shop.orders.workflow), replace(order, placed_at=wrong), history)
        assert (finding.code, "time of placing" in finding.message) == ("fold", True)


# Orders of an interval


def ids(shop: Shop, **asked: Any) -> list[str]:
    return [order.id for order in shop.orders.find(**asked)]


@pytest.fixture
def days(shop: Shop) -> Shop:
    """Create orders that are placed on three days, not in the sequence of creation, and one unplaced order."""
    for number in range(7):
        shop.orders.create(f"{number}", "10.00", "GBP", customer="ann" if number % 2 else "ben")
    for at, order_id in zip(
        (MONDAY, MONDAY, TUESDAY, TUESDAY + DAY - timedelta(microseconds=1), WEDNESDAY, WEDNESDAY),
        ("5", "2", "3", "1", "0", "4"),
        strict=True,
    ):
        shop.clock.now = at
        shop.orders.fire(order_id, "place")
    return shop


def test_interval_includes_its_start_and_excludes_its_end(days: Shop) -> None:
    assert ids(days, since=TUESDAY, until=WEDNESDAY) == ["3", "1"]
    assert ids(days, since=WEDNESDAY) == ["0", "4"]
    assert ids(days, until=TUESDAY) == ["2", "5"]
    assert ids(days, since=TUESDAY, until=TUESDAY) == []


def test_interval_in_another_time_zone_is_the_same(days: Shop) -> None:
    zone = timezone(timedelta(hours=-7))
    assert ids(days, since=TUESDAY.astimezone(zone), until=WEDNESDAY.astimezone(zone)) == ["3", "1"]


def test_orders_of_an_interval_are_found_by_boxes_customer_and_queue(days: Shop) -> None:
    days.orders.fire("2", "invoice")
    days.orders.fire("3", "cancel")
    days.orders.fire("5", "pay", amount="11.00", reference="ch_5")
    assert ids(days, since=MONDAY, customer="ben") == ["2", "0", "4"]
    assert ids(days, since=MONDAY, until=WEDNESDAY, lacks={"cancelled"}) == ["2", "5", "1"]
    assert ids(days, since=MONDAY, has={"cancelled"}, customer="ann") == ["3"]
    assert ids(days, since=MONDAY, has={"cancelled", "dispatched"}) == []
    assert ids(days, until=TUESDAY, reference="ch_5") == ["5"]
    assert ids(days, since=TUESDAY, reference="ch_5") == []
    queues = days.orders.queue
    assert [order.id for order in queues("to_pay", since=MONDAY, until=TUESDAY)] == ["2"]
    assert [order.id for order in queues("refund_due", until=TUESDAY)] == ["5"]
    assert queues("refund_due", since=TUESDAY) == queues("unmatched", since=MONDAY) == []


def test_queue_of_part_dispatched_orders_has_no_others_of_an_interval(shop: Shop) -> None:
    for order_id in ("1", "2"):
        shop.create(order_id)
        shop.orders.fire(order_id, "pay")
    shop.orders.fire("2", "dispatch", items={"TEAPOT": 1})
    found = shop.orders.queue("part_dispatched", since=shop.clock.now)
    assert [order.id for order in found] == ["2"]


def test_pages_of_an_interval_follow_the_time_of_placing(days: Shop) -> None:
    pages: list[list[str]] = []
    while page := ids(days, since=MONDAY, limit=2, after=pages[-1][-1] if pages else None):
        pages.append(page)
    assert pages == [["2", "5"], ["3", "1"], ["0", "4"]]
    assert ids(days, until=WEDNESDAY, after="3") == ["1"]
    with pytest.raises(InvalidInput, match="order '6' is not placed"):
        days.orders.find(since=MONDAY, after="6")
    with pytest.raises(OrderNotFound):
        days.orders.find(since=MONDAY, after="7")


def test_unplaced_order_is_found_in_no_interval(days: Shop) -> None:
    days.orders.fire("3", "unplace")
    assert ids(days, since=MONDAY) == ["2", "5", "1", "0", "4"]
    days.clock.now = WEDNESDAY + DAY
    days.orders.fire("3", "place")
    assert ids(days, since=MONDAY) == ["2", "5", "1", "0", "4", "3"]


def test_totals_of_an_interval_are_those_of_the_orders_that_count(days: Shop) -> None:
    assert days.orders.totals(since=MONDAY, until=TUESDAY) == {"GBP": Decimal("20.00")}
    assert days.orders.totals("ann", TUESDAY, WEDNESDAY) == {"GBP": Decimal("20.00")}
    days.orders.fire("3", "cancel")
    assert days.orders.totals("ann", TUESDAY, WEDNESDAY) == {"GBP": Decimal("10.00")}
    assert days.orders.totals("ben", TUESDAY, WEDNESDAY) == {}
    assert days.orders.totals(until=WEDNESDAY + DAY) == days.orders.totals() == {"GBP": Decimal("50.00")}


@pytest.mark.parametrize("call", ["find", "queue", "totals", "report"])
@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        (datetime(2026, 1, 5), None, "since must have a time zone"),
        (None, datetime(2026, 1, 5), "until must have a time zone"),
        ("2026-01-05", None, "since must be a datetime, not '2026-01-05'"),
        (MONDAY, MONDAY.date(), "until must be a datetime, not date"),
        (TUESDAY, MONDAY, "until must not be before since"),
    ],
)
def test_interval_that_is_not_valid_is_refused(days: Shop, call: str, since: Any, until: Any, said: str) -> None:
    calls: dict[str, Any] = {
        "find": days.orders.find,
        "queue": lambda **given: days.orders.queue("to_pay", **given),
        "totals": days.orders.totals,
        "report": days.orders.report,
    }
    with pytest.raises(InvalidInput, match=said):
        calls[call](since=since, until=until)


# Reports


def test_c6_report_of_a_day_has_orders_by_placing_and_money_by_recording(shop: Shop) -> None:
    """The report has the orders placed on the day, the money received and refunded, gross and net."""
    shop.clock.now = MONDAY + DAY / 2
    for order_id, total in (("1", "100.00"), ("2", "20.00"), ("3", "30.00")):
        shop.orders.create(order_id, total, "GBP")
    shop.orders.create("4", "8.00", "EUR")
    shop.orders.fire("1", "pay", reference="ch_1")
    shop.orders.fire("2", "place")
    shop.clock.now = TUESDAY + DAY / 2
    shop.orders.fire("1", "refund", amount="25.00", reference="ch_1", transaction_id="r1")
    shop.orders.fire("2", "pay", reference="ch_2")
    shop.orders.fire("3", "place")
    shop.orders.fire("4", "pay", reference="ch_4")
    report = shop.orders.report
    assert report(MONDAY, TUESDAY) == {"GBP": sales("GBP", 2, "120.00", "100.00", "0", "0")}
    tuesday = report(TUESDAY, WEDNESDAY)
    assert list(tuesday) == ["EUR", "GBP"]
    assert tuesday["EUR"] == sales("EUR", 1, "8.00", "8.00", "0", "0")
    assert tuesday["GBP"] == sales("GBP", 1, "30.00", "20.00", "25.00", "25.00")
    assert (tuesday["GBP"].net, tuesday["EUR"].net) == (Decimal("5.00"), Decimal("8.00"))
    assert report(MONDAY, WEDNESDAY)["GBP"] == sales("GBP", 3, "150.00", "120.00", "25.00", "25.00")
    assert report(MONDAY, WEDNESDAY)["GBP"].net == Decimal("125.00")
    assert report(WEDNESDAY, None) == {}
    assert report(None, None) == report(MONDAY, WEDNESDAY)
    assert not shop.orders.audit().findings


def sales(currency: str, orders: int, *sums: str) -> Sales:
    return Sales(currency, orders, *map(Decimal, sums))


def test_cancelled_order_is_in_no_report_except_its_money(shop: Shop) -> None:
    shop.orders.create("1", "10.00", "GBP")
    shop.orders.fire("1", "pay", reference="ch_1")
    shop.orders.fire("1", "cancel")
    assert shop.orders.report(None, None) == {"GBP": sales("GBP", 0, "0", "10.00", "0", "0")}
    shop.orders.fire("1", "refund", reference="ch_1")
    assert shop.orders.report(None, None) == {"GBP": sales("GBP", 0, "0", "10.00", "10.00", "0")}


def test_credit_leaves_the_report_with_the_total_of_its_cancelled_order(shop: Shop) -> None:
    shop.orders.create("1", "10.00", "GBP")
    shop.orders.fire("1", "pay", reference="ch_1")
    shop.orders.fire("1", "refund", amount="3.00", reference="ch_1")
    assert shop.orders.report(None, None)["GBP"].net == 7
    shop.orders.fire("1", "cancel")
    assert shop.orders.report(None, None) == {"GBP": sales("GBP", 0, "0", "10.00", "3.00", "0")}
    shop.orders.fire("1", "reinstate")
    assert shop.orders.report(None, None)["GBP"].net == shop.orders.get("1").cost == 7


def test_each_kind_of_payment_is_in_its_own_sum(shop: Shop) -> None:
    shop.orders.create("1", "10.00", "GBP")
    life: list[tuple[str, dict[str, Any]]] = [
        ("pay", {"amount": "10.00", "transaction_id": "c1"}),
        ("unpay", {"amount": "4.00", "transaction_id": "d1", "comment": "a dispute"}),
        ("restore_payment", {"amount": "1.00", "transaction_id": "d1r"}),
        ("refund", {"amount": "3.00", "transaction_id": "r1"}),
        ("refund_failed", {"amount": "2.00", "transaction_id": "r1"}),
    ]
    for trigger, said in life:
        shop.orders.fire("1", trigger, reference="ch_1", **said)
    order = shop.orders.get("1")
    report = shop.orders.report(None, None)["GBP"]
    assert (report.received, report.refunded) == (Decimal("7.00"), Decimal("1.00"))
    assert report.credited == order.credited
    assert report.received - report.refunded == order.held


def test_money_in_another_currency_counts_under_its_own(shop: Shop) -> None:
    shop.orders.create("1", "100.00", "GBP")
    shop.orders.fire("1", "pay", amount="117.00", currency="EUR", reference="ch_1")
    assert shop.orders.report(None, None) == {
        "EUR": sales("EUR", 0, "0", "117.00", "0", "0"),
        "GBP": sales("GBP", 1, "100.00", "0", "0", "0"),
    }


def test_free_order_is_in_the_report(shop: Shop) -> None:
    shop.orders.create("1", "0", "GBP")
    shop.orders.fire("1", "place")
    assert shop.orders.report(None, None) == {"GBP": sales("GBP", 1, "0", "0", "0", "0")}


# Many orders, and pages of a history


def test_many_orders_are_returned_by_id_without_unknown_ones(shop: Shop) -> None:
    for number in range(4):
        shop.create(f"{number}")
    found = shop.orders.get_many(["3", "nothing", "1", "3"])
    assert list(found.items()) == [("3", shop.orders.get("3")), ("1", shop.orders.get("1"))]
    assert shop.orders.get_many(iter(["0"])) == {"0": shop.orders.get("0")}
    assert shop.orders.get_many([]) == {}


@pytest.mark.parametrize("order_ids", ["1001", {"1001": True}, 1001, None, [1001], ["a/../b"], [""]])
def test_ids_that_are_not_valid_are_refused(shop: Shop, order_ids: Any) -> None:
    with pytest.raises(InvalidInput):
        shop.orders.get_many(order_ids)


def test_damaged_order_among_many_is_an_error(new_shop: type[Shop]) -> None:
    store = Damaged("2")
    shop = new_shop(store=store)
    for order_id in ("1", "2"):
        shop.create(order_id)
    store.begin()
    with pytest.raises(StoreCorrupt):
        shop.orders.get_many(["1", "2"])
    assert list(shop.orders.get_many(["1"])) == ["1"]


def test_history_and_progress_are_read_in_pages(shop: Shop) -> None:
    shop.create()
    for number in range(2, 8):
        shop.orders.comment("1001", f"{number}", visible=number % 2 == 0)
    whole = shop.orders.history("1001")
    assert shop.orders.history("1001", after=2, limit=3) == whole[2:5]
    assert shop.orders.history("1001", limit=1) == whole[:1]
    assert shop.orders.history("1001", after=6) == whole[6:]
    assert shop.orders.history("1001", after=7) == shop.orders.history("1001", after=99) == ()
    assert [entry.version for entry in shop.orders.progress("1001", after=2, limit=1)] == [4]
    assert [entry.version for entry in shop.orders.progress("1001", after=4)] == [6]
    for call in (shop.orders.history, shop.orders.progress):
        wrong: tuple[dict[str, Any], ...] = ({"after": -1}, {"after": "1"}, {"limit": 0}, {"limit": True})
        for given in wrong:
            with pytest.raises(InvalidInput):
                call("1001", **given)
        with pytest.raises(OrderNotFound):
            call("1002", after=1)

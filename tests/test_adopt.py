"""Adoption of an order from an older system, with its past facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from order_fsm import InvalidInput, KeyReused, Line, Order, OrderExists
from order_fsm_adapters.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import Shop

PLACED = datetime(2020, 5, 4, 12, 30, tzinfo=UTC)
CAPTURE: dict[str, Any] = {"kind": "captured", "amount": "10.00", "reference": "ch_1", "transaction_id": "t_1"}


def adopt(shop: Shop, order_id: str = "old", **given: Any) -> Order:
    wanted: dict[str, Any] = {"statuses": {"sent"}, "total": "10.00", "currency": "GBP", "placed_at": PLACED, **given}
    return shop.orders.adopt(order_id, **wanted)


def test_order_is_adopted_with_its_payments_in_their_sequence(any_shop: Shop) -> None:
    later, last = PLACED + timedelta(days=1), PLACED + timedelta(days=9)
    order = adopt(
        any_shop,
        statuses={"sent", "invoiced", "paid", "dispatched"},
        payments=[
            {"kind": "refunded", "amount": "2", "reference": "ch_1", "transaction_id": "r_1", "at": last},
            {**CAPTURE, "amount": "10", "at": later, "provider": "acme"},
        ],
        lines=[Line("TEAPOT", 2)],
        customer="ann",
        email="ann@example.com",
        data={"from": "the old shop"},
        comment="moved",
        by="bob",
    )
    assert any_shop.orders.get("old") == order
    assert (order.state, order.created_at, order.updated_at) == (
        "sent+invoiced+paid+dispatched",
        PLACED,
        any_shop.clock.now,
    )
    assert [(row.kind, str(row.amount), row.at, row.version) for row in order.payments] == [
        ("captured", "10", later, 2),
        ("refunded", "2", last, 3),
    ]
    assert order.payments[1].provider == "acme"
    assert (order.held, order.credited, order.outstanding) == (Decimal(8), Decimal(2), Decimal(0))
    assert not order.invoiced_by_payment
    entries = any_shop.orders.history("old")
    assert [(entry.trigger, entry.at) for entry in entries] == [
        ("create", PLACED),
        ("adopt", later),
        ("adopt", last),
        ("adopt", any_shop.clock.now),
    ]
    assert entries[1].facts["kind"] == "captured"
    assert (entries[-1].comment, {entry.by for entry in entries}) == ("moved", {"bob"})
    assert any_shop.messages() == []
    assert any_shop.orders.stock("TEAPOT") == 10
    assert any_shop.orders.find(reference="ch_1") == [order]
    assert any_shop.orders.totals("ann") == {"GBP": Decimal(10)}
    assert any_shop.orders.audit().findings == ()


def test_adopted_order_is_found_by_its_payment(any_shop: Shop) -> None:
    order = adopt(any_shop, statuses={"sent", "paid"}, payments=[CAPTURE])
    assert any_shop.orders.find(reference=CAPTURE["reference"]) == [order]


def test_adopted_order_can_change(any_shop: Shop) -> None:
    """It returns no stock that it did not take, and counts each payment once."""
    payment = {**CAPTURE, "amount": "4"}
    adopt(any_shop, payments=[payment], lines=[Line("TEAPOT", 2)])
    assert any_shop.orders.queue("to_pay")[0].outstanding == 6
    again = any_shop.orders.fire("old", "pay", amount="4", reference="ch_1", transaction_id="t_1")
    assert again.duplicate
    assert any_shop.orders.fire("old", "pay", reference="ch_2").order.state == "sent+invoiced+paid"
    order = any_shop.orders.get("old")
    assert any_shop.orders.amend("old", version=order.version, lines=[Line("TEAPOT", 3)]).order.reserved == (
        Line("TEAPOT", 1),
    )
    any_shop.orders.fire("old", "cancel")
    assert any_shop.orders.stock("TEAPOT") == 10
    any_shop.orders.fire("old", "reinstate")
    assert any_shop.orders.stock("TEAPOT") == 7
    assert any_shop.orders.audit().findings == ()


def test_adoption_under_a_key_happens_once(any_shop: Shop) -> None:
    first = adopt(any_shop, statuses={"sent", "paid"}, payments=[CAPTURE], key="k")
    any_shop.orders.fire("old", "dispatch")
    any_shop.orders.amend("old", version=4, total="9", customer="eve")
    before = any_shop.dump()
    assert adopt(any_shop, statuses={"sent", "paid"}, payments=[CAPTURE], key="k") == first
    with pytest.raises(KeyReused):
        adopt(any_shop, statuses={"sent", "paid"}, payments=[{**CAPTURE, "reference": "ch_2"}], key="k")
    with pytest.raises(OrderExists):
        adopt(any_shop)
    assert any_shop.dump() == before
    assert {entry.key for entry in any_shop.orders.history("old")[:3]} == {"k"}


def test_repeated_payment_of_an_adopted_order_returns_the_order_as_adopted(any_shop: Shop) -> None:
    order = adopt(any_shop, statuses={"sent", "paid"}, payments=[CAPTURE])
    any_shop.orders.comment("old", "Taken over")
    receipt = any_shop.orders.fire("old", "pay", amount="10.00", reference="ch_1", transaction_id="t_1")
    assert (receipt.duplicate, receipt.order) == (True, order)
    assert [entry.facts["kind"] for entry in receipt.entries] == ["captured"]


def test_payment_before_the_placing_dates_the_order(shop: Shop) -> None:
    early = PLACED - timedelta(minutes=1)
    order = adopt(shop, statuses={"sent", "paid"}, payments=[{**CAPTURE, "at": early}])
    assert order.created_at == early
    assert shop.orders.history("old")[-1].facts == {"placed_at": PLACED.isoformat()}
    assert shop.orders.audit().ok


def test_adopted_order_expires_by_the_time_of_its_placing(any_shop: Shop) -> None:
    adopt(any_shop, "old")
    adopt(any_shop, "new", placed_at=None)
    adopt(any_shop, "paid", statuses={"sent", "paid"}, payments=[CAPTURE])
    expired = any_shop.orders.expire(timedelta(days=7))
    assert [receipt.order.id for receipt in expired] == ["old"]


def test_free_and_cancelled_and_unplaced_orders_are_adopted(any_shop: Shop) -> None:
    assert adopt(any_shop, "free", total="0", statuses={"sent", "paid"}).state == "sent+paid"
    cancelled = adopt(any_shop, "cancelled", statuses={"sent", "cancelled"}, payments=[CAPTURE])
    assert (cancelled.refund_due, cancelled.reserved) == (Decimal(10), None)
    assert adopt(any_shop, "cart", statuses=set()).state == "unfinished"
    foreign = {**CAPTURE, "currency": "EUR"}
    assert adopt(any_shop, "foreign", payments=[foreign]).unmatched == {"EUR": Decimal(10)}
    assert [order.id for order in any_shop.orders.queue("refund_due")] == ["cancelled"]
    assert [order.id for order in any_shop.orders.queue("unmatched")] == ["foreign"]
    assert any_shop.orders.audit().findings == ()


@pytest.mark.parametrize(("credit", "credited"), [(True, 4), (False, 0), ("1.50", Decimal("1.50"))])
def test_refund_of_the_past_has_the_credit_that_is_given(shop: Shop, credit: object, credited: object) -> None:
    refund = {"kind": "refunded", "amount": "4", "reference": "ch_1", "credit": credit}
    order = adopt(shop, statuses={"sent", "cancelled"}, payments=[CAPTURE, refund])
    assert order.credited == credited
    assert shop.orders.audit().ok


def test_refund_by_hand_of_the_past_is_bounded_by_the_money_that_the_order_held(any_shop: Shop) -> None:
    """Cash went back for a payment that came online, as `refund` without a reference records it."""
    refund = {"kind": "refunded", "amount": "4"}
    order = adopt(any_shop, statuses={"sent", "paid"}, payments=[CAPTURE, refund])
    assert (order.held, order.credited, order.held_online) == (Decimal(6), Decimal(4), Decimal(10))
    assert any_shop.orders.audit().ok
    with pytest.raises(InvalidInput, match=r"payments\[2\]: the amount is 7, .* has 6\.00 GBP left"):
        adopt(any_shop, "more", statuses={"sent", "paid"}, payments=[CAPTURE, refund, {**refund, "amount": "7"}])


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"statuses": {"sent", "paid"}},
        r"must not have paid: 10\.00 GBP is outstanding \(0 GBP held, 10\.00 to be paid\)",
    ),
    ({"payments": [CAPTURE]}, r"must have paid: nothing is outstanding \(10\.00 GBP held"),
    ({"statuses": set(), "payments": [CAPTURE]}, "must have sent: a payment was captured"),
    ({"statuses": {"dispatched"}}, "'dispatched' is not one"),
    ({"statuses": {"shipped"}}, "a status must be one of sent"),
    ({"statuses": "sent"}, "must be a set of names"),
    ({"placed_at": datetime(2020, 5, 4, 12)}, "placed_at must have a time zone"),
    ({"placed_at": datetime(2999, 1, 1, tzinfo=UTC)}, "placed_at must not be in the future"),
    (
        {"payments": [{**CAPTURE, "at": datetime(2999, 1, 1, tzinfo=UTC)}]},
        r"payments\[0\]: at must not be in the future",
    ),
    ({"payments": [{**CAPTURE, "at": "2020-01-01"}]}, r"payments\[0\]: at must be a datetime"),
    ({"payments": CAPTURE}, "payments must be a list of dicts"),
    ({"payments": ["x"]}, r"payments\[0\] must be a dict"),
    ({"payments": [{**CAPTURE, "amnt": 1}]}, r"payments\[0\] has the members .*did you mean 'amount'"),
    ({"payments": [{**CAPTURE, "kind": "capture"}]}, r"payments\[0\]: kind must be one of .*did you mean 'captured'"),
    ({"payments": [{"kind": "captured"}]}, r"payments\[0\]: the amount must be given, above 0"),
    ({"payments": [{**CAPTURE, "amount": 1.5}]}, r"payments\[0\]: amount must be a Decimal"),
    ({"payments": [{**CAPTURE, "amount": "0"}]}, r"payments\[0\]: the amount must be given, above 0"),
    ({"payments": [{**CAPTURE, "amount": "1.005"}]}, r"payments\[0\]: 1\.005 GBP is finer than the smallest unit"),
    ({"payments": [{**CAPTURE, "credit": True}]}, r"payments\[0\]: only a refund has a credit"),
    ({"payments": [CAPTURE, CAPTURE]}, r"payments\[1\]: it is the same as an earlier one"),
    ({"payments": [CAPTURE, {**CAPTURE, "amount": "3"}]}, r"payments\[1\] contradicts another one"),
    (
        {"payments": [{"kind": "captured", "amount": "10.00", "reference": "ch_1"}, CAPTURE]},
        r"payments\[1\]: it is the same as an earlier capture",
    ),
    (
        {"payments": [CAPTURE, {"kind": "refunded", "amount": "11", "reference": "ch_1"}]},
        r"payments\[1\]: the amount is 11, and that payment, refund or reversal has 10\.00 GBP left",
    ),
    (
        {"payments": [CAPTURE, {**CAPTURE, "kind": "refunded", "amount": "1", "at": PLACED - timedelta(days=1)}]},
        r"payments\[1\]: the amount is 1, and .* has 0 GBP left",
    ),
    ({"payments": [{"kind": "reversed", "amount": "1"}]}, r"payments\[0\]: the amount is 1"),
    (
        {
            "payments": [
                CAPTURE,
                {**CAPTURE, "reference": "ch_2", "transaction_id": "t_2"},
                {"kind": "reversed", "amount": "1"},
            ]
        },
        r"payments\[2\]: it matches several payments",
    ),
    (
        {"payments": [CAPTURE, {"kind": "refunded", "amount": "4", "reference": "ch_1", "credit": "5"}]},
        "the credit is 5, more than the amount",
    ),
    ({"total": "10.005"}, "finer than the smallest unit"),
    ({"currency": "gbp"}, "currency must be three upper-case letters"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_impossible_adoption_is_refused(shop: Shop, given: dict[str, Any], message: str) -> None:
    before = shop.dump()
    with pytest.raises(InvalidInput, match=message):
        adopt(shop, **given)
    assert shop.dump() == before


# The audit


class Broken(MemoryStore):
    def order(self, **changes: Any) -> None:
        self._content.orders["old"] = replace(self._content.orders["old"], **changes)

    def entry(self, version: int, **changes: Any) -> None:
        entries = list(self._content.histories["old"])
        entries[version - 1] = replace(entries[version - 1], **changes)
        self._content.histories["old"] = tuple(entries)


@pytest.fixture
def broken(new_shop: type[Shop]) -> tuple[Broken, Shop]:
    """Create a store with an adopted order that was paid and refunded in part, and amended since."""
    store = Broken()
    shop = new_shop(store=store)
    refund = {"kind": "refunded", "amount": "4", "reference": "ch_1", "credit": False}
    adopt(shop, payments=[CAPTURE, refund])
    shop.orders.amend("old", version=4, total="12", email="ann@example.com")
    shop.orders.amend("old", version=5, total="13", credited="3", data={"n": 1})
    shop.orders.comment("old", "hello")
    assert shop.orders.audit().findings == ()
    return store, shop


EARLIER: dict[str, Any] = {
    "total": Decimal(12),
    "total_before": Decimal("10.00"),
    "email": "ann@example.com",
    "email_before": None,
}
LATER: dict[str, Any] = {
    "total": Decimal(13),
    "total_before": Decimal(12),
    "credited": Decimal(3),
    "credited_before": Decimal(0),
    "data": '{"n":1}',
    "data_before": "{}",
}


@pytest.mark.parametrize(
    ("version", "facts", "codes"),
    [
        (2, {"kind": "captured", "amount": Decimal(9), "currency": "GBP", "reference": "ch_1"}, {"ledger", "rule"}),
        (2, {"kind": "restored", "amount": Decimal(10), "currency": "GBP", "reference": "ch_1"}, {"ledger", "rule"}),
        (2, {}, {"ledger", "rule"}),
        (
            3,
            {"kind": "refunded", "amount": Decimal(4), "currency": "GBP", "reference": "ch_1", "credit": Decimal(4)},
            {"rule"},
        ),
        (4, {}, {"rule"}),
        (4, {"placed_at": "yesterday"}, {"rule"}),
        (5, {}, {"rule"}),
        (5, EARLIER | {"total": Decimal(13)}, {"fold"}),
        (5, EARLIER | {"email": "eve@example.com"}, {"fold"}),
        (5, EARLIER | {"paid": True}, {"rule"}),
        (6, LATER | {"credited": Decimal(2)}, {"rule"}),
        (6, LATER | {"credited_before": Decimal(1)}, {"rule"}),
        (6, LATER | {"data": '{"n":2}'}, {"fold"}),
        (6, LATER | {"total_before": Decimal(11)}, {"fold"}),
        (6, {name: value for name, value in LATER.items() if "credited" not in name}, {"ledger", "rule"}),
    ],
)
def test_audit_finds_edited_facts(
    broken: tuple[Broken, Shop], version: int, facts: dict[str, Any], codes: set[str]
) -> None:
    store, shop = broken
    store.entry(version, facts=facts)
    found = shop.orders.audit().findings
    assert {finding.code for finding in found} == codes
    assert "example.com" not in str(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"total": Decimal(11)},
        {"email": "eve@example.com"},
        {"data": {"n": 3}},
    ],
)
def test_audit_finds_an_edited_part(broken: tuple[Broken, Shop], changes: dict[str, Any]) -> None:
    store, shop = broken
    store.order(**changes)
    assert {finding.code for finding in shop.orders.audit().findings} - {"tally"} == {"fold"}


def test_audit_finds_boxes_that_the_payments_contradict(broken: tuple[Broken, Shop]) -> None:
    store, shop = broken
    for version in (4, 5, 6, 7):
        store.entry(version, state_after="sent+paid")
        store.entry(version, **({} if version == 4 else {"state_before": "sent+paid"}))
    store.order(state="sent+paid")
    assert "rule" in {finding.code for finding in shop.orders.audit().findings}

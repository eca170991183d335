"""Conversion of values to dicts of JSON types and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from order_fsm import Entry, InvalidInput, Line, Message, Order, Payment, Reason, Receipt, Sales
from order_fsm.dicts import DictValue
from order_fsm.store import Change
from order_fsm.testing.store_contract.strategies import lives

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
ENTRY = Entry(2, "pay", "sent", "sent+paid", AT, by="bob", facts={"amount": Decimal("49.90"), "parcels": 2})
ORDER = Order(
    id="1001",
    state="sent+paid",
    counted=True,
    version=2,
    total=Decimal("49.90"),
    currency="GBP",
    lines=(Line("TEAPOT", 2),),
    customer="ann",
    email=None,
    payments=(Payment("captured", Decimal("49.90"), currency="GBP", reference="ch_1", at=AT, version=2),),
    created_at=AT,
    updated_at=AT,
    reserved=(Line("TEAPOT", 2),),
    data={"gift": [True, {"weight": 1.5}]},
)
MESSAGE = Message("1001#2.1", "1001", "order.paid", {"amount": "49.90"}, AT)
SALES = Sales("GBP", 2, Decimal("69.90"), Decimal("-1"), Decimal("9.90"), Decimal("9.90"))
VALUES = (
    Line("TEAPOT", 2),
    *ORDER.payments,
    ENTRY,
    ORDER,
    MESSAGE,
    SALES,
    Receipt(ORDER, (ENTRY,)),
    Reason("not_paid", "no"),
)

Value = DictValue | Reason
by_class = pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)


def through_json(value: Value) -> Value:
    return type(value).from_dict(json.loads(json.dumps(value.to_dict())))


@given(lives())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_value_survives_json(life: tuple[Change, ...]) -> None:
    for change in life:
        assert change.order is not None
        receipt = Receipt(change.order, change.entries, duplicate=True)
        for value in (receipt, *change.order.lines, *change.order.payments, *change.messages):
            copy = through_json(value)
            assert copy == value
            assert copy.to_dict() == value.to_dict()


@by_class
def test_dict_holds_json_types_and_survives_json(value: Value) -> None:
    assert through_json(value) == value


@by_class
def test_missing_member_is_named(value: Value) -> None:
    for name in value.to_dict():
        members = value.to_dict()
        del members[name]
        with pytest.raises(InvalidInput, match=f"member '{name}' is missing"):
            type(value).from_dict(members)


@by_class
def test_unknown_member_is_named(value: Any) -> None:
    with pytest.raises(InvalidInput, match="has no member 'colour'"):
        type(value).from_dict({**value.to_dict(), "colour": "red"})


@by_class
def test_member_of_a_wrong_type_is_named(value: Any) -> None:
    for name in value.to_dict():
        with pytest.raises(InvalidInput, match=rf"^{type(value).__name__}.{name}"):
            type(value).from_dict({**value.to_dict(), name: b"bytes"})


@by_class
@pytest.mark.parametrize("given", [None, [], "text", 1])
def test_other_types_than_a_dict_are_refused(value: Value, given: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a dict"):
        type(value).from_dict(given)


def test_money_times_and_sets_have_the_documented_form() -> None:
    members = ORDER.to_dict()
    assert members["total"] == "49.90"
    assert members["statuses"] == ["paid", "sent"]
    assert members["created_at"] == "2026-01-31T09:30:00+00:00"
    assert members["payments"][0]["amount"] == "49.90"
    assert ENTRY.to_dict()["facts"] == {"amount": {"decimal": "49.90"}, "parcels": 2}
    assert ENTRY.to_dict()["after"] == ["paid", "sent"]


def test_small_amount_is_written_without_an_exponent() -> None:
    payment = Payment("captured", Decimal("0.00000001"), currency="XAU", reference=None, at=AT, version=1)
    assert payment.to_dict()["amount"] == "0.00000001"


def test_time_in_another_zone_is_read_in_utc() -> None:
    given = {**MESSAGE.to_dict(), "created_at": AT.astimezone(timezone(timedelta(hours=5))).isoformat()}
    assert Message.from_dict(given).created_at.tzinfo is UTC
    assert Message.from_dict(given) == MESSAGE


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("total", 49.9),
        ("total", 49),
        ("total", "NaN"),
        ("total", "1e3"),
        ("total", " 1"),
        ("created_at", "2026-01-31T09:30:00"),
        ("created_at", "0001-01-01T00:00:00+05:00"),
        ("created_at", "yesterday"),
        ("created_at", 0),
        ("version", "2"),
        ("version", True),
        ("counted", 1),
        ("lines", {}),
        ("customer", 7),
        ("id", "\ud800"),
        ("data", None),
        ("data", {"weight": float("nan")}),
    ],
)
def test_bad_member_of_an_order_is_named(path: str, bad: object) -> None:
    with pytest.raises(InvalidInput, match=rf"^Order.{path}"):
        Order.from_dict({**ORDER.to_dict(), path: bad})


def test_bad_member_of_a_nested_value_is_named_by_its_path() -> None:
    members = Receipt(ORDER, (ENTRY,)).to_dict()
    members["order"]["lines"][0]["quantity"] = "2"
    with pytest.raises(InvalidInput, match=r"^Receipt.order.lines\[0\].quantity must be a whole number, not '2'"):
        Receipt.from_dict(members)


def test_line_keeps_its_own_checks() -> None:
    with pytest.raises(InvalidInput, match=r"^Line: quantity must be from 1"):
        Line.from_dict({"sku": "TEAPOT", "quantity": 0})


def test_unknown_kind_of_payment_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^Payment.kind must be one of captured, .* not 'stolen'"):
        Payment.from_dict({**ORDER.payments[0].to_dict(), "kind": "stolen"})


@pytest.mark.parametrize("bad", [1.5, [], {"decimal": 1.5}, {"decimal": "1", "more": 1}, {}, {"decimal": "NaN"}])
def test_bad_fact_is_named(bad: object) -> None:
    with pytest.raises(InvalidInput, match=r"^Entry.facts.amount"):
        Entry.from_dict({**ENTRY.to_dict(), "facts": {"amount": bad}})


@pytest.mark.parametrize("statuses", [["sent"], ["sent", "paid"], None])
def test_sets_must_agree_with_the_state(statuses: object) -> None:
    with pytest.raises(InvalidInput, match=r"^Order.statuses must follow from the other members"):
        Order.from_dict({**ORDER.to_dict(), "statuses": statuses})

"""Subclasses of str, int, float and Decimal are converted to the base type in every store."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import Line, Message, Orders, Rule, Status, Undelivered, shop_workflow
from tests.stores import KINDS, opened

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Shop


class Safe(str):
    """A str like Django's SafeString, whose text, sums and slices stay safe."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> Safe:
        return Safe(super().__add__(other))


class Name(StrEnum):
    ORDER = "1001"
    CUSTOMER = "ann"
    TRIGGER = "place"
    SKU = "TEAPOT"


class Number(IntEnum):
    ONE = 1
    TWO = 2
    FIVE = 5
    TEN = 10


class Float(float):
    """A float like numpy.float64."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"


class Whole(int):
    """An int with another text."""

    def __repr__(self) -> str:
        return "a number"

    __str__ = __repr__


class Money(Decimal):
    """A Decimal with another text."""

    def __str__(self) -> str:
        return "money"


BASE = {str, int, float, bool, Decimal, type(None), list, dict, tuple, frozenset}


def types_in(value: Any) -> set[type]:
    """Return the types of all values in a value of the library."""
    found: set[type] = set()
    if isinstance(value, str | int | float | Decimal | None):
        found.add(type(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            found |= types_in(key) | types_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            found |= types_in(item)
    elif hasattr(type(value), "__attrs_attrs__"):
        for attribute in type(value).__attrs_attrs__:
            found |= types_in(getattr(value, attribute.name))
    return found


def assert_base_types(shop: Shop) -> None:
    """Check that a store returns no subclass, now and after it is reopened."""
    dump = shop.dump()
    assert types_in([dump["orders"], list(dump["histories"].values()), dump["outbox"]]) <= BASE
    assert {type(one) for level in dump["stock"].values() for one in level[:4]} <= {int}


@pytest.fixture(params=[False, True], ids=["alone", "group"])
def orders(any_shop: Shop, request: pytest.FixtureRequest) -> Orders:
    return Orders(any_shop.store, clock=any_shop.clock, group_commit=request.param)


@pytest.mark.parametrize("text", [Safe, Name], ids=["safe", "enum"])
def test_subclass_of_str_in_create_comes_back_as_str(any_shop: Shop, orders: Orders, text: Any) -> None:
    order = orders.create(
        text("1001"),
        total=Safe("10.00"),
        currency=Safe("GBP"),
        lines=[Line(text("TEAPOT"), 2)],
        customer=text("ann"),
        email=Safe("ann@example.com"),
        data={Safe("note"): [Safe("a"), {Safe("b"): Safe("c")}]},
        by=text("ann"),
        key=Safe("basket"),
    )
    assert types_in(order) <= BASE
    assert any_shop.orders.get("1001") == order
    assert order.data == {"note": ["a", {"b": "c"}]}
    assert_base_types(any_shop)


def test_name_of_a_fact_comes_back_as_str(any_shop: Shop, orders: Orders) -> None:
    any_shop.create()
    facts: dict[str, Any] = {Safe("amount"): "10", Safe("reference"): "ch_1"}
    receipt = orders.fire("1001", "pay", **facts)
    assert types_in(receipt.entries[0].facts) <= BASE
    assert_base_types(any_shop)


@pytest.mark.parametrize("number", [Number, Whole], ids=["enum", "whole"])
def test_subclass_of_int_comes_back_as_int(any_shop: Shop, orders: Orders, number: Any) -> None:
    orders.set_stock("CUP", number(5))
    order = orders.create(
        "1001", total=number(10), currency="GBP", lines=[Line("CUP", number(2))], data={"n": number(1)}
    )
    assert order.total == Decimal(10)
    assert (order.lines, order.data) == ((Line("CUP", 2),), {"n": 1})
    orders.save("1001", {"sent"}, version=number(1))
    assert orders.adjust_stock("CUP", number(1)) == 4
    assert orders.find(limit=number(1)) == [orders.get("1001")]
    assert type(orders.stock("CUP")) is int
    assert_base_types(any_shop)


def test_subclass_of_float_in_data_comes_back_as_float(any_shop: Shop, orders: Orders) -> None:
    order = orders.create("1001", total=1, currency="GBP", data={"weight": Float(1.5), "list": [Float(-0.0)]})
    assert any_shop.orders.get("1001") == order
    assert order.data["weight"] == 1.5
    assert_base_types(any_shop)


def test_subclass_of_decimal_comes_back_as_decimal(any_shop: Shop, orders: Orders) -> None:
    orders.create("1001", total=Money("10.00"), currency="GBP")
    order = orders.fire("1001", "pay", amount=Money("10.00"), key="k").order
    assert str(order.payments[0].amount) == str(order.total) == "10.00"
    assert orders.fire("1001", "pay", amount="10.00", key="k").duplicate
    assert_base_types(any_shop)


@pytest.mark.parametrize("text", [Safe, Name], ids=["safe", "enum"])
def test_subclass_of_str_in_a_change_comes_back_as_str(any_shop: Shop, orders: Orders, text: Any) -> None:
    any_shop.create()
    orders.fire(
        text("1001"), text("place"), key=Safe("k1"), by=text("ann"), comment=Safe("a note"), visible=True, notify=True
    )
    orders.fire("1001", Safe("pay"), amount=Safe("4"), currency=Safe("GBP"), reference=Safe("ch_1"), key=Safe("k2"))
    orders.save("1001", {Safe("sent"), "invoiced"}, version=3, by=text("ann"), comment=Safe("x"), key=Safe("k3"))
    orders.comment("1001", Safe("Delayed by snow"), by=text("ann"), key=Safe("k4"), notify=True)
    assert orders.fire("1001", "place", key="k1").duplicate
    assert orders.comment("1001", "Delayed by snow", key="k4").duplicate
    assert_base_types(any_shop)


def test_subclass_in_a_batch_fails_no_other_call(any_shop: Shop, orders: Orders) -> None:
    any_shop.create("1001")
    any_shop.create("1002")
    with orders.batch() as batch:
        batch.fire(Safe("1001"), Safe("place"), comment=Safe("a note"), key=Safe("k1"))
        batch.fire("1002", "place", key="k2")
    assert [result.order.state for result in batch.results if not isinstance(result, Exception)] == ["sent", "sent"]
    assert_base_types(any_shop)


class Priced(Line, frozen=True):
    """A line with an additional column of the shop."""


def test_lines_are_stored_as_lines(any_shop: Shop) -> None:
    created = any_shop.create(lines=[Priced("TEAPOT", 2)])
    placed = any_shop.orders.fire("1001", "place").order
    for order in (created, placed, any_shop.orders.get("1001")):
        assert {type(line) for line in (*order.lines, *(order.reserved or ()))} == {Line}
        assert order.quantities == {"TEAPOT": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_names_in_rules_are_stored_as_plain_text(new_shop: type[Shop], kind: str, tmp_path: Path) -> None:
    workflow = shop_workflow().extend(
        statuses=[Status(Safe("held"), tick=Safe("hold"))],
        rules=[Rule(Safe("hold"), forbids={Safe("held")}, adds={Safe("held")}, announces=Safe("order.held"))],
    )
    with opened(kind, tmp_path) as store:
        shop = new_shop(workflow, store)
        shop.create()
        entry = shop.orders.fire("1001", "hold").entries[0]
        (message,) = shop.messages()
        assert {type(text) for text in (entry.trigger, entry.state_after, message.topic)} == {str}
        assert shop.orders.history("1001")[-1] == entry


def test_recipients_are_plain_text(any_shop: Shop) -> None:
    any_shop.bring("sent")

    def handler(_: Message) -> None:
        raise Undelivered([Safe("customer")])

    assert any_shop.orders.deliver(handler) == 0
    (message,) = any_shop.messages()
    assert (message.remaining, type(message.remaining[0]), message.attempts) == (("customer",), str, 1)


class Kind(str, Enum):  # noqa: UP042 - the text of a StrEnum is its value
    """A str whose text is the name of its member."""

    SHIPPED = "shipped"
    REFUNDED = "refunded"
    CAPTURED = "captured"


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_rows_come_back_as_str(kind: str, tmp_path: Path, new_shop: type[Shop]) -> None:
    send: Any = Rule("send", needs={"sent"}, forbids={"dispatched", "cancelled"}, goods=Kind.SHIPPED)  # type: ignore[arg-type]
    back: Any = Rule("give_back", needs={"sent"}, ledger=Kind.REFUNDED)  # type: ignore[arg-type]
    with opened(kind, tmp_path) as store:
        shop = new_shop(shop_workflow().extend(rules=[send, back]), store=store)
        payments: Any = [{"kind": Kind.CAPTURED, "amount": "10", "reference": "ch_1"}]
        shop.orders.adopt("1002", statuses={"sent", "paid"}, total="10", currency="GBP", payments=payments)
        shop.bring("sent+paid")
        shop.orders.fire("1001", "send", items={"TEAPOT": 1})
        shop.orders.fire("1001", "give_back", amount="1")
        assert_base_types(shop)
        assert shop.orders.audit().ok

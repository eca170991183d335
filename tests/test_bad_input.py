"""Bad input raises a typed error that names the fault and the expected form, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import InvalidInput, KeyReused, Line, OrderFsmError, OrderNotFound, Orders, Refused, UnknownTrigger

if TYPE_CHECKING:
    from tests.conftest import Shop

Call = Callable[[Orders, Any], object]

HUGE = 10**5000
SURROGATE = "a\ud800b"

NO_TEXT = [None, 5, 1.5, b"1001", ["1001"], HUGE, object()]
NO_NAME = ["", "   ", "x" * 201, "x" * 100_000, "a\nb", "a\x00b", "\x7f", "a\u2028b", "a\x85b", SURROGATE]
NO_PATH = ["..", ".", "../x", "a/../b", "a\\..\\b", "/..", "./a"]


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """Create an order that is sent and paid in part, another order, a used key and a waiting message."""
    shop.bring("sent")
    shop.create("1002")
    shop.orders.fire("1001", "pay", amount="1.00", reference="ch_1", key="used", notify=True)
    return shop


def rejected(shop: Shop, call: Callable[[], object], error: type[Exception], *words: str) -> None:
    """Check that a call raises an error with these words and does not change the store."""
    before = shop.dump()
    with pytest.raises(error) as raised:
        call()
    for word in words:
        assert word in str(raised.value)
    assert len(str(raised.value)) < 1000, "a message is for reading"
    assert shop.dump() == before
    assert isinstance(raised.value, OrderFsmError)


# Ids and names

BY_ID: dict[str, Call] = {
    "create": lambda orders, one: orders.create(one, total=1, currency="GBP"),
    "fire": lambda orders, one: orders.fire(one, "pay"),
    "save": lambda orders, one: orders.save(one, {"sent"}, version=1),
    "comment": lambda orders, one: orders.comment(one, "hello"),
    "explain": lambda orders, one: orders.explain(one),
    "get": lambda orders, one: orders.get(one),
    "history": lambda orders, one: orders.history(one),
    "progress": lambda orders, one: orders.progress(one),
}
BY_SKU: dict[str, Call] = {
    "stock": lambda orders, one: orders.stock(one),
    "set_stock": lambda orders, one: orders.set_stock(one, 1),
    "line": lambda orders, one: orders.create("1003", total=1, currency="GBP", lines=[Line(one, 1)]),
}
BY_PAGE: dict[str, Call] = {
    "find after": lambda orders, one: orders.find(after=one),
    "queue after": lambda orders, one: orders.queue("to_pay", after=one),
    "refund_due after": lambda orders, one: orders.queue("refund_due", after=one),
}
BY_NAME: dict[str, Call] = {
    "create customer": lambda orders, one: orders.create("1003", total=1, currency="GBP", customer=one),
    "create by": lambda orders, one: orders.create("1003", total=1, currency="GBP", by=one),
    "create key": lambda orders, one: orders.create("1003", total=1, currency="GBP", key=one),
    "fire by": lambda orders, one: orders.fire("1001", "pay", by=one),
    "fire key": lambda orders, one: orders.fire("1001", "pay", key=one),
    "fire reference": lambda orders, one: orders.fire("1001", "pay", reference=one),
    "save by": lambda orders, one: orders.save("1001", {"sent"}, version=3, by=one),
    "save key": lambda orders, one: orders.save("1001", {"sent"}, version=3, key=one),
    "comment by": lambda orders, one: orders.comment("1001", "x", by=one),
    "comment key": lambda orders, one: orders.comment("1001", "x", key=one),
    "find customer": lambda orders, one: orders.find(customer=one),
    "totals customer": lambda orders, one: orders.totals(one),
}


def told(method: str) -> str:
    """Return the name of a method's argument in messages."""
    return "order id" if method in BY_ID else "sku" if method in BY_SKU else method.split()[-1]


def shown(value: object) -> str:
    """Return a value for the name of a test, without backslashes, which pytest cannot select."""
    return "10**5000" if value is HUGE else ascii(value)[:20].replace("\\", "%")


@pytest.mark.parametrize("value", NO_TEXT, ids=shown)
@pytest.mark.parametrize("method", [*BY_ID, *BY_SKU, *BY_PAGE, *BY_NAME])
def test_a_name_is_text(busy: Shop, method: str, value: object) -> None:
    """Every id, SKU, name, key and reference must be text. An optional one may be None."""
    call = {**BY_ID, **BY_SKU, **BY_PAGE, **BY_NAME}[method]
    if value is None and method in {*BY_PAGE, *BY_NAME}:
        call(busy.orders, None)
    else:
        rejected(busy, lambda: call(busy.orders, value), InvalidInput, f"{told(method)} must be a string")


@pytest.mark.parametrize("value", NO_NAME, ids=shown)
@pytest.mark.parametrize("method", [*BY_ID, *BY_SKU, *BY_PAGE, *BY_NAME])
def test_a_name_is_one_short_line(busy: Shop, method: str, value: str) -> None:
    """It is not empty, not too long, and has no control characters and no half of a surrogate pair."""
    call = {**BY_ID, **BY_SKU, **BY_PAGE, **BY_NAME}[method]
    rejected(busy, lambda: call(busy.orders, value), InvalidInput, "must")


@pytest.mark.parametrize("value", NO_PATH)
@pytest.mark.parametrize("method", [*BY_ID, *BY_SKU, *BY_PAGE])
def test_id_is_not_a_path_to_another_folder(busy: Shop, method: str, value: str) -> None:
    call = {**BY_ID, **BY_SKU, **BY_PAGE}[method]
    rejected(busy, lambda: call(busy.orders, value), InvalidInput, "'.' or '..'")


@pytest.mark.parametrize(
    "order_id", ["CON", "nul.txt", "a.", "A", "a", "x" * 200, "日本/1", "a b", "..x", "1:2", "\u017f", "%2e%2e", "-rf"]
)
def test_unusual_name_is_accepted(busy: Shop, order_id: str) -> None:
    """Names that some file systems reserve or confuse are valid ids."""
    assert busy.orders.create(order_id, total=1, currency="GBP").id == order_id
    assert busy.orders.fire(order_id, "pay", key=f"k{order_id[:100]}").order == busy.orders.get(order_id)


@pytest.mark.parametrize("call", [call for name, call in BY_ID.items() if name != "create"])
def test_an_unknown_order_is_named(busy: Shop, call: Call) -> None:
    rejected(busy, lambda: call(busy.orders, "2000"), OrderNotFound, "'2000'")


@pytest.mark.parametrize(
    "email",
    [
        "ann",
        "@",
        "ann@",
        "@example.com",
        "a b@c",
        "a@b@c",
        "ann,eve@example.com",
        "<ann@example.com>",
        'a"b@c',
        "=?utf-8?q?a?=@b",
        "ann@example.com\n",
        "",
        5,
        b"a@b",
        SURROGATE,
    ],
)
def test_an_email_looks_like_one(busy: Shop, email: Any) -> None:
    rejected(busy, lambda: busy.orders.create("1003", total=1, currency="GBP", email=email), InvalidInput, "email")


# Money

NO_MONEY = [
    (1.5, "string"), (float("nan"), "string"), (True, "bool"), (b"1", "bytes"), ([1], "list"),
    ("-1", "negative"), (-1, "negative"), (Decimal("-0.01"), "negative"),
    ("NaN", "finite"), ("Infinity", "finite"), (Decimal("sNaN"), "finite"), ("-inf", "finite"),
    ("abc", "plain number"), ("", "plain number"), ("1,50", "plain number"), ("1_000", "plain number"),
    ("\uff11\uff12", "plain number"), ("£5", "plain number"), ("1" * 41, "plain number"), ("0x10", "plain number"),
    ("1" * 16, "digits"), (10**15, "digits"), (HUGE, "digits"), ("0.000000001", "digits"),
    ("1e15", "digits"), (Decimal("1e999999"), "digits"), (Decimal("1e-999999"), "digits"),
    (Decimal("0e-99"), "digits"),
]  # fmt: skip
BY_MONEY: dict[str, Call] = {
    "create": lambda orders, one: orders.create("1003", total=one, currency="GBP"),
    "pay": lambda orders, one: orders.fire("1001", "pay", amount=one),
    "refund": lambda orders, one: orders.fire("1001", "refund", amount=one),
    "unpay": lambda orders, one: orders.fire("1001", "unpay", amount=one, comment="x"),
}


@pytest.mark.parametrize(("value", "word"), NO_MONEY, ids=shown)
@pytest.mark.parametrize("method", BY_MONEY)
def test_money_is_an_exact_number(busy: Shop, method: str, value: object, word: str) -> None:
    """It is not negative, is finite, and has at most 15 and 8 digits. A float is refused with a hint."""
    what = "total" if method == "create" else "amount"
    rejected(busy, lambda: BY_MONEY[method](busy.orders, value), InvalidInput, word, f"{what} must")


@pytest.mark.parametrize("value", ["gbp", "GB", "GBPX", "", "G P", "ÄBC", None, 5, b"GBP", HUGE], ids=shown)
def test_a_currency_is_three_letters(busy: Shop, value: Any) -> None:
    words = "three upper-case letters"
    rejected(busy, lambda: busy.orders.create("1003", total=1, currency=value), InvalidInput, words)
    if value is not None:
        rejected(busy, lambda: busy.orders.fire("1001", "pay", currency=value), InvalidInput, words)


def test_payment_in_another_currency_needs_an_amount(busy: Shop) -> None:
    """Nothing is outstanding in euros. Money in euros is recorded, and an unknown currency is refused."""
    rejected(busy, lambda: busy.orders.fire("1001", "pay", currency="EUR"), Refused, "nothing_outstanding")
    rejected(busy, lambda: busy.orders.fire("1001", "pay", currency="XQX", amount=1), InvalidInput, "XQX")
    order = busy.orders.fire("1001", "pay", currency="EUR", amount=1).order
    assert (order.unmatched, order.outstanding) == ({"EUR": Decimal(1)}, Decimal(9))


@pytest.mark.parametrize("trigger", ["refund", "unpay"])
def test_money_of_an_unknown_payment_is_refused_with_that_reason(busy: Shop, trigger: str) -> None:
    rejected(
        busy,
        lambda: busy.orders.fire("1001", trigger, amount="0.50", reference="ch_9", comment="x"),
        Refused,
        "beyond_bound",
        "there is no such payment",
    )


# Lines, data, comments


@pytest.mark.parametrize("quantity", [0, -1, 1.0, "1", None, True, 2**63, HUGE, Decimal(1)], ids=shown)
def test_a_line_is_of_one_piece_or_more(quantity: Any) -> None:
    with pytest.raises(InvalidInput, match=r"quantity must be (a whole number|from 1)"):
        Line("TEAPOT", quantity)


@pytest.mark.parametrize(
    "lines", [None, 5, "TEAPOT", ["TEAPOT"], [("TEAPOT", 1)], [{"sku": "TEAPOT"}], [None], {"TEAPOT": 1}, b"ab"]
)
def test_lines_are_lines(busy: Shop, lines: Any) -> None:
    rejected(
        busy,
        lambda: busy.orders.create("1003", total=1, currency="GBP", lines=lines),
        InvalidInput,
        "lines must be a list",
    )


@pytest.mark.parametrize(("line", "kind"), [("TEAPOT", "str"), (("TEAPOT", 1), "tuple"), (5, "int")])
def test_invalid_line_is_named_by_its_type(busy: Shop, line: Any, kind: str) -> None:
    lines = [Line("TEAPOT", 1), line]
    rejected(busy, lambda: busy.orders.create("1003", total=1, currency="GBP", lines=lines), InvalidInput, kind)


def test_a_line_may_be_of_as_many_as_a_store_can_count(busy: Shop) -> None:
    order = busy.orders.create("1003", total=1, currency="GBP", lines=[Line("TEAPOT", 2**63 - 1)])
    assert order.quantities == {"TEAPOT": 2**63 - 1}


def test_lines_together_are_no_more_than_a_store_can_count(busy: Shop) -> None:
    """Each quantity is valid, and their sum is too large for a column."""
    lines = [Line("TEAPOT", 2**63 - 1), Line("TEAPOT", 2**63 - 1)]
    rejected(busy, lambda: busy.orders.create("1003", total=1, currency="GBP", lines=lines), InvalidInput, "TEAPOT")


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


CIRCLE: dict[str, Any] = {}
CIRCLE["x"] = CIRCLE


@pytest.mark.parametrize(
    "data",
    [
        5, "x", [1], [("a", 1)], {1: 2}, {None: 1}, {"a": {1}}, {"a": (1,)}, {"a": b"x"}, {"a": Decimal(1)},
        {"a": float("nan")}, {"a": float("inf")}, {"a": 2**63}, {"a": HUGE}, {"a": SURROGATE}, {SURROGATE: 1},
        {"x" * 201: 1}, {"a": datetime(2026, 1, 1, tzinfo=UTC)}, {"a": object()}, nested(40), nested(100_000), CIRCLE,
    ],
    ids=range(22),
)  # fmt: skip
def test_data_is_json(busy: Shop, data: Any) -> None:
    """Data must be storable everywhere: dicts with text as keys, with limited nesting."""
    rejected(busy, lambda: busy.orders.create("1003", total=1, currency="GBP", data=data), InvalidInput, "data must")


BY_COMMENT: dict[str, Call] = {
    "fire": lambda orders, one: orders.fire("1001", "pay", comment=one),
    "save": lambda orders, one: orders.save("1001", {"sent", "invoiced"}, version=3, comment=one),
    "comment": lambda orders, one: orders.comment("1001", one),
}


@pytest.mark.parametrize("value", [5, b"x", ["x"], SURROGATE, "x" * 100_001, HUGE, 1.5], ids=shown)
@pytest.mark.parametrize("method", BY_COMMENT)
def test_a_comment_is_text(busy: Shop, method: str, value: object) -> None:
    rejected(busy, lambda: BY_COMMENT[method](busy.orders, value), InvalidInput, "comment must")


@pytest.mark.parametrize("value", ["", "  \n", None])
def test_a_comment_alone_is_not_blank(busy: Shop, value: Any) -> None:
    rejected(busy, lambda: busy.orders.comment("1001", value), InvalidInput, "blank")


@pytest.mark.parametrize(
    "value", ["\x00", "‮abc", "👩‍👩‍👧", "e\u0301", "a\r\nb", "\ufeff", "\U0010ffff", "x" * 100_000], ids=shown
)
@pytest.mark.parametrize("method", BY_COMMENT)
def test_a_comment_is_any_text(busy: Shop, method: str, value: str) -> None:
    BY_COMMENT[method](busy.orders, value)
    assert busy.orders.history("1001")[-1].comment == value


# Flags, versions, limits, numbers

FLAGS = [
    (method, flag)
    for method, flags in {
        "fire": ["visible", "notify", "override"],
        "save": ["visible", "notify", "override"],
        "comment": ["visible", "notify"],
    }.items()
    for flag in flags
]


@pytest.mark.parametrize("value", [1, 0, "yes", "", None, [], HUGE], ids=shown)
@pytest.mark.parametrize(("method", "flag"), FLAGS)
def test_a_flag_is_true_or_false(busy: Shop, method: str, flag: str, value: object) -> None:
    """1 and text are refused, because `visible="false"` of a web form would show the comment to the customer."""
    calls: dict[str, Callable[..., object]] = {
        "fire": lambda **given: busy.orders.fire("1001", "invoice", **given),
        "save": lambda **given: busy.orders.save("1001", {"sent", "invoiced"}, version=3, **given),
        "comment": lambda **given: busy.orders.comment("1001", "x", **given),
    }
    rejected(busy, lambda: calls[method](**{flag: value}), InvalidInput, f"{flag} must be True or False")


@pytest.mark.parametrize("value", [0, -1, "3", 3.0, None, True, 2**63, HUGE, Decimal(3)], ids=shown)
@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("version", lambda orders, one: orders.save("1001", {"sent"}, version=one)),
        ("limit", lambda orders, one: orders.find(limit=one)),
        ("limit", lambda orders, one: orders.queue("to_pay", limit=one)),
        ("limit", lambda orders, one: orders.deliver(lambda message: None, limit=one)),
        ("limit", lambda orders, one: orders.dead_letters(limit=one)),
        ("limit", lambda orders, one: orders.expire(timedelta(0), limit=one)),
        ("limit", lambda orders, one: orders.purge(timedelta(0), limit=one)),
        ("limit", lambda orders, one: orders.migrate({}, comment="x", limit=one)),
    ],
    ids=["version", "find", "queue", "deliver", "dead_letters", "expire", "purge", "migrate"],
)
def test_a_number_is_whole_and_positive(busy: Shop, what: str, call: Call, value: object) -> None:
    rejected(busy, lambda: call(busy.orders, value), InvalidInput, f"{what} must be")


@pytest.mark.parametrize(
    "call",
    [
        lambda orders: orders.find(limit=1),
        lambda orders: orders.queue("unfinished", limit=1),
        lambda orders: orders.deliver(lambda message: None, limit=1),
        lambda orders: orders.dead_letters(limit=1),
        lambda orders: orders.expire(timedelta(0), limit=1),
        lambda orders: orders.purge(timedelta(0), limit=1),
        lambda orders: orders.migrate({}, comment="x", limit=1),
    ],
    ids=["find", "queue", "deliver", "dead_letters", "expire", "purge", "migrate"],
)
def test_a_limit_may_be_one(busy: Shop, call: Callable[[Orders], object]) -> None:
    call(busy.orders)


@pytest.mark.parametrize("value", [-1, 1.0, "5", None, True, 2**63, HUGE], ids=shown)
def test_stock_is_a_whole_number(busy: Shop, value: Any) -> None:
    rejected(busy, lambda: busy.orders.set_stock("CUP", value), InvalidInput, "available must be")


# Statuses, triggers, queues, facts


@pytest.mark.parametrize("statuses", [{"sen"}, ["sent", "Paid"], {"sent+paid"}, {"unfinished"}, {"returned"}])
def test_an_unknown_status_is_answered_with_the_known_ones(busy: Shop, statuses: Any) -> None:
    known = "sent, invoiced, paid, dispatched, cancelled"
    rejected(busy, lambda: busy.orders.save("1001", statuses, version=3), InvalidInput, known)
    rejected(busy, lambda: busy.orders.find(has=statuses), InvalidInput, known)
    rejected(busy, lambda: busy.orders.find(lacks=statuses), InvalidInput, known)


@pytest.mark.parametrize(
    "statuses", ["sent", None, 5, {5}, [None], b"sent", [["sent"]], HUGE, {"x" * 100_000}], ids=shown
)
def test_statuses_are_a_set_of_names(busy: Shop, statuses: Any) -> None:
    """A string is not a set of its letters."""
    rejected(busy, lambda: busy.orders.save("1001", statuses, version=3), InvalidInput, "statuses must")
    rejected(busy, lambda: busy.orders.find(has=statuses), InvalidInput, "has must")
    rejected(busy, lambda: busy.orders.find(lacks=statuses), InvalidInput, "lacks must")


@pytest.mark.parametrize(
    "trigger", [None, 5, ["pay"], {}, b"pay", "", "Pay", "x" * 100_000, SURROGATE, HUGE], ids=shown
)
def test_unknown_trigger_has_its_own_error(busy: Shop, trigger: Any) -> None:
    rejected(busy, lambda: busy.orders.fire("1001", trigger), UnknownTrigger, "trigger must be one of place, pay")


@pytest.mark.parametrize("name", [None, 5, ["to_pay"], {}, b"to_pay", "", "x" * 100_000, SURROGATE, HUGE], ids=shown)
def test_an_unknown_queue_is_an_error(busy: Shop, name: Any) -> None:
    rejected(busy, lambda: busy.orders.queue(name), InvalidInput, "queue must be one of unfinished")


@pytest.mark.parametrize(
    ("trigger", "facts"),
    [
        ("invoice", {"amount": 1}),
        ("pay", {"amout": "1"}),
        ("pay", {"shortages": []}),
        ("pay", {"x" * 100_000: 1}),
        ("cancel", {"reference": "ch_2"}),
    ],
    ids=["no money", "misspelt", "reserved", "long", "reference"],
)
def test_a_fact_that_no_rule_knows_is_refused(busy: Shop, trigger: str, facts: dict[str, Any]) -> None:
    """The error lists the known facts."""
    known = "amount, currency, provider, reference, transaction_id" if trigger == "pay" else "none"
    rejected(busy, lambda: busy.orders.fire("1001", trigger, **facts), InvalidInput, "accepts the facts", known)


def test_unknown_fact_is_answered_with_the_other_arguments_of_fire(busy: Shop) -> None:
    also = "fire also has the arguments key, by, comment, visible, notify and override"
    said = "cancel accepts the facts (none), not 'reason'. " + also
    rejected(busy, lambda: busy.orders.fire("1001", "cancel", reason="no stock"), InvalidInput, said)
    said = "cancel accepts the facts (none), not 'coment' (did you mean 'comment'?). " + also
    rejected(busy, lambda: busy.orders.fire("1001", "cancel", coment="no stock"), InvalidInput, said)


# Keys


@pytest.mark.parametrize(
    "call",
    [
        lambda orders: orders.fire("1002", "pay", amount="1.00", reference="ch_1", key="used"),
        lambda orders: orders.fire("1001", "pay", amount="2.00", reference="ch_1", key="used"),
        lambda orders: orders.save("1002", {"sent"}, version=1, key="used"),
        lambda orders: orders.comment("1002", "x", key="used"),
        lambda orders: orders.create("1003", total=1, currency="GBP", key="used"),
    ],
)
def test_key_of_a_different_request_is_refused(busy: Shop, call: Callable[[Orders], object]) -> None:
    """The error names the order of the key."""
    rejected(busy, lambda: call(busy.orders), KeyReused, "'used'", "'1001'")


# The parts of the service


@pytest.mark.parametrize("now", [datetime(2026, 1, 1), "2026-01-01", None, 5])
def test_a_clock_gives_a_time_with_a_zone(busy: Shop, now: Any) -> None:
    orders = Orders(busy.store, clock=lambda: now)
    calls: list[Callable[[], object]] = [
        lambda: orders.create("1003", total=1, currency="GBP"),
        lambda: orders.fire("1001", "pay"),
        lambda: orders.save("1001", {"sent", "invoiced"}, version=3),
        lambda: orders.comment("1001", "x"),
        lambda: orders.deliver(lambda message: None),
    ]
    for call in calls:
        rejected(busy, call, InvalidInput, "clock", "must")


@pytest.mark.parametrize(("handler", "named"), [(None, "NoneType"), (5, "int 5"), ("print", "not 'print'")])
def test_a_handler_can_be_called(busy: Shop, handler: Any, named: str) -> None:
    """With another value each message would be postponed as if its delivery had failed."""
    rejected(busy, lambda: busy.orders.deliver(handler), InvalidInput, "handler must", named)


@pytest.mark.parametrize(
    ("message", "named"), [(None, "NoneType"), (5, "int 5"), ("1001#2.1", "not '1001#2.1'"), (["1001#2.1"], "list")]
)
def test_only_a_message_is_requeued(busy: Shop, message: Any, named: str) -> None:
    """`requeue` takes the listed message, not its id."""
    rejected(busy, lambda: busy.orders.requeue(message), InvalidInput, "one of dead_letters()", named)


@pytest.mark.parametrize("name", ["gateway", "clock"])
def test_name_of_the_engine_as_by_is_refused(shop: Shop, name: str) -> None:
    shop.create()
    for call in (
        lambda: shop.orders.fire("1001", "place", by=name),
        lambda: shop.orders.save("1001", {"sent"}, version=1, by=name),
        lambda: shop.orders.comment("1001", "Delayed by snow", by=name),
        lambda: shop.orders.create("1002", "1.00", "GBP", by=name),
    ):
        with pytest.raises(InvalidInput, match="the engine acts under this name"):
            call()
    assert shop.orders.get("1001").version == 1


@pytest.mark.parametrize("call", [None, {"trigger": "pay"}, "pay", lambda: None], ids=shown)
def test_only_a_call_is_executed(busy: Shop, call: Any) -> None:
    rejected(busy, lambda: busy.orders.execute(call), InvalidInput, "call must be one that orders.commands created")

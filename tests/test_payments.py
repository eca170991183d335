"""Callbacks of a gateway: their outcomes, their effects, and the ones that never move money."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_fsm import (
    InvalidInput,
    Rule,
    Status,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    VersionConflict,
    When,
    Workflow,
    shop_workflow,
)
from order_fsm.orders.executor import ATTEMPTS
from order_fsm.payments import Outcome, PaymentEvent, PaymentReceiver, StandardWebhooks, StripeSignature, Verified
from order_fsm.testing.store_contract.harness import stressed
from tests.gateway import SECRET, Gateway, body_of
from tests.stores import interrupted
from tests.test_signatures import stripe

if TYPE_CHECKING:
    from tests.conftest import Shop


@pytest.fixture
def gateway(any_shop: Shop) -> Gateway:
    """Return a gateway for a shop with order 1001 over 10.00 GBP."""
    any_shop.create()
    return Gateway(any_shop)


def named(outcome: Outcome) -> tuple[str, int]:
    return outcome.outcome, outcome.http_status


def notes(shop: Shop) -> list[str]:
    return [entry.comment for entry in shop.orders.history("1001") if entry.trigger == "comment"]


# Applied, duplicate, recorded


def test_a_payment_in_full_is_applied(any_shop: Shop, gateway: Gateway) -> None:
    outcome = gateway.send()
    order = any_shop.orders.get("1001")
    assert named(outcome) == ("applied", 200)
    assert outcome.receipt is not None
    assert outcome.receipt.order == order
    assert order.state == "sent+invoiced+paid"
    assert order.captured == Decimal("10.00")
    assert any_shop.orders.stock("TEAPOT") == 8
    assert any_shop.topics() == ["order.paid"]
    (entry,) = any_shop.orders.progress("1001")
    assert (entry.trigger, entry.by, entry.key) == ("pay", "gateway", "gateway:evt_1")


def test_a_redelivered_event_is_a_duplicate(any_shop: Shop, gateway: Gateway) -> None:
    first = gateway.send()
    before = any_shop.dump()
    again = gateway.send()
    assert named(again) == ("duplicate", 200)
    assert again.receipt is not None
    assert first.receipt is not None
    assert again.receipt.entries == first.receipt.entries
    assert any_shop.dump() == before


def test_a_payment_under_another_event_id_is_a_duplicate(any_shop: Shop, gateway: Gateway) -> None:
    gateway.send()
    before = any_shop.dump()
    assert named(gateway.send(event_id="evt_2")) == ("duplicate", 200)
    assert any_shop.dump() == before


def test_part_payments_are_recorded_until_the_last_one_pays(any_shop: Shop, gateway: Gateway) -> None:
    """The customer may read each of them."""
    half = gateway.send(amount="5.00")
    assert named(half) == ("recorded", 200)
    assert any_shop.orders.get("1001").state == "sent"
    assert named(gateway.send(event_id="evt_2", reference="ch_2", amount="5.00")) == ("applied", 200)
    assert any_shop.orders.get("1001").state == "sent+invoiced+paid"
    assert [entry.facts["amount"] for entry in any_shop.orders.progress("1001")] == [5, 5]


def test_overpayment_is_applied_and_due_back(any_shop: Shop, gateway: Gateway) -> None:
    assert named(gateway.send(amount="12.50")) == ("applied", 200)
    assert any_shop.orders.get("1001").refund_due == Decimal("2.50")
    assert any_shop.topics() == ["order.paid", "refund.due"]


def test_a_payment_on_a_paid_order_is_recorded_and_due_back(any_shop: Shop, gateway: Gateway) -> None:
    gateway.send()
    assert named(gateway.send(event_id="evt_2", reference="ch_2")) == ("recorded", 200)
    order = any_shop.orders.get("1001")
    assert (order.captured, order.refund_due) == (Decimal(20), Decimal(10))
    assert any_shop.topics() == ["order.paid", "refund.due"]


@pytest.mark.parametrize("amount", ["10.00", "4.00"])
def test_a_payment_on_a_cancelled_order_is_recorded_and_due_back(any_shop: Shop, gateway: Gateway, amount: str) -> None:
    any_shop.orders.fire("1001", "cancel")
    assert named(gateway.send(amount=amount)) == ("recorded", 200)
    order = any_shop.orders.get("1001")
    assert "cancelled" in order.statuses
    assert order.refund_due == Decimal(amount)
    assert "refund.due" in any_shop.topics()


@pytest.mark.parametrize("kind", ["failed", "disputed", "Captured", "CAPTURED", "captured ", "refund", "pay", "place"])
def test_only_kinds_of_money_move_money(any_shop: Shop, gateway: Gateway, kind: str) -> None:
    """Any other kind, even with a similar spelling, becomes one note for the shop and unticks no box."""
    gateway.send()
    paid = any_shop.orders.get("1001")
    for outcome in ("recorded", "duplicate"):
        assert named(gateway.send(kind, "evt_2", reference="ch_2")) == (outcome, 200)
    order = any_shop.orders.get("1001")
    assert (order.state, order.payments) == (paid.state, paid.payments)
    about = kind if kind == "failed" else f"payment.{kind}"
    assert notes(any_shop) == [f"gateway: {about}, 10.00 GBP, ch_2"]
    assert any_shop.topics() == ["order.paid"]


def test_note_with_an_amount_is_logged_once(any_shop: Shop, gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """Its kind may be misspelt: the order is not paid, and no queue and no message shows it."""
    for _ in range(2):
        gateway.send("succeeded", "evt_2", customer="ann@example.com")
    assert any_shop.orders.get("1001").state == "unfinished"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    for named_in_log in ("note:payment.succeeded", "gateway:evt_2", "captured"):
        assert named_in_log in record.getMessage()
    for private in ("ann", "1001", "ch_1", "10.00"):
        assert private not in record.getMessage()


@pytest.mark.parametrize(("kind", "amount"), [("disputed", ...), ("disputed", "0.00"), ("authorised", "10.00")])
def test_event_that_is_expected_to_move_nothing_is_not_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, kind: str, amount: Any
) -> None:
    assert named(gateway.send(kind, amount=amount, currency="GBP")) == ("recorded", 200)
    assert caplog.records == []


def test_note_with_a_trigger_is_not_logged_if_a_rule_refuses_it(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The shop knows its kind, and the comment has the reasons."""
    shop.bring("sent")
    event = PaymentEvent("note:payment.deposit", order_id="1001", amount="1", currency="GBP")
    receiver = PaymentReceiver(shop.orders, StandardWebhooks(SECRET), triggers={event.kind: "place"})
    assert named(receiver.record(event)) == ("recorded", 200)
    assert caplog.records == []


def test_a_note_needs_no_money(any_shop: Shop, gateway: Gateway) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("amount", "currency", "reference"), ...)
    assert named(gateway.send("failed", **nothing)) == ("recorded", 200)
    assert named(gateway.send("failed", "evt_2", **nothing | {"amount": "3"})) == ("rejected", 400)
    assert notes(any_shop) == ["gateway: failed"]


def test_money_of_another_currency_is_recorded_and_settles_nothing(any_shop: Shop, gateway: Gateway) -> None:
    """M9: it is a fact in its own currency. A message reports it, and the order does not expire."""
    for outcome in ("recorded", "duplicate"):
        assert named(gateway.send(currency="EUR", amount="11.70")) == (outcome, 200)
    order = any_shop.orders.get("1001")
    assert (order.state, order.outstanding, order.unmatched) == ("sent", Decimal(10), {"EUR": Decimal("11.70")})
    assert any_shop.topics() == ["payment.unmatched"]
    any_shop.clock.pass_by(days=30)
    assert any_shop.orders.expire(timedelta(days=7)) == []
    assert named(gateway.send("refunded", "evt_2", currency="EUR", amount="11.70")) == ("recorded", 200)
    assert any_shop.orders.get("1001").unmatched == {}


@pytest.mark.parametrize("money", [{"currency": "XBT"}, {"amount": "10.001"}, {"currency": "JPY", "amount": "0.5"}])
def test_money_that_no_ledger_can_hold_is_noted_and_reported(
    any_shop: Shop, gateway: Gateway, money: dict[str, str]
) -> None:
    """It has an unknown currency, or an amount finer than its smallest unit."""
    for outcome in ("recorded", "duplicate"):
        assert named(gateway.send(**money)) == (outcome, 200)
    order = any_shop.orders.get("1001")
    assert (order.state, order.payments) == ("unfinished", ())
    assert len(notes(any_shop)) == 1
    assert any_shop.topics() == ["payment.unmatched"]


def test_a_payment_of_zero_is_noted(any_shop: Shop, gateway: Gateway) -> None:
    assert named(gateway.send(amount="0.00")) == ("recorded", 200)
    assert any_shop.orders.get("1001").payments == ()
    assert notes(any_shop) == ["gateway: captured, 0.00 GBP, ch_1"]


# Refunds and reversals


def test_one_payment_is_refunded_in_several_parts(any_shop: Shop, gateway: Gateway) -> None:
    """Equal parts are possible. Each event counts once."""
    gateway.send()
    for event_id in ("evt_2", "evt_3", "evt_2", "evt_3"):
        gateway.send("refunded", event_id, amount="3.00")
    order = any_shop.orders.get("1001")
    assert order.refunded == 6
    assert order.state == "sent+invoiced+paid"
    assert named(gateway.send("refunded", "evt_4", amount="1.00")) == ("recorded", 200)
    assert named(gateway.send("refunded", "evt_4", amount="1.00")) == ("duplicate", 200)


@pytest.mark.parametrize("kind", ["refunded", "reversed"])
def test_a_fact_beyond_its_payment_is_unmatched_after_a_day(any_shop: Shop, gateway: Gateway, kind: str) -> None:
    """M14: it is parked while an earlier fact may still come. The gateway does not repeat it for ever."""
    gateway.send()
    gateway.send(kind, "evt_2", amount="8.00")
    any_shop.orders.deliver(lambda message: None)
    for hours in (0, 12, 11.9):
        any_shop.clock.pass_by(hours=hours)
        assert named(gateway.send(kind, "evt_3", amount="2.01")) == ("parked", 503)
    any_shop.clock.pass_by(hours=0.1)
    for outcome in ("recorded", "duplicate"):
        assert named(gateway.send(kind, "evt_3", amount="2.01")) == (outcome, 200)
    order = any_shop.orders.get("1001")
    assert order.refunded + order.reversed == 8
    told = f"gateway: {kind}, 2.01 GBP, ch_1"
    assert notes(any_shop) == [f"{told}: an earlier fact of its payment has not come yet", told]
    assert not any(entry.visible for entry in any_shop.orders.history("1001") if entry.trigger == "comment")
    (message,) = any_shop.messages("payment.unmatched")
    assert message.payload["kind"] == kind
    assert (message.payload["amount"], message.payload["reference"]) == ("2.01", "ch_1")
    assert any_shop.orders.audit().ok


@pytest.mark.parametrize("kind", ["refunded", "reversed"])
def test_a_refund_before_its_payment_is_parked(any_shop: Shop, gateway: Gateway, kind: str) -> None:
    """A note reports it once. A redelivery after the payment, under the same id, is applied."""
    for _ in range(2):
        assert named(gateway.send(kind, "evt_2")) == ("parked", 503)
    assert any_shop.orders.get("1001").payments == ()
    assert notes(any_shop) == [f"gateway: {kind}, 10.00 GBP, ch_1: an earlier fact of its payment has not come yet"]
    gateway.send()
    assert gateway.send(kind, "evt_2").outcome in {"applied", "recorded"}
    assert named(gateway.send(kind, "evt_2")) == ("duplicate", 200)
    assert any_shop.orders.get("1001").held == 0


def test_a_refund_waits_for_its_own_payment_only(any_shop: Shop, gateway: Gateway) -> None:
    """Money of another payment does not count."""
    gateway.send(amount="5.00")
    assert named(gateway.send("refunded", "evt_2", reference="ch_2", amount="5.00")) == ("parked", 503)
    assert named(gateway.send("refunded", "evt_3", amount="5.00")) == ("recorded", 200)
    gateway.send(event_id="evt_4", reference="ch_2", amount="5.00")
    assert named(gateway.send("refunded", "evt_2", reference="ch_2", amount="5.00")) == ("recorded", 200)
    order = any_shop.orders.get("1001")
    assert (order.captured, order.refunded) == (Decimal(10), Decimal(10))


def test_a_chargeback_is_not_limited_by_refunds(any_shop: Shop, gateway: Gateway) -> None:
    """The bank decides the amount."""
    gateway.send()
    gateway.send("refunded", "evt_2", amount="6.00")
    assert gateway.send("reversed", "evt_4", amount="8.00").http_status == 200
    order = any_shop.orders.get("1001")
    assert (order.reversed, order.held) == (Decimal(8), Decimal(-4))


def test_a_refund_of_zero_is_noted_at_once(any_shop: Shop, gateway: Gateway) -> None:
    """No later payment changes its bound, and no money is missing."""
    for kind in ("refunded", "reversed", "refund_failed", "restored"):
        assert named(gateway.send(kind, f"evt_{kind}", amount="0")) == ("recorded", 200)
    assert any_shop.topics() == []


def test_a_payment_that_a_shops_own_rule_forbids_is_noted(new_shop: type[Shop]) -> None:
    """vendurehq/vendure#2657: the event is known and not applicable, so the gateway does not repeat it for days."""
    shop = new_shop(shop_workflow().extend(forbids={"pay": ["dispatched"]}))
    shop.bring("sent+invoiced+dispatched")
    assert named(Gateway(shop).send()) == ("recorded", 200)
    assert notes(shop) == ["gateway: captured, 10.00 GBP, ch_1"]
    assert shop.topics()[-1:] == ["payment.unmatched"]


def test_payment_without_a_rule_that_records_money_names_the_missing_ledger(new_shop: type[Shop]) -> None:
    without_money = Workflow(
        [Status("requested")],
        [Rule("request", forbids={"requested"}, adds={"requested"})],
        holds_stock=When(has={"requested"}),
        counts=When(has={"requested"}),
        queues={},
    )
    shop = new_shop(without_money)
    shop.create()
    outcome = Gateway(shop).send()
    assert named(outcome) == ("recorded", 200)
    assert outcome.reason == "noted only: no rule of the workflow has ledger='captured'"
    assert shop.topics() == ["payment.unmatched"]


def test_a_reversal_unpays(any_shop: Shop, gateway: Gateway) -> None:
    """The customer cannot read the text of the bank."""
    gateway.send()
    read = any_shop.orders.progress("1001")
    assert named(gateway.send("reversed", "evt_2")) == ("applied", 200)
    order = any_shop.orders.get("1001")
    assert (order.state, order.reversed) == ("sent", Decimal(10))
    assert any_shop.orders.progress("1001") == read


# Parked


def test_an_unknown_order_is_parked_until_it_exists(any_shop: Shop) -> None:
    gateway = Gateway(any_shop)
    before = any_shop.dump()
    for kind in ("captured", "failed", "refunded"):
        assert named(gateway.send(kind)) == ("parked", 503)
    assert any_shop.dump() == before
    any_shop.create()
    assert named(gateway.send()) == ("applied", 200)


@pytest.mark.parametrize("failure", [StoreUnavailable, StoreFull, StoreCorrupt])
def test_a_store_that_fails_parks_the_callback(any_shop: Shop, gateway: Gateway, failure: type[Exception]) -> None:
    """The key stays free. A redelivery to a working store is applied and counts once."""

    def fails() -> None:
        raise failure("the disk of ann@example.com is away")

    interrupted(any_shop.store).append(fails)
    before = any_shop.dump()
    outcome = gateway.send()
    assert named(outcome) == ("parked", 503)
    assert outcome.reason == f"the store cannot take it now ({failure.__name__})"
    assert any_shop.dump() == before
    assert named(gateway.send()) == ("applied", 200)
    assert any_shop.orders.get("1001").captured == 10


def test_an_order_under_constant_conflict_parks_the_callback(any_shop: Shop, gateway: Gateway) -> None:
    def conflict() -> None:
        raise VersionConflict("somebody else was first")

    interrupted(any_shop.store).extend([conflict] * ATTEMPTS)
    assert named(gateway.send()) == ("parked", 503)
    assert named(gateway.send()) == ("applied", 200)


# Rejected


def test_the_same_event_with_other_content_is_rejected(any_shop: Shop, gateway: Gateway) -> None:
    """Another amount, currency, reference, kind or order under a used id is a conflict, not a duplicate."""
    any_shop.create("1002")
    gateway.send()
    gateway.send("failed", "evt_2")
    before = any_shop.dump()
    for event_id in ("evt_1", "evt_2"):
        for other in ({"amount": "9.99"}, {"currency": "EUR"}, {"reference": "ch_2"}, {"order_id": "1002"}):
            assert named(gateway.send(event_id=event_id, **other)) == ("rejected", 409)
            assert named(gateway.send("expired", event_id, **other)) == ("rejected", 409)
    assert named(gateway.send("refunded")) == ("rejected", 409)
    assert any_shop.dump() == before


@pytest.mark.parametrize("other", [{"amount": "9.99"}, {"currency": "EUR"}])
def test_the_same_payment_with_another_amount_is_rejected(
    any_shop: Shop, gateway: Gateway, other: dict[str, str]
) -> None:
    """This holds under another event id too. The event is not noted."""
    gateway.send()
    before = any_shop.dump()
    for _ in range(2):
        assert named(gateway.send(event_id="evt_2", **other)) == ("rejected", 409)
    assert any_shop.dump() == before


@pytest.mark.parametrize("kind", ["captured", "refunded", "reversed"])
@pytest.mark.parametrize("missing", ["amount", "currency", "reference"])
def test_money_event_needs_amount_currency_and_payment(
    any_shop: Shop, gateway: Gateway, kind: str, missing: str
) -> None:
    """Missing values have no defaults, such as the outstanding amount or the order's currency."""
    gateway.send()
    before = any_shop.dump()
    for absent in (..., None):
        assert named(gateway.send(kind, "evt_2", **{"reference": "ch_2", missing: absent})) == ("rejected", 400)
    assert any_shop.dump() == before


NO_AMOUNTS: list[Any] = [True, False, -1, "-0.01", "NaN", "1_0", "", " ", "ten", "1" * 50, 10**15, [], {}, "0x10"]
NO_CURRENCIES: list[Any] = ["gbp", "GB", "GBPX", "", 826, "\uff27\uff22\uff30"]
NO_NAMES: list[Any] = ["", " ", 7, [], True, "a\nb", "\x00", "\ud800", "x" * 201]
UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "two values": body_of() + b"{}",
    "a list": b"[]",
    "a string": b'"payment.captured"',
    "null": b"null",
    "no members": b"{}",
    "data of a wrong type": b'{"type": "payment.captured", "data": []}',
    "type of a wrong type": body_of().replace(b'"payment.captured"', b"7"),
    "a member twice": body_of().replace(b'"amount":', b'"amount": "1.00", "amount":'),
    "deep nesting": b"[" * 100_000,
    "deep nesting that is whole": body_of(note=0).replace(b'"note": 0', b'"note": ' + b"[" * 90_000 + b"]" * 90_000),
    "a fraction with an endless exponent": body_of().replace(b'"10.00"', b"1e999999999999999999"),
    "a number of 5000 digits": body_of().replace(b'"10.00"', b"1" * 5000),
    **{f"amount {value}": body_of().replace(b'"10.00"', value.encode()) for value in ("NaN", "Infinity", "-Infinity")},
    **{f"amount {value!r}": body_of(amount=value) for value in [*NO_AMOUNTS, "\u0661\u0660"]},
    "amount 1e400": body_of().replace(b'"10.00"', b"1e400"),
    **{f"currency {value!r}": body_of(currency=value) for value in NO_CURRENCIES},
    **{f"{name} {value!r:.20}": body_of(**{name: value}) for name in ("order_id", "reference") for value in NO_NAMES},
    "an order outside of the store": body_of(order_id="../1001"),
    "no order and no payment": body_of(order_id=..., reference=...),
    "a kind over several lines": body_of("failed\nby: boss"),
    "half of a surrogate pair as the kind": body_of("\ud800"),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=[ascii(name) for name in UNREADABLE])
def test_a_signed_body_that_is_not_an_event_is_rejected(shop: Shop, body: bytes) -> None:
    """It changes nothing, and its id stays free."""
    shop.create()
    gateway = Gateway(shop)
    before = shop.dump()
    outcome = gateway.deliver(body)
    assert named(outcome) == ("rejected", 400)
    assert outcome.receipt is None
    assert shop.dump() == before
    assert named(gateway.send()) == ("applied", 200)


@pytest.mark.parametrize("event_id", ["", " ", "x" * 201, "é\x85"])
def test_an_event_needs_an_id(shop: Shop, event_id: str) -> None:
    """An empty or unsigned header is not an id. The content of the body identifies the event then."""
    shop.create()
    outcome = Gateway(shop).send(event_id=event_id)
    assert named(outcome) == (("applied", 200) if event_id == "" else ("rejected", 400))


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("10", "10"),
        ("10.00", "10.00"),
        ("49.90", "49.90"),
        ("0.1", "0.1"),
        ("1e1", "10"),
        ("999999999999999.99",) * 2,
    ],
)
def test_an_amount_that_is_a_number_is_exact(shop: Shop, written: str, amount: str) -> None:
    """The number in JSON is recorded without a float in between."""
    shop.create()
    Gateway(shop).deliver(body_of().replace(b'"10.00"', written.encode()))
    assert shop.orders.get("1001").captured == Decimal(amount)


FORGED: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "no headers": lambda headers: {},
    "no signature": lambda headers: {**headers, "Webhook-Signature": ""},
    "another event id": lambda headers: {**headers, "Webhook-Id": "evt_2"},
    "another time": lambda headers: {**headers, "Webhook-Timestamp": str(int(headers["Webhook-Timestamp"]) + 1)},
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_callback_is_rejected_and_leaves_no_trace(
    any_shop: Shop, gateway: Gateway, forge: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    """Its key stays free: a genuine event under the same id is applied afterwards."""
    before = any_shop.dump()
    outcome = gateway.receiver.receive(body_of(), forge(gateway.headers(body_of())))
    assert named(outcome) == ("rejected", 401)
    assert any_shop.dump() == before
    assert named(gateway.send()) == ("applied", 200)


def test_a_callback_that_is_replayed_after_an_hour_is_rejected(any_shop: Shop, gateway: Gateway) -> None:
    """The receiver's clock decides."""
    headers = gateway.headers(body_of())
    any_shop.clock.pass_by(hours=1)
    before = any_shop.dump()
    assert named(gateway.receiver.receive(body_of(), headers)) == ("rejected", 401)
    assert any_shop.dump() == before


# Reasons and logs


def test_reason_and_log_hold_no_value_of_the_request(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """They have no body, id, customer, signature or secret, for any outcome."""
    caplog.set_level(logging.DEBUG)
    private: dict[str, Any] = {"note": "ann@example.com", "reference": "ch_private"}
    body = body_of(**private)
    forged = gateway.headers(body) | {"Webhook-Signature": "v1,forged"}
    outcomes = [
        gateway.receiver.receive(body, forged),
        gateway.deliver(body[:-1], "evt_private"),
        gateway.send(event_id="evt_private", amount="ann@example.com"),
        gateway.send(event_id="evt_private", **{**private, "amount": ...}),
        gateway.send(event_id="evt_private", order_id="private", **private),
        gateway.send("refunded", "evt_private", **private),
        gateway.send(event_id="evt_private", **private),
        gateway.send(event_id="evt_private", **private),
        gateway.send(event_id="evt_private", **private | {"amount": "3.33"}),
        gateway.send(event_id="evt_2", **private | {"reference": "ch_2", "currency": "EUR"}),
    ]
    assert [outcome.outcome for outcome in outcomes] == [
        *("rejected", "rejected", "rejected", "rejected", "parked", "parked", "applied", "duplicate", "rejected"),
        "recorded",
    ]
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 7
    told = caplog.text + "".join(outcome.reason for outcome in outcomes)
    for secret in ("private", "ann@", "example", "1001", "3.33", "v1,", SECRET, SECRET.removeprefix("whsec_")):
        assert secret not in told


def test_a_receiver_shows_no_secrets(gateway: Gateway) -> None:
    assert SECRET.removeprefix("whsec_") not in repr(gateway.receiver)


# The integrator's part


@pytest.mark.parametrize("body", [body_of().decode(), bytearray(body_of()), None, {}])
def test_a_body_that_is_not_handed_over_as_bytes_is_the_callers_mistake(gateway: Gateway, body: Any) -> None:
    """A decoded body cannot be verified. An error finds this mistake faster than a rejected signature."""
    with pytest.raises(InvalidInput, match="raw bytes"):
        gateway.receiver.receive(body, gateway.headers(body_of()))


def test_a_clock_without_a_time_zone_is_the_callers_mistake(shop: Shop) -> None:
    receiver = PaymentReceiver(shop.orders, StandardWebhooks(SECRET), clock=lambda: datetime(2026, 1, 5))
    with pytest.raises(InvalidInput, match="time zone"):
        receiver.receive(body_of(), {})


def test_a_shop_reads_its_own_gateways_events(shop: Shop) -> None:
    """The test has Stripe's format: pence, lower case, the id in the body."""

    def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent:
        assert headers == {}
        charge = data["data"]["object"]
        return PaymentEvent(
            id=data["id"],
            kind="captured" if data["type"] == "charge.succeeded" else data["type"],
            order_id=charge["metadata"]["order"],
            reference=charge["id"],
            amount=Decimal(charge["amount"]).scaleb(-2),
            currency=charge["currency"].upper(),
        )

    shop.create()
    charge = {"id": "ch_1", "amount": 1000, "currency": "gbp", "metadata": {"order": "1001"}}
    body = json.dumps({"id": "evt_1", "type": "charge.succeeded", "data": {"object": charge}}).encode()
    receiver = PaymentReceiver(shop.orders, StripeSignature("whsec_x"), parse, shop.clock)
    headers = stripe(body, "whsec_x", str(int(shop.clock.now.timestamp())))
    assert named(receiver.receive(body, headers)) == ("applied", 200)
    assert named(receiver.receive(body, headers)) == ("duplicate", 200)
    assert shop.orders.history("1001")[-1].key == "gateway:evt_1"


def test_an_event_id_that_is_not_signed_is_not_read(shop: Shop) -> None:
    """Otherwise an eavesdropper could replay a refund under a new id."""
    shop.create()
    Gateway(shop).send()
    receiver = PaymentReceiver(shop.orders, StripeSignature("whsec_x"), clock=shop.clock)
    for body in (body_of("refunded", amount="1"), body_of("refunded", amount="2")[:-1] + b', "id": "evt_2"}'):
        headers = stripe(body, "whsec_x", str(int(shop.clock.now.timestamp())))
        outcomes = [receiver.receive(body, {**headers, "webhook-id": f"evt_{n}"}).outcome for n in range(3)]
        assert outcomes == ["recorded", "duplicate", "duplicate"]
    assert shop.orders.get("1001").refunded == 3
    assert shop.orders.history("1001")[-1].key == "gateway:evt_2"


def test_a_signed_event_id_comes_before_one_in_the_body(shop: Shop) -> None:
    shop.create()
    Gateway(shop).deliver(body_of()[:-1] + b', "id": "other"}', "evt_1")
    assert shop.orders.history("1001")[-1].key == "gateway:evt_1"


@pytest.mark.parametrize("made", [None, {}, Exception])
def test_a_parser_that_fails_rejects_the_callback(shop: Shop, made: Any) -> None:
    def parse(data: Any, _: Mapping[str, str]) -> PaymentEvent:
        if made is Exception:
            raise LookupError(data)
        return cast(PaymentEvent, made)

    shop.create()
    receiver = PaymentReceiver(shop.orders, StandardWebhooks(SECRET), parse, shop.clock)
    assert named(receiver.receive(body_of(), Gateway(shop).headers(body_of()))) == ("rejected", 400)


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KIND_NAMES = st.sampled_from(["captured", "refunded", "reversed", "failed", "other"])
NEAR_EVENTS = st.fixed_dictionaries(
    {
        "type": KIND_NAMES.map("payment.{}".format) | JSON,
        "data": st.fixed_dictionaries(
            {},
            optional={
                "order_id": st.just("1001") | JSON,
                "reference": st.sampled_from(["ch_1", "ch_2"]) | JSON,
                "amount": st.sampled_from(["10.00", 5, 2.5, "0"]) | JSON,
                "currency": st.sampled_from(["GBP", "EUR"]) | JSON,
            },
        )
        | JSON,
    }
)
BODIES = st.binary() | (NEAR_EVENTS | JSON).map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["Webhook-Id", "webhook-timestamp", "WEBHOOK-SIGNATURE", "stripe-signature"]) | st.text(),
    st.text() | st.sampled_from(["evt_1", "1767603600", "v1,AAAA", "t=1767603600,v1=00"]),
)


@pytest.mark.no_cover
@settings(max_examples=1000 if stressed() else 200, deadline=None)
@given(body=BODIES | st.just(body_of()), headers=HEADERS, stripe_form=st.booleans())
def test_unverified_callback_moves_no_money(
    new_shop: type[Shop], body: bytes, headers: dict[str, str], stripe_form: bool
) -> None:
    """It does not raise and changes nothing."""
    shop = new_shop()
    shop.create()
    before = shop.dump()
    verifier = StripeSignature(SECRET) if stripe_form else StandardWebhooks(SECRET)
    outcome = PaymentReceiver(shop.orders, verifier, clock=shop.clock).receive(body, headers)
    assert named(outcome) == ("rejected", 401)
    assert shop.dump() == before


class Credulous:
    """Accepts every body, like a gateway that sends anything."""

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:  # noqa: ARG002
        return Verified(headers)


EVENT_IDS = st.sampled_from(["evt_1", "evt_2", "evt_3"]) | st.text(min_size=1, max_size=5)


@pytest.mark.no_cover
@settings(max_examples=300 if stressed() else 100, deadline=None)
@given(sent=st.lists(st.tuples(BODIES, EVENT_IDS), max_size=8))
def test_any_signed_body_has_an_outcome(new_shop: type[Shop], sent: list[tuple[bytes, str]]) -> None:
    """It never raises, and each ledger row belongs to one applied or recorded callback."""
    shop = new_shop()
    shop.create()
    receiver = PaymentReceiver(shop.orders, Credulous(), clock=shop.clock)
    for body, event_id in sent:
        before = shop.dump()
        outcome = receiver.receive(body, {"webhook-id": event_id})
        assert named(outcome) in {
            *(("applied", 200), ("recorded", 200), ("duplicate", 200), ("parked", 503)),
            *(("ignored", 200), ("rejected", 400), ("rejected", 409)),
        }
        payments = len(shop.orders.get("1001").payments) - len(before["orders"][0].payments)
        assert payments <= (outcome.outcome in {"applied", "recorded"})
        if outcome.outcome in {"duplicate", "rejected"}:
            assert shop.dump() == before


EVENTS = st.tuples(
    st.sampled_from(["evt_1", "evt_2", "evt_3", "evt_4"]),
    KIND_NAMES,
    st.sampled_from(["ch_1", "ch_2", "ch_3"]),
    st.sampled_from(["2.00", "5.00", "10.00"]),
)


@pytest.mark.no_cover
@settings(max_examples=300 if stressed() else 100, deadline=None)
@given(events=st.lists(EVENTS, max_size=20))
def test_each_amount_is_recorded_at_most_once(new_shop: type[Shop], events: list[tuple[str, str, str, str]]) -> None:
    """The reference identifies a payment, and the event's id any other fact. paid follows from the ledger."""
    shop = new_shop()
    shop.create()
    gateway = Gateway(shop)
    for event_id, kind, reference, amount in events:
        gateway.send(kind, event_id, reference=reference, amount=amount)
    order = shop.orders.get("1001")
    captured = [payment.reference for payment in order.payments if payment.kind == "captured"]
    assert len(captured) == len(set(captured))
    keys = [entry.key for entry in shop.orders.history("1001") if entry.key is not None]
    assert len(keys) == len(set(keys))
    sent = {(kind, reference, Decimal(amount)) for _, kind, reference, amount in events}
    assert {(one.kind, one.reference, one.amount) for one in order.payments} <= sent
    assert order.refunded <= order.captured
    assert order.reversed <= order.captured
    assert not order.counted or ("paid" in order.statuses) == (not order.outstanding)

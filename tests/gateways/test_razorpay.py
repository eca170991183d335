"""Razorpay: one event per body, without a signed id."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from order_fsm import InvalidInput
from order_fsm.payments import Ignore, PaymentEvent, decode
from order_fsm_adapters.gateways.razorpay import parse
from tests.gateways.samples import razorpay_event, recorded

REFUND = {"id": "rfnd_1", "payment_id": "pay_1", "amount": 100_00, "currency": "INR"}
DISPUTE = {"id": "disp_1", "payment_id": "pay_1", "amount": 499_00, "currency": "INR", "amount_deducted": 300_00}


def parsed(data: Any) -> PaymentEvent:
    event = parse(data, {})
    assert isinstance(event, PaymentEvent)
    return event


def test_recorded_authorisation_is_read() -> None:
    event = parsed(decode(recorded("razorpay.payment.authorized")["body"].encode()))
    assert (event.kind, event.amount, event.currency) == ("authorised", Decimal("10000.00"), "INR")
    assert (event.order_id, event.reference) == ("random order id", "pay_6koWN7bvxujzxM")


def test_capture_has_every_value() -> None:
    assert parse(razorpay_event("payment.captured"), {}) == PaymentEvent(
        "captured",
        order_id="1001",
        reference="pay_1",
        transaction_id="pay_1",
        amount="499.00",
        currency="INR",
        id="payment.captured:pay_1",
        provider="razorpay",
        account="acc_1",
        occurred_at=datetime.fromtimestamp(1_767_603_600, UTC),
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("payment.authorized", "authorised"),
        ("payment.failed", "failed"),
        ("payment.something", "note:payment.something"),
    ],
)
def test_payment_event_has_its_kind(name: str, kind: str) -> None:
    assert parsed(razorpay_event(name)).kind == kind


def test_pending_refund_that_fails_is_one_transaction() -> None:
    names = ["refund.created", "refund.processed", "refund.failed"]
    events = [parsed(razorpay_event(name, refund=REFUND)) for name in names]
    assert [event.kind for event in events] == ["refunded", "refunded", "refund_failed"]
    assert {(event.reference, event.transaction_id, event.amount) for event in events} == {
        ("pay_1", "rfnd_1", Decimal(100))
    }
    assert {event.order_id for event in events} == {"1001"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("refund.created", "voided"), ("refund.processed", "voided"), ("refund.failed", "note:refund.failed")],
)
def test_refund_of_a_payment_that_was_never_captured_moves_no_money(name: str, kind: str) -> None:
    payment = {"id": "pay_1", "captured": False, "notes": {"order_id": "1001"}}
    event = parsed(razorpay_event(name, refund=REFUND, payment=payment))
    assert (event.kind, event.reference, event.amount, event.transaction_id) == (kind, "pay_1", None, None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("created", "note:payment.dispute.created"), ("won", "note:payment.dispute.won"), ("lost", "reversed")],
)
def test_dispute_moves_money_only_if_it_is_lost(name: str, kind: str) -> None:
    event = parsed(razorpay_event(f"payment.dispute.{name}", dispute=DISPUTE))
    assert (event.kind, event.reference) == (kind, "pay_1")
    assert event.amount == (300 if name == "lost" else None)


@pytest.mark.parametrize("name", ["order.paid", "invoice.paid", "settlement.processed", "refund.created"])
def test_event_about_another_thing_is_ignored(name: str) -> None:
    """`order.paid` reports the same payment as `payment.captured`."""
    assert isinstance(parse(razorpay_event(name), {}), Ignore)


@pytest.mark.parametrize(("notes", "order_id"), [([], None), ({}, None), ({"merchant_order_id": 7}, "7"), (None, None)])
def test_order_number_comes_from_the_notes(notes: Any, order_id: str | None) -> None:
    data = razorpay_event("payment.captured")
    data["payload"]["payment"]["entity"]["notes"] = notes
    assert parsed(data).order_id == order_id


@pytest.mark.parametrize(("currency", "money"), [("JPY", "500"), ("KWD", "0.500"), ("USD", "5.00")])
def test_amount_has_the_digits_of_its_currency(currency: str, money: str) -> None:
    data = razorpay_event("payment.captured")
    data["payload"]["payment"]["entity"] |= {"currency": currency, "amount": 500}
    assert str(parsed(data).amount) == money


@pytest.mark.parametrize("name", ["id", "amount", "currency"])
def test_missing_member_is_named(name: str) -> None:
    data = razorpay_event("payment.captured")
    del data["payload"]["payment"]["entity"][name]
    with pytest.raises(InvalidInput, match=name):
        parse(data, {})

"""Stripe: one event per fact, with the amounts of the API."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from order_fsm import InvalidInput
from order_fsm.payments import Ignore, PaymentEvent, StripeSignature, decode, verified
from order_fsm_adapters.gateways.stripe import parse
from tests.gateways.samples import (
    NOW,
    SECRET,
    encoded,
    recorded,
    stripe_dispute,
    stripe_event,
    stripe_headers,
    stripe_intent,
    stripe_refund,
)

# The kinds of the recorded payloads. Payloads that repeat the money of another event are notes.
RECORDED = {
    "payment_intent.succeeded": "captured",
    "payment_intent.amount_capturable_updated": "authorised",
    "payment_intent.canceled": "voided",
    "payment_intent.payment_failed": "failed",
    "refund.created": "refunded",
    "refund.failed": "refund_failed",
    "charge.dispute.funds_withdrawn": "reversed",
    "charge.dispute.funds_reinstated": "restored",
    "charge.succeeded": "note:charge.succeeded",
    "charge.refunded_1": "note:charge.refunded",
    "charge.refunded_2": "note:charge.refunded",
    "charge.dispute.created": "note:charge.dispute.created",
    "charge.dispute.closed_lost": "note:charge.dispute.closed",
    "charge.dispute.closed_won": "note:charge.dispute.closed",
    "checkout.session.completed": "note:checkout.session.completed",
    "checkout.session.completed_unpaid": "note:checkout.session.completed",
    "checkout.session.async_payment_failed": "note:checkout.session.async_payment_failed",
}


def parsed(data: Any) -> PaymentEvent:
    event = parse(data, {})
    assert isinstance(event, PaymentEvent)
    return event


@pytest.mark.parametrize(("name", "kind"), RECORDED.items())
def test_recorded_event_has_its_kind(name: str, kind: str) -> None:
    """The test signs each payload as Stripe does, then verifies, decodes and parses it."""
    body = encoded(recorded(f"stripe.{name}")["body"])
    verified(StripeSignature(SECRET).verify(body, stripe_headers(body), NOW))
    event = parsed(decode(body))
    assert (event.kind, event.provider, event.live) == (kind, "stripe", True)
    assert event.moves_money == (":" not in kind and kind not in {"authorised", "voided", "failed"})


def test_recorded_capture_is_49_90_pounds() -> None:
    event = parsed(recorded("stripe.payment_intent.succeeded")["body"])
    assert (event.amount, event.currency, event.order_id) == (Decimal("49.90"), "GBP", "1001")


def test_recorded_events_of_one_payment_share_its_reference() -> None:
    events = [parsed(recorded(f"stripe.{name}")["body"]) for name in RECORDED]
    assert len({event.reference for event in events}) == 1
    assert len({event.id for event in events}) == len(events)


def test_recorded_refund_and_its_failure_share_a_transaction() -> None:
    made, failed = (parsed(recorded(f"stripe.refund.{name}")["body"]) for name in ("created", "failed"))
    assert (made.transaction_id, made.amount) == (failed.transaction_id, failed.amount)


def test_recorded_event_of_a_customer_is_ignored() -> None:
    assert isinstance(parse(recorded("stripe.customer.created")["body"], {}), Ignore)


def test_capture_has_every_value() -> None:
    data = stripe_event("payment_intent.succeeded", stripe_intent(), account="acct_1", livemode=False)
    assert parse(data, {}) == PaymentEvent(
        "captured",
        order_id="1001",
        reference="pi_1",
        transaction_id="ch_1",
        amount="49.90",
        currency="GBP",
        id="evt_1",
        provider="stripe",
        live=False,
        account="acct_1",
        occurred_at=datetime.fromtimestamp(1_767_603_600, UTC),
    )


def test_expanded_charge_is_read_by_its_id() -> None:
    intent = stripe_intent(latest_charge={"id": "ch_1", "object": "charge"})
    assert parsed(stripe_event("payment_intent.succeeded", intent)).transaction_id == "ch_1"


def test_part_capture_counts_the_received_amount() -> None:
    intent = stripe_intent(amount=4990, amount_received=2000)
    assert parsed(stripe_event("payment_intent.succeeded", intent)).amount == 20


def test_authorisation_counts_the_capturable_amount() -> None:
    intent = stripe_intent(amount_capturable=2990, amount_received=0, status="requires_capture")
    event = parsed(stripe_event("payment_intent.amount_capturable_updated", intent))
    assert (event.kind, event.amount) == ("authorised", Decimal("29.90"))
    intent = stripe_intent(amount_capturable=0)
    event = parsed(stripe_event("payment_intent.amount_capturable_updated", intent))
    assert event.kind == "note:payment_intent.amount_capturable_updated"


@pytest.mark.parametrize(
    ("currency", "amount", "money"),
    [
        ("jpy", 500, "500"),
        ("kwd", 5120, "5.120"),
        ("isk", 500, "5.00"),
        ("ugx", 500, "5.00"),
        ("mga", 500, "500"),
        ("huf", 1045, "10.45"),
        ("krw", 1, "1"),
    ],
)
def test_amount_has_the_digits_of_its_currency(currency: str, amount: int, money: str) -> None:
    intent = stripe_intent(currency=currency, amount_received=amount)
    event = parsed(stripe_event("payment_intent.succeeded", intent))
    assert (str(event.amount), event.currency) == (money, currency.upper())


@pytest.mark.parametrize(
    ("name", "status", "before", "kind"),
    [
        ("refund.created", "pending", None, "refunded"),
        ("refund.created", "succeeded", None, "refunded"),
        ("refund.updated", "succeeded", "pending", "refunded"),
        ("charge.refund.updated", "succeeded", "pending", "refunded"),
        ("refund.updated", "failed", "pending", "refund_failed"),
        ("refund.failed", "failed", "succeeded", "refund_failed"),
        ("refund.failed", "pending", None, "refund_failed"),
        ("refund.updated", "canceled", "pending", "refund_failed"),
        ("refund.created", "requires_action", None, "note:refund.created"),
        ("refund.updated", "canceled", "requires_action", "note:refund.updated"),
        ("refund.updated", "failed", "requires_action", "note:refund.updated"),
        ("refund.updated", None, None, "note:refund.updated"),
    ],
)
def test_refund_counts_by_its_state(name: str, status: str | None, before: str | None, kind: str) -> None:
    data = stripe_event(name, stripe_refund(status=status))
    data["data"]["previous_attributes"] = {} if before is None else {"status": before}
    event = parsed(data)
    assert event.kind == kind
    if event.moves_money:
        assert (event.reference, event.transaction_id, event.amount) == ("pi_1", "re_1", Decimal(10))


def test_pending_refund_that_fails_is_one_transaction() -> None:
    steps = [("refund.created", "pending"), ("refund.updated", "succeeded"), ("refund.failed", "failed")]
    events = [parsed(stripe_event(name, stripe_refund(status=status))) for name, status in steps]
    assert [event.kind for event in events] == ["refunded", "refunded", "refund_failed"]
    assert {event.transaction_id for event in events} == {"re_1"}


def test_dispute_that_is_lost_then_won_has_a_transaction_per_movement() -> None:
    out = {"id": "txn_out", "amount": -4990, "currency": "gbp"}
    back = {"id": "txn_back", "amount": 4000, "currency": "gbp"}
    withdrawn = parsed(stripe_event("charge.dispute.funds_withdrawn", stripe_dispute(balance_transactions=[out])))
    restored = parsed(stripe_event("charge.dispute.funds_reinstated", stripe_dispute(balance_transactions=[out, back])))
    assert (withdrawn.kind, withdrawn.transaction_id, withdrawn.amount) == ("reversed", "txn_out", Decimal("49.90"))
    assert (restored.kind, restored.transaction_id, restored.amount) == ("restored", "txn_back", Decimal(40))
    assert withdrawn.reference == restored.reference == "pi_1"
    assert withdrawn.order_id is None


@pytest.mark.parametrize("order", [1, -1])
def test_dispute_takes_the_movement_of_its_direction(order: int) -> None:
    movements = [{"id": "out", "amount": -4990, "currency": "gbp"}, {"id": "back", "amount": 4990, "currency": "gbp"}]
    dispute = stripe_dispute(balance_transactions=movements[::order])
    assert parsed(stripe_event("charge.dispute.funds_withdrawn", dispute)).transaction_id == "out"
    assert parsed(stripe_event("charge.dispute.funds_reinstated", dispute)).transaction_id == "back"


def test_dispute_settled_in_another_currency_counts_in_that_of_the_payment() -> None:
    out = {"id": "txn_out", "amount": -5812, "currency": "eur"}
    event = parsed(stripe_event("charge.dispute.funds_withdrawn", stripe_dispute(balance_transactions=[out])))
    assert (event.amount, event.currency, event.transaction_id) == (Decimal("49.90"), "GBP", "txn_out")


def test_payment_without_an_intent_is_named_by_its_charge() -> None:
    event = parsed(stripe_event("refund.created", stripe_refund(payment_intent=None)))
    assert event.reference == "ch_1"


@pytest.mark.parametrize(
    ("version", "read"), [("2024-06-20", False), ("2025-02-24.acacia", False), ("2025-03-31.basil", True)]
)
def test_refund_of_an_api_version_with_other_refunds_is_refused(version: str, read: bool) -> None:
    event = stripe_event("refund.created", stripe_refund(), api_version=version)
    if read:
        assert isinstance(parse(event, {}), PaymentEvent)
    else:
        with pytest.raises(InvalidInput, match=r"API version 2025-03-31\.basil or a newer one"):
            parse(event, {})
    capture = stripe_event("payment_intent.succeeded", stripe_intent(), api_version=version)
    assert parsed(capture).kind == "captured"


def test_intent_without_order_number_names_the_payment() -> None:
    event = parsed(stripe_event("payment_intent.succeeded", stripe_intent(metadata={})))
    assert (event.order_id, event.reference) == (None, "pi_1")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({}, "type"),
        ({"type": "payment_intent.succeeded"}, "data.object"),
        (stripe_event("payment_intent.succeeded", stripe_intent(amount_received=None)), "amount_received"),
        (stripe_event("payment_intent.succeeded", stripe_intent(currency=None)), "currency"),
        (stripe_event("payment_intent.succeeded", stripe_intent(), id=None), "id"),
        (stripe_event("refund.created", stripe_refund(amount=None)), "amount"),
        (stripe_event("payment_intent.succeeded", stripe_intent(currency="xxx")), "XXX"),
        (stripe_event("payment_intent.succeeded", stripe_intent(amount_received=-1)), "smallest unit"),
        (stripe_event("payment_intent.succeeded", stripe_intent(), livemode="true"), "live"),
    ],
)
def test_event_that_is_not_valid_is_refused_by_name(data: Any, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        parse(data, {})

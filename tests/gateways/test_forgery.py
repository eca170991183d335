"""Verifiers reject callbacks made without the secret, and no payload breaks a parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_fsm.payments import Ignore, TryAgain, Verified
from order_fsm.payments.events import PaymentEvent, standard_event
from order_fsm_adapters.gateways import adyen, paypal, razorpay, stripe
from order_fsm_adapters.gateways.gocardless import GoCardlessEvents
from order_fsm_adapters.gateways.mollie import MollieEvents
from tests.gateways.fuzzing import GATEWAYS, Gateway, accepted_forgeries, accepts, mutants
from tests.gateways.samples import (
    adyen_item,
    gocardless_event,
    mollie_part,
    mollie_payment,
    paypal_event,
    paypal_refund,
    razorpay_event,
    stripe_dispute,
    stripe_event,
    stripe_intent,
    stripe_refund,
)
from tests.gateways.test_gocardless import Api

COUNT = 300
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def mollie(payment: Any) -> Any:
    return MollieEvents(lambda _: payment)({"id": "tr_1"}, {})


def gocardless(data: Any) -> Any:
    return GoCardlessEvents(Api())(data, {})


def gocardless_payment(payment: Any) -> Any:
    return GoCardlessEvents(lambda path: payment)({"events": [gocardless_event("payments", "failed")]}, {})


LOST = stripe_dispute(balance_transactions=[{"id": "txn_1", "amount": -1, "currency": "gbp"}])
PARTS = {"captures": [mollie_part("cpt_1")], "refunds": [mollie_part("re_1", status="failed")], "chargebacks": []}
PARSERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "standard": (
        lambda data: standard_event(data, {}),
        {"type": "payment.captured", "data": {"order_id": "1", "reference": "r", "amount": "1", "currency": "GBP"}},
    ),
    "stripe payment": (
        lambda data: stripe.parse(data, {}),
        stripe_event("payment_intent.succeeded", stripe_intent()),
    ),
    "stripe refund": (lambda data: stripe.parse(data, {}), stripe_event("refund.updated", stripe_refund())),
    "stripe dispute": (lambda data: stripe.parse(data, {}), stripe_event("charge.dispute.funds_withdrawn", LOST)),
    "paypal capture": (lambda data: paypal.parse(data, {}), paypal_event()),
    "paypal refund": (lambda data: paypal.parse(data, {}), paypal_refund()),
    "adyen item": (lambda data: adyen.parse(data, {}), adyen_item()),
    "adyen batch": (
        lambda data: adyen.parse(data, {}),
        {"live": "true", "notificationItems": [{"NotificationRequestItem": adyen_item()}]},
    ),
    "mollie": (mollie, mollie_payment(_embedded=PARTS)),
    "razorpay": (lambda data: razorpay.parse(data, {}), razorpay_event("payment.captured")),
    "gocardless": (gocardless, {"events": [gocardless_event("payments", "failed")]}),
    "gocardless payment": (
        gocardless_payment,
        {
            "payments": {"amount": 1, "currency": "GBP", "metadata": {}},
            "events": [{"id": "EV1", "action": "confirmed"}],
        },
    ),
}


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=list(GATEWAYS))
def test_genuine_callback_is_verified(gateway: Gateway) -> None:
    """The control for the tests below."""
    assert accepts(gateway.verifier, gateway.genuine(gateway.body)) is not None
    assert accepts(gateway.verifier, gateway.foreign(gateway.body)) is None


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=list(GATEWAYS))
def test_forged_callback_is_never_verified(gateway: Gateway) -> None:
    assert accepted_forgeries(gateway, COUNT) == []


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=list(GATEWAYS))
def test_forgeries_pass_a_verifier_that_checks_nothing(gateway: Gateway) -> None:
    """The control: the forgeries differ from the genuine callback in signed content."""

    class Anything:
        def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:  # noqa: ARG002
            return Verified({})

    assert len(accepted_forgeries(gateway._replace(verifier=Anything()), COUNT)) > COUNT / 3


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=list(GATEWAYS))
@settings(deadline=None)
@given(data=st.data())
def test_guessed_callback_is_never_verified(gateway: Gateway, data: st.DataObject) -> None:
    body, headers = gateway.genuine(gateway.body)
    made = data.draw(st.binary(max_size=200) | st.just(body))
    texts = st.fixed_dictionaries(
        {}, optional={name: st.text(max_size=90) for name in headers or ["webhook-signature"]}
    )
    guessed = data.draw(texts)
    if (made, guessed) != (body, headers):
        answer = accepts(gateway.verifier, (made, guessed))
        assert answer is None or (made == body and not headers)


@pytest.mark.parametrize("name", PARSERS)
def test_broken_payload_is_refused_or_gives_valid_events(name: str) -> None:
    parser, payload = PARSERS[name]
    assert_answer(parser(payload))
    for data in mutants(payload, COUNT):
        assert_refused_or_valid(parser, data)


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None, max_examples=50)
@given(data=JSON)
def test_any_json_is_refused_or_gives_valid_events(name: str, data: Any) -> None:
    assert_refused_or_valid(PARSERS[name][0], data)


def assert_refused_or_valid(parser: Callable[[Any], Any], data: Any) -> None:
    """A parser may raise only TryAgain and ValueError, of which InvalidInput is a subclass."""
    try:
        answer = parser(data)
    except (ValueError, TryAgain):
        return
    assert_answer(answer)


def assert_answer(answer: Any) -> None:
    if isinstance(answer, (Ignore, TryAgain)):
        return
    events = answer if isinstance(answer, Sequence) else [answer]
    assert events
    for event in events:
        assert isinstance(event, PaymentEvent)
        assert event.order_id is not None or event.reference is not None
        if event.moves_money:
            assert type(event.amount) is Decimal
            assert event.amount >= 0
            assert type(event.currency) is str

"""PayPal: RSA over the CRC32 of the body, and a refund that names its capture only in a link."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import InvalidInput
from order_fsm.payments import Ignore, PaymentEvent, PaymentReceiver, TryAgain, decode, verified
from order_fsm_adapters.gateways.paypal import TOLERANCE, PayPalSignature, parse
from tests.gateways.samples import (
    CERT_URL,
    NOW,
    WEBHOOK_ID,
    encoded,
    paypal_certificate,
    paypal_event,
    paypal_headers,
    paypal_refund,
    recorded,
    recorded_bytes,
)

if TYPE_CHECKING:
    from tests.conftest import Shop

BODY = encoded(paypal_event())
RECORDED_AT = datetime(2024, 8, 2, 19, 36, tzinfo=UTC)


def ours(webhook_id: str = WEBHOOK_ID) -> PayPalSignature:
    return PayPalSignature(webhook_id, certificate=paypal_certificate())


def accepts(verifier: PayPalSignature, headers: dict[str, str], body: bytes = BODY, now: datetime = NOW) -> bool:
    try:
        verified(verifier.verify(body, headers, now))
    except Exception:
        return False
    return True


def parsed(data: Any) -> PaymentEvent:
    event = parse(data, {})
    assert isinstance(event, PaymentEvent)
    return event


@pytest.mark.parametrize("name", ["capture.completed", "capture.refunded"])
def test_recorded_callback_is_verified(name: str) -> None:
    sample = recorded(f"paypal.{name}")
    body, headers = sample["raw_body"].encode(), sample["headers"]
    verifier = PayPalSignature(sample["webhook_id"], certificate=recorded_bytes("paypal.certificate.pem"))
    assert accepts(verifier, headers, body, RECORDED_AT)
    assert not accepts(verifier, headers, body.replace(b"USD", b"EUR"), RECORDED_AT)
    assert not accepts(verifier, headers, encoded(json.loads(body)), RECORDED_AT)
    other = PayPalSignature("ANOTHER_ID", certificate=recorded_bytes("paypal.certificate.pem"))
    assert not accepts(other, headers, body, RECORDED_AT)
    assert not accepts(ours("WEBHOOK_ID"), headers, body, RECORDED_AT)


@pytest.mark.parametrize(
    ("name", "kind", "amount", "capture"),
    [
        ("capture.completed", "captured", "30.00", "12A34567BC123456S"),
        ("capture.refunded", "refunded", "0.99", "0JF852973C016714D"),
        ("capture.reversed", "reversed", "2.51", "4L335234718889942"),
    ],
)
def test_recorded_event_names_its_capture(name: str, kind: str, amount: str, capture: str) -> None:
    event = parsed(decode(recorded(f"paypal.{name}")["raw_body"].encode()))
    assert (event.kind, event.amount, event.currency) == (kind, Decimal(amount), "USD")
    assert (event.reference, event.live) == (capture, True)


def test_signature_is_verified_and_its_headers_are_handed_on() -> None:
    answer = ours().verify(BODY, paypal_headers(BODY) | {"x-other": "1"}, NOW)
    assert answer.headers == {
        "paypal-transmission-id": "transmission-1",
        "paypal-transmission-time": "2026-01-05T09:00:00Z",
    }


def test_signature_by_another_key_is_rejected() -> None:
    assert not accepts(ours(), paypal_headers(BODY, owner="Mallory"))


def test_signature_for_another_webhook_is_rejected() -> None:
    """PayPal signs the callbacks of other shops with the same key."""
    assert not accepts(ours(), paypal_headers(BODY, webhook_id="7WH-OF-ANOTHER-SHOP"))


@pytest.mark.parametrize("late", [TOLERANCE + timedelta(seconds=1), timedelta(days=300)])
def test_signature_outside_the_window_is_rejected(late: timedelta) -> None:
    assert accepts(ours(), paypal_headers(BODY), now=NOW + TOLERANCE)
    assert not accepts(ours(), paypal_headers(BODY), now=NOW + late)
    assert not accepts(ours(), paypal_headers(BODY), now=NOW - late)


def test_reason_names_the_fault_of_the_signature(shop: Shop) -> None:
    receiver = PaymentReceiver(shop.orders, ours(), parse, lambda: NOW + TOLERANCE + timedelta(seconds=1))
    reason = receiver.receive(BODY, paypal_headers(BODY)).reason
    assert "the time of the signature is more than 4 days from now" in reason


def test_certificate_that_was_not_valid_at_the_signature_is_rejected() -> None:
    verifier = PayPalSignature(WEBHOOK_ID, certificate=paypal_certificate(valid_for=timedelta(days=1)))
    assert not accepts(verifier, paypal_headers(BODY))
    assert accepts(verifier, paypal_headers(BODY, stamp="2026-01-04T08:59:59Z"))


@pytest.mark.parametrize("name", sorted(paypal_headers(BODY)))
@pytest.mark.parametrize("value", [None, "", " ", "x", "é", "|", "2026-01-05T09:00:00", "a|2026-01-05T09:00:00Z"])
def test_header_that_is_missing_or_odd_is_rejected(name: str, value: str | None) -> None:
    verifier = PayPalSignature(WEBHOOK_ID, fetch=lambda url: paypal_certificate())
    headers = {key: one for key, one in paypal_headers(BODY).items() if key != name}
    assert not accepts(verifier, headers if value is None else headers | {name: value})


@pytest.mark.parametrize(
    "url",
    [
        "http://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://evil.example/v1/notifications/certs/CERT-1",
        "https://paypal.com.evil.example/v1/notifications/certs/CERT-1",
        "https://evilpaypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
        "https://user@api.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
        "https://api.paypal.com\\@evil.example/v1/notifications/certs/CERT-1",
        "https://evil.example#.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com/v1/notifications/certs/../../../redirect?to=evil.example",
        "https://api.paypal.com/v1/notifications/certs/CERT-1?x=1",
        "https://api.paypal.com/v1/notifications/certs/",
        "https://api.paypal.com/redirect",
        "file:///etc/passwd",
        "//api.paypal.com/v1/notifications/certs/CERT-1",
        "",
    ],
)
def test_certificate_is_fetched_from_paypal_only(url: str) -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return paypal_certificate("Mallory")

    verifier = PayPalSignature(WEBHOOK_ID, fetch=fetch)
    assert not accepts(verifier, paypal_headers(BODY, owner="Mallory") | {"paypal-cert-url": url})
    assert not asked


def test_certificate_is_fetched_once_and_only_kept_if_it_matched() -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return paypal_certificate()

    verifier = PayPalSignature(WEBHOOK_ID, fetch=fetch)
    assert not accepts(verifier, paypal_headers(BODY, owner="Mallory"))
    assert accepts(verifier, paypal_headers(BODY))
    assert accepts(verifier, paypal_headers(BODY))
    assert asked == [CERT_URL, CERT_URL]


def test_certificate_that_cannot_be_fetched_is_a_temporary_fault() -> None:
    def fetch(url: str) -> bytes:
        raise TimeoutError(url)

    with pytest.raises(TryAgain, match="TimeoutError"):
        PayPalSignature(WEBHOOK_ID, fetch=fetch).verify(BODY, paypal_headers(BODY), NOW)


@pytest.mark.parametrize("host", ["shop.example", "messageverificationcerts.evil.example", "www.paypal.com"])
def test_certificate_of_another_host_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput, match="certificate"):
        PayPalSignature(WEBHOOK_ID, certificate=paypal_certificate(host=host))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"certificate": paypal_certificate(), "fetch": print},
        {"certificate": b"no certificate"},
        {"webhook_id": "", "certificate": paypal_certificate()},
    ],
)
def test_verifier_without_its_parts_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        PayPalSignature(given.pop("webhook_id", WEBHOOK_ID), **given)


def test_signature_of_another_length_is_rejected() -> None:
    for size in (0, 1, 255, 257):
        signature = base64.b64encode(bytes(size)).decode()
        assert not accepts(ours(), paypal_headers(BODY) | {"paypal-transmission-sig": signature})


def test_capture_has_every_value() -> None:
    assert parse(paypal_event(), {}) == PaymentEvent(
        "captured",
        order_id="1001",
        reference="CAP1",
        transaction_id="CAP1",
        amount="49.90",
        currency="GBP",
        id="WH-1",
        provider="paypal",
        live=True,
        account="MERCHANT1",
        occurred_at=NOW,
    )


def test_sandbox_is_recognised_by_its_links() -> None:
    data = paypal_event()
    data["links"] = [{"href": "https://api.sandbox.paypal.com/v1/notifications/webhooks-events/WH-1"}]
    assert parsed(data).live is False
    data["links"] = []
    assert parsed(data).live is None


def test_invoice_id_names_the_order_if_there_is_no_custom_id() -> None:
    assert parsed(paypal_event(custom_id=None, invoice_id="1002")).order_id == "1002"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PAYMENT.CAPTURE.REFUNDED", "refunded"),
        ("PAYMENT.REFUND.PENDING", "refunded"),
        ("PAYMENT.REFUND.FAILED", "refund_failed"),
        ("PAYMENT.CAPTURE.REVERSED", "reversed"),
    ],
)
def test_money_that_goes_back_names_its_capture_by_a_link(name: str, kind: str) -> None:
    event = parsed(paypal_refund(name))
    assert (event.kind, event.reference, event.transaction_id, event.amount) == (kind, "CAP1", "REF1", Decimal(10))
    assert event.order_id is None


@pytest.mark.parametrize(
    "links",
    [
        [],
        None,
        [{"href": "https://api.paypal.com/v2/payments/refunds/REF1"}],
        [{"href": "https://api.paypal.com/v2/payments/captures/CAP1"}, {"href": "x/payments/captures/CAP2"}],
    ],
)
def test_refund_without_one_capture_is_refused(links: Any) -> None:
    with pytest.raises(InvalidInput, match="exactly one capture"):
        parse(paypal_refund(links=links), {})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PAYMENT.CAPTURE.DENIED", "failed"),
        ("PAYMENT.CAPTURE.DECLINED", "failed"),
        ("PAYMENT.CAPTURE.PENDING", "note:PAYMENT.CAPTURE.PENDING"),
        ("PAYMENT.AUTHORIZATION.CREATED", "authorised"),
        ("PAYMENT.AUTHORIZATION.VOIDED", "voided"),
        ("CHECKOUT.ORDER.APPROVED", "note:CHECKOUT.ORDER.APPROVED"),
    ],
)
def test_event_that_moves_no_money_has_its_kind(name: str, kind: str) -> None:
    event = parsed(paypal_event(name))
    assert (event.kind, event.order_id, event.moves_money) == (kind, "1001", False)


def test_refund_that_was_cancelled_moves_no_money() -> None:
    assert parsed(paypal_refund(status="CANCELLED", custom_id="1001")).kind == "note:PAYMENT.CAPTURE.REFUNDED"


def test_dispute_names_the_payment() -> None:
    disputed = [{"seller_transaction_id": "CAP1"}]
    event = parsed(paypal_event("CUSTOMER.DISPUTE.RESOLVED", custom_id=None, disputed_transactions=disputed))
    assert (event.kind, event.reference) == ("note:CUSTOMER.DISPUTE.RESOLVED", "CAP1")


def test_event_about_no_order_is_ignored() -> None:
    assert isinstance(parse(paypal_event("BILLING.PLAN.CREATED", custom_id=None), {}), Ignore)


@pytest.mark.parametrize(("currency", "value"), [("JPY", "500"), ("GBP", "49.90"), ("HUF", "500")])
def test_amount_is_a_text_in_whole_units(currency: str, value: str) -> None:
    event = parsed(paypal_event(amount={"currency_code": currency, "value": value}))
    assert (str(event.amount), event.currency) == (value, currency)


@pytest.mark.parametrize("value", [None, 49.9, 4990, "49,90", "-1"])
def test_amount_of_another_form_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        parse(paypal_event(amount={"currency_code": "GBP", "value": value}), {})

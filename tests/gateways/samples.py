"""Callbacks for tests: recorded ones from outside the project, and synthetic ones.

The synthetic payloads have the members that the documentation of a gateway names. This module computes their signatures
independently of the library.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SECRET, OLD, OTHERS = "whsec_ours", "whsec_ours_of_last_year", "whsec_of_another_shop"
ADYEN_KEY, ADYEN_OTHERS = "0A" * 32, "0B" * 32
WEBHOOK_ID = "7WH00000000000001"
CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-1"
PARENTS = Path(__file__).resolve().parents


def recorded(name: str) -> Any:
    """Return a payload that was recorded at a real gateway. Skip the test if there are no recordings."""
    return json.loads(_file(name + ".json").read_text(encoding="utf-8"))


def recorded_bytes(name: str) -> bytes:
    return _file(name).read_bytes()


def _file(name: str) -> Path:
    for parent in PARENTS:
        folder = parent / "shared" / "data" / "gateways"
        if folder.is_dir():
            return folder / name
    pytest.skip("the recorded payloads of real gateways are missing: they are next to the project, in ../shared")


def encoded(data: Any) -> bytes:
    return json.dumps(data).encode()


def hex_hmac(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def stripe_headers(body: bytes, secret: str = SECRET, at: datetime = NOW) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    return {"stripe-signature": f"t={stamp},v1={hex_hmac(stamp.encode() + b'.' + body, secret)}"}


def stripe_event(name: str, about: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    """A synthetic event of Stripe."""
    return {
        "id": "evt_1",
        "object": "event",
        "created": 1_767_603_600,
        "livemode": True,
        "type": name,
        "data": {"object": about},
    } | envelope


def stripe_intent(**members: Any) -> dict[str, Any]:
    """A synthetic payment intent of 49.90 GBP for order 1001."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 4990,
        "amount_capturable": 0,
        "amount_received": 4990,
        "currency": "gbp",
        "latest_charge": "ch_1",
        "metadata": {"order_id": "1001"},
        "status": "succeeded",
    } | members


def stripe_refund(**members: Any) -> dict[str, Any]:
    """A synthetic refund of 10.00 GBP."""
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 1000,
        "currency": "gbp",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "metadata": {},
        "status": "succeeded",
    } | members


def stripe_dispute(**members: Any) -> dict[str, Any]:
    """A synthetic dispute of 49.90 GBP."""
    return {
        "id": "dp_1",
        "object": "dispute",
        "amount": 4990,
        "currency": "gbp",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "metadata": {},
        "balance_transactions": [],
    } | members


def adyen_item(code: str = "AUTHORISATION", **members: Any) -> dict[str, Any]:
    """A synthetic item of Adyen: 49.90 GBP for order 1001."""
    return {
        "additionalData": {},
        "amount": {"currency": "GBP", "value": 4990},
        "eventCode": code,
        "eventDate": "2026-01-05T10:00:00+01:00",
        "merchantAccountCode": "TeapotsUK",
        "merchantReference": "1001",
        "pspReference": "PSP1",
        "success": "true",
    } | members


def adyen_body(*items: dict[str, Any], live: str = "true", key: str = ADYEN_KEY) -> dict[str, Any]:
    """A batch, each item signed."""
    return {
        "live": live,
        "notificationItems": [{"NotificationRequestItem": adyen_signed(item, key)} for item in items],
    }


def adyen_signed(item: dict[str, Any], key: str = ADYEN_KEY) -> dict[str, Any]:
    names = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")
    amount = (item["amount"]["value"], item["amount"]["currency"])
    parts = [*(item.get(name, "") for name in names), *amount, item["eventCode"], item["success"]]
    digest = hmac.new(bytes.fromhex(key), ":".join(map(str, parts)).encode(), hashlib.sha256).digest()
    return item | {"additionalData": item["additionalData"] | {"hmacSignature": base64.b64encode(digest).decode()}}


def paypal_event(name: str = "PAYMENT.CAPTURE.COMPLETED", **members: Any) -> dict[str, Any]:
    """A synthetic event of PayPal: a capture of 49.90 GBP for order 1001."""
    resource = {
        "id": "CAP1",
        "amount": {"currency_code": "GBP", "value": "49.90"},
        "custom_id": "1001",
        "status": "COMPLETED",
        "payee": {"merchant_id": "MERCHANT1"},
        "links": [],
    }
    return {
        "id": "WH-1",
        "event_type": name,
        "create_time": "2026-01-05T09:00:00.000Z",
        "resource": resource | members,
        "links": [{"rel": "self", "href": "https://api.paypal.com/v1/notifications/webhooks-events/WH-1"}],
    }


def paypal_refund(name: str = "PAYMENT.CAPTURE.REFUNDED", **members: Any) -> dict[str, Any]:
    """A synthetic refund of 10.00 GBP of the capture CAP1, which it names only in a link."""
    about = {
        "id": "REF1",
        "amount": {"currency_code": "GBP", "value": "10.00"},
        "invoice_id": "credit-note-7",
        "links": [
            {"rel": "self", "href": "https://api.paypal.com/v2/payments/refunds/REF1"},
            {"rel": "up", "href": "https://api.paypal.com/v2/payments/captures/CAP1"},
        ],
    }
    return paypal_event(name, **about | members)


@cache
def paypal_key(owner: str = "PayPal") -> rsa.RSAPrivateKey:  # noqa: ARG001
    """Return the one key of an owner."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def paypal_certificate(
    owner: str = "PayPal", host: str = "messageverificationcerts.paypal.com", valid_for: timedelta = timedelta(days=365)
) -> bytes:
    """A self-signed certificate like PayPal's, valid from two days before NOW."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    begin = NOW - timedelta(days=2)
    key = paypal_key(owner)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + valid_for)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def paypal_headers(
    body: bytes, owner: str = "PayPal", webhook_id: str = WEBHOOK_ID, stamp: str = "2026-01-05T09:00:00Z"
) -> dict[str, str]:
    signed = f"transmission-1|{stamp}|{webhook_id}|{zlib.crc32(body)}".encode()
    signature = paypal_key(owner).sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return {
        "paypal-auth-algo": "SHA256withRSA",
        "paypal-cert-url": CERT_URL,
        "paypal-transmission-id": "transmission-1",
        "paypal-transmission-time": stamp,
        "paypal-transmission-sig": base64.b64encode(signature).decode(),
    }


def mollie_payment(**members: Any) -> dict[str, Any]:
    """A synthetic payment of Mollie: 49.90 EUR for order 1001, paid."""
    return {
        "resource": "payment",
        "id": "tr_1",
        "mode": "live",
        "createdAt": "2026-01-05T09:00:00+00:00",
        "amount": {"value": "49.90", "currency": "EUR"},
        "metadata": {"order_id": "1001"},
        "profileId": "pfl_1",
        "status": "paid",
    } | members


def mollie_part(own_id: str, value: str = "10.00", **members: Any) -> dict[str, Any]:
    """A synthetic capture, refund or chargeback."""
    return {"id": own_id, "amount": {"value": value, "currency": "EUR"}, "createdAt": "2026-01-06T09:00:00Z"} | members


def razorpay_event(name: str, **payload: dict[str, Any]) -> dict[str, Any]:
    """A synthetic event of Razorpay about order 1001."""
    payment = {
        "id": "pay_1",
        "amount": 499_00,
        "currency": "INR",
        "order_id": "order_razorpay",
        "notes": {"order_id": "1001"},
    }
    entities = {"payment": payment} | payload
    return {
        "event": name,
        "account_id": "acc_1",
        "created_at": 1_767_603_600,
        "payload": {subject: {"entity": entity} for subject, entity in entities.items()},
    }


def gocardless_event(resource: str, action: str, event_id: str = "EV1", **links: str) -> dict[str, Any]:
    """A synthetic event of GoCardless."""
    about = {"payments": {"payment": "PM1"}, "refunds": {"refund": "RF1"}}.get(resource, {})
    return {
        "id": event_id,
        "created_at": f"2026-01-{5 + int(event_id.removeprefix('EV')):02}T09:00:00.000Z",
        "resource_type": resource,
        "action": action,
        "links": about | links,
    }

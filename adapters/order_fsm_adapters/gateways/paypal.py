"""PayPal: RSA signatures with a certificate, and a parser for events about captures, refunds and authorisations.

Give the purchase unit the `custom_id` (or `invoice_id`) of the order number. Subscribe the webhook to
`PAYMENT.CAPTURE.*`, `PAYMENT.REFUND.*`, `PAYMENT.AUTHORIZATION.*` and `CUSTOMER.DISPUTE.*`.

The payment's reference is the id of its capture, because a refund names only the capture, and only in a link. A won
dispute releases a hold and moves no money. PayPal has no event for a cancelled reversal.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from order_fsm.errors import InvalidInput, MissingDependency
from order_fsm.payments import Ignore, InvalidCallback, PaymentEvent, TryAgain, Verified, member, optional_member
from order_fsm_adapters.gateways.reading import check_request, order_number, text_of, text_to_instant

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["TOLERANCE", "PayPalSignature", "parse"]

TOLERANCE = timedelta(days=4)
"""The largest difference between the signed time and now. PayPal repeats a delivery for three days."""

_CERTIFICATE_PATH = "/v1/notifications/certs/"
_CERTIFICATE_NAME = "messageverificationcerts"
_SIGNED = ("paypal-transmission-id", "paypal-transmission-time")
_KINDS = {
    "PAYMENT.CAPTURE.COMPLETED": "captured",
    "PAYMENT.CAPTURE.DENIED": "failed",
    "PAYMENT.CAPTURE.DECLINED": "failed",
    "PAYMENT.CAPTURE.REFUNDED": "refunded",
    "PAYMENT.CAPTURE.REVERSED": "reversed",
    "PAYMENT.REFUND.PENDING": "refunded",
    "PAYMENT.REFUND.FAILED": "refund_failed",
    "PAYMENT.AUTHORIZATION.CREATED": "authorised",
    "PAYMENT.AUTHORIZATION.VOIDED": "voided",
}
_ABOUT_A_CAPTURE = {"refunded", "refund_failed", "reversed"}
_CAPTURE_LINK = re.compile(r"/payments/captures/([A-Za-z0-9]+)\Z")


class PayPalSignature:
    """SHA256withRSA over the id and time of the transmission, the webhook's id and the body's CRC32.

    Raises:
        MissingDependency: if the library `cryptography` is not installed.
        InvalidInput: if there is no webhook id, or not exactly one of `certificate` and `fetch`.
    """

    def __init__(
        self, webhook_id: str, *, certificate: bytes | None = None, fetch: Callable[[str], bytes] | None = None
    ) -> None:
        """Take the webhook's id and the source of PayPal's certificate.

        Args:
            webhook_id: the id in the developer's dashboard. PayPal signs it.
            certificate: the certificate in PEM, if the shop stores it. PayPal replaces it about once a year.
            fetch: takes a URL and returns the certificate in PEM. It must check TLS and follow no redirect. It gets
                only URLs at paypal.com. The certificate is cached after a signature matched it.
        """
        try:
            import cryptography  # noqa: F401
        except ImportError as error:
            raise MissingDependency.of_extra("PayPalSignature", "cryptography", "paypal") from error
        if not isinstance(webhook_id, str) or not webhook_id:
            raise InvalidInput("webhook_id must be a string that is not empty")
        if (certificate is None) == (fetch is None):
            raise InvalidInput("give either the certificate or fetch")
        if fetch is not None:
            check_request(fetch, "fetch")
        self._webhook_id = webhook_id
        self._certificate = None if certificate is None else _loaded(certificate)
        self._fetch = fetch or _no_certificate
        self._known: dict[str, Certificate] = {}

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:
        """Return `Verified` if PayPal signed the body for this webhook within `TOLERANCE` of now.

        Raises:
            TryAgain: if the certificate cannot be fetched.
        """
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.hashes import SHA256

        if headers["paypal-auth-algo"] != "SHA256withRSA":
            raise InvalidCallback("the signature is not SHA256withRSA")
        transmission, stamp = (headers[name] for name in _SIGNED)
        signature = base64.b64decode(headers["paypal-transmission-sig"], validate=True)
        at = datetime.fromisoformat(stamp)
        if abs(now - at) > TOLERANCE:
            raise InvalidCallback(f"the time of the signature is more than {TOLERANCE.days} days from now")
        url = headers["paypal-cert-url"]
        certificate = self._certificate or self._known.get(url) or self._fetched(url)
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise InvalidCallback("the certificate was not valid at the time of the signature")
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise InvalidCallback("the certificate has no RSA key")
        signed = f"{transmission}|{stamp}|{self._webhook_id}|{zlib.crc32(body)}"
        key.verify(signature, signed.encode(), PKCS1v15(), SHA256())
        if self._certificate is None:
            self._known[url] = certificate
        return Verified({name: headers[name] for name in _SIGNED})

    def _fetched(self, url: str) -> Certificate:
        _check_certificate_url(url)
        try:
            pem = self._fetch(url)
        except Exception as error:
            raise TryAgain(f"PayPal's certificate cannot be fetched ({type(error).__name__})") from error
        return _loaded(pem)


def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent | Ignore:  # noqa: ARG001
    """Parse an event of PayPal.

    Returns:
        The event, or `Ignore` if it names no order and no payment.

    Raises:
        InvalidInput: if a member is missing or not valid.
    """
    name = text_of(member(data, "event_type"), "event_type")
    about = member(data, "resource")
    kind = _KINDS.get(name, f"note:{name}")
    if kind == "refunded" and optional_member(about, "status") in ("FAILED", "CANCELLED"):
        kind = f"note:{name}"
    own_id = optional_member(about, "id")
    order_id = order_number(about, "custom_id", "invoice_id")
    reference = _reference_of(name, kind, about)
    if kind.startswith("note:") and order_id is None and reference is None:
        return Ignore(f"an event of type {name:.80} that names no order and no payment")
    moves = kind in {"captured", "authorised", *_ABOUT_A_CAPTURE}
    return PaymentEvent(
        kind,
        # A refund has its own invoice_id, which may differ from that of the order.
        order_id=None if kind in _ABOUT_A_CAPTURE else order_id,
        reference=reference,
        transaction_id=own_id if kind == "captured" or kind in _ABOUT_A_CAPTURE else None,
        amount=text_of(member(about, "amount", "value"), "amount.value") if moves else None,
        currency=member(about, "amount", "currency_code") if moves else None,
        id=member(data, "id"),
        provider="paypal",
        live=_live(data),
        account=optional_member(about, "payee", "merchant_id"),
        occurred_at=text_to_instant(optional_member(data, "create_time")),
    )


def _reference_of(name: str, kind: str, about: Any) -> str | None:
    if kind in _ABOUT_A_CAPTURE:
        captures = [found[1] for link in _links(about) if (found := _CAPTURE_LINK.search(link))]
        if len(set(captures)) != 1:
            raise InvalidCallback("the links of the refund do not name exactly one capture")
        return captures[0]
    if name.startswith("CUSTOMER.DISPUTE."):
        disputed = optional_member(about, "disputed_transactions")
        first = disputed[0] if isinstance(disputed, list) and disputed else None
        return _optional_text(optional_member(first, "seller_transaction_id"))
    if name.startswith(("PAYMENT.CAPTURE.", "PAYMENT.AUTHORIZATION.")):
        return text_of(member(about, "id"), "resource.id")
    return None


def _optional_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _links(about: Any) -> list[str]:
    links = optional_member(about, "links")
    found = [optional_member(link, "href") for link in links] if isinstance(links, list) else []
    return [href for href in found if isinstance(href, str)]


def _live(data: Any) -> bool | None:
    """Return whether the event is from the live system, by the host of its links."""
    hosts = [urlsplit(link).hostname or "" for link in _links(data)]
    if not hosts or not all(host.endswith(".paypal.com") for host in hosts):
        return None
    return not any(host.endswith(".sandbox.paypal.com") for host in hosts)


def _no_certificate(url: str) -> bytes:
    raise ValueError(f"there is no certificate for {url}")


def _check_certificate_url(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or parts.netloc != host or not (host == "paypal.com" or host.endswith(".paypal.com")):
        raise InvalidCallback("the URL of the certificate is not at paypal.com")
    if not re.fullmatch(re.escape(_CERTIFICATE_PATH) + r"[A-Za-z0-9_-]+", parts.path) or parts.query or parts.fragment:
        raise InvalidCallback("the URL is not that of a certificate")


def _loaded(pem: bytes) -> Certificate:
    from cryptography.x509 import DNSName, SubjectAlternativeName, load_pem_x509_certificate

    try:
        certificate = load_pem_x509_certificate(pem)
        alternatives = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except Exception:
        raise InvalidInput("the certificate is not valid PEM with the name of its host") from None
    names = alternatives.get_values_for_type(DNSName)
    if not any(name.startswith(_CERTIFICATE_NAME) and name.endswith(".paypal.com") for name in names):
        raise InvalidInput("the certificate is not a signing certificate of PayPal")
    return certificate

"""Adyen: HMAC signatures of items, and a parser for standard webhooks.

Use the order number as the `reference` of the payment, and of each capture and cancellation. Adyen answers the request
of a refund or capture only with `received`, so record the fact when its notification arrives. Enable `CAPTURE_FAILED`,
`REFUND_FAILED`, `REFUNDED_REVERSED`, `EXPIRE` and the dispute webhooks.

The signature covers eight members of an item: pspReference, originalReference, merchantAccountCode, merchantReference,
amount.value, amount.currency, eventCode and success. `live` and `eventDate` are not signed. Live and test endpoints
have different keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.payments import (
    HmacSignature,
    Ignore,
    InvalidCallback,
    PaymentEvent,
    Verified,
    decode,
    member,
    minor,
    optional_member,
)
from order_fsm_adapters.gateways.reading import text_of, text_to_instant

__all__ = ["UNITS", "AdyenEvents", "AdyenSignature", "parse"]

UNITS = {"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}
"""The currencies with other fraction digits at Adyen than in ISO 4217.

(docs.adyen.com/development-resources/currency-codes: the table on that page differs from the standard for these four.)
"""

_SUCCEEDED = {
    "CAPTURE": "captured",
    "CAPTURE_FAILED": "reversed",
    "CANCELLATION": "voided",
    "TECHNICAL_CANCEL": "voided",
    "EXPIRE": "voided",
    "REFUND": "refunded",
    "REFUND_FAILED": "refund_failed",
    "REFUNDED_REVERSED": "refund_failed",
    "CHARGEBACK": "reversed",
    "SECOND_CHARGEBACK": "reversed",
    "CHARGEBACK_REVERSED": "restored",
}
_ABOUT_A_PAYMENT = {"AUTHORISATION", "EXPIRE"}
"""The events whose pspReference is that of the payment if they have no originalReference."""

_OWN_REFERENCE = {"CANCEL_OR_REFUND", "REFUND", "REFUND_FAILED", "REFUNDED_REVERSED"}
"""The events with the merchantReference of a refund, which may differ from the order number."""


class AdyenSignature:
    """HMAC-SHA256 of each item, in `additionalData.hmacSignature`.

    One forged item rejects the whole body.

    Raises:
        InvalidInput: if there is no key, or a key is not hexadecimal.
    """

    def __init__(self, *keys: str) -> None:
        """Take the HMAC keys in hexadecimal, several during a key rotation."""
        try:
            raw = [bytes.fromhex(key) for key in keys]
            self._signature = HmacSignature(*raw, header="hmacsignature", encoding="base64")
        except (TypeError, ValueError):
            raise InvalidInput("give at least one HMAC key in hexadecimal, as Adyen's Customer Area shows it") from None

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:  # noqa: ARG002
        """Return `Verified` with the items if each has a signature by one of the keys."""
        items = _items_of(decode(body))
        for item in items:
            given = text_of(member(item, "additionalData", "hmacSignature"), "hmacSignature")
            self._signature.verify(_signed_text(item).encode(), {"hmacsignature": given}, now)
        return Verified({}, items)


class AdyenEvents:
    """A parser for one item or a whole body of items."""

    def __init__(self, *, automatic_capture: bool = False) -> None:
        """Create a parser for the capture mode of the merchant account.

        Args:
            automatic_capture: True if the merchant account captures at once or after a delay: AUTHORISATION is then the
                capture, and a cancellation before the delay ends is a refund. False if the shop requests captures: each
                CAPTURE is then a capture.

        Raises:
            InvalidInput: if `automatic_capture` is not True or False. A setting such as "false" would count money that
                was only authorised.
        """
        self._automatic_capture = validation.flag(automatic_capture, "automatic_capture")

    def __call__(self, data: Any, headers: Mapping[str, str]) -> list[PaymentEvent] | Ignore:  # noqa: ARG002
        """Parse an item.

        Returns:
            The events, or `Ignore` if no item names an order or a payment, as in reports.

        Raises:
            InvalidInput: if a member is missing or not valid.
        """
        items = _items_of(data) if optional_member(data, "notificationItems") is not None else [data]
        events = [event for item in items if (event := self._event(item)) is not None]
        return events or Ignore("the notification names no order and no payment")

    def _event(self, item: Any) -> PaymentEvent | None:
        code = text_of(member(item, "eventCode"), "eventCode")
        success = _success(item)
        psp = text_of(member(item, "pspReference"), "pspReference")
        payment = _optional_text(item, "originalReference") or (psp if code in _ABOUT_A_PAYMENT else None)
        kind = self._kind(item, code, success)
        # An authorisation has no ledger row that would identify its order, so a cancellation must name the order.
        is_of_refund = code in _OWN_REFERENCE and kind != "voided"
        order_id = None if is_of_refund else _optional_text(item, "merchantReference")
        if payment is None and order_id is None:
            return None
        moves = kind not in {"voided", "failed"} and not kind.startswith("note:")
        currency = text_of(member(item, "amount", "currency"), "amount.currency") if moves else None
        return PaymentEvent(
            kind,
            order_id=order_id,
            reference=payment,
            # Both chargebacks of one dispute have the same pspReference.
            transaction_id=None if kind.startswith("note:") else f"{psp}:2" if code == "SECOND_CHARGEBACK" else psp,
            amount=minor(member(item, "amount", "value"), currency, UNITS) if currency else None,
            currency=currency,
            id=f"{psp}:{code}:{str(success).lower()}",
            provider="adyen",
            live=_live(item),
            account=_optional_text(item, "merchantAccountCode"),
            occurred_at=text_to_instant(optional_member(item, "eventDate")),
        )

    def _kind(self, item: Any, code: str, success: bool) -> str:
        if code == "AUTHORISATION":
            if not success:
                return "failed"
            if not member(item, "amount", "value"):
                return f"note:{code}"  # A zero amount only stores a card.
            return "captured" if self._automatic_capture else "authorised"
        if not success:
            # Only the request failed. No money moved, a recorded refund stands, and the authorisation still holds.
            return f"note:{code}:false"
        if code == "CAPTURE" and self._automatic_capture:
            return f"note:{code}"
        kind = _SUCCEEDED.get(code, f"note:{code}")
        if code == "CANCEL_OR_REFUND":
            action = optional_member(item, "additionalData", "modification.action")
            kind = {"refund": "refunded", "cancel": "voided"}.get(str(action), kind)
        # The authorisation counted as the capture, so its cancellation gives that money back.
        return "refunded" if kind == "voided" and code != "EXPIRE" and self._automatic_capture else kind


parse = AdyenEvents()
"""The parser for a merchant account with manual capture."""


def _items_of(data: Any) -> list[Any]:
    wrapped = member(data, "notificationItems")
    if not isinstance(wrapped, list) or not wrapped:
        raise InvalidCallback("notificationItems must be a list that is not empty")
    live = optional_member(data, "live")
    items = [member(item, "NotificationRequestItem") for item in wrapped]
    if not all(isinstance(item, Mapping) for item in items):
        raise InvalidCallback("every NotificationRequestItem must be an object")
    return [{**item, "live": live} for item in items]


def _signed_text(item: Any) -> str:
    """Join the signed members. Only merchantReference may contain the separator, so the text is unambiguous."""
    value = member(item, "amount", "value")
    if type(value) is not int:
        raise InvalidCallback("amount.value must be a whole number")
    before = [_text_or_empty(item, name) for name in ("pspReference", "originalReference", "merchantAccountCode")]
    currency = text_of(member(item, "amount", "currency"), "amount.currency")
    after = [str(value), currency, text_of(member(item, "eventCode"), "eventCode"), member(item, "success")]
    if any(":" in text_of(part, "a signed member") for part in (*before, *after)):
        raise InvalidCallback("a signed member contains the separator")
    return ":".join((*before, _text_or_empty(item, "merchantReference"), *after))


def _text_or_empty(item: Any, name: str) -> str:
    value = optional_member(item, name)
    return "" if value is None else text_of(value, name)


def _optional_text(item: Any, name: str) -> str | None:
    return _text_or_empty(item, name) or None


def _success(item: Any) -> bool:
    value = member(item, "success")
    if value not in ("true", "false"):
        raise InvalidCallback("success must be 'true' or 'false'")
    return bool(value == "true")


def _live(item: Any) -> bool | None:
    return {"true": True, "false": False}.get(str(optional_member(item, "live")))

"""GoCardless: HMAC signatures, and a parser for batches of events about payments and refunds.

The events have no amounts, so the parser calls the API through the shop's `lookup`. Give the payment the metadata
`order_id`.

A payment counts when it is `confirmed`. It may fail days later, even after it was paid out. A failure takes the money
back if the payment was confirmed before. Otherwise it is a failed attempt. The parser ignores events that are not about
money.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from order_fsm.errors import OrderFsmError
from order_fsm.payments import (
    HmacSignature,
    Ignore,
    InvalidCallback,
    PaymentEvent,
    TryAgain,
    Verified,
    decode,
    member,
    minor,
    optional_member,
)
from order_fsm_adapters.gateways.reading import check_request, order_number, text_of, text_to_instant

__all__ = ["GoCardlessEvents", "GoCardlessSignature"]

_KINDS = {
    ("payments", "confirmed"): "captured",
    ("payments", "cancelled"): "voided",
    ("payments", "customer_approval_denied"): "voided",
    ("payments", "failed"): "failed",
    ("payments", "charged_back"): "reversed",
    ("payments", "chargeback_cancelled"): "restored",
    ("refunds", "created"): "refunded",  # A refund counts at once, under its id. `failed` takes it back.
    ("refunds", "paid"): "refunded",
    ("refunds", "failed"): "refund_failed",
    ("refunds", "bounced"): "refund_failed",
    ("refunds", "funds_returned"): "refund_failed",
}
_HELD_AFTER = ("confirmed", "paid_out", "chargeback_cancelled")
_LOST_AFTER = ("failed", "charged_back")
_ID = re.compile(r"[A-Za-z0-9]{1,60}", re.ASCII)


class GoCardlessSignature(HmacSignature):
    """HMAC-SHA256 of the body in the header `webhook-signature`, in hexadecimal."""

    def __init__(self, *secrets: str) -> None:
        """Take the secrets of the webhook endpoint, several during a rotation."""
        super().__init__(*secrets, header="webhook-signature")

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:
        """Return `Verified` with each event of the batch as an item, so that a bad event does not block the others."""
        whole = super().verify(body, headers, now)
        try:
            return Verified({}, [{"events": [event]} for event in _batch(decode(body))])
        except (ValueError, RecursionError):
            return whole  # The body is not a batch. The receiver rejects it.


class GoCardlessEvents:
    """A parser that looks up the amounts of the payments and refunds that a batch names."""

    def __init__(self, lookup: Callable[[str], Any]) -> None:
        """Take the shop's request to the API.

        Args:
            lookup: takes a path such as `payments/PM123` or `events?payment=PM123`. It returns the decoded JSON of `GET
                https://api.gocardless.com/{path}`, or None if GoCardless answers 404. It may raise any exception. The
                receiver then answers the callback with 503.

        Raises:
            InvalidInput: if `lookup` is not a function, or is async.
        """
        check_request(lookup, "lookup")
        self._lookup = lookup

    def __call__(self, data: Any, headers: Mapping[str, str]) -> list[PaymentEvent] | Ignore:  # noqa: ARG002
        """Parse a batch.

        Returns:
            The events, or `Ignore` if no event is about money.

        Raises:
            TryAgain: if the API is not reachable.
            InvalidInput: if a member is missing or not valid.
        """
        events = [event for one in _batch(data) if (event := self._event(one)) is not None]
        return events or Ignore("no event of the batch is about money")

    def _event(self, data: Any) -> PaymentEvent | None:
        resource = text_of(member(data, "resource_type"), "resource_type")
        kind = _KINDS.get((resource, text_of(member(data, "action"), "action")))
        if kind is None:
            return None
        event_id = text_of(member(data, "id"), "id")
        own_id = _checked_id(member(data, "links", resource.removesuffix("s")))
        about = optional_member(self._asked(f"{resource}/{own_id}"), resource)
        if about is None:
            return None
        if kind == "failed" and self._was_confirmed(own_id, event_id):
            kind = "reversed"
        payment = own_id if resource == "payments" else _checked_id(member(about, "links", "payment"))
        moves = kind not in {"voided", "failed"}
        currency = text_of(member(about, "currency"), "currency") if moves else None
        return PaymentEvent(
            kind,
            # A refund has separate metadata. Its payment names the order.
            order_id=order_number(optional_member(about, "metadata"), "order_id") if resource == "payments" else None,
            reference=payment,
            # A payment may be confirmed again after a failure, and charged back twice. The id of the event
            # distinguishes them.
            transaction_id=own_id if resource == "refunds" else event_id,
            amount=minor(member(about, "amount"), currency) if currency else None,
            currency=currency,
            id=event_id,
            provider="gocardless",
            account=optional_member(data, "links", "organisation"),
            occurred_at=text_to_instant(optional_member(data, "created_at")),
        )

    def _was_confirmed(self, payment: str, event_id: str) -> bool:
        """Return whether the shop held the money at the time of the event with this id."""
        listed = optional_member(self._asked(f"events?payment={payment}"), "events")
        events = listed if isinstance(listed, list) else []
        confirmed = False
        for one in sorted(events, key=lambda one: str(optional_member(one, "created_at"))):
            if optional_member(one, "id") == event_id:
                break
            action = optional_member(one, "action")
            confirmed = action in _HELD_AFTER or (confirmed and action not in _LOST_AFTER)
        return confirmed

    def _asked(self, path: str) -> Any:
        try:
            return self._lookup(path)
        except OrderFsmError:
            raise
        except Exception as error:
            raise TryAgain(f"GoCardless is not reachable ({type(error).__name__})") from error


def _batch(data: Any) -> list[Any]:
    batch = member(data, "events")
    if not isinstance(batch, list):
        raise InvalidCallback("events must be a list")
    return batch


def _checked_id(value: Any) -> str:
    """Return an id that is safe in a path."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidCallback("the id is not a GoCardless id")
    return value

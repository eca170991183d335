"""Mollie: a callback with only an id, and a parser for the payment that the shop fetches.

Mollie does not sign these callbacks, so their content is not trusted. The facts come from the payment that the shop
fetches with its API key. Give the payment the metadata `order_id`.

The parser reports all facts of the payment's current state each time. Each has a unique id, so it counts once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from attrs import evolve

from order_fsm.errors import OrderFsmError
from order_fsm.payments import Ignore, InvalidCallback, PaymentEvent, TryAgain, Verified, member, optional_member
from order_fsm_adapters.gateways.reading import check_request, order_number, text_of, text_to_instant

__all__ = ["MollieBody", "MollieEvents"]

_ID = re.compile(r"[a-z]{2,8}_[A-Za-z0-9]{1,60}", re.ASCII)
_STATUSES = {"authorized": "authorised", "canceled": "voided", "expired": "failed", "failed": "failed"}
_MOVED = ("processing", "refunded")
"""The states of a refund that can no longer be cancelled. A queued or pending one can be."""


class MollieBody:
    """Reads the id from the form-encoded body in place of a verifier, because there is no signature."""

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:  # noqa: ARG002
        """Return `Verified` with `{"id": "tr_..."}` as the only item.

        Raises:
            ValueError: if the body does not have exactly one id.
        """
        (payment_id,) = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=8)["id"]
        return Verified({}, [{"id": _checked_id(payment_id)}])


class MollieEvents:
    """A parser that fetches the payment and reports its captures, refunds and chargebacks."""

    def __init__(self, fetch: Callable[[str], Any]) -> None:
        """Take the shop's request for a payment.

        Args:
            fetch: takes the id of a payment. It returns the JSON of `GET
                /v2/payments/{id}?embed=captures,refunds,chargebacks`, decoded, or None if Mollie answers 404. It may
                raise any exception. The receiver then answers the callback with 503.

        Raises:
            InvalidInput: if `fetch` is not a function, or is async.
        """
        check_request(fetch, "fetch")
        self._fetch = fetch

    def __call__(self, data: Any, headers: Mapping[str, str]) -> list[PaymentEvent] | Ignore:  # noqa: ARG002
        """Parse `{"id": "tr_..."}`.

        Returns:
            The events, or `Ignore` if the payment does not exist or is still open.

        Raises:
            TryAgain: if `fetch` raises.
            InvalidInput: if a member of the payment is missing or not valid.
        """
        payment_id = _checked_id(text_of(member(data, "id"), "id"))
        if not payment_id.startswith("tr_"):
            return Ignore("the callback is not about a payment")
        try:
            payment = self._fetch(payment_id)
        except OrderFsmError:
            raise
        except Exception as error:
            raise TryAgain(f"the payment cannot be fetched ({type(error).__name__})") from error
        if payment is None:
            return Ignore("Mollie has no such payment")
        if member(payment, "id") != payment_id:
            raise InvalidCallback("fetch returned another payment")
        return list(_events_of(payment)) or Ignore("the payment is still open")


def _events_of(payment: Any) -> list[PaymentEvent]:
    return [*_captures(payment), *_statuses(payment), *_refunds(payment), *_chargebacks(payment)]


def _captures(payment: Any) -> list[PaymentEvent]:
    captures = _embedded(payment, "captures")
    if captures:
        done = [one for one in captures if optional_member(one, "status") in (None, "succeeded")]
        return [_event(payment, "captured", one) for one in done]
    if optional_member(payment, "status") != "paid":
        return []
    if optional_member(payment, "captureMode") == "manual":
        raise InvalidCallback("a payment with manual capture needs its captures: fetch it with embed=captures")
    # The event has no id of the capture, because Mollie may show a capture of the same money later.
    return [evolve(_event(payment, "captured", payment), transaction_id=None)]


def _statuses(payment: Any) -> list[PaymentEvent]:
    kind = _STATUSES.get(str(optional_member(payment, "status")))
    return [] if kind is None else [_event(payment, kind, payment)]


def _refunds(payment: Any) -> list[PaymentEvent]:
    events = []
    for refund in _embedded(payment, "refunds"):
        status = optional_member(refund, "status")
        # A failed refund was a refund first. Mollie may have sent no callback in between.
        if status in _MOVED or status == "failed":
            events.append(_event(payment, "refunded", refund))
        if status == "failed":
            events.append(_event(payment, "refund_failed", refund))
    return events


def _chargebacks(payment: Any) -> list[PaymentEvent]:
    events = []
    for chargeback in _embedded(payment, "chargebacks"):
        events.append(_event(payment, "reversed", chargeback))
        if optional_member(chargeback, "reversedAt") is not None:
            events.append(_event(payment, "restored", chargeback))
    return events


def _embedded(payment: Any, name: str) -> list[Any]:
    found = optional_member(payment, "_embedded", name)
    return found if isinstance(found, list) else []


def _event(payment: Any, kind: str, about: Any) -> PaymentEvent:
    own_id = text_of(member(about, "id"), "id")
    moves = kind not in {"voided", "failed"}
    instant = optional_member(about, "reversedAt" if kind == "restored" else "createdAt")
    return PaymentEvent(
        kind,
        order_id=order_number(optional_member(payment, "metadata"), "order_id"),
        reference=member(payment, "id"),
        transaction_id=own_id,
        amount=text_of(member(about, "amount", "value"), "amount.value") if moves else None,
        currency=member(about, "amount", "currency") if moves else None,
        id=f"{own_id}:{kind}",
        provider="mollie",
        live={"live": True, "test": False}.get(str(optional_member(payment, "mode"))),
        account=optional_member(payment, "profileId"),
        occurred_at=text_to_instant(instant),
    )


def _checked_id(payment_id: str) -> str:
    if not _ID.fullmatch(payment_id):
        raise InvalidCallback("the id is not a Mollie id")
    return payment_id

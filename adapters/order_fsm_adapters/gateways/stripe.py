"""Stripe: `StripeSignature`, and a parser for events about payment intents, refunds and disputes.

Give the payment intent, not only the checkout session, the metadata `order_id`. Subscribe the endpoint to:

- `payment_intent.succeeded`, `.amount_capturable_updated`, `.canceled`, `.payment_failed`
- `refund.created`, `.updated`, `.failed`
- `charge.dispute.created`, `.funds_withdrawn`, `.funds_reinstated`, `.closed`

The endpoint and the account must use the API version 2025-03-31.basil or a newer one. Before it, Stripe reported the
rest of an authorisation that a part capture releases as a refund, and before 2024-10-28.acacia most refunds by
`charge.refunded` alone (docs.stripe.com/changelog). The parser rejects refunds of older versions.

All other events about a payment become notes. `charge.refunded` is a note because its amount is cumulative.
`charge.succeeded` and `checkout.session.completed` are notes because they report the same money as
`payment_intent.succeeded`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_fsm.payments import (
    Ignore,
    InvalidCallback,
    PaymentEvent,
    StripeSignature,
    member,
    minor,
    optional_member,
)
from order_fsm_adapters.gateways.reading import order_number, seconds_to_instant, text_of

__all__ = ["UNITS", "StripeSignature", "parse"]

UNITS = {"ISK": 2, "MGA": 0, "UGX": 2}
"""The currencies with other fraction digits at Stripe than in ISO 4217.

ISK and UGX have no fraction any more, and the API keeps two digits. MGA counts whole ariary. HUF and TWD have two
digits in payments and no digits in payouts, which move no money of an order. (docs.stripe.com/currencies, "Zero-decimal
currencies" and "Special cases".)
"""

_OLDEST = "2025-03-31"
"""The date of the oldest API version whose refunds are all refunds."""

_MOVED = ("pending", "succeeded")
"""The states of a refund whose money has left the shop's balance. A pending refund counts at once, under its id."""


def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent | Ignore:  # noqa: ARG001
    """Parse an event of Stripe.

    Returns:
        The event; `Ignore` if the event names no order and no payment.

    Raises:
        InvalidInput: if a member is missing or not valid, or a refund has an older API version than 2025-03-31.basil.
    """
    name = text_of(member(data, "type"), "type")
    about = member(data, "data", "object")
    if name.startswith("payment_intent."):
        return _intent(data, name, about)
    if name in {"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"}:
        return _refund(data, name, about)
    if name == "charge.dispute.funds_withdrawn":
        return _dispute(data, "reversed", about)
    if name == "charge.dispute.funds_reinstated":
        return _dispute(data, "restored", about)
    return _note(data, name, about)


def _intent(data: Any, name: str, intent: Any) -> PaymentEvent | Ignore:
    if name == "payment_intent.succeeded":
        charge = _id_of(optional_member(intent, "latest_charge"))
        return _event(data, "captured", intent, _id_of(intent), charge, member(intent, "amount_received"))
    if name == "payment_intent.amount_capturable_updated" and optional_member(intent, "amount_capturable"):
        return _event(data, "authorised", intent, _id_of(intent), amount=member(intent, "amount_capturable"))
    if name == "payment_intent.canceled":
        return _event(data, "voided", intent, _id_of(intent))
    if name == "payment_intent.payment_failed":
        return _event(data, "failed", intent, _id_of(intent))
    return _note(data, name, intent)


def _refund(data: Any, name: str, refund: Any) -> PaymentEvent | Ignore:
    version = optional_member(data, "api_version")
    if isinstance(version, str) and version < _OLDEST:
        raise InvalidCallback(f"refunds need the API version {_OLDEST}.basil or a newer one of Stripe")
    status = "failed" if name == "refund.failed" else optional_member(refund, "status")
    before = optional_member(data, "data", "previous_attributes", "status")
    if status in _MOVED:
        kind = "refunded"
    elif (status == "failed" and before != "requires_action") or (status == "canceled" and before in _MOVED):
        kind = "refund_failed"
    else:  # A refund that waits for the customer, and then fails or is cancelled, moved no money.
        return _note(data, name, refund)
    return _event(data, kind, refund, _payment_of(refund), _id_of(refund), member(refund, "amount"))


def _dispute(data: Any, kind: str, dispute: Any) -> PaymentEvent | Ignore:
    """Return the event of a withdrawal or reinstatement. Its balance transaction identifies it."""
    sign = -1 if kind == "reversed" else 1
    transaction, amount = _id_of(dispute), member(dispute, "amount")
    movements = optional_member(dispute, "balance_transactions")
    for movement in movements if isinstance(movements, list) else ():
        moved = optional_member(movement, "amount")
        if isinstance(moved, int) and moved * sign > 0:
            transaction = _id_of(movement)
            # Only a part may come back. The balance may have another currency than the payment.
            same_currency = optional_member(movement, "currency") == member(dispute, "currency")
            amount = abs(moved) if same_currency else member(dispute, "amount")
    return _event(data, kind, dispute, _payment_of(dispute), transaction, amount)


def _note(data: Any, name: str, about: Any) -> PaymentEvent | Ignore:
    payment = _id_of(about) if optional_member(about, "object") == "payment_intent" else _payment_of(about)
    if payment is None and _order_of(about) is None:
        return Ignore(f"an event of type {name:.80} that names no order and no payment")
    return _event(data, f"note:{name}", about, payment)


def _event(
    data: Any, kind: str, about: Any, payment: str | None, transaction: str | None = None, amount: int | None = None
) -> PaymentEvent:
    currency = None if amount is None else text_of(member(about, "currency"), "currency").upper()
    money = None if amount is None or currency is None else minor(amount, currency, UNITS)
    return PaymentEvent(
        kind,
        order_id=_order_of(about),
        reference=payment,
        transaction_id=transaction,
        amount=money,
        currency=currency,
        id=member(data, "id"),
        provider="stripe",
        live=optional_member(data, "livemode"),
        account=optional_member(data, "account"),
        occurred_at=seconds_to_instant(optional_member(data, "created")),
    )


def _order_of(about: Any) -> str | None:
    return order_number(optional_member(about, "metadata"), "order_id") or order_number(about, "client_reference_id")


def _payment_of(about: Any) -> str | None:
    return _id_of(optional_member(about, "payment_intent")) or _id_of(optional_member(about, "charge"))


def _id_of(thing: Any) -> str | None:
    """Return the id of an object. The API sends the id or the whole object."""
    return None if thing is None else text_of(thing if isinstance(thing, str) else member(thing, "id"), "id")

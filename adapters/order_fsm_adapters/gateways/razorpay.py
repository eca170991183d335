"""Razorpay: HMAC signatures, and a parser for events about payments, refunds and disputes.

Give the payment the note `order_id` (or `merchant_order_id`), because Razorpay's own `order_id` is another number.
Subscribe the webhook to `payment.authorized`, `payment.captured`, `payment.failed`, `refund.created`,
`refund.processed`, `refund.failed` and `payment.dispute.*`. `order.paid` reports the same money as `payment.captured`
and is ignored. A refund of a payment that was never captured ends its authorisation and moves no money
(razorpay.com/docs/payments/refunds, "Auto-Refunds").

An event has no signed id, so the parser makes one from its type and the id of its payment, refund or dispute. Razorpay
does not report the mode. Live and test mode have different webhook secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_fsm.payments import HmacSignature, Ignore, PaymentEvent, member, minor, optional_member
from order_fsm_adapters.gateways.reading import order_number, seconds_to_instant, text_of

__all__ = ["RazorpaySignature", "parse"]

_KINDS = {
    "payment.authorized": "authorised",
    "payment.captured": "captured",
    "payment.failed": "failed",
    "refund.created": "refunded",  # A refund counts at once, under its id. `refund.failed` takes it back.
    "refund.processed": "refunded",
    "refund.failed": "refund_failed",
    "payment.dispute.lost": "reversed",
}


class RazorpaySignature(HmacSignature):
    """HMAC-SHA256 of the body in the header `x-razorpay-signature`, in hexadecimal."""

    def __init__(self, *secrets: str) -> None:
        """Take the webhook secrets, several during a rotation."""
        super().__init__(*secrets, header="x-razorpay-signature")


def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent | Ignore:  # noqa: ARG001
    """Parse an event of Razorpay.

    Returns:
        The event, or `Ignore` if it is not about a payment, a refund or a dispute.

    Raises:
        InvalidInput: if a member is missing or not valid.
    """
    name = text_of(member(data, "event"), "event")
    subject = (
        "refund" if name.startswith("refund.") else "dispute" if name.startswith("payment.dispute.") else "payment"
    )
    if not name.startswith(("payment.", "refund.")) or optional_member(data, "payload", subject) is None:
        return Ignore(f"an event of type {name:.80}")
    about = member(data, "payload", subject, "entity")
    own_id = text_of(member(about, "id"), f"{subject}.id")
    payment = own_id if subject == "payment" else text_of(member(about, "payment_id"), f"{subject}.payment_id")
    kind = _KINDS.get(name, f"note:{name}")
    if subject == "refund" and optional_member(data, "payload", "payment", "entity", "captured") is False:
        # Razorpay releases the authorisation of a payment that was never captured by a refund.
        kind = f"note:{name}" if kind == "refund_failed" else "voided"
    moves = kind in {"authorised", "captured", "refunded", "refund_failed", "reversed"}
    currency = text_of(member(about, "currency"), f"{subject}.currency") if moves else None
    return PaymentEvent(
        kind,
        order_id=order_number(
            optional_member(data, "payload", "payment", "entity", "notes"), "order_id", "merchant_order_id"
        ),
        reference=payment,
        transaction_id=own_id if moves else None,
        amount=None if currency is None else minor(_amount(about), currency),
        currency=currency,
        id=f"{name}:{own_id}",
        provider="razorpay",
        account=optional_member(data, "account_id"),
        occurred_at=seconds_to_instant(optional_member(data, "created_at")),
    )


def _amount(about: Any) -> Any:
    """Return the amount. The amount of a dispute is the deducted part."""
    return optional_member(about, "amount_deducted") or member(about, "amount")

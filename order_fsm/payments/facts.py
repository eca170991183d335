"""Convert an event to its idempotency key, its facts, and its comment in the history."""

from __future__ import annotations

from hashlib import sha256

from order_fsm import validation
from order_fsm.model import Fact
from order_fsm.money import EXACT
from order_fsm.payments.events import PaymentEvent


def key_of(event: PaymentEvent, provider: str | None) -> str:
    """Return the idempotency key of an event.

    Its prefix separates it from the ids of other gateways and the keys of forms.

    Args:
        event: the event. Without an id its content identifies it.
        provider: the name of the gateway, if known.
    """
    prefix = provider or "gateway"
    if event.id is not None:
        return _short(f"{prefix}:{event.id}")
    content = (
        event.kind,
        event.order_id,
        event.reference,
        event.transaction_id,
        None if event.amount is None else f"{event.amount.normalize(EXACT):f}",
        event.currency,
        None if event.occurred_at is None else event.occurred_at.isoformat(),
    )
    return _short(f"{prefix}:content:{_digest(repr(content))}")


def related_key(purpose: str, key: str) -> str:
    """Return the idempotency key of another record about an event.

    Args:
        purpose: distinguishes such keys of one event.
        key: the key of the event.
    """
    return f"{purpose.split()[0]}:{_digest(repr((purpose, key)))}"


def _short(key: str) -> str:
    return key if len(key) <= validation.ID_LENGTH else f"long:{_digest(key)}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def has_money(event: PaymentEvent) -> bool:
    """Return whether an event moves an amount above zero."""
    return event.moves_money and bool(event.amount)


def facts_of(event: PaymentEvent, provider: str | None) -> dict[str, Fact]:
    """Return the facts of an event about money.

    A capture without a reference is a separate payment. The id of its event identifies a refund or reversal without a
    transaction_id.
    """
    reference, transaction_id = event.reference, event.transaction_id
    if event.kind == "captured" and reference is None:
        reference = transaction_id
    if event.kind in ("refunded", "reversed") and transaction_id is None:
        transaction_id = event.id
    facts: dict[str, Fact] = {
        "amount": event.amount,
        "currency": event.currency,
        "reference": reference,
        "transaction_id": transaction_id,
        "provider": provider,
    }
    return {name: value for name, value in facts.items() if value is not None}


def event_text(event: PaymentEvent) -> str:
    """Return an event as a comment for the shop."""
    about = [f"gateway: {event.kind.removeprefix('note:')}"]
    if event.amount is not None:
        about.append(f"{event.amount:f} {event.currency}")
    if event.reference is not None:
        about.append(event.reference)
    return ", ".join(about)

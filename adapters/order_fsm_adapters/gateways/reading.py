"""Values that payloads of several gateways hold in the same form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from order_fsm.errors import InvalidInput


def order_number(labels: Any, *names: str) -> str | None:
    """Return the shop's order number from the labels (metadata, notes) that it gave to a payment.

    Args:
        labels: a mapping. Anything else has no order number: an empty one is a list at some gateways.
        names: of the label, in order of preference.
    """
    if not isinstance(labels, Mapping):
        return None
    for name in names:
        value = labels.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            return value
    return None


def text_of(value: Any, what: str) -> str:
    """Return a text of a payload.

    Raises:
        InvalidInput: if it is not a string.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a string, not {type(value).__name__}")
    return value


def seconds_to_instant(value: Any) -> datetime | None:
    """Return the time of seconds since 1970, None if it cannot be read: no payment is lost for its time."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def text_to_instant(value: Any) -> datetime | None:
    """Return the time of an ISO 8601 text, None if it cannot be read or has no time zone."""
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
        return instant.astimezone(UTC) if instant.utcoffset() is not None else None
    except (ValueError, OverflowError):
        return None

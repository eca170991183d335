"""Values that have the same form in the payloads of several gateways."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.payments import InvalidCallback


def order_number(labels: Any, *names: str) -> str | None:
    """Return the shop's order number from the labels (metadata, notes) of a payment.

    Args:
        labels: a mapping. Any other value has no order number, because some gateways send an empty mapping as a list.
        names: the names of the label, in order of preference.
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


def check_request(function: object, what: str) -> None:
    """Check the function of the shop that asks a gateway.

    Raises:
        InvalidInput: if it is not a function, or is async: the parser could not wait for its answer.
    """
    if not callable(function):
        raise InvalidInput(f"{what} must be a function that asks the gateway, not {type(function).__name__}")
    if validation.is_async(function):
        raise InvalidInput(f"{what} must be a plain function, not an async one")


def text_of(value: Any, what: str) -> str:
    """Return a text of a payload.

    Raises:
        InvalidCallback: if the value is not a string.
    """
    if not isinstance(value, str):
        raise InvalidCallback(f"{what} must be a string, not {type(value).__name__}")
    return value


def seconds_to_instant(value: Any) -> datetime | None:
    """Return the time of seconds since 1970, or None. An unreadable time must not lose a payment."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def text_to_instant(value: Any) -> datetime | None:
    """Return the time of an ISO 8601 text, or None if it is unreadable or has no time zone."""
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
        return instant.astimezone(UTC) if instant.utcoffset() is not None else None
    except (ValueError, OverflowError):
        return None

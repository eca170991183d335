"""Values as the text of columns, and back: times, money, facts and JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from order_fsm.model import Fact, Line, Payment, Shipment
from order_fsm.money import EXACT
from order_fsm_adapters.wire import WireFact, encode, to_facts

UNREADABLE = (ValueError, ArithmeticError, TypeError, LookupError, msgspec.MsgspecError)
"""The exceptions of decoding damaged columns."""

_lines = msgspec.json.Decoder(tuple[Line, ...])
_payments = msgspec.json.Decoder(tuple[Payment, ...])
_shipments = msgspec.json.Decoder(tuple[Shipment, ...])
_object = msgspec.json.Decoder(dict[str, Any])
_names = msgspec.json.Decoder(tuple[str, ...])


_facts = msgspec.json.Decoder(dict[str, WireFact])

_FLAGS = {0: False, 1: True}


def time_text(at: datetime) -> str:
    """Return a time as text in UTC, always with microseconds. Later times sort after earlier ones."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    # Four times as fast as isoformat.
    text: str = msgspec.to_builtins(at)
    return f"{text[:-1]}+00:00" if at.microsecond else f"{text[:-1]}.000000+00:00"


def time_of(text: str) -> datetime:
    """Return the time that `time_text` was given.

    Raises:
        ValueError: if the text is not a time in UTC.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is not UTC:
        raise ValueError(f"not in UTC: {text!r}")
    return at


def flag_of(column: object) -> bool:
    """Return the bool of a column.

    Raises:
        LookupError: if the column is not 0 or 1.
    """
    return _FLAGS[column]  # type: ignore[index]


def text_of(column: object) -> str:
    """Return the text of a column.

    Raises:
        TypeError: if the column is not text. A damaged index may hold other types.
    """
    if not isinstance(column, str):
        raise TypeError(f"not text: {type(column).__name__}")
    return column


def json_text(value: object) -> str:
    """Return JSON text of a value, or of lines, payments or shipments."""
    return encode(value).decode()


def lines_of(text: str) -> tuple[Line, ...]:
    """Return lines from text."""
    return () if text == "[]" else _lines.decode(text)


def payments_of(text: str) -> tuple[Payment, ...]:
    """Return payments from text."""
    return () if text == "[]" else _payments.decode(text)


def shipments_of(text: str) -> tuple[Shipment, ...]:
    """Return shipments from text."""
    return () if text == "[]" else _shipments.decode(text)


def names_of(text: str) -> tuple[str, ...]:
    """Return a JSON list of names from text."""
    return _names.decode(text)


def object_of(text: str) -> dict[str, Any]:
    """Return a JSON object from text."""
    return {} if text == "{}" else _object.decode(text)


def facts_of(text: str) -> tuple[dict[str, WireFact], dict[str, Fact]]:
    """Return facts from text, as JSON values and with their types."""
    if text == "{}":
        return {}, {}
    wire = _facts.decode(text)
    return wire, to_facts(wire)


_UNITS_LIMIT = 10**12
"""The sum of millions of smaller amounts stays below 2**63 units."""


def in_units(money: Decimal) -> tuple[str, int]:
    """Return money as a unit and a whole number of units.

    For example, 49.90 is 4990 units of `0.01`. Databases add whole numbers exactly. A huge amount becomes a unit
    itself, because a sum of a few could exceed 64 bits.
    """
    exponent = int(money.as_tuple().exponent)
    units = int(money.scaleb(-exponent, EXACT))
    if abs(units) >= _UNITS_LIMIT:
        return str(money), 1
    return str(Decimal((0, (1,), exponent))), units

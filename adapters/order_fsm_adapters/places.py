"""Where an order stands among all, for the stores on disk: by the text of its time, and then by its id."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import to_builtins

from order_fsm.model import Order

Place = tuple[str, str]
"""Where an order stands among all: its created_at and its id."""

START: Place = ("", "")
"""Before all orders."""


def time_text(at: datetime) -> str:
    """A time as text, as `isoformat` has it, in UTC and always with microseconds: from the year 1 on, later times sort
    after earlier ones."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    # In a quarter of the time that isoformat takes; each commit writes its time into two rows and more.
    text: str = to_builtins(at)
    return f"{text[:-1]}+00:00" if at.microsecond else f"{text[:-1]}.000000+00:00"


def place(order: Order) -> Place:
    """Where an order stands."""
    return time_text(order.created_at), order.id

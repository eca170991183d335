"""The work that is compared: an order is created, placed, paid, invoiced and dispatched, by five changes.

Each change finds the order by its id, asks whether its state allows the change, asks one guard, moves the state and the
version, and adds a row to the history. On SQLite each is a commit that is on the disk when it returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

TOTAL, CURRENCY = "49.90", "GBP"

CREATED = "unfinished"


class Step(NamedTuple):
    """A change of the state."""

    before: str
    after: str


STEPS: Mapping[str, Step] = {
    "place": Step(CREATED, "sent"),
    "pay": Step("sent", "sent+paid"),
    "invoice": Step("sent+paid", "sent+invoiced+paid"),
    "dispatch": Step("sent+invoiced+paid", "sent+invoiced+paid+dispatched"),
}
STATES = (CREATED, *(step.after for step in STEPS.values()))


class Illegal(Exception):
    """A change that the state or the guard of an order does not allow."""


class Shop(Protocol):
    """Orders, kept by one means or another."""

    def create(self, order_id: str, total: str) -> None:
        """Begin an order."""
        ...

    def change(self, order_id: str, trigger: str) -> None:
        """Make a change of `STEPS`. The guard is that the order comes to something.

        Raises:
            Illegal: it is not allowed now.
        """
        ...

    def state(self, order_id: str) -> str:
        """Where an order stands."""
        ...

    def entries(self, order_id: str) -> int:
        """How many rows its history has."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def live(shop: Shop, order_id: str) -> None:
    """The five changes of an order."""
    shop.create(order_id, TOTAL)
    for trigger in STEPS:
        shop.change(order_id, trigger)

"""The compared work: five changes create, place, pay, invoice and dispatch an order.

Each change loads the order by its id, checks that its state allows the change, calls one guard, moves the state and the
version, and adds a row to the history. On SQLite each change is a commit that is durable when it returns.
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
    """Orders in some store."""

    def create(self, order_id: str, total: str) -> None:
        """Create an order."""
        ...

    def change(self, order_id: str, trigger: str) -> None:
        """Make a change of `STEPS`. The guard requires a total above zero.

        Raises:
            Illegal: if the state or the guard does not allow the change.
        """
        ...

    def state(self, order_id: str) -> str:
        """Return the state of an order."""
        ...

    def entries(self, order_id: str) -> int:
        """Return the number of rows in the history."""
        ...

    def close(self) -> None:
        """Close the store."""
        ...


def live(shop: Shop, order_id: str) -> None:
    """Make the five changes of an order."""
    shop.create(order_id, TOTAL)
    for trigger in STEPS:
        shop.change(order_id, trigger)

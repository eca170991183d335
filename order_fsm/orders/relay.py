"""Delivering messages after their commit: at least once, in order per order, by one relay at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from order_fsm.model import Message

if TYPE_CHECKING:
    from order_fsm.store import Store

LEASE = timedelta(minutes=10)
"""How long a relay has for the messages that it claimed; after that another one may claim them."""

ATTEMPTS = 20
"""How many deliveries of a message may fail before it becomes a dead letter: with the pauses, half a day."""

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
"""A message whose delivery failed is tried again after 10 s, 20 s, 40 s … up to an hour."""

_BATCH = 10


def deliver(store: Store, handler: Callable[[Message], object], clock: Callable[[], datetime], limit: int) -> int:
    """Hand messages to a handler, oldest first, until none is left or the limit is reached.

    A message for which the handler raises stays in the outbox, is logged by its id, and is tried again after a pause;
    meanwhile later messages of its order wait, and those of other orders do not. After `ATTEMPTS` failures it is a dead
    letter: kept, but nobody waits for it any more.

    Args:
        store: whose outbox.
        handler: tells the world; it may be given a message again, under the same id.
        clock: gives the time, in UTC.
        limit: how many messages to try at the most.

    Returns:
        How many messages were delivered.
    """
    import logging  # Only a relay needs it.

    delivered = tried = 0
    while tried < limit:
        now = clock()
        claimed = store.claim(now, now + LEASE, min(_BATCH, limit - tried))
        if not claimed:
            break
        waiting: set[str] = set()
        for message in claimed:
            if message.order_id in waiting:
                continue
            if clock() - now >= LEASE / 2:
                break  # A slow handler: what it has not begun it shall not have in hand when another relay may.
            tried += 1
            try:
                handler(message)
            except Exception as error:
                # Only its type: what a handler raises may hold the customer's address.
                logging.getLogger(__name__).warning(
                    "message %s (%s) was not delivered: %s", message.id, message.topic, type(error).__name__
                )
                store.postpone(message, _next_try(clock(), message.attempts + 1))
                waiting.add(message.order_id)
            else:
                store.delivered(message)
                delivered += 1
    return delivered


def _next_try(now: datetime, failures: int) -> datetime | None:
    """When to deliver a message again; None where it is given up."""
    if failures >= ATTEMPTS:
        return None
    return now + min(FIRST_PAUSE * (1 << (failures - 1)), LONGEST_PAUSE)

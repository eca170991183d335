"""Deliver messages after their commit.

Each is delivered at least once, in sequence per order, by one relay at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from order_fsm import validation
from order_fsm.errors import InvalidInput, Undelivered
from order_fsm.model import Message
from order_fsm.store import Store

LEASE = timedelta(minutes=10)
"""The duration of a lease. After it, another relay may claim the messages."""

ATTEMPTS = 20
"""The number of failed deliveries after which a message becomes a dead letter. The backoff adds up to half a day."""

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
"""The backoff: a failed delivery is retried after 10 s, 20 s, 40 s … up to an hour."""

_BATCH = 10


def deliver(store: Store, handler: Callable[[Message], object], clock: Callable[[], datetime], limit: int) -> int:
    """Deliver messages to a handler, up to a limit.

    If the handler raises, the message stays in the outbox, is logged by its id, and is retried after a backoff. Later
    messages of its order wait for it. Messages of other orders do not wait. After `ATTEMPTS` failures it becomes a dead
    letter.

    If the handler raises `Undelivered`, the message is retried only for the recipients named there. Then no message
    waits for it, and a permanent failure makes it a dead letter at once.

    Args:
        store: the store with the outbox.
        handler: delivers a message. It may get a message again, with the same id.
        clock: returns the time, in UTC.
        limit: the largest number of messages to try.

    Returns:
        The number of delivered messages.

    Raises:
        InvalidInput: if the handler is an async function or a generator, or the store is joined to an open transaction,
            or the handler left one open. An open transaction would hold the database's write lock while the handler
            runs.
    """
    delivered = tried = 0
    while tried < limit:
        now = clock()
        until = now + LEASE
        claimed = store.claim(now, until, min(_BATCH, limit - tried))
        if not claimed:
            break
        for message in claimed:
            if clock() - now >= LEASE / 2:
                break  # Stop early if the handler is slow: another relay may claim the rest once the lease ends.
            tried += 1
            try:
                answer = handler(message)
            except Undelivered as error:
                _log(message, str(error))
                _check_apart(store)
                due = None if error.permanent else _next_try(clock(), message.attempts + 1)
                store.retry_later(replace(message, remaining=error.recipients), until, due)
            except Exception as error:
                # Log only the type: the text may hold the customer's address.
                _log(message, f"not delivered: {type(error).__name__}")
                _check_apart(store)
                store.retry_later(message, until, _next_try(clock(), message.attempts + 1))
            else:
                _check_done(answer)
                _check_apart(store)
                store.delivered(message, until)
                delivered += 1
    return delivered


def _check_done(answer: object) -> None:
    """Raise InvalidInput if a handler returned work that nobody does, such as a coroutine."""
    if validation.close_unfinished(answer):
        raise InvalidInput("the handler must be a plain function, not async and not a generator")


def _check_apart(store: Store) -> None:
    """Raise InvalidInput if the handler left a transaction open.

    The result of the delivery would be written in that transaction.
    """
    if store.joined:
        raise InvalidInput("the handler left a transaction of the shop open: it must commit before it returns")


def _log(message: Message, failure: str) -> None:
    import logging  # Imported on demand: only a relay needs it.

    logging.getLogger(__name__).warning("message %s (%s) was %s", message.id, message.topic, failure)


def _next_try(now: datetime, failures: int) -> datetime | None:
    """Return the time of the next attempt, None after the last one."""
    if failures >= ATTEMPTS:
        return None
    return now + min(FIRST_PAUSE * (1 << (failures - 1)), LONGEST_PAUSE)

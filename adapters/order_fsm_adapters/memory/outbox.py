"""The outbox in memory.

Messages wait in a queue per order, and only the head of a queue can be claimed. Messages with `remaining` recipients
are in no queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from order_fsm.model import Message

_SWEPT_FROM = 1000
"""The number of stale entries above which the heap of later messages is cleaned."""


class _Row(Struct, eq=False):
    """A message in the outbox.

    Attributes:
        number: a sequence number, higher than the numbers of all earlier rows.
        due: the end of its last lease, or the time of the next attempt. None if it was never claimed.
    """

    number: int
    message: Message
    due: datetime | None = None


class Outbox:
    """Undelivered messages and dead letters."""

    def __init__(self) -> None:
        """Start empty."""
        self._number = 0
        self._rows: dict[str, _Row] = {}
        self._queues: dict[str, list[str]] = {}
        # Unclaimed heads by number, and the other heads by due time. If a head changes, its old entry is stale, and
        # `claimable` skips it.
        self._fresh: list[tuple[int, str]] = []
        self._later: list[tuple[datetime, int, str]] = []
        self._apart: dict[str, set[str]] = {}
        self._dead: dict[str, Message] = {}
        self._dead_of: dict[str, set[str]] = {}

    def add(self, message: Message, due: datetime | None = None) -> None:
        """Append a message behind all others.

        Args:
            message: a message that is not in the outbox yet.
            due: the end of its last lease, or the time of the next attempt.
        """
        self._number += 1
        row = self._rows[message.id] = _Row(self._number, message, due)
        if message.remaining:
            self._apart.setdefault(message.order_id, set()).add(message.id)
            self._push(row)
            return
        queue = self._queues.get(message.order_id)
        if queue is None:
            self._queues[message.order_id] = [message.id]
            self._push(row)
        else:
            queue.append(message.id)

    def claimable(self, now: datetime, limit: int) -> list[Message]:
        """Return the messages that `Store.claim` would lease now."""
        found: list[Message] = []
        passed: list[tuple[int, str]] = []
        while self._fresh and len(found) < limit:
            number, message_id = heapq.heappop(self._fresh)
            row = self._rows.get(message_id)
            if row is not None and row.number == number and row.due is None:
                found.append(row.message)
                passed.append((number, message_id))
        for one in passed:
            heapq.heappush(self._fresh, one)
        waiting: list[tuple[datetime, int, str]] = []
        while self._later and len(found) < limit and self._later[0][0] <= now:
            one_later = heapq.heappop(self._later)
            if waiting and waiting[-1] == one_later:
                continue  # A message that was due twice at the same time has two entries in the heap.
            if self._is_later(*one_later):
                found.append(self._rows[one_later[2]].message)
                waiting.append(one_later)
        for one_later in waiting:
            heapq.heappush(self._later, one_later)
        return found

    def is_leased(self, message: Message, until: datetime) -> bool:
        """Return whether the last lease of a message ends at `until`."""
        row = self._rows.get(message.id)
        return row is not None and row.due == until

    def drop(self, message_id: str) -> Message:
        """Remove a message. The next one of its order becomes the head."""
        message = self._rows.pop(message_id).message
        if message.remaining:
            _discard(self._apart, message)
        else:
            self._leave(message)
        return message

    def narrow(self, message_id: str, remaining: tuple[str, ...]) -> None:
        """Store the recipients still to be reached.

        The next message of the order becomes the head.
        """
        row = self._rows[message_id]
        if not row.message.remaining and remaining:
            self._leave(row.message)
            self._apart.setdefault(row.message.order_id, set()).add(message_id)
        row.message = replace(row.message, remaining=remaining)

    def wait(self, message_id: str, due: datetime, attempts: int) -> None:
        """Make a message wait: it cannot be claimed before `due`."""
        row = self._rows[message_id]
        row.due = due
        if row.message.attempts != attempts:
            row.message = replace(row.message, attempts=attempts)
        self._push(row)

    def give_up(self, message_id: str, attempts: int) -> None:
        """Make a message a dead letter."""
        self.add_dead(replace(self.drop(message_id), attempts=attempts))

    def add_dead(self, message: Message) -> None:
        """Add a dead letter."""
        self._dead[message.id] = message
        self._dead_of.setdefault(message.order_id, set()).add(message.id)

    def attempts(self, message_id: str) -> int:
        """Return the number of failed deliveries of a message."""
        return self._rows[message_id].message.attempts

    def requeue(self, message_id: str) -> None:
        """Append a dead letter to the outbox again, with no attempts."""
        message = self._dead.pop(message_id)
        _discard(self._dead_of, message)
        self.add(replace(message, attempts=0))

    def is_dead(self, message: Message) -> bool:
        """Return whether a message is a dead letter."""
        return message.id in self._dead

    def dead(self) -> Iterator[Message]:
        """Yield all dead letters."""
        return iter(self._dead.values())

    def dead_letters(self, limit: int) -> list[Message]:
        """Return the dead letters, oldest first."""
        return heapq.nsmallest(limit, self._dead.values(), key=lambda message: (message.created_at, message.id))

    def edit(self, order_id: str, edited: Callable[[Message], Message]) -> None:
        """Edit the messages and dead letters of an order in place."""
        for message_id in (*self._queues.get(order_id, ()), *self._apart.get(order_id, ())):
            row = self._rows[message_id]
            row.message = edited(row.message)
        for message_id in self._dead_of.get(order_id, ()):
            self._dead[message_id] = edited(self._dead[message_id])

    def forget(self, order_id: str) -> None:
        """Delete all messages and dead letters of an order."""
        for message_id in self._queues.pop(order_id, ()):
            del self._rows[message_id]
        for message_id in self._apart.pop(order_id, ()):
            del self._rows[message_id]
        for message_id in self._dead_of.pop(order_id, ()):
            del self._dead[message_id]

    def __iter__(self) -> Iterator[Message]:
        return iter([row.message for row in self._rows.values()])

    def rows(self) -> Iterator[tuple[Message, datetime | None]]:
        """Yield undelivered messages and their `due`, in the sequence of `add`."""
        return ((row.message, row.due) for row in self._rows.values())

    def _leave(self, message: Message) -> None:
        queue = self._queues[message.order_id]
        queue.remove(message.id)
        if not queue:
            del self._queues[message.order_id]
        else:
            self._push(self._rows[queue[0]])

    def _push(self, row: _Row) -> None:
        if row.due is None:
            heapq.heappush(self._fresh, (row.number, row.message.id))
            return
        heapq.heappush(self._later, (row.due, row.number, row.message.id))
        if len(self._later) > _SWEPT_FROM + 2 * len(self._rows):
            self._later = [one for one in self._later if self._is_later(*one)]
            heapq.heapify(self._later)

    def _is_later(self, due: datetime, number: int, message_id: str) -> bool:
        """Return whether an entry of the heap is not stale."""
        row = self._rows.get(message_id)
        return row is not None and (row.due, row.number) == (due, number)


def _discard(ids: dict[str, set[str]], message: Message) -> None:
    """Remove a message's id from the set of its order. Remove an empty set."""
    of_order = ids[message.order_id]
    of_order.discard(message.id)
    if not of_order:
        del ids[message.order_id]

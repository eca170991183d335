"""A store in memory, with all guarantees except S3: the content is lost when the process ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock

from order_fsm.erasure import erased_entry
from order_fsm.errors import OrderFsmError
from order_fsm.model import Entry, Message, Order
from order_fsm.store import Change, one_by_one, record_of
from order_fsm_adapters.memory.projection import Projection, T
from order_fsm_adapters.memory.reading import ProjectionReader


class MemoryStore(ProjectionReader[Entry]):
    """A store in memory, safe for several threads.

    If a signal handler raises during a commit, a part of the commit stays. Workers with time limits need a store on
    disk.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._lock = Lock()
        self._content: Projection[Entry] = Projection()

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return self._read(lambda content: content.history(order_id))[after:][:limit]

    def commit(self, change: Change) -> None:
        self._check_open()
        content = self._content
        with self._lock:
            levels = content.check(change)
            if levels:
                content.levels.update(levels)
            if change.key is not None:
                content.put_record(change.key, record_of(change))
            if change.order is not None:
                if change.erases and change.expected_version:
                    entries = content.history(change.order.id)
                    content.erase(change.order.id, entries, map(erased_entry, entries))
                content.put(change.order, change.marks, change.entries, change.messages)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return one_by_one(self.commit, changes)

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        self._check_open()
        with self._lock:
            self._content.levels[sku] = self._content.level_set(sku, available, expected, backorder)

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        self._check_open()
        with self._lock:
            messages = self._content.outbox.claimable(now, limit)
            for message in messages:
                self._content.outbox.wait(message.id, until, message.attempts)
            return messages

    def delivered(self, message: Message, until: datetime) -> None:
        self._check_open()
        with self._lock:
            if self._content.outbox.is_leased(message, until):
                self._content.outbox.drop(message.id)

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        self._check_open()
        with self._lock:
            outbox = self._content.outbox
            if not outbox.is_leased(message, until):
                return
            attempts = outbox.attempts(message.id) + 1
            if message.remaining:
                outbox.narrow(message.id, message.remaining)
            if due is None:
                outbox.give_up(message.id, attempts)
            else:
                outbox.wait(message.id, due, attempts)

    def requeue(self, message: Message) -> None:
        self._check_open()
        with self._lock:
            if self._content.outbox.is_dead(message):
                self._content.outbox.requeue(message.id)

    def remove(self, order: Order) -> None:
        self._check_open()
        with self._lock:
            self._content.check_removal(order)
            self._content.remove(order.id)

    def scrub(self) -> None:
        self._check_open()

    def faults(self) -> list[str]:
        self._check_open()
        return []

    def _read(self, ask: Callable[[Projection[Entry]], T]) -> T:
        self._check_open()
        with self._lock:
            return ask(self._content)

"""What a relay does with the messages of the orders: claim, deliver, postpone, give up, revive.

The messages are in the files of their orders; `OutboxFiles` says in which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice, takewhile

from order_fsm.model import Message
from order_fsm_adapters.json_files.file_names import file_name
from order_fsm_adapters.json_files.order_file import OrderFile, digits
from order_fsm_adapters.json_files.order_files import OrderFiles
from order_fsm_adapters.json_files.order_index import OrderIndex
from order_fsm_adapters.json_files.order_locks import OrderLocks
from order_fsm_adapters.json_files.outbox_files import OutboxFiles


class Outbox:
    """The messages of all orders, for any number of relays."""

    def __init__(self, files: OrderFiles, locks: OrderLocks, marks: OutboxFiles, index: OrderIndex) -> None:
        """Put the parts together."""
        self._files = files
        self._locks = locks
        self._marks = marks
        self._index = index

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        """See `Store.claim`; so with the others."""
        claimed: list[Message] = []
        places: dict[str, int] = {}
        waiting = self._waiting(now)
        # Others may be faster with some of these; then later ones make up for them.
        while wanted := list(islice(waiting, limit - len(claimed))):
            ids: dict[str, set[str]] = {}
            for message in wanted:
                places[message.id] = len(places)
                ids.setdefault(message.order_id, set()).add(message.id)
            for order_id in ids:
                claimed += self._claim_of(order_id, ids[order_id], now, until)
        return sorted(claimed, key=lambda message: places[message.id])

    def _waiting(self, now: datetime) -> Iterator[Message]:
        """The messages that may be claimed, oldest first, and never one before an older one of its order."""
        free: dict[str, deque[Message]] = {}
        for time, name in self._marks.marks():
            if name not in free:
                document = self._files.read_unless_broken(name)
                free[name] = deque() if document is None else deque(document.free(now))
                if document is not None and time not in document.message_times():
                    self._rewrite(name, lambda unchanged: unchanged, frozenset({time}))
            while free[name] and digits(free[name][0].created_at) <= time:
                yield free[name].popleft()

    def _claim_of(self, order_id: str, ids: set[str], now: datetime, until: datetime) -> list[Message]:
        claimed: list[Message] = []

        def claim(document: OrderFile) -> OrderFile:
            claimed.extend(takewhile(lambda message: message.id in ids, document.free(now)))
            return document.claimed({message.id for message in claimed}, until)

        self._rewrite(file_name(order_id), claim)
        return claimed

    def delivered(self, message: Message) -> None:
        self._rewrite(file_name(message.order_id), lambda document: document.without(message.id))

    def postpone(self, message: Message, until: datetime | None) -> None:
        def postpone(document: OrderFile) -> OrderFile:
            return document.given_up(message.id) if until is None else document.postponed(message.id, until)

        self._rewrite(file_name(message.order_id), postpone)

    def revive(self, message: Message) -> None:
        self._rewrite(file_name(message.order_id), lambda document: document.revived(message.id))

    def _rewrite(
        self, name: str, change: Callable[[OrderFile], OrderFile], marked: frozenset[str] = frozenset()
    ) -> None:
        """Change the messages of an order, if it is there; then remove the marks that lead to none.

        Args:
            name: of its file.
            change: gives the document after it.
            marked: times of marks beside those of the order's messages.
        """
        with self._locks.held(name):
            before = self._files.read(name)
            if before is not None:
                after = change(before)
                if after != before:
                    self._index.note(name)
                    self._marks.lead_to(name, before, after)
                    self._files.write(name, after)
                self._marks.forget(name, (before.message_times() | marked) - after.message_times())

    # What an audit asks for

    def messages(self) -> Iterator[Message]:
        return (message for document in self._files.every() for message in document.to_messages())

    def faults(self) -> Iterator[str]:
        """The orders with messages to which nothing leads; a mark is there before its message."""
        for document in self._files.every():
            name = file_name(document.order.id)
            for time in document.message_times():
                if not self._marks.leads_to(name, time) and self._still_waits(name, time):
                    yield f"order {document.order.id!r} has messages to which no mark leads: they are not delivered"

    def _still_waits(self, name: str, time: str) -> bool:
        document = self._files.read_unless_broken(name)
        return document is not None and time in document.message_times()

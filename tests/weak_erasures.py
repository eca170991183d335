"""Stores with one deliberate fault each in erasures, as controls for the store contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

from msgspec.structs import replace

from order_fsm.erasure import erased_entry, erased_message
from order_fsm.errors import OrderFsmError
from order_fsm.model import Message, Order
from order_fsm.store import Change, Query, one_by_one
from order_fsm_adapters.memory import MemoryStore

from .log_store import LogStore, take_time
from .weak_calls import RemoteStore


def _blank(store: MemoryStore, order_id: str) -> None:
    """Erase the past of an order, outside of any commit."""
    entries = store._content.histories[order_id]
    store._content.erase(order_id, entries, map(erased_entry, entries))


class ErasesNothing(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(replace(change, erases=False))


class ErasesWhatComesWithIt(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(change)
        if change.erases and change.order is not None:
            _blank(self, change.order.id)


class ErasesFirst(MemoryStore):
    """Keeps values blank if the commit is refused."""

    def commit(self, change: Change) -> None:
        if change.erases and change.order is not None:
            _blank(self, change.order.id)
        super().commit(change)


class ErasesAtTheEnd(MemoryStore):
    """Blanks later changes of the group too."""

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        errors = one_by_one(lambda change: self.commit(replace(change, erases=False)), changes)
        for change, error in zip(changes, errors, strict=True):
            if change.erases and error is None and change.order is not None:
                _blank(self, change.order.id)
        return errors


class KeepsFingerprints(MemoryStore):
    def commit(self, change: Change) -> None:
        records = dict(self._content.records)
        super().commit(change)
        self._content.records.update(records)


class BlanksAllFingerprints(MemoryStore):
    """Blanks the fingerprints of a gateway's facts too."""

    def commit(self, change: Change) -> None:
        super().commit(change)
        if change.erases and change.order is not None:
            for key in self._content.keys_of(change.order.id):
                self._content.records[key] = self._content.records[key]._replace(request_fingerprint="")


class ForgetsThatItErased(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(replace(change, entries=tuple(replace(entry, erased=False) for entry in change.entries)))


class KeepsDeadLetters(MemoryStore):
    """Does not blank dead letters."""

    def commit(self, change: Change) -> None:
        dead = dict(self._content.outbox._dead)
        super().commit(change)
        self._content.outbox._dead.update(dead)


class NarrowsTheClaimedMessage(MemoryStore):
    """Restores the erased payload when a relay stores the remaining recipients."""

    def _restore(self, message_id: str, payload: Mapping[str, Any]) -> None:
        row = self._content.outbox._rows[message_id]
        row.message = replace(row.message, payload=payload)

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        super().retry_later(message, until, due)
        if message.id in self._content.outbox._rows:
            self._restore(message.id, message.payload)


class FindsErasedCustomers(MemoryStore):
    """Finds the order by its former customer."""

    def find(self, query: Query) -> list[Order]:
        found = super().find(query)
        return found or super().find(query._replace(customer=None))


class ScrubsDeadLetters(MemoryStore):
    """Removes dead letters as waste."""

    def scrub(self) -> None:
        super().scrub()
        self._content.outbox._dead.clear()
        self._content.outbox._dead_of.clear()


class ForgetsErasures(LogStore):
    """Loses erasures when the process ends."""

    def _write(self, file: BinaryIO, method: str, arguments: tuple[object, ...]) -> None:
        kept = [replace(one, erases=False) if isinstance(one, Change) else one for one in arguments]
        super()._write(file, method, tuple(kept))


class ErasesInTwoSteps(LogStore):
    """Erases the messages first, and the rest later."""

    def commit(self, change: Change) -> None:
        if not change.erases or change.order is None:
            super().commit(change)
            return
        with self._locked() as file:
            self._catch_up(file)
            self._erase_messages(change.order.id)
            self._write(file, "erase_messages", (change.order.id,))
            take_time()
            self._memory.commit(change)
            self._write(file, "commit", (change,))

    def _catch_up(self, file: BinaryIO) -> None:
        vars(self._memory)["erase_messages"] = self._erase_messages
        super()._catch_up(file)

    def _erase_messages(self, order_id: str) -> None:
        self._memory._content.outbox.edit(order_id, erased_message)


class ErasesByItself(RemoteStore):
    """Erases the past in a separate call before the rest."""

    def commit(self, change: Change) -> None:
        if change.erases and change.order is not None:
            self._called(partial(_blank, self._memory, change.order.id))
        self._called(lambda: self._memory.commit(replace(change, erases=False)))

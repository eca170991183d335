"""Stores with one deliberate fault each in the outbox, as controls for the store contract."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from order_fsm.model import Message, Order
from order_fsm.store import Change
from order_fsm.testing.store_contract.changes import START
from order_fsm.testing.store_contract.outbox import JUST_BEFORE, LATER, UNTIL
from order_fsm_adapters.memory import MemoryStore

from .weak_commits import let_others_go_on


def _lease(store: MemoryStore, message_id: str, until: datetime) -> None:
    outbox = store._content.outbox
    outbox.wait(message_id, until, outbox.attempts(message_id))


class KnowsNoLeases(MemoryStore):
    """Ends a lease as soon as it starts."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:  # noqa: ARG002
        return super().claim(now, now, limit)


class ClaimsMessageByMessage(MemoryStore):
    """Returns later messages of an order while its first one is leased."""

    def __init__(self) -> None:
        super().__init__()
        self._until: dict[str, datetime] = {}

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        heads = {message.order_id: message for message in super().claim(now, until, limit)}
        for message in self.messages():
            if message.order_id not in heads and self._until.get(message.id, now) <= now:
                heads[message.order_id] = message
        self._until.update((message.id, until) for message in heads.values())
        return list(heads.values())[:limit]


class ClaimsWholeOrders(MemoryStore):
    """Returns all messages of an order in one claim."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        heads = {message.order_id for message in super().claim(now, until, limit)}
        return [message for message in self.messages() if message.order_id in heads][:limit]


class ClaimsInTwoSteps(MemoryStore):
    """Lets two relays read before one of them claims."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        seen = super().claim(now, now, limit)
        let_others_go_on()
        super().claim(now, until, limit)
        return seen


class GivesOrderByOrder(MemoryStore):
    """Sorts messages by order id before age."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return sorted(super().claim(now, until, limit), key=lambda message: message.order_id)


class GivesPostponedFirst(MemoryStore):
    """Returns failed messages before new ones."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return sorted(super().claim(now, until, limit), key=lambda message: -message.attempts)


class QueuesSorted(MemoryStore):
    """Sorts the messages of an order by a key, not by the sequence of their commits."""

    by: Callable[[Message], Any]

    def commit(self, change: Change) -> None:
        super().commit(replace(change, messages=()))
        if change.order is None:
            return
        messages = [one for one in self.messages() if one.order_id == change.order.id]
        self._content.outbox.forget(change.order.id)
        for message in sorted([*messages, *change.messages], key=self.by):
            self._content.outbox.add(message)


class SortsById(QueuesSorted):
    """Returns the tenth message before the second."""

    by = staticmethod(lambda message: message.id)


class SortsByTime(QueuesSorted):
    """Returns the later message first if a clock was set back."""

    by = staticmethod(lambda message: message.created_at)


class KeepsDeliveredMessages(MemoryStore):
    def delivered(self, message: Message, until: datetime) -> None:
        pass


class DropsTheRest(MemoryStore):
    """Deletes the later messages of the order with a delivered one."""

    def delivered(self, message: Message, until: datetime) -> None:
        super().delivered(message, until)
        self._content.outbox.forget(message.order_id)


class WaitsForNoTime(MemoryStore):
    """Returns a postponed message at once."""

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        super().retry_later(message, until, due and START)


class KeepsTheLease(MemoryStore):
    """Returns a message only after its lease, even if it is due earlier."""

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        super().retry_later(message, until, due and max(until, due))


class CountsNoAttempts(MemoryStore):
    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return [replace(message, attempts=0) for message in super().claim(now, until, limit)]


class ObeysLateRelays(MemoryStore):
    """Lets any relay deliver or postpone a message, without checking the lease."""

    def delivered(self, message: Message, until: datetime) -> None:
        super().delivered(message, self._lease(message) or until)

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        super().retry_later(message, self._lease(message) or until, due)

    def _lease(self, message: Message) -> datetime | None:
        row = self._content.outbox._rows.get(message.id)
        if row is not None and row.due is None:
            _lease(self, message.id, LATER)
            return LATER
        return None if row is None else row.due


class ForgetsEndedLeases(MemoryStore):
    """Refuses a delivery after the lease, even if no other relay claimed the message."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        for row in self._content.outbox._rows.values():
            if row.due is not None and now >= JUST_BEFORE:
                _lease(self, row.message.id, now)
        return super().claim(now, until, limit)


class TakesAnyLeaseForNew(MemoryStore):
    """Accepts any lease for a message that was never claimed."""

    def delivered(self, message: Message, until: datetime) -> None:
        self._lease(message, until)
        super().delivered(message, until)

    def _lease(self, message: Message, until: datetime) -> None:
        row = self._content.outbox._rows.get(message.id)
        if row is not None and row.due is None:
            _lease(self, message.id, until)


class BringsBackDeliveredMessages(MemoryStore):
    """Restores a delivered message that a slow relay postpones."""

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        outbox = self._content.outbox
        if message.id not in outbox._rows and message.id not in outbox._dead:
            outbox.add(message)
        super().retry_later(message, until, due)


class DropsDeadLetters(MemoryStore):
    def dead_letters(self, limit: int) -> list[Message]:  # noqa: ARG002
        return []


class WaitsForDeadLetters(MemoryStore):
    """Returns no message after a dead letter of its order."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        waiting = {message.order_id for message in self._content.outbox._dead.values()}
        return [message for message in super().claim(now, until, limit) if message.order_id not in waiting]


class ListsAsGivenUp(MemoryStore):
    """Lists dead letters in the sequence in which they were given up."""

    def dead_letters(self, limit: int) -> list[Message]:
        return list(self._content.outbox._dead.values())[:limit]


class KeepsAttempts(MemoryStore):
    """Keeps the attempts of a requeued message, so that its next failure is the last."""

    def requeue(self, message: Message) -> None:
        attempts = message.attempts
        super().requeue(message)
        self._content.outbox._rows[message.id].message = replace(message, attempts=attempts)


class RequeuesAtTheFront(MemoryStore):
    """Returns a requeued message while later ones of its order are leased."""

    def requeue(self, message: Message) -> None:
        others = [one for one in self.messages() if one.order_id == message.order_id]
        super().requeue(message)
        dead = list(self._content.outbox.dead())
        self._content.outbox.forget(message.order_id)
        for one in dead:
            self._content.outbox.add_dead(one)
        for one in [replace(message, attempts=0), *others]:
            self._content.outbox.add(one)


class RequeuesWithItsLease(MemoryStore):
    """Lets the relay that gave up a message deliver it after a requeue."""

    def requeue(self, message: Message) -> None:
        super().requeue(message)
        _lease(self, message.id, UNTIL)


class RequeuesAnything(MemoryStore):
    def requeue(self, message: Message) -> None:
        outbox = self._content.outbox
        if message.id not in outbox._rows:
            outbox.add_dead(message)
        super().requeue(message)


class KnowsNoRemaining(MemoryStore):
    """Retries a message for all its recipients."""

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        super().retry_later(replace(message, remaining=()), until, due)


class ForgetsRemainingOfDeadLetters(MemoryStore):
    """Requeues a dead letter for all its recipients."""

    def requeue(self, message: Message) -> None:
        dead = self._content.outbox._dead
        if message.id in dead:
            dead[message.id] = replace(message, remaining=())
        super().requeue(message)


class NarrowsForLateRelays(MemoryStore):
    """Lets a late relay change the recipients of a message that another relay leased."""

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        if message.remaining and message.id in self._content.outbox._rows:
            self._content.outbox.narrow(message.id, message.remaining)
        super().retry_later(message, until, due)


class RemovesQueuedMessagesOnly(MemoryStore):
    """Keeps messages with remaining recipients of a removed order."""

    def remove(self, order: Order) -> None:
        apart = self._content.outbox._apart.pop(order.id, set())
        super().remove(order)
        if apart:
            self._content.outbox._apart[order.id] = apart

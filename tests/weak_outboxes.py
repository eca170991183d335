"""Stores that queue messages with one deliberate fault each: controls for the contract of stores."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve

from order_fsm.model import Message
from order_fsm_adapters.memory import MemoryStore

from .weak_commits import let_others_go_on


class KnowsNoClaims(MemoryStore):
    """A claim ends as soon as it is made."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:  # noqa: ARG002
        return super().claim(now, now, limit)


class ClaimsMessageByMessage(MemoryStore):
    """Later messages of an order are given while its first one is claimed."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        free = [one for one in self._outbox.values() if self._claimed_until.get(one.id, now) <= now][:limit]
        self._claimed_until.update((message.id, until) for message in free)
        return free


class ClaimsInTwoSteps(MemoryStore):
    """Two relays may look before either of them claims."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        seen = super().claim(now, now, limit)
        let_others_go_on()
        super().claim(now, until, limit)
        return seen


class GivesOrderByOrder(MemoryStore):
    """The messages of the first order by name come first, however young."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return sorted(super().claim(now, until, limit), key=lambda message: message.order_id)


class SortsById(MemoryStore):
    """The tenth message comes before the second."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return sorted(super().claim(now, until, limit), key=lambda message: message.id)


class SortsByTime(MemoryStore):
    """The later message comes first where a clock was set back."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return sorted(super().claim(now, until, limit), key=lambda message: message.created_at)


class ReleasesTheRest(MemoryStore):
    """With one message delivered, the claims on the others of its order end."""

    def delivered(self, message: Message) -> None:
        super().delivered(message)
        for other in self._outbox.values():
            if other.order_id == message.order_id:
                self._claimed_until.pop(other.id, None)


class KeepsWhatWasDelivered(MemoryStore):
    def delivered(self, message: Message) -> None:
        pass


class HoldsTheRest(MemoryStore):
    """With one message postponed, the claims on the others of its order stay."""

    def postpone(self, message: Message, until: datetime | None) -> None:
        claims = dict(self._claimed_until)
        super().postpone(message, until)
        self._claimed_until = claims | ({} if until is None else {message.id: until})


class CountsNoAttempts(MemoryStore):
    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return [evolve(message, attempts=0) for message in super().claim(now, until, limit)]


class BringsBackWhatWasDelivered(MemoryStore):
    """A relay that was too slow postpones what another one has delivered."""

    def postpone(self, message: Message, until: datetime | None) -> None:
        self._outbox.setdefault(message.id, message)
        super().postpone(message, until)


class DropsDeadLetters(MemoryStore):
    def dead_letters(self, limit: int) -> list[Message]:  # noqa: ARG002
        return []


class WaitsForDeadLetters(MemoryStore):
    """Nothing behind one is claimed."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        waiting = {message.order_id for message in self._dead.values()}
        return [message for message in super().claim(now, until, limit) if message.order_id not in waiting]


class ListsAsGivenUp(MemoryStore):
    """Whatever was given up first comes first, however young."""

    def dead_letters(self, limit: int) -> list[Message]:
        return list(self._dead.values())[:limit]


class KeepsAttempts(MemoryStore):
    """A revived message is given up at its next failure."""

    def revive(self, message: Message) -> None:
        attempts = message.attempts
        super().revive(message)
        self._outbox[message.id] = evolve(message, attempts=attempts)


class RevivesAtTheFront(MemoryStore):
    """A revived message may be claimed while later ones of its order are."""

    def revive(self, message: Message) -> None:
        others = dict(self._outbox)
        super().revive(message)
        self._outbox = {message.id: self._outbox[message.id]} | others


class RevivesAnything(MemoryStore):
    def revive(self, message: Message) -> None:
        self._dead.setdefault(message.id, message)
        super().revive(message)

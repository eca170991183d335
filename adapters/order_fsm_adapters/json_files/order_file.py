"""The document of one order: the order, its history, what its keys stand for, its messages and dead letters.

The classes here are the document as it stands in the file. A document is a value: what changes it makes a new one.
What comes from JSON has no cycles, so the collector need not look at the thousands of parts of a long history: they are
kept from it (`gc=False`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from order_fsm.model import Entry, Line, Message, Order, Payment
from order_fsm.store import Change, Keyed
from order_fsm_adapters import facts
from order_fsm_adapters.json_files import sealed_json
from order_fsm_adapters.places import time_text


class _Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    id: str
    state: str
    counted: bool
    version: int
    total: Decimal
    currency: str
    lines: tuple[Line, ...]
    customer: str | None
    email: str | None
    payments: tuple[Payment, ...]
    created_at: datetime
    updated_at: datetime
    data: dict[str, Any]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    version: int
    trigger: str
    before: str
    after: str
    at: datetime
    by: str | None
    comment: str
    visible: bool
    notify: bool
    key: str | None
    override: bool
    facts: dict[str, facts.WireFact]


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    first: int
    last: int
    content: str


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    id: str
    topic: str
    payload: dict[str, Any]
    created_at: datetime
    attempts: int
    not_before: datetime | None


class OrderFile(sealed_json.Document, frozen=True, kw_only=True):
    """All that the store keeps of one order."""

    order: _Order
    history: tuple[_Entry, ...]
    keys: dict[str, _Key]
    messages: tuple[_Message, ...]
    dead_letters: tuple[_Message, ...]

    @classmethod
    def decode(cls, content: bytes, path: str) -> OrderFile:
        """The document that a file holds.

        Raises:
            StoreCorrupt: it is not what was written, or no such document.
            StoreUnavailable: a newer version of the library wrote it.
        """
        return sealed_json.decode(content, _decoder, path)

    def encode(self) -> bytes:
        """The content of the file."""
        return sealed_json.encode(self)

    @classmethod
    def of(cls, before: OrderFile | None, change: Change) -> OrderFile:
        """The document after a commit.

        Args:
            before: the one that it is made on; None for a new order.
            change: fits it: its keys are new, and its versions are the next ones.
        """
        keys = {} if before is None else before.keys
        if change.key is not None:
            keys = {**keys, change.key: _Key(change.expected + 1, change.order.version, change.content or "")}
        return cls(
            order=_order(change.order),
            history=(*(() if before is None else before.history), *map(_entry, change.entries)),
            keys=keys,
            messages=(*(() if before is None else before.messages), *map(_message, change.messages)),
            dead_letters=() if before is None else before.dead_letters,
        )

    def to_order(self) -> Order:
        """The order as the engine has it."""
        order = self.order
        return Order(
            id=order.id,
            state=order.state,
            counted=order.counted,
            version=order.version,
            total=order.total,
            currency=order.currency,
            lines=order.lines,
            customer=order.customer,
            email=order.email,
            payments=order.payments,
            created_at=order.created_at,
            updated_at=order.updated_at,
            data=order.data,
        )

    def holds(self, order: Order) -> bool:
        """Whether it is the document of just this order."""
        return self.order == _order(order)

    def to_entries(self) -> tuple[Entry, ...]:
        """The history as the engine has it."""
        return tuple(
            Entry(
                version=entry.version,
                trigger=entry.trigger,
                state_before=entry.before,
                state_after=entry.after,
                at=entry.at,
                by=entry.by,
                comment=entry.comment,
                visible=entry.visible,
                notify=entry.notify,
                key=entry.key,
                override=entry.override,
                facts=facts.from_wire(entry.facts),
            )
            for entry in self.history
        )

    def keyed(self, key: str) -> Keyed | None:
        """What a key stands for on this order."""
        found = self.keys.get(key)
        return None if found is None else Keyed(self.order.id, found.first, found.last, found.content)

    def message_times(self) -> set[str]:
        """When its messages were made."""
        return {digits(message.created_at) for message in self.messages}

    def free(self, now: datetime) -> Iterator[Message]:
        """The messages that may be claimed: from the oldest on, up to one that is claimed or postponed."""
        for message in self.messages:
            if message.not_before is not None and message.not_before > now:
                return
            yield self._to_message(message)

    def to_messages(self) -> list[Message]:
        """The messages that wait to be delivered."""
        return [self._to_message(message) for message in self.messages]

    def to_dead_letters(self) -> list[Message]:
        """The messages whose delivery was given up."""
        return [self._to_message(message) for message in self.dead_letters]

    def _to_message(self, message: _Message) -> Message:
        return Message(
            id=message.id,
            order_id=self.order.id,
            topic=message.topic,
            payload=message.payload,
            created_at=message.created_at,
            attempts=message.attempts,
        )

    def claimed(self, ids: Collection[str], until: datetime) -> OrderFile:
        """The document with these messages claimed until then."""
        return replace(
            self,
            messages=tuple(
                replace(message, not_before=until) if message.id in ids else message for message in self.messages
            ),
        )

    def without(self, message_id: str) -> OrderFile:
        """The document without this message."""
        return replace(self, messages=tuple(message for message in self.messages if message.id != message_id))

    def postponed(self, message_id: str, until: datetime | None) -> OrderFile:
        """The document with one more attempt at this message, put off until then, and no claims on others."""
        return replace(
            self,
            messages=tuple(
                replace(message, attempts=message.attempts + 1, not_before=until)
                if message.id == message_id
                else replace(message, not_before=None)
                for message in self.messages
            ),
        )

    def given_up(self, message_id: str) -> OrderFile:
        """The document with this message a dead letter, after one more attempt, and no claims on others."""
        tried = self.postponed(message_id, None)
        dead = tuple(message for message in tried.messages if message.id == message_id)
        return replace(tried.without(message_id), dead_letters=self.dead_letters + dead)

    def revived(self, message_id: str) -> OrderFile:
        """The document with this dead letter a message again, behind the others."""
        again = tuple(replace(message, attempts=0) for message in self.dead_letters if message.id == message_id)
        dead = tuple(message for message in self.dead_letters if message.id != message_id)
        return replace(self, messages=self.messages + again, dead_letters=dead)


_decoder = msgspec.json.Decoder(OrderFile)


_NO_SIGNS = str.maketrans("", "", "-:T.")


def digits(time: datetime) -> str:
    """A time as 20 digits, which sort as the times do."""
    return time_text(time)[:26].translate(_NO_SIGNS)


def _order(order: Order) -> _Order:
    return _Order(
        id=order.id,
        state=order.state,
        counted=order.counted,
        version=order.version,
        total=order.total,
        currency=order.currency,
        lines=order.lines,
        customer=order.customer,
        email=order.email,
        payments=order.payments,
        created_at=order.created_at,
        updated_at=order.updated_at,
        data=order.data,
    )


def _entry(entry: Entry) -> _Entry:
    return _Entry(
        version=entry.version,
        trigger=entry.trigger,
        before=entry.state_before,
        after=entry.state_after,
        at=entry.at,
        by=entry.by,
        comment=entry.comment,
        visible=entry.visible,
        notify=entry.notify,
        key=entry.key,
        override=entry.override,
        facts=facts.to_wire(told) if (told := entry.facts) else {},
    )


def _message(message: Message) -> _Message:
    return _Message(
        id=message.id,
        topic=message.topic,
        payload=message.payload,
        created_at=message.created_at,
        attempts=message.attempts,
        not_before=None,
    )

"""The acts of the log as JSON. An act is the result of a call, so a replay decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from order_fsm.erasure import erased_entry
from order_fsm.errors import InvalidInput
from order_fsm.store import Change, IdempotencyRecord, StockLevel, marks_of, record_of
from order_fsm_adapters import wire
from order_fsm_adapters.memory.projection import Projection

Content = Projection[bytes]
"""A projection whose histories are JSON arrays of entries, decoded on demand."""


class Wait(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The end of a message's wait, and its number of failed deliveries."""

    due: datetime
    attempts: int


class Act(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """The changes of one call.

    Attributes:
        order, entries: an order after a commit, and the entries to append to its history.
        keys: the records of idempotency keys.
        stock: the levels of items.
        messages: rows to append to the outbox.
        remaining: the remaining recipients, by the id of the message.
        waits: messages that wait for the end of a lease or for a retry, by id.
        dead: messages that became dead letters, by id, with their attempts.
        dead_letters: dead letters of a compacted log.
        requeued, gone: ids of dead letters that became messages, and of delivered messages.
        removed: the id of a removed order.
        erases: whether the personal values of the order's past are erased. A compaction removes them from the log.
    """

    order: wire.OrderForm | None = None
    entries: msgspec.Raw = msgspec.Raw(b"[]")
    keys: dict[str, IdempotencyRecord] = {}
    stock: dict[str, StockLevel] = {}
    messages: list[wire.MessageForm] = []
    remaining: dict[str, tuple[str, ...]] = {}
    waits: dict[str, Wait] = {}
    dead: dict[str, int] = {}
    dead_letters: list[wire.MessageForm] = []
    requeued: list[str] = []
    gone: list[str] = []
    removed: str | None = None
    erases: bool = False

    def apply(self, content: Content) -> None:
        """Apply the act to a content with all earlier acts."""
        outbox = content.outbox
        content.levels.update(self.stock)
        for key, record in self.keys.items():
            content.put_record(key, record)
        if self.order is not None:
            if self.erases:
                entries = wire.to_entries(content.history(self.order.id))
                erased = wire.encode([wire.entry_form(erased_entry(entry)) for entry in entries])
                content.erase(self.order.id, entries, [erased])
            order = wire.to_order(self.order)
            content.put(order, marks_of(order), [bytes(self.entries)], ())
        for form in self.messages:
            outbox.add(wire.to_message(form), form.due)
        for message_id, recipients in self.remaining.items():
            outbox.narrow(message_id, recipients)
        for message_id, wait in self.waits.items():
            outbox.wait(message_id, wait.due, wait.attempts)
        for message_id, attempts in self.dead.items():
            outbox.give_up(message_id, attempts)
        for form in self.dead_letters:
            outbox.add_dead(wire.to_message(form))
        for message_id in self.requeued:
            outbox.requeue(message_id)
        for message_id in self.gone:
            outbox.drop(message_id)
        if self.removed is not None:
            content.remove(self.removed)


def of_change(change: Change, stock: dict[str, StockLevel]) -> msgspec.Raw:
    """Return the act of a checked commit with its stock levels.

    Raises:
        InvalidInput: if JSON cannot hold the change.
    """
    keys = {} if change.key is None else {change.key: record_of(change)}
    act = Act(keys=keys, stock=stock, erases=change.erases and change.expected_version > 0)
    try:
        if change.order is not None:
            act.order = wire.order_form(change.order)
            act.entries = msgspec.Raw(wire.encode([wire.entry_form(entry) for entry in change.entries]))
            act.messages = [wire.message_form(message) for message in change.messages]
        return msgspec.Raw(wire.encode(act))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the change cannot be stored as JSON: {error}") from error


def of_content(content: Content) -> Iterator[Act]:
    """Yield the acts that recreate a content, orders first."""
    for order_id, order in content.orders.items():
        keys = {key: content.records[key] for key in content.keys_of(order_id)}
        history = b",".join([part[1:-1] for part in content.histories[order_id] if len(part) > 2])
        yield Act(wire.order_form(order), msgspec.Raw(b"[%b]" % history), keys)
    for key, record in content.records.items():
        if record.order_id is None:
            yield Act(keys={key: record})
    yield Act(stock=content.levels)
    for message, due in content.outbox.rows():
        yield Act(messages=[wire.message_form(message, due)])
    for message in content.outbox.dead():
        yield Act(dead_letters=[wire.message_form(message)])

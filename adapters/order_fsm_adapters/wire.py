"""The JSON form of facts, orders, entries and messages.

Lines, payments and shipments need no separate form. A new field of a value needs one line in its form, with a default
if older stores lack it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from order_fsm.model import Entry, Fact, Line, Message, Order, Owned, Payment, Shipment

if TYPE_CHECKING:
    from order_fsm_adapters.memory.projection import Projection

encode = msgspec.json.Encoder().encode


class TaggedFact(TypedDict, total=False):
    """A Decimal or the lines of an order in JSON. Without the tag a Decimal would come back as a string."""

    decimal: str
    lines: list[tuple[str, int]]


WireFact = str | int | bool | TaggedFact | None


def facts_form(facts: Mapping[str, Fact]) -> dict[str, WireFact]:
    """Convert facts to JSON values."""
    return {name: _tagged(value) for name, value in facts.items()}


def _tagged(value: Fact) -> WireFact:
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    return {"lines": [(line.sku, line.quantity) for line in value]} if isinstance(value, tuple) else value


def to_facts(facts: Mapping[str, WireFact]) -> dict[str, Fact]:
    """Convert the result of `facts_form` back to facts."""
    return {name: _untagged(value) if isinstance(value, dict) else value for name, value in facts.items()}


def _untagged(value: TaggedFact) -> Fact:
    if "lines" in value:
        return tuple([Line(sku, quantity) for sku, quantity in value["lines"]])
    return Decimal(value.get("decimal", ""))


class OrderForm(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """An order in JSON."""

    id: str
    state: str
    counted: bool
    version: int
    total: Decimal
    currency: str
    created_at: datetime
    updated_at: datetime
    lines: tuple[Line, ...] = ()
    customer: str | None = None
    email: str | None = None
    payments: tuple[Payment, ...] = ()
    reserved: tuple[Line, ...] | None = None
    data: dict[str, Any] = {}
    invoiced_by_payment: bool = False
    placed_at: datetime | None = None
    shipments: tuple[Shipment, ...] = ()


class EntryForm(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """An entry of a history in JSON."""

    version: int
    trigger: str
    state_before: str = msgspec.field(name="before")
    state_after: str = msgspec.field(name="after")
    at: datetime
    by: str | None = None
    comment: str = ""
    visible: bool = False
    notify: bool = False
    key: str | None = None
    override: bool = False
    facts: dict[str, WireFact] = {}
    rules_fingerprint: str | None = None
    erased: bool = False


class MessageForm(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A message in JSON: its fields in their sequence, and the time until which it waits."""

    id: str
    order_id: str
    topic: str
    payload: dict[str, Any]
    created_at: datetime
    attempts: int = 0
    remaining: tuple[str, ...] = ()
    due: datetime | None = None


_decode_entries = msgspec.json.Decoder(tuple[EntryForm, ...]).decode


def _arguments(value: type[msgspec.Struct]) -> Any:
    """Return a function that returns the positional arguments of a value, or of its form."""
    return attrgetter(*value.__struct_fields__)


# Positional arguments, read in C: with keywords, opening a store takes half as long again.
_of_order, _of_entry, _of_message = _arguments(Order), _arguments(Entry), _arguments(Message)
_to_order_form, _to_entry_form = _arguments(OrderForm), _arguments(EntryForm)


def order_form(order: Order) -> OrderForm:
    """Return the form of an order."""
    return OrderForm(*_to_order_form(order))


def to_order(form: OrderForm) -> Order:
    """Return the order of a form. Do not use the form afterwards."""
    form.data = Owned(form.data)
    return Order(*_of_order(form))


def entry_form(entry: Entry) -> EntryForm:
    """Return the form of an entry."""
    form = EntryForm(*_to_entry_form(entry))
    form.facts = facts_form(entry.facts)
    return form


def to_entry(form: EntryForm) -> Entry:
    """Return the entry of a form. Do not use the form afterwards."""
    if form.facts:
        form.facts = to_facts(form.facts)  # type: ignore[assignment]
    return Entry(*_of_entry(form))


def to_entries(history: Iterable[bytes]) -> tuple[Entry, ...]:
    """Return the entries of a history that is stored as JSON arrays of forms."""
    return tuple([to_entry(form) for part in history for form in _decode_entries(part)])


def message_form(message: Message, due: datetime | None = None) -> MessageForm:
    """Return the form of a message and the time until which it waits."""
    form = MessageForm(*_of_message(message))
    form.due = due
    return form


def to_message(form: MessageForm) -> Message:
    """Return the message of a form. Do not use the form afterwards."""
    form.payload = Owned(form.payload)
    return Message(*_of_message(form))


def documents(content: Projection[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the id of each order, and its whole content as JSON for people."""
    messages: dict[str, list[MessageForm]] = {}
    for message, due in content.outbox.rows():
        messages.setdefault(message.order_id, []).append(message_form(message, due))
    for order_id, order in content.orders.items():
        document = {
            "about": "a copy for reading: the store does not read it",
            "order": order_form(order),
            "history": list(map(entry_form, to_entries(content.histories[order_id]))),
            "keys": content.keys_of(order_id),
            "messages": messages.get(order_id, []),
        }
        yield order_id, msgspec.json.format(encode(document), indent=2) + b"\n"


@contextmanager
def collector_paused(pauses: bool) -> Iterator[None]:
    """Decode many values without the garbage collector, which would double the time."""
    pauses = pauses and gc.isenabled()
    # Two blocks, so that one exception of a signal handler cannot leave the collector paused.
    try:
        try:
            if pauses:
                gc.disable()
            yield
        finally:
            if pauses:
                gc.enable()
    finally:
        if pauses:
            gc.enable()

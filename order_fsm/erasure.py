"""The personal values in the past of an order that an erasure blanks, in every store.

An erasure blanks:

- the order's customer, email and data,
- the comments of its entries, and their facts except `LASTING_FACTS`,
- the same facts in its undelivered messages and dead letters,
- the fingerprints of requests that covered such values, because they could confirm a guess.

Ids, keys, times, `by`, states, money, goods and stock stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from order_fsm.model import LASTING_FACTS, Entry, Fact, Message, Order, Owned
from order_fsm.validation import GATEWAY

ERASE = "erase"
"""The trigger of the entry that an erasure adds."""

_LASTING_IN_PAYLOADS = LASTING_FACTS | {"state", "triggers", "added", "dropped", "outstanding", "refund_due"}


def personal_facts(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Return the facts that an erasure blanks."""
    return {name: value for name, value in facts.items() if name not in LASTING_FACTS}


def has_personal(order: Order, entries: Sequence[Entry]) -> bool:
    """Return whether an erasure would blank a value of an order or of its history."""
    if order.customer is not None or order.email is not None or order.data:
        return True
    return any(entry.comment or personal_facts(entry.facts) for entry in entries)


def erased_entry(entry: Entry) -> Entry:
    """Return an entry without its personal values."""
    facts = entry.facts
    lasting = {name: value for name, value in facts.items() if name in LASTING_FACTS}
    if not entry.comment and len(lasting) == len(facts):
        return entry
    return replace(entry, comment="", facts=lasting, erased=True)


def erased_message(message: Message) -> Message:
    """Return a message without its personal values."""
    payload = message.payload
    lasting: dict[str, Any] = {name: value for name, value in payload.items() if name in _LASTING_IN_PAYLOADS}
    return message if len(lasting) == len(payload) else replace(message, payload=Owned(lasting))


def is_lasting(entries: Sequence[Entry]) -> bool:
    """Return whether the fingerprint of a request covers no personal value, so an erasure keeps it.

    Args:
        entries: the entries that the request made. They must all report facts of a payment gateway.
    """
    return all(entry.by == GATEWAY and entry.facts and not personal_facts(entry.facts) for entry in entries)

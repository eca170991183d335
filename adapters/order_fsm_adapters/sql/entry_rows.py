"""The entries of a history as rows, and back. Reading a row checks its seal."""

from __future__ import annotations

from typing import NamedTuple

from order_fsm.erasure import personal_facts
from order_fsm.errors import StoreCorrupt
from order_fsm.model import Entry, Fact
from order_fsm_adapters.sql import codec
from order_fsm_adapters.sql.codec import UNREADABLE, flag_of, json_text, time_of, time_text
from order_fsm_adapters.sql.database import Row
from order_fsm_adapters.sql.order_rows import OrderRow
from order_fsm_adapters.sql.seals import NOTHING, Commitment, commitment, corrupt, digest, erased, seal
from order_fsm_adapters.wire import WireFact, facts_form


class EntryRow(NamedTuple):
    """A row of order_fsm_entry.

    Attributes:
        facts: the facts that an erasure keeps.
        personal_facts: the facts that an erasure blanks.
        salt, personal: the commitment to `comment` and `personal_facts`. After an erasure the salt is None.
        seal: also covers the seal of the previous entry.
    """

    order_id: str
    version: int
    trigger: str
    state_before: str
    state_after: str
    at: str
    by: str | None
    comment: str
    visible: int
    notify: int
    key: str | None
    override: int
    facts: str
    rules_fingerprint: str | None
    personal_facts: str
    salt: bytes | None
    personal: bytes | None
    seal: bytes


ENTRY_COLUMNS = ", ".join(f'"{column}"' for column in EntryRow._fields)


def entry_row(order_id: str, entry: Entry, before: bytes) -> EntryRow:
    """Return the row of an entry.

    Args:
        order_id: the order.
        entry: the entry.
        before: the seal of the previous entry, empty for the first one.
    """
    draft = entry_draft(order_id, entry)
    return draft._replace(seal=seal(before, draft.seal))


def entry_draft(order_id: str, entry: Entry) -> EntryRow:
    """Return the row of an entry before it is sealed. `seal` holds the digest of the content."""
    facts = entry.facts
    private = personal_facts(facts)
    wire, private_wire = facts_form(_without(facts, private)), facts_form(private)
    if entry.erased:
        personal = erased()
    else:
        personal = commitment((entry.comment, private_wire)) if entry.comment or private else NOTHING
    return EntryRow(
        order_id,
        entry.version,
        entry.trigger,
        entry.state_before,
        entry.state_after,
        time_text(entry.at),
        entry.by,
        entry.comment,
        1 if entry.visible else 0,
        1 if entry.notify else 0,
        entry.key,
        1 if entry.override else 0,
        json_text(wire) if wire else "{}",
        entry.rules_fingerprint,
        json_text(private_wire) if private else "{}",
        personal.salt,
        personal.digest,
        _content(order_id, entry, wire, personal.digest),
    )


def entry_of(row: EntryRow, before: bytes) -> Entry:
    """Return the entry of a row.

    Args:
        row: the row.
        before: the seal of the previous entry, empty for the first one.

    Raises:
        StoreCorrupt: if the row is damaged, was edited, or does not follow that entry.
    """
    name = f"entry {row.version} of order {row.order_id!r}"
    try:
        wire, facts = codec.facts_of(row.facts)
        private_wire, private = codec.facts_of(row.personal_facts)
        entry = Entry(
            version=row.version,
            trigger=row.trigger,
            state_before=row.state_before,
            state_after=row.state_after,
            at=time_of(row.at),
            by=row.by,
            comment=row.comment,
            visible=flag_of(row.visible),
            notify=flag_of(row.notify),
            key=row.key,
            override=flag_of(row.override),
            facts={**facts, **private} if private else facts,
            rules_fingerprint=row.rules_fingerprint,
            erased=row.salt is None and row.personal is not None,
        )
        fits = row.seal == seal(before, _content(row.order_id, entry, wire, row.personal))
        blank = not row.comment and not private
        fits = fits and Commitment(row.salt, row.personal).covers((row.comment, private_wire), blank=blank)
    except UNREADABLE as error:
        raise corrupt(name, error) from error
    if not fits:
        raise corrupt(name)
    return entry


def _without(facts: dict[str, Fact], private: dict[str, Fact]) -> dict[str, Fact]:
    return {name: value for name, value in facts.items() if name not in private} if private else facts


def _content(order_id: str, entry: Entry, facts: dict[str, WireFact], personal: bytes | None) -> bytes:
    """Return the digest of an entry's content and personal commitment."""
    values = (
        "entry",
        order_id,
        entry.version,
        entry.trigger,
        entry.state_before,
        entry.state_after,
        entry.at,
        entry.by,
        entry.visible,
        entry.notify,
        entry.key,
        entry.override,
        facts,
        entry.rules_fingerprint,
        personal,
    )
    return digest(values)


def history_of(order: OrderRow, rows: list[Row], after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
    """Return the history of an order, or a page of it.

    Args:
        order: the row of the order.
        rows: the rows of its entries by version, starting with the entry `after`.
        after: the version after which the page begins.
        limit: the largest number of entries, or None for all.

    Raises:
        StoreCorrupt: if an entry is damaged, missing, inserted or moved.
    """
    entries = []
    last = b""
    for number, row in enumerate(map(EntryRow._make, rows), after or 1):
        if row.version != number:
            raise corrupt(f"entry {number} of order {order.id!r}")
        if number > after:
            entries.append(entry_of(row, last))
        last = row.seal
    end = order.version if limit is None else min(after + limit, order.version)
    reached = len(rows) + max(after - 1, 0)
    if reached != end or (end == order.version and last != order.last_seal):
        raise StoreCorrupt(
            f"order {order.id!r}: its history ends with entry {reached}, not with the last one written:"
            " restore it from a backup"
        )
    return tuple(entries)

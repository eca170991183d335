"""Convert changes and needs to JSON for the database functions, and decode the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from order_fsm.errors import InvalidInput, OrderFsmError, StoreCorrupt, VersionConflict
from order_fsm.store import Change, Need, Snapshot, key_reused, mismatch, record_of
from order_fsm_adapters.postgresql.text import escaped, unescaped
from order_fsm_adapters.sql import ledger, orders
from order_fsm_adapters.sql.codec import json_text
from order_fsm_adapters.sql.database import Row
from order_fsm_adapters.sql.entry_rows import EntryRow, entry_draft
from order_fsm_adapters.sql.order_rows import OrderRow, order_draft, order_of
from order_fsm_adapters.sql.rows import (
    MESSAGE_COLUMNS,
    RECORD_COLUMNS,
    STOCK_COLUMNS,
    level_of,
    message_row,
    record_row,
)
from order_fsm_adapters.sql.rows import record_of as record_in

JsonObject = dict[str, Any]


def change_form(change: Change) -> JsonObject:
    """Return a change in the form that `order_fsm_commit_1` takes, without its empty members."""
    form: JsonObject = {"expected_version": change.expected_version}
    order = change.order
    if order is not None:
        form["order"] = _object(OrderRow._fields, order_draft(order, change.marks, None))
        form["entries"] = [_object(EntryRow._fields, entry_draft(order.id, entry)) for entry in change.entries]
        if change.payments:
            rows = ledger.rows_of(order.id, order.payments, change.expected_version)
            form["payments"] = [_object(ledger.COLUMNS, row) for row in rows]
            form["references"] = ledger.new_references(order, change.expected_version)
    if change.stock:
        form["stock"] = [tuple(move) for move in change.stock]
    if change.messages:
        form["messages"] = [
            _object(MESSAGE_COLUMNS, (*message_row(message), message.attempts)) for message in change.messages
        ]
    if change.key is not None:
        form["key"] = _object(RECORD_COLUMNS, record_row(change.key, record_of(change)))
    return form


def change_forms(changes: Sequence[Change]) -> str:
    """Return changes in the form that `order_fsm_commit_all_1` takes."""
    forms = []
    reached: dict[tuple[str, int], list[int]] = {}
    for place, change in enumerate(changes):
        form = change_form(change)
        if change.order is not None:
            form["after"] = reached.get((change.order.id, change.expected_version), [])
            reached.setdefault((change.order.id, change.order.version), []).append(place)
        forms.append(form)
    return json_text(forms)


def refusal_of(change: Change, answer: Sequence[str]) -> OrderFsmError | None:
    """Return the error for a result of `order_fsm_commit_1`, or None if the change was written."""
    code, about = answer[0], unescaped(answer[-1])
    if code == "done":
        return None
    if code == "key":
        return key_reused(change.key)
    if code == "damaged":
        return StoreCorrupt(f"the stock of {about!r} is damaged or was edited: restore it from a backup")
    if code == "limit":
        return InvalidInput(f"the stock of {about!r} must be below 2**63")
    order_id = None if change.order is None else change.order.id
    if code == "stock":
        of_order = "" if order_id is None else f"order {order_id!r}: "
        return VersionConflict(f"{of_order}the stock of {about!r} has changed: load it again")
    if order_id is None:
        raise StoreCorrupt(f"the function order_fsm_commit_1 returned {code!r}: call install() to replace it")
    if code == "gone":
        return orders.gone(order_id)
    if code == "after":
        return VersionConflict(f"order {order_id!r}: the change before this one was refused")
    present = int(about) if code == "version" else int(code == "exists")
    return mismatch(order_id, present, change.expected_version)


def need_forms(needs: Sequence[Need]) -> str:
    """Return needs in the form that `order_fsm_prepare_1` takes."""
    return json_text([(_sent(need.order_id), _sent(need.key), [_sent(sku) for sku in need.skus]) for need in needs])


def snapshot_of(need: Need, answer: tuple[Any, ...]) -> Snapshot:
    """Return the snapshot for a result of `order_fsm_prepare_1`."""
    order, record, stock, is_gone = answer
    try:
        if is_gone and need.order_id is not None:
            raise orders.gone(need.order_id)
        found = None if order is None else order_of(OrderRow._make(_row(OrderRow._fields, order)))
        known = None if record is None else record_in(_row(RECORD_COLUMNS, record))
        rows = [_row(STOCK_COLUMNS, item) for item in stock or ()]
        return Snapshot.of_levels(found, known, {row[0]: level_of(row) for row in rows})
    except StoreCorrupt as fault:
        return Snapshot(None, None, {}, fault)


_BYTES = {"seal", "last_seal", "salt", "personal"}


def _object(columns: Sequence[str], row: Row) -> JsonObject:
    """Return a row as a JSON object, which the database converts to a record."""
    return {column: _sent(value) for column, value in zip(columns, row, strict=True)}


def _sent(value: object) -> object:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return escaped(value) if isinstance(value, str) else value


def _row(columns: Sequence[str], record: JsonObject) -> Row:
    """Return the columns of a record that the database converted to a JSON object."""
    return tuple([_received(column, record[column]) for column in columns])


def _received(column: str, value: object) -> object:
    if isinstance(value, str):
        return bytes.fromhex(value[2:]) if column in _BYTES else unescaped(value)
    return value

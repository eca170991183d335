"""Builders of changes, for tests that call a store directly.

The changes follow the engine's rules: after the creation of an order only its state, its ledgers, its reserved pieces
and its version change.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from order_fsm.model import (
    UNFINISHED,
    Entry,
    Fact,
    GoodsKind,
    Line,
    Message,
    Order,
    Payment,
    PaymentKind,
    Shipment,
    statuses_of,
)
from order_fsm.store import Change, StockMove

START = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
"""The default time of the first change."""


def moment(seconds: float) -> datetime:
    """Return the time a number of seconds after `START`."""
    return START + timedelta(seconds=seconds)


def seeded(seed: int | str) -> random.Random:
    """Return a random generator that is the same in every run."""
    return random.Random(seed)  # noqa: S311 - it draws test values, no secrets


def counts(state: str) -> bool:
    """Return whether an order in a state counts in totals: sent and not cancelled."""
    statuses = statuses_of(state)
    return "sent" in statuses and "cancelled" not in statuses


def taken(sku: str, quantity: int, *, strict: bool = True) -> StockMove:
    """Return the move of an order that takes pieces of an item."""
    return StockMove(sku, -quantity, strict, held=quantity)


def given_back(sku: str, quantity: int) -> StockMove:
    """Return the move of an order that returns pieces of an item."""
    return StockMove(sku, quantity, held=-quantity)


def told(order: Order, *topics: str, payload: Mapping[str, Any] | None = None) -> tuple[Message, ...]:
    """Return the messages of the commit that led to an order, one per topic."""
    return tuple(
        Message(
            id=f"{order.id}#{order.version}.{place}",
            order_id=order.id,
            topic=topic,
            payload={"state": order.state} if payload is None else dict(payload),
            created_at=order.updated_at,
        )
        for place, topic in enumerate(topics, start=1)
    )


def order_of(change: Change) -> Order:
    """Return the order of a change."""
    assert change.order is not None
    return change.order


def creation(
    order_id: str = "1001",
    *,
    state: str = UNFINISHED,
    entries: int = 1,
    total: str | Decimal = "49.90",
    currency: str = "GBP",
    lines: Iterable[Line] = (),
    customer: str | None = None,
    email: str | None = None,
    data: Mapping[str, Any] | None = None,
    at: datetime = START,
    stock: Iterable[StockMove] = (),
    topics: Iterable[str] = (),
    key: str | None = None,
) -> Change:
    """Return the commit of a new order.

    Args:
        order_id, total, currency, lines, customer, email, data: as in `Order`.
        state: the state after the last entry.
        entries: the number of entries, 1 or more. They are a second apart.
        at: the time of the first entry.
        stock: the moves of stock in the commit.
        topics: the topics of the messages in the commit.
        key: the idempotency key, if any. The fingerprint of the request is made from it.
    """
    last = at if entries == 1 else at + timedelta(seconds=entries - 1)
    order = Order(
        id=order_id,
        state=state,
        counted=counts(state),
        version=entries,
        total=Decimal(total),
        currency=currency,
        lines=tuple(lines),
        customer=customer,
        email=email,
        payments=(),
        created_at=at,
        updated_at=last,
        data=dict(data or {}),
        placed_at=last if "sent" in statuses_of(state) else None,
    )
    made = [Entry(1, "create", UNFINISHED, state if entries == 1 else UNFINISHED, at, key=key)]
    for version in range(2, entries + 1):
        after = state if version == entries else UNFINISHED
        time = at + timedelta(seconds=version - 1)
        made.append(Entry(version, "move", UNFINISHED, after, time, comment=f"line {version}", key=key))
    return Change(order, 0, tuple(made), tuple(stock), told(order, *topics), key, _fingerprint(key))


def step(
    order: Order,
    *,
    state: str | None = None,
    entries: int = 1,
    at: datetime | None = None,
    by: str | None = None,
    comment: str = "",
    facts: Mapping[str, Fact] | None = None,
    payments: Iterable[tuple[PaymentKind, str]] = (),
    reference: str | None = None,
    stock: Iterable[StockMove] = (),
    topics: Iterable[str] = (),
    key: str | None = None,
) -> Change:
    """Return a commit that changes an order.

    Args:
        order: the order before it.
        state: the state after it. By default the state stays.
        entries: the number of entries. The last one leads to the state.
        at: the time. By default a second after the last change.
        by, comment, facts: of the entries.
        payments: kinds and amounts of new ledger rows.
        reference: the reference of these rows.
        stock, topics, key: as in `creation`.
    """
    state = order.state if state is None else state
    at = order.updated_at + timedelta(seconds=1) if at is None else at
    last = order.version + entries
    made = tuple(
        Entry(
            version=version,
            trigger="move" if version == last else "comment",
            state_before=order.state,
            state_after=state if version == last else order.state,
            at=at,
            by=by,
            comment=comment,
            key=key,
            facts=dict(facts or {}),
        )
        for version in range(order.version + 1, last + 1)
    )
    ledger = tuple(Payment(kind, Decimal(amount), order.currency, reference, at, last) for kind, amount in payments)
    after = order.after(made[-1], order.payments + ledger, counts(state))
    return Change(after, order.version, made, tuple(stock), told(after, *topics), key, _fingerprint(key))


def stock_change(*stock: StockMove, key: str | None = None) -> Change:
    """Return a commit that only moves stock."""
    return Change(None, 0, (), stock, (), key, _fingerprint(key))


def reserving(change: Change, reserved: Iterable[Line] | None) -> Change:
    """Return a change after which the order holds these pieces, or no stock (None)."""
    held = None if reserved is None else tuple(reserved)
    return replace(change, order=replace(order_of(change), reserved=held))


def moving(
    change: Change,
    kind: GoodsKind,
    lines: Iterable[Line],
    drawn: Iterable[Line] | None = None,
    *,
    restock: bool = True,
) -> Change:
    """Return a change whose last entry moves goods of its order.

    Args:
        change: to add the shipment to.
        kind, lines, restock: as in `Shipment`.
        drawn: the pieces that the order had taken from stock. By default all.
    """
    order, lines = order_of(change), tuple(lines)
    drawn = lines if drawn is None else tuple(drawn)
    row = Shipment(kind, lines, drawn, order.updated_at, order.version, restock)
    return replace(change, order=replace(order, shipments=(*order.shipments, row)))


def _fingerprint(key: str | None) -> str | None:
    return None if key is None else f"the request under {key}"

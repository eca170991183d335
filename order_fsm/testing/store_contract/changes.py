"""Small builders of what a commit carries, for tests that speak to a store directly.

They follow the rules that the engine follows: whatever an order is created with stays, and only its state, its ledger
and its version change afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from order_fsm.model import UNFINISHED, Entry, Fact, Line, Message, Order, Payment, PaymentKind, statuses_of
from order_fsm.store import Change, StockMove

START = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
"""When the first thing happens, where a test does not say."""


def moment(seconds: float) -> datetime:
    """So many seconds after `START`."""
    return START + timedelta(seconds=seconds)


def seeded(seed: int | str) -> random.Random:
    """Chance that is the same in every run."""
    return random.Random(seed)  # noqa: S311 - it draws test values, no secrets


def counts(state: str) -> bool:
    """Whether an order in a state counts in totals: sent and not cancelled."""
    statuses = statuses_of(state)
    return "sent" in statuses and "cancelled" not in statuses


def taken(sku: str, quantity: int, *, strict: bool = True) -> StockMove:
    """An order takes pieces of an item."""
    return StockMove(sku, -quantity, strict)


def given_back(sku: str, quantity: int) -> StockMove:
    """An order gives pieces of an item back."""
    return StockMove(sku, quantity, strict=False)


def told(order: Order, *topics: str, payload: Mapping[str, Any] | None = None) -> tuple[Message, ...]:
    """Messages of the commit that led to an order, one for each topic."""
    return tuple(
        Message(
            id=f"{order.id}#{order.version}.{place}",
            order_id=order.id,
            topic=topic,
            payload={"state": order.state} if payload is None else payload,
            created_at=order.updated_at,
        )
        for place, topic in enumerate(topics, start=1)
    )


def creation(
    order_id: str = "1001",
    *,
    state: str = UNFINISHED,
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
    """The commit of a new order.

    Args:
        order_id, total, currency, lines, customer, email, data: as in `Order`.
        state: where it stands after its first entry.
        at: when it is created.
        stock: moves of stock that go with it.
        topics: of messages that go with it.
        key: the idempotency key, if any; its content is made from it.
    """
    order = Order(
        id=order_id,
        state=state,
        counted=counts(state),
        version=1,
        total=Decimal(total),
        currency=currency,
        lines=tuple(lines),
        customer=customer,
        email=email,
        payments=(),
        created_at=at,
        updated_at=at,
        data={} if data is None else data,
    )
    entry = Entry(1, "create", UNFINISHED, state, at, key=key)
    return Change(order, 0, (entry,), tuple(stock), told(order, *topics), key, _content(key))


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
    stock: Iterable[StockMove] = (),
    topics: Iterable[str] = (),
    key: str | None = None,
) -> Change:
    """The commit of something that happened to an order.

    Args:
        order: as it stood before.
        state: where it stands afterwards; where it stood, if not said.
        entries: how many entries the commit has; the last one leads to the state.
        at: when; a second after the order was last changed, if not said.
        by, comment, facts: of the entries.
        payments: kinds and amounts of new rows in the ledger.
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
            facts={} if facts is None else facts,
        )
        for version in range(order.version + 1, last + 1)
    )
    ledger = tuple(Payment(kind, Decimal(amount), None, at, last) for kind, amount in payments)
    after = order.after(made[-1], order.payments + ledger, counts(state))
    return Change(after, order.version, made, tuple(stock), told(after, *topics), key, _content(key))


def _content(key: str | None) -> str | None:
    return None if key is None else f"what was asked for under {key}"

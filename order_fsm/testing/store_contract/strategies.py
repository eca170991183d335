"""Hypothesis strategies of the changes that the engine could commit."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import Any, get_args

from hypothesis import strategies as st
from msgspec.structs import replace

from order_fsm import validation
from order_fsm.erasure import erased_entry
from order_fsm.errors import InvalidInput
from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.model import (
    LASTING_FACTS,
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
)
from order_fsm.store import Change
from order_fsm.testing.store_contract.changes import START


def _identifies(text: str) -> bool:
    try:
        validation.identifier(text, "id")
    except InvalidInput:
        return False
    return True


def _money(places: int, digits: int) -> Decimal:
    """Draw an amount with a number of fraction digits."""
    return Decimal(digits // 10 ** (validation.FRACTION_DIGITS - places)).scaleb(-places)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
"""Any Unicode text."""

ids = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40).filter(_identifies)
"""Ids, SKUs, names and keys."""

states = st.one_of(
    st.just(UNFINISHED),
    st.sets(ids.filter(lambda name: "+" not in name and name != UNFINISHED), min_size=1, max_size=4).map("+".join),
)
moments = st.datetimes(timezones=st.just(UTC))
whole_numbers = st.integers(-(2**63), 2**63 - 1)
amounts = st.builds(
    _money,
    st.integers(0, validation.FRACTION_DIGITS),
    st.integers(0, 10 ** (validation.INTEGER_DIGITS + validation.FRACTION_DIGITS) - 1),
)
lines = st.lists(st.builds(Line, ids, st.integers(1, 2**63 - 1)), max_size=3).map(tuple)
facts: st.SearchStrategy[Fact] = st.one_of(st.none(), st.booleans(), whole_numbers, texts, amounts, lines)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), whole_numbers, st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)
kinds: st.SearchStrategy[PaymentKind] = st.sampled_from(PAYMENT_KINDS)
currencies = st.text("ABCXYZ", min_size=3, max_size=3)

# Drawn without the order that they belong to: `lives` adds it.
_orders = st.builds(
    Order,
    id=ids,
    state=states,
    counted=st.booleans(),
    version=st.just(1),
    total=amounts,
    currency=currencies,
    lines=lines,
    customer=st.none() | ids,
    email=st.none() | ids,
    payments=st.just(()),
    created_at=st.just(START),
    updated_at=st.just(START),
    reserved=st.none() | lines,
    data=json_objects,
    invoiced_by_payment=st.booleans(),
    placed_at=st.none() | moments,
)
_entries = st.builds(
    Entry,
    version=st.just(1),
    trigger=ids,
    state_before=st.just(UNFINISHED),
    state_after=states,
    at=moments,
    by=st.none() | ids,
    comment=texts,
    visible=st.booleans(),
    notify=st.booleans(),
    key=st.none() | ids,
    override=st.booleans(),
    facts=st.dictionaries(ids | st.sampled_from(sorted(LASTING_FACTS)), facts, max_size=3),
    rules_fingerprint=st.none() | ids,
)
_entries = _entries | _entries.map(erased_entry)
_payments = st.lists(
    st.builds(
        Payment,
        kinds,
        amounts,
        currencies,
        st.none() | ids,
        st.just(START),
        st.just(1),
        st.builds(Decimal.__mul__, amounts, st.sampled_from([Decimal(1), Decimal(-1)])),
        st.none() | ids,
        st.none() | ids,
    ),
    max_size=2,
)
_goods_kinds: st.SearchStrategy[GoodsKind] = st.sampled_from(get_args(GoodsKind))
_shipments = st.lists(
    st.builds(Shipment, _goods_kinds, lines, lines, st.just(START), st.just(1), st.booleans()), max_size=2
)
_messages = st.lists(st.builds(Message, st.just(""), st.just(""), ids, json_objects, st.just(START)), max_size=2)
_doings = st.lists(st.tuples(_entries, _payments, _shipments, st.booleans()), min_size=1, max_size=2)
_lives = st.tuples(_orders, _entries, _messages, st.lists(st.tuples(_doings, _messages), max_size=2))


@st.composite
def lives(draw: st.DrawFn) -> tuple[Change, ...]:
    """Draw the changes of one order from its creation on."""
    order, created, messages, steps = draw(_lives)
    order = replace(order, created_at=created.at, updated_at=created.at)
    life = [Change(order, 0, (replace(created, state_after=order.state),), messages=_of(order, messages))]
    for doings, messages in steps:
        seen = order
        entries: list[Entry] = []
        for drawn, ledger, goods, counted in doings:
            entry = replace(drawn, version=order.version + 1, state_before=order.state)
            payments = (replace(payment, at=entry.at, version=entry.version) for payment in ledger)
            shipments = (replace(row, at=entry.at, version=entry.version) for row in goods)
            order = order.after(entry, (*order.payments, *payments), counted, (*order.shipments, *shipments))
            entries.append(entry)
        life.append(Change(order, seen.version, tuple(entries), messages=_of(order, messages)))
    return tuple(life)


def _of(order: Order, messages: list[Message]) -> tuple[Message, ...]:
    """Return the messages of the commit that led to an order."""
    return tuple(
        replace(message, id=f"{order.id}#{order.version}.{place}", order_id=order.id, created_at=order.updated_at)
        for place, message in enumerate(messages, start=1)
    )

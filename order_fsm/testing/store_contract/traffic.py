"""A run of changes with something of everything, the same in every process that counts along."""

from __future__ import annotations

from decimal import Decimal

from order_fsm.errors import OrderNotFound
from order_fsm.model import Line
from order_fsm.store import Change, Store
from order_fsm.testing.store_contract.changes import creation, given_back, seeded, step, taken
from order_fsm.testing.store_contract.expected import Expected

SKUS = ("TEAPOT", "CUP", "NOT TRACKED")
PIECES = 1000
"""What there is at first of the items of `SKUS` that are tracked."""


def stocked(store: Store) -> Expected:
    """Set the stock that `next_change` counts on."""
    expected = Expected()
    for sku in SKUS[:2]:
        store.set_stock(sku, PIECES)
        expected.stock[sku] = PIECES
    return expected


def next_change(expected: Expected, number: int, prefix: str = "order") -> Change:
    """A change with something of everything, drawn by its number: the same one wherever the same is expected.

    Args:
        expected: what was committed before.
        number: how many changes were, under this prefix.
        prefix: begins the ids of its orders and its keys.
    """
    dice = seeded(f"{prefix} {number}")
    order = expected.orders.get(f"{prefix}-{dice.randrange(4)}")
    key = f"{prefix} key {number}"
    topics = ["order.updated", "order.paid"][: dice.randrange(3)]
    if order is None:
        missing = next(one for one in (f"{prefix}-{n}" for n in range(4)) if one not in expected.orders)
        lines = [Line(sku, dice.randint(1, 9)) for sku in SKUS]
        return creation(missing, lines=lines, customer=f"customer {dice.randrange(3)}", topics=topics, key=key)
    moves = [
        given_back(line.sku, line.quantity) if "sent" in order.statuses else taken(line.sku, line.quantity)
        for line in order.lines
    ]
    return step(
        order,
        state="unfinished" if "sent" in order.statuses else "sent",
        entries=dice.randint(1, 3),
        payments=[("captured", str(Decimal(dice.randrange(10_000)).scaleb(-2)))],
        stock=moves,
        topics=topics,
        key=key,
    )


def is_there(store: Store, change: Change) -> bool:
    """Whether the change that was under way when its process died has been committed; then it must be so whole."""
    try:
        return store.load(change.order.id).version == change.order.version
    except OrderNotFound:
        return False

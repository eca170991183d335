"""A run of all kinds of changes, the same in every process."""

from __future__ import annotations

from decimal import Decimal
from time import monotonic

from order_fsm.errors import KeyReused, OrderNotFound, StoreUnavailable
from order_fsm.model import Line
from order_fsm.store import Change, Store
from order_fsm.testing.store_contract import crews
from order_fsm.testing.store_contract.changes import creation, given_back, order_of, reserving, seeded, step, taken
from order_fsm.testing.store_contract.expected import Expected, committed

SKUS = ("TEAPOT", "CUP", "NOT TRACKED")
PIECES = 1000
"""The available pieces of each tracked item of `SKUS` at first."""


def stocked(store: Store) -> Expected:
    """Set the stock that `next_change` relies on."""
    expected = Expected()
    for sku in SKUS[:2]:
        store.set_stock(sku, PIECES)
        expected.stock[sku] = PIECES
    return expected


def next_change(expected: Expected, number: int, prefix: str = "order") -> Change:
    """Return a change that depends only on its number and the changes before it.

    Args:
        expected: the result of the changes before it.
        number: the number of changes before it under this prefix.
        prefix: the prefix of the ids of its orders and of its keys.
    """
    dice = seeded(f"{prefix} {number}")
    order = expected.orders.get(f"{prefix}-{dice.randrange(4)}")
    key = f"{prefix} key {number}"
    topics = ["order.updated", "order.paid"][: dice.randrange(3)]
    if order is None:
        missing = next(one for one in (f"{prefix}-{n}" for n in range(4)) if one not in expected.orders)
        lines = [Line(sku, dice.randint(1, 9)) for sku in SKUS]
        customer = f"customer {dice.randrange(3)}"
        return creation(missing, entries=dice.randint(1, 3), lines=lines, customer=customer, topics=topics, key=key)
    sent = "sent" in order.statuses
    tracked = [line for line in order.lines if line.sku in SKUS[:2]]
    if sent:
        moves = [given_back(line.sku, line.quantity) for line in order.lines]
    else:
        moves = [taken(line.sku, line.quantity) for line in tracked]
    change = step(
        order,
        state="unfinished" if sent else "sent",
        entries=dice.randint(1, 3),
        payments=[("captured", str(Decimal(dice.randrange(10_000)).scaleb(-2)))],
        stock=moves,
        topics=topics,
        key=key,
    )
    return reserving(change, None if sent else tracked)


def two_orders(store: Store) -> Expected:
    """Commit two orders with payments, stock, messages and keys."""
    expected = Expected()
    for sku, on_hand in (("TEAPOT", 10), ("CUP", 3)):
        store.set_stock(sku, on_hand)
        expected.stock[sku] = on_hand
    first = creation(
        "1001", lines=[Line("TEAPOT", 2)], topics=["order.updated"], key="key of 1001", data={"gift": True}
    )
    second = creation("1002", customer="ann", key="key of 1002")
    committed(store, expected, first, second)
    committed(
        store,
        expected,
        step(order_of(first), state="sent", stock=[taken("TEAPOT", 2)], topics=["order.updated"], key="second of 1001"),
        step(order_of(second), state="sent+paid", payments=[("captured", "49.90")], topics=["order.paid"]),
    )
    return expected


def settle(store: Store, change: Change) -> None:
    """Commit a change that was in progress when its process died, unless it is committed.

    A server may still run it, and hold its locks, for some time after the process died.
    """
    end = monotonic() + crews.PATIENCE
    while True:
        try:
            store.commit(change)
        except KeyReused:
            return
        except StoreUnavailable:
            if monotonic() > end:
                raise
        else:
            return


def is_there(store: Store, change: Change) -> bool:
    """Return whether a change that was in progress when its process died is committed."""
    order = order_of(change)
    try:
        return store.load(order.id).version == order.version
    except OrderNotFound:
        return False

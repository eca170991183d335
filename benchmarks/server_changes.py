"""The changes that the comparisons on servers time: ours, and the same by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import servers_by_hand as by_hand
from order_fsm import Orders
from order_fsm.store import Store
from paired_times import Work

CHANGES = 100

_numbers = count()


def new_ids(number: int) -> list[str]:
    """Return ids that no order has."""
    return [f"o{next(_numbers)}" for _ in range(number)]


def new_orders(store: Store, number: int = CHANGES) -> list[str]:
    """Create orders together. Return their ids."""
    ids = new_ids(number)
    by_hand.created(store, ids)
    return ids


def in_own_transactions(orders: Orders, ids: Sequence[str]) -> Work:
    """Return work that places each order in a transaction of the store."""

    def work() -> None:
        for order_id in ids:
            orders.fire(order_id, "place")

    return work


def joined(orders: Orders, host: Any, ids: Sequence[str]) -> Work:
    """Return work that places each order in a transaction of the shop's connection."""

    def work() -> None:
        for order_id in ids:
            orders.within(host).fire(order_id, "place")
            host.commit()

    return work


def in_transactions_by_hand(execute: by_hand.Execute, commit: Callable[[], object], ids: Sequence[str]) -> Work:
    """Return work that places each order by hand, in its own transaction."""

    def work() -> None:
        for order_id in ids:
            by_hand.place(execute, order_id)
            commit()

    return work

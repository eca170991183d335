"""`transitions`, with a machine for each order that adds its methods to the order."""

from __future__ import annotations

from pathlib import Path

from transitions import Machine, MachineError

from peers.order import MemoryShop, Order, SqlShop
from peers.shop import STATES, Illegal
from peers.transitions_shared import RULES


def _begin(order: Order) -> Order:
    Machine(order, list(STATES), order.state, RULES, auto_transitions=False)
    return order


def _fire(order: Order, trigger: str) -> None:
    try:
        done = getattr(order, trigger)()
    except MachineError as error:
        raise Illegal(str(error)) from error
    if not done:
        raise Illegal(f"{trigger} is not allowed by its guard")


def in_memory() -> MemoryShop[Order]:
    return MemoryShop(_begin, _fire)


def on_sqlite(path: Path) -> SqlShop[Order]:
    return SqlShop(path, _begin, _fire)

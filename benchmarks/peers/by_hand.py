"""The same work without any library, as a lower bound."""

from __future__ import annotations

from pathlib import Path

from peers.order import MemoryShop, Order, SqlShop
from peers.shop import STEPS, Illegal


def _begin(order: Order) -> Order:
    return order


def _fire(order: Order, trigger: str) -> None:
    step = STEPS[trigger]
    if order.state != step.before or not order.worth_something():
        raise Illegal(f"{trigger} in {order.state}")
    order.state = step.after


def in_memory() -> MemoryShop[Order]:
    return MemoryShop(_begin, _fire)


def on_sqlite(path: Path) -> SqlShop[Order]:
    return SqlShop(path, _begin, _fire)

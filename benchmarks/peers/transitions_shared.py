"""`transitions`, with one machine for all orders that gets the order with each trigger."""

from __future__ import annotations

from pathlib import Path

from transitions import Machine, MachineError

from peers.order import MemoryShop, Order, SqlShop
from peers.shop import CREATED, STATES, STEPS, Illegal

RULES = [
    {"trigger": trigger, "source": step.before, "dest": step.after, "conditions": "worth_something"}
    for trigger, step in STEPS.items()
]
_MACHINE = Machine(None, list(STATES), CREATED, RULES, auto_transitions=False)


def _begin(order: Order) -> Order:
    return order


def _fire(order: Order, trigger: str) -> None:
    try:
        done = _MACHINE.events[trigger].trigger(order)
    except MachineError as error:
        raise Illegal(str(error)) from error
    if not done:
        raise Illegal(f"{trigger} is not allowed by its guard")


def in_memory() -> MemoryShop[Order]:
    return MemoryShop(_begin, _fire)


def on_sqlite(path: Path) -> SqlShop[Order]:
    return SqlShop(path, _begin, _fire)

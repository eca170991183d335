"""`python-statemachine`, with a machine for each order, whose model is the order."""

from __future__ import annotations

from pathlib import Path

from statemachine import State, StateMachine

from peers.order import MemoryShop, Order, SqlShop
from peers.shop import STATES, Illegal


class _OrderMachine(StateMachine):
    unfinished = State(value=STATES[0], initial=True)
    sent = State(value=STATES[1])
    paid = State(value=STATES[2])
    invoiced = State(value=STATES[3])
    dispatched = State(value=STATES[4], final=True)

    place = unfinished.to(sent, cond="worth_something")
    pay = sent.to(paid, cond="worth_something")
    invoice = paid.to(invoiced, cond="worth_something")
    dispatch = invoiced.to(dispatched, cond="worth_something")


def _begin(order: Order) -> _OrderMachine:
    return _OrderMachine(order)


def _fire(machine: _OrderMachine, trigger: str) -> None:
    try:
        machine.send(trigger)
    except machine.TransitionNotAllowed as error:
        raise Illegal(str(error)) from error


def in_memory() -> MemoryShop[_OrderMachine]:
    return MemoryShop(_begin, _fire)


def on_sqlite(path: Path) -> SqlShop[_OrderMachine]:
    return SqlShop(path, _begin, _fire)

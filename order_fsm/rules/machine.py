"""A workflow as one flat `transitions.Machine`. The only module that imports `transitions`.

All orders and threads share the machine. It moves a throwaway `Draft`, never an order. `decide` takes the edge that
the machine would take, from the same edges. A test holds the two equal over every state, trigger and outcome of guards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from transitions import EventData, Machine

from order_fsm.model import Order
from order_fsm.rules.rule import Edge, Facts, Guard


class Draft:
    """What the machine moves in place of the order."""

    __slots__ = ("edge", "facts", "order", "override", "state")

    def __init__(self, order: Order, facts: Facts, override: bool) -> None:
        self.state = order.state
        self.order = order
        self.facts = facts
        self.override = override
        self.edge: Edge | None = None


class _Condition:
    """A guard as the machine calls it: strictly True or False, and policy waived by an override."""

    __slots__ = ("__name__", "guard")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.__name__ = guard.code

    def __call__(self, event: EventData) -> bool:
        draft = cast(Draft, event.model)
        guard = self.guard
        return bool(guard.test(draft.order, draft.facts)) or (guard.policy and draft.override)


class _Mark:
    """Notes on the draft which edge was taken."""

    __slots__ = ("__name__", "edge")

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.__name__ = "mark"

    def __call__(self, event: EventData) -> None:
        draft = cast(Draft, event.model)
        draft.edge = self.edge


def flat_machine(states: Sequence[str], edges: Sequence[Edge]) -> Machine:
    """Build the machine: a state for each set of statuses, a transition for each edge.

    Args:
        states: names of states, the initial one first.
        edges: of a workflow, in declared order.
    """
    machine = Machine(
        model=None,
        states=list(states),
        initial=states[0],
        auto_transitions=False,
        send_event=True,
        ignore_invalid_triggers=True,
    )
    for edge in edges:
        machine.add_transition(
            edge.rule.trigger,
            edge.source,
            edge.target,
            conditions=[_Condition(guard) for guard in edge.guards],
            before=[_Mark(edge)],
        )
    return machine

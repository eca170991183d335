"""Build a workflow's flat `transitions.Machine`. No other module imports `transitions`.

All orders and threads share the machine. It changes a temporary `Draft`, never an order. `decide` chooses from the same
edges. A test checks that both take the same edge for every state, trigger and guard outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from transitions import EventData, Machine

from order_fsm.model import Order
from order_fsm.rules.rule import Edge, Facts, Guard


class Draft:
    """The model that the machine changes instead of the order."""

    __slots__ = ("edge", "facts", "order", "override", "state")

    def __init__(self, order: Order, facts: Facts, override: bool) -> None:
        self.state = order.state
        self.order = order
        self.facts = facts
        self.override = override
        self.edge: Edge | None = None


class _Condition:
    """Adapts a guard to the machine.

    It returns True or False, and an override passes a policy guard.
    """

    __slots__ = ("__name__", "guard")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.__name__ = guard.code

    def __call__(self, event: EventData) -> bool:
        draft = cast(Draft, event.model)
        guard = self.guard
        return guard.holds(draft.order, draft.facts) or (guard.policy and draft.override)


class _Mark:
    """Stores the edge that was taken on the draft."""

    __slots__ = ("__name__", "edge")

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.__name__ = "mark"

    def __call__(self, event: EventData) -> None:
        draft = cast(Draft, event.model)
        draft.edge = self.edge


def flat_machine(states: Sequence[str], edges: Sequence[Edge]) -> Machine:
    """Build the machine, with a transition for each edge.

    Args:
        states: the names of the states, the initial one first.
        edges: the edges of the workflow, in declared order.
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

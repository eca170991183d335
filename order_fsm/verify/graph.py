"""What a workflow can really do: the states that an order comes to, and the edges that are taken to them.

A guard may hold and may fail, unless something is known of it. Of several edges of one trigger the first whose guards
all hold is taken, and a guard that two of them share has one outcome at a time. An edge is therefore taken in some
case if and only if no edge before it has only guards that it has itself: all of its own hold, all others fail. That
covers overrides too, for a policy guard that is passed is one that holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from order_fsm.model import When, statuses_of
from order_fsm.rules.rule import Edge, Guard
from order_fsm.rules.workflow import Workflow

Known = Mapping[str, bool | When]
"""What is known of guards, by their codes: that one always holds, that it always fails, or where it holds. Nobody
overrides it then."""


class Graph:
    """The states and edges of a workflow, given what is known of its guards.

    Attributes:
        workflow: whose they are.
        states: the names of the states that an order can come to, nearest to the empty one first.
        edges: the edges that can be taken from them.
    """

    def __init__(self, workflow: Workflow, known: Known) -> None:
        self.workflow = workflow
        self._known = known
        start = workflow.states[0]
        self._from: dict[str, list[Edge]] = {}
        self._by: dict[str, Edge] = {}
        found = [start]
        for state in found:  # It grows while it is walked: breadth first.
            self._from[state] = [edge for trigger in workflow.triggers for edge in self._taken(state, trigger)]
            for edge in self._from[state]:
                if edge.target not in self._by and edge.target != start:
                    self._by[edge.target] = edge
                    found.append(edge.target)
        self.states: tuple[str, ...] = tuple(found)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        return tuple(edge for state in self.states for edge in self._from[state])

    def edges_from(self, state: str) -> Sequence[Edge]:
        """The edges that can be taken from a state."""
        return self._from[state]

    def path_to(self, state: str) -> tuple[Edge, ...]:
        """The fewest edges that lead from the empty state to this one."""
        path: list[Edge] = []
        while state in self._by:
            path.append(self._by[state])
            state = path[-1].source
        return tuple(reversed(path))

    def leading_to(self, targets: set[str]) -> set[str]:
        """The states from which one of the targets can be reached, the targets among them."""
        sources: dict[str, list[str]] = {}
        for edge in self.edges:
            sources.setdefault(edge.target, []).append(edge.source)
        found = list(targets)
        seen = set(targets)
        for state in found:
            for source in sources.get(state, ()):
                if source not in seen:
                    seen.add(source)
                    found.append(source)
        return seen

    def _taken(self, state: str, trigger: str) -> Iterator[Edge]:
        """The edges of a trigger, each of which some outcome of the guards makes the first open one."""
        before: list[frozenset[Guard]] = []
        for edge in self.workflow.edges_from(state, trigger):
            outcomes = {guard: self._outcome(guard, state) for guard in edge.guards}
            if False in outcomes.values():
                continue
            unknown = frozenset(guard for guard, holds in outcomes.items() if holds is None)
            if not any(guards <= unknown for guards in before):
                yield edge
            before.append(unknown)

    def _outcome(self, guard: Guard, state: str) -> bool | None:
        """Whether a guard holds in a state; None where it may hold and may fail."""
        known = self._known.get(guard.code)
        return known.matches(statuses_of(state)) if isinstance(known, When) else known

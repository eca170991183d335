"""The reachable states of a workflow, and the edges that can be taken.

A guard may hold or fail, unless the claim has an assumption about it. Of several edges of one trigger, the engine takes
the first whose guards all hold. A guard that two edges share has one outcome at a time. An edge can therefore be taken
if and only if each edge before it has a guard that this edge does not have: then all guards of this edge hold and all
others fail. This includes overrides, because a guard that an override passes counts as one that holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from order_fsm.model import When, statuses_of
from order_fsm.rules.rule import Edge, Guard
from order_fsm.rules.workflow import Workflow

Known = Mapping[str, bool | When]
"""Assumptions about guards, by their codes: it always holds, never holds, or holds under a condition. The proof never
overrides such a guard."""


class Graph:
    """The states and edges of a workflow under assumptions about its guards.

    Attributes:
        workflow: has the states and edges.
        states: the names of the reachable states, nearest to the empty one first.
        edges: the edges that can be taken from them.
    """

    def __init__(self, workflow: Workflow, known: Known) -> None:
        self.workflow = workflow
        self._known = known
        start = workflow.states[0]
        self._from: dict[str, list[Edge]] = {}
        self._by: dict[str, Edge] = {}
        found = [start]
        for state in found:  # Breadth first: the loop appends to the list that it reads.
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
        """Return the edges that can be taken from a state."""
        return self._from[state]

    def path_to(self, state: str) -> tuple[Edge, ...]:
        """Return a shortest path from the empty state to this one."""
        path: list[Edge] = []
        while state in self._by:
            path.append(self._by[state])
            state = path[-1].source
        return tuple(reversed(path))

    def leading_to(self, targets: set[str]) -> set[str]:
        """Return the states from which a target can be reached, including the targets."""
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
        """Return the edges of a trigger that are the first open one for some outcome of the guards."""
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
        """Return whether a guard holds in a state, or None if it may hold or fail."""
        known = self._known.get(guard.code)
        return known.matches(statuses_of(state)) if isinstance(known, When) else known

"""The states and arrows of a picture in any format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import evolve

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import Entry, statuses_of
from order_fsm.rules.rule import AMEND, Rule
from order_fsm.rules.workflow import Workflow, check_workflow

TAKEN = "#c2410c"
"""The colour of an order's own path."""

Rules = dict[str, list[Rule]]
"""The rules of the edges of each trigger."""


class Arrow:
    """One arrow: all edges from one state to another, and back.

    Attributes:
        there, back: the rules of the edges of each trigger.
        steps: the entries of a path along the arrow, by number and trigger.
        direction: `forward`, `back` or `both`. It follows the path, if there is one.
    """

    def __init__(self, source: str, target: str, there: Rules, back: Rules, path: Iterable[Entry]) -> None:
        self.source = source
        self.target = target
        self.there = there
        self.back = back
        taken = [entry for entry in path if {entry.state_before, entry.state_after} == {source, target}]
        self.steps = [f"{entry.version} {entry.trigger}" for entry in taken]
        starts = {entry.state_before for entry in taken} or ({source, target} if back else {source})
        self.direction = "both" if len(starts) == 2 else "forward" if source in starts else "back"

    @property
    def label(self) -> str:
        """The triggers: "there / back"."""
        return " / ".join(", ".join(triggers) for triggers in (self.there, self.back) if triggers)


def entries_of(path: object) -> tuple[Entry, ...]:
    """Check and return the entries of a path.

    Raises:
        InvalidInput: if it is not the history of an order.
    """
    entries = []
    for entry in path if isinstance(path, Iterable) else (path,):
        if not isinstance(entry, Entry):
            raise InvalidInput(
                f"path must be a history such as orders.history('1001'), not of {validation.shown(entry)}"
            )
        entries.append(entry)
    return tuple(entries)


def frames_of(frames: object) -> tuple[str, ...]:
    """Check and return the names of frames, in their sequence.

    Raises:
        InvalidInput: if it is not a list.
    """
    if isinstance(frames, str) or not isinstance(frames, Iterable):
        raise InvalidInput(f"frames must be a list of statuses such as ['cancelled'], not {validation.shown(frames)}")
    return tuple(frames)


class Chart:
    """The content of a picture.

    `amend` settles the boxes that the other triggers tick and untick. It would be on most arrows, so it is left out,
    except on a path.

    Attributes:
        entries: the entries of the path.
        numbers: the number of each state. Pictures use it as the identifier of the state.
        arrows: the arrows.
        visited: the states on the path, the last one last.
    """

    def __init__(self, workflow: Workflow, leave_out: Iterable[str], path: Iterable[Entry]) -> None:
        check_workflow(workflow)
        self.entries = entries_of(path)
        hidden = validation.names(leave_out, "leave_out")
        walked = dict.fromkeys(state for entry in self.entries for state in (entry.state_before, entry.state_after))
        last = self.entries[-1].state_after if self.entries else None
        self.visited: Sequence[str] = [state for state in walked if state != last] + ([] if last is None else [last])
        states = dict.fromkeys((*workflow.states, *walked))
        known = {status.name for status in workflow.statuses}.union(*map(statuses_of, walked))
        if unknown := sorted(hidden - known):
            hint = validation.did_you_mean(unknown[0], known)
            raise InvalidInput(f"leave_out must name statuses of the workflow, not {unknown[0]!r}{hint}")
        self.numbers = {
            state: number
            for number, state in enumerate(states)
            if hidden.isdisjoint(statuses_of(state)) or state in walked
        }
        self.arrows = list(self._merged(self._edges(workflow)))

    def _edges(self, workflow: Workflow) -> dict[tuple[str, str], Rules]:
        edges: dict[tuple[str, str], Rules] = {}
        for edge in workflow.edges:
            drawn = edge.source != edge.target and edge.rule.trigger != AMEND
            if drawn and edge.source in self.numbers and edge.target in self.numbers:
                triggers = edges.setdefault((edge.source, edge.target), {})
                triggers.setdefault(edge.rule.trigger, []).append(evolve(edge.rule, guards=edge.guards))
        for entry in self.entries:
            if entry.state_before != entry.state_after:
                edges.setdefault((entry.state_before, entry.state_after), {}).setdefault(entry.trigger, [])
        return edges

    def _merged(self, edges: dict[tuple[str, str], Rules]) -> Iterator[Arrow]:
        for (source, target), there in edges.items():
            back = edges.get((target, source), {})
            size = len(statuses_of(target)) - len(statuses_of(source))
            if not back or size > 0 or (size == 0 and self.numbers[source] < self.numbers[target]):
                yield Arrow(source, target, there, back, self.entries)

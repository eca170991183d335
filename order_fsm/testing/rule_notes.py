"""Record which edges the tests take, and which outcomes guards have.

The whole patch is this: `calls.py` and `form.py` each import the name `decide`. While the tests run, a wrapper replaces
it. The wrapper calls the real `decide` with a recording twin of the workflow. The twin has the same table, except that
its `edges_from` and `guards_in` return guards that record their outcomes. `decide` itself therefore needs no hook. A
second wrapper, of `Workflow.__init__`, records the line that builds the workflow.
"""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple

from attrs import evolve

from order_fsm.errors import Refused
from order_fsm.model import Order, When
from order_fsm.orders import calls
from order_fsm.rules import form
from order_fsm.rules.decide import Decision, decide
from order_fsm.rules.request import Request
from order_fsm.rules.rule import Edge, Facts, Guard, Rule
from order_fsm.rules.workflow import Workflow

DECIDING = (calls, form)
"""The modules that decide changes of orders. Explanations do not count."""

BUILDERS = frozenset({"order_fsm.rules.shop", "order_fsm.rules.workflow", __name__})
"""The modules that build a workflow for a caller."""

Place = tuple[str, str, int]
"""The module, file and line that built a workflow."""

Dump = dict[str, tuple[list[Place], bytes]]
"""The notes as built-in values: by table, the line that built it, and a byte for each edge and outcome."""


class Row(NamedTuple):
    """A rule in the count.

    Attributes:
        trigger: the name of the trigger.
        sources: the states in which the rule is open.
        guards: the codes of the guards that count in at least one of them.
    """

    trigger: str
    sources: tuple[str, ...]
    guards: tuple[str, ...]

    @property
    def size(self) -> int:
        """The number of edges and outcomes: one edge per source, and two outcomes per guard."""
        return len(self.sources) + 2 * len(self.guards)


def rows_of(table: str) -> list[Row]:
    """Return the rows of a table that `table_of` wrote."""
    return [Row(trigger, tuple(sources), tuple(guards)) for trigger, sources, guards, _ in json.loads(table)["rules"]]


def table_of(workflow: Workflow) -> str:
    """Return the table of a workflow as text, equal for equal tables. It leaves out the functions of guards."""
    return json.dumps(
        {
            "rules": [
                [rule.trigger, [edge.source for edge in edges], [one.code for one in _counting(edges)], _all(rule)]
                for rule, edges in _expanded(workflow)
            ],
            "statuses": [[status.name, status.tick, status.untick] for status in workflow.statuses],
            "holds_stock": _condition(workflow.holds_stock),
            "counts": _condition(workflow.counts),
        }
    )


def _expanded(workflow: Workflow) -> list[tuple[Rule, list[Edge]]]:
    """Return the rules, each with its edges."""
    expanded: list[tuple[Rule, list[Edge]]] = [(rule, []) for rule in workflow.rules]
    for edge in workflow.edges:
        expanded[edge.row - 1][1].append(edge)
    return expanded


def _counting(edges: Sequence[Edge]) -> list[Guard]:
    """Return the guards of a rule that count on an edge. A guard on stock counts only if the rule takes stock."""
    return list(dict.fromkeys(guard for edge in edges for guard in edge.guards))


def _all(rule: Rule) -> list[Any]:
    sets = (rule.needs, rule.needs_any, rule.forbids, rule.adds, rule.drops, rule.facts)
    guards = [[guard.code, guard.message, guard.policy] for guard in rule.guards]
    return [*map(sorted, sets), guards, rule.ledger, rule.announces]


def _condition(when: When) -> list[list[str]]:
    return [sorted(when.has), sorted(when.lacks), sorted(when.has_any)]


class _Twin(Workflow):
    """A workflow that records decisions, in a byte of `seen` for each edge and each outcome of a guard."""

    def __init__(self, workflow: Workflow, seen: bytearray) -> None:
        vars(self).update(vars(workflow))
        self._noting: dict[tuple[Rule, Guard], Guard] = {}
        self._edges: dict[tuple[str, str], list[Edge]] = {}
        first = 0
        for rule, edges in _expanded(workflow):
            marks = [_taken(seen, first + place) for place in range(len(edges))]
            first += len(edges)
            for guard in _counting(edges):
                self._noting[rule, guard] = _noting(guard, seen, first, first + 1)
                first += 2
            for edge, taken in zip(edges, marks, strict=True):
                guards = (*(self._noting[rule, guard] for guard in edge.guards), taken)
                noting = Edge(edge.row, rule, edge.source, edge.target, edge.counted, guards)
                # The engine reads edges by state and trigger, in declared order.
                self._edges.setdefault((edge.source, rule.trigger), []).append(noting)

    def edges_from(self, state: str, trigger: str) -> Sequence[Edge]:
        return self._edges.get((state, trigger), ())

    def guards_in(self, rule: Rule, statuses: frozenset[str]) -> tuple[Guard, ...]:
        """Return the guards that a refusal reports. Guards of a closed rule do not count as called."""
        guards = super().guards_in(rule, statuses)
        return tuple(self._noting[rule, guard] for guard in guards) if rule.opens(statuses) else guards


def _noting(guard: Guard, seen: bytearray, held: int, failed: int) -> Guard:
    test = guard.test

    def noting(order: Order, facts: Facts) -> object:
        answer = test(order, facts)
        seen[held if answer else failed] = 1
        return answer

    return evolve(guard, test=noting)


def _taken(seen: bytearray, place: int) -> Guard:
    """Return a guard for the end of an edge. It always holds, and is called only if the edge is taken."""

    def taken(_: Order, __: Facts) -> object:
        seen[place] = 1
        return True

    return Guard("taken", "it is taken", taken)


class RuleNotes:
    """The recorded decisions, by table. Recording starts with `begin` and stops with `end`."""

    def __init__(self) -> None:
        self._tables: dict[str, tuple[set[Place], bytearray]] = {}
        self._twins: dict[int, Workflow] = {}
        self._places: weakref.WeakKeyDictionary[Workflow, Place] = weakref.WeakKeyDictionary()
        self._before: list[tuple[Any, str, Any]] = []

    def begin(self) -> None:
        """Install the wrappers. If pytest runs inside of pytest, the outer recording pauses until `end`."""
        for module in DECIDING:
            self._put(module, "decide", self._noting_decide())
        self._put(Workflow, "__init__", self._noting_init(Workflow.__init__))

    def end(self) -> None:
        """Remove the wrappers and keep the notes."""
        while self._before:
            owner, name, value = self._before.pop()
            setattr(owner, name, value)

    def _put(self, owner: Any, name: str, value: object) -> None:
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _noting_decide(self) -> Callable[..., Decision | Refused]:
        twins = self._twins

        @wraps(decide)
        def noting_decide(
            workflow: Workflow,
            order: Order,
            request: Request,
            shortages: Collection[str] = (),
            tracked: Collection[str] = (),
        ) -> Decision | Refused:
            return decide(twins.get(id(workflow)) or self._twin(workflow), order, request, shortages, tracked)

        return noting_decide

    def _noting_init(self, init: Callable[..., None]) -> Callable[..., None]:
        @wraps(init)
        def noting_init(workflow: Workflow, *parts: Any, **named: Any) -> None:
            init(workflow, *parts, **named)
            self._places[workflow] = _caller()

        return noting_init

    def _twin(self, workflow: Workflow) -> Workflow:
        if type(workflow) is not Workflow:
            return workflow  # A subclass may decide differently from its table, so the notes leave it out.
        table = table_of(workflow)
        size = sum(row.size for row in rows_of(table))
        places, seen = self._tables.setdefault(table, (set(), bytearray(size)))
        if workflow in self._places:
            places.add(self._places[workflow])
        twin = self._twins[id(workflow)] = _Twin(workflow, seen)
        # Keyed by id, because weak keys are slow. The entry must be deleted before another object gets the id.
        weakref.finalize(workflow, self._twins.pop, id(workflow), None).atexit = False
        return twin

    def dump(self) -> Dump:
        """Return the notes, to send them to another process or to report them."""
        return {table: (sorted(places), bytes(seen)) for table, (places, seen) in self._tables.items()}

    def merge(self, dump: Mapping[str, tuple[Sequence[Sequence[Any]], bytes]]) -> None:
        """Merge the notes of another process."""
        for table, (places, seen) in dump.items():
            known, mine = self._tables.setdefault(table, (set(), bytearray(len(seen))))
            known.update((module, file, line) for module, file, line in places)
            mine[:] = bytes(one | other for one, other in zip(mine, seen, strict=True))


def _caller() -> Place:
    """Return the line that builds a workflow."""
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") in BUILDERS and frame.f_back is not None:
        frame = frame.f_back
    return (str(frame.f_globals.get("__name__")), frame.f_code.co_filename, frame.f_lineno)

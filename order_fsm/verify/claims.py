"""Claims about a table of rules, over every reachable state and every path to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import Attribute, field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import When, statuses_of
from order_fsm.rules.rule import Edge
from order_fsm.verify.claim import TableClaim, assumptions_text, condition_text
from order_fsm.verify.failures import Failure, along, closed, lacking, named, rows_that
from order_fsm.verify.graph import Graph


def _names(value: object) -> frozenset[str]:
    return validation.names(value, "the statuses of a claim")


def _name(_: object, attribute: Attribute[str], value: object) -> None:
    validation.name(value, attribute.name)


@frozen(eq=False, repr=False)
class _OnStatuses(TableClaim):
    """A claim about statuses: the order has all of `has`, one of `has_any`, and no status of `lacks`."""

    has: frozenset[str] = field(default=frozenset(), converter=_names, kw_only=True)
    has_any: frozenset[str] = field(default=frozenset(), converter=_names, kw_only=True)
    lacks: frozenset[str] = field(default=frozenset(), converter=_names, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not (self.has or self.has_any or self.lacks):
            raise InvalidInput(f"{type(self).__name__} claims nothing: give has, has_any or lacks")

    @property
    def when(self) -> When:
        """Return the condition."""
        return When(has=self.has, has_any=self.has_any, lacks=self.lacks)

    def _conditions(self) -> Iterable[When]:
        return (self.when,)


@frozen(eq=False, repr=False)
class _InSomeStates(_OnStatuses):
    """A claim about a condition in the states that match `where`."""

    where: When = field(factory=When, kw_only=True)

    def _conditions(self) -> Iterable[When]:
        return (self.when, self.where)


@frozen(eq=False, repr=False)
class Never(_OnStatuses):
    """No order reaches a state that matches the condition."""

    def __str__(self) -> str:
        return f"never {condition_text(self.when)}{assumptions_text(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        when = self.when
        for state in graph.states:
            if when.matches(statuses_of(state)):
                path = graph.path_to(state)
                return along(self, state, path, lacking(path[-1], when) if path else _from_the_start())
        return None


@frozen(eq=False, repr=False)
class Always(_InSomeStates):
    """Every state that matches `where` matches the condition too. Without `where`: every state."""

    def __str__(self) -> str:
        where = "" if self.where == When() else f" if {condition_text(self.where)}"
        return f"always {condition_text(self.when)}{where}{assumptions_text(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        when, where = self.when, self.where
        for state in graph.states:
            statuses = statuses_of(state)
            if where.matches(statuses) and not when.matches(statuses):
                path = graph.path_to(state)
                wanting = self.has - statuses or (self.has_any if self.has_any.isdisjoint(statuses) else frozenset())
                wrong = When(has=where.has | (self.lacks & statuses), lacks=where.lacks | wanting)
                return along(self, state, path, lacking(path[-1], wrong) if path else _from_the_start())
        return None


@frozen(eq=False, repr=False)
class Reachable(_OnStatuses):
    """An order can reach a state that matches the condition, for some outcome of the guards."""

    def __str__(self) -> str:
        return f"reachable: {condition_text(self.when)}{assumptions_text(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        when = self.when
        if any(when.matches(statuses_of(state)) for state in graph.states):
            return None
        nearest = min(graph.states, key=lambda state: _distance(when, state))
        return along(self, nearest, graph.path_to(nearest), _in_the_way(graph, when, nearest))


@frozen(eq=False, repr=False)
class CanAlwaysReach(_InSomeStates):
    """From every reachable state that matches `where`, an order can reach the condition.

    The proof assumes that somebody can make a guard hold, if the guard may hold at all.
    """

    def __str__(self) -> str:
        where = "" if self.where == When() else f" from {condition_text(self.where)}"
        return f"can always reach {condition_text(self.when)}{where}{assumptions_text(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        when = self.when
        good = graph.leading_to({state for state in graph.states if when.matches(statuses_of(state))})
        for state in graph.states:
            if state not in good and self.where.matches(statuses_of(state)):
                return along(self, state, graph.path_to(state), _in_the_way(graph, when, state))
        return None


@frozen(eq=False, repr=False)
class Requires(_OnStatuses):
    """A trigger fires only in states that match the condition."""

    trigger: str = field(validator=_name)

    def __str__(self) -> str:
        return f"{self.trigger} requires {condition_text(self.when)}{assumptions_text(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        when = self.when
        for state in graph.states:
            for edge in graph.edges_from(state):
                statuses = statuses_of(state)
                if edge.rule.trigger == self.trigger and not when.matches(statuses):
                    wanting = self.has - statuses or (self.has_any if self.has_any.isdisjoint(statuses) else ())
                    wrong = When(has=self.lacks & statuses, lacks=wanting)
                    return along(self, state, (*graph.path_to(state), edge), lacking(edge, wrong))
        return None

    def _triggers(self) -> Iterable[str]:
        return (self.trigger,)


@frozen(eq=False, repr=False)
class Undoes(TableClaim):
    """Another trigger reverts each change of statuses that a trigger makes.

    It may lead to no other statuses. The claim also fails if the trigger never changes a status.

    Attributes:
        trigger: the trigger that is undone.
        by: the trigger that undoes it.
    """

    trigger: str = field(validator=_name)
    by: str = field(validator=_name, kw_only=True)

    def __str__(self) -> str:
        return f"{self.trigger} is undone by {self.by}{assumptions_text(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        done = [edge for edge in graph.edges if edge.rule.trigger == self.trigger and edge.source != edge.target]
        if not done:
            return along(self, graph.states[0], (), [f"{self.trigger}: it changes no status, so nothing can undo it"])
        failures = (failure for edge in done for failure in self._failures(graph, edge))
        return min(failures, key=lambda failure: len(failure.path), default=None)

    def _failures(self, graph: Graph, edge: Edge) -> Iterator[Failure]:
        """Yield the failures to undo one edge: no edge back, or an edge to another state."""
        undoing = [other for other in graph.edges_from(edge.target) if other.rule.trigger == self.by]
        moving = [other for other in undoing if other.target != edge.target]
        if not moving:
            rows = [row for row, rule in enumerate(graph.workflow.rules, start=1) if rule.trigger == self.by]
            hints = closed(graph.workflow, edge.target, rows)
            yield along(self, edge.target, (*graph.path_to(edge.source), edge), hints)
        for other in moving:
            if other.target != edge.source:
                hint = f"{named(other.row, other.rule)}: it leads to {other.target}, not back to {edge.source}"
                yield along(self, other.source, (*graph.path_to(edge.source), edge, other), [hint])

    def _triggers(self) -> Iterable[str]:
        return (self.trigger, self.by)


@frozen(eq=False, repr=False)
class Conserves(TableClaim):
    """Stock and totals follow the state: on every path, an order takes its stock before it returns it.

    The engine derives both from the state alone. Taking and returning therefore alternate if an order in its first
    state holds no stock and does not count, because creating an order then moves no stock and no totals.
    """

    def __str__(self) -> str:
        return f"orders take and return stock and totals alternately{assumptions_text(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        workflow = graph.workflow
        start = graph.states[0]
        for what, has in (("holds_stock", workflow.holds), ("counts", workflow.counts_in)):
            if has(start):
                ended = next((state for state in graph.states if not has(state)), start)
                hint = f"{what}: true of a new order, so the path that ends it returns what no path took"
                return along(self, ended, graph.path_to(ended), [hint])
        return None


def _from_the_start() -> list[str]:
    return ["the claim: a new order does not meet the condition"]


def _distance(when: When, state: str) -> int:
    """Return how many statuses must change in a state to match a condition."""
    statuses = statuses_of(state)
    return (
        len(when.has - statuses)
        + len(when.lacks & statuses)
        + (when.has_any.isdisjoint(statuses) and bool(when.has_any))
    )


def _in_the_way(graph: Graph, when: When, state: str) -> list[str]:
    """Return why an order in a state cannot match a condition: the closed rules that lead nearer to it."""
    statuses = statuses_of(state)
    add = when.has - statuses
    if when.has_any.isdisjoint(statuses):
        add |= when.has_any
    drop = when.lacks & statuses
    hints = closed(graph.workflow, state, rows_that(graph.workflow, add=add, drop=drop))
    hints += [f"{name}: no rule unticks it" for name in sorted(drop) if not rows_that(graph.workflow, drop=[name])]
    return hints

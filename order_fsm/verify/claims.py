"""Claims about a table of rules: what must be so in every state that an order can come to, and on every way there.

Every claim takes `guards`: what is known of guards, by their codes. A guard that is not named there may hold and may
fail at any time, as an override may pass a policy guard at any time. `{"not_paid": When(has={"paid"})}` says that it
holds just where the order is paid; True that it always holds, False that it never does. Nobody overrides a guard that
is named: so the rules are proved as they are without override.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from attrs import Attribute, field, frozen

from order_fsm import checks
from order_fsm.errors import InvalidInput, UnknownTrigger
from order_fsm.model import When, statuses_of
from order_fsm.rules import Edge
from order_fsm.verify.failures import Failure, along, closed, lacking, named, rows_that
from order_fsm.verify.graph import Graph, Known
from order_fsm.workflow import Workflow


def _names(value: object) -> frozenset[str]:
    return checks.names(value, "the statuses of a claim")


def _name(_: object, attribute: Attribute[str], value: object) -> None:
    checks.name(value, attribute.name)


def _known(value: object) -> Known:
    if not isinstance(value, Mapping) or not all(isinstance(known, bool | When) for known in value.values()):
        raise InvalidInput("guards must be a dict from codes of guards to True, False or a When")
    return MappingProxyType({checks.name(code, "the code of a guard"): known for code, known in value.items()})


class Claim(ABC):
    """What a proof can be asked to prove."""

    __slots__ = ()

    @abstractmethod
    def __str__(self) -> str:
        """The claim as a sentence."""

    def check_names(self, workflow: Workflow) -> None:
        """See that the workflow has all that the claim names.

        Raises:
            InvalidInput: a status or guard that it does not have.
            UnknownTrigger: a trigger that it does not have.
        """
        for trigger in self._triggers():
            if trigger not in workflow.triggers:
                known = ", ".join(workflow.triggers)
                raise UnknownTrigger(f"claim {str(self)!r}: a trigger must be one of {known}, not {trigger!r}")

    def _triggers(self) -> Iterable[str]:
        return ()


@frozen(eq=False, repr=False, kw_only=True)
class TableClaim(Claim):
    """A claim about the table of rules alone: statuses, rows, and any outcome of guards.

    Attributes:
        guards: what is known of guards, by their codes.
    """

    guards: Known = field(default=MappingProxyType({}), converter=_known)

    @abstractmethod
    def failure(self, graph: Graph) -> Failure | None:
        """How it fails, by the shortest way; None where it holds.

        Args:
            graph: what the workflow can do, given what the claim knows of guards.
        """

    def check_names(self, workflow: Workflow) -> None:
        super().check_names(workflow)
        for when in (*self._conditions(), *(known for known in self.guards.values() if isinstance(known, When))):
            for name in sorted(when.has | when.has_any | when.lacks):
                if not workflow.knows(name):
                    known = ", ".join(status.name for status in workflow.statuses)
                    raise InvalidInput(f"claim {str(self)!r}: a status must be one of {known}, not {name!r}")
        codes = {guard.code: None for rule in workflow.rules for guard in rule.guards}
        for code in self.guards:
            if code not in codes:
                raise InvalidInput(f"claim {str(self)!r}: a guard must be one of {', '.join(codes)}, not {code!r}")

    def _conditions(self) -> Iterable[When]:
        return ()


@frozen(eq=False, repr=False)
class _OnStatuses(TableClaim):
    """A claim about a condition on the statuses of an order: `has` all, `has_any` at least one, `lacks` all."""

    has: frozenset[str] = field(default=frozenset(), converter=_names, kw_only=True)
    has_any: frozenset[str] = field(default=frozenset(), converter=_names, kw_only=True)
    lacks: frozenset[str] = field(default=frozenset(), converter=_names, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not (self.has or self.has_any or self.lacks):
            raise InvalidInput(f"{type(self).__name__} claims nothing: give has, has_any or lacks")

    @property
    def when(self) -> When:
        """The condition."""
        return When(has=self.has, has_any=self.has_any, lacks=self.lacks)

    def _conditions(self) -> Iterable[When]:
        return (self.when,)


@frozen(eq=False, repr=False)
class _InSomeStates(_OnStatuses):
    """A claim about a condition, in the states that meet another one."""

    where: When = field(factory=When, kw_only=True)

    def _conditions(self) -> Iterable[When]:
        return (self.when, self.where)


@frozen(eq=False, repr=False)
class Never(_OnStatuses):
    """No order ever comes to a state that meets the condition."""

    def __str__(self) -> str:
        return f"never {_said(self.when)}{_given(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        when = self.when
        for state in graph.states:
            if when.matches(statuses_of(state)):
                path = graph.path_to(state)
                return along(self, state, path, lacking(path[-1], when) if path else _from_the_start())
        return None


@frozen(eq=False, repr=False)
class Always(_InSomeStates):
    """Every order that stands in a state meeting `where` meets the condition too; without `where`, every order."""

    def __str__(self) -> str:
        where = "" if self.where == When() else f" where {_said(self.where)}"
        return f"always {_said(self.when)}{where}{_given(self.guards)}"

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
    """Some order can come to a state that meets the condition, if its guards let it."""

    def __str__(self) -> str:
        return f"reachable: {_said(self.when)}{_given(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        when = self.when
        if any(when.matches(statuses_of(state)) for state in graph.states):
            return None
        nearest = min(graph.states, key=lambda state: _distance(when, state))
        return along(self, nearest, graph.path_to(nearest), _in_the_way(graph, when, nearest))


@frozen(eq=False, repr=False)
class CanAlwaysReach(_InSomeStates):
    """From every state that an order comes to, and that meets `where`, it can come to one that meets the condition.

    A guard that may hold counts as one that can be made to hold.
    """

    def __str__(self) -> str:
        where = "" if self.where == When() else f" from {_said(self.where)}"
        return f"can always reach {_said(self.when)}{where}{_given(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        when = self.when
        good = graph.leading_to({state for state in graph.states if when.matches(statuses_of(state))})
        for state in graph.states:
            if state not in good and self.where.matches(statuses_of(state)):
                return along(self, state, graph.path_to(state), _in_the_way(graph, when, state))
        return None


@frozen(eq=False, repr=False)
class Requires(_OnStatuses):
    """A trigger fires only in states that meet the condition."""

    trigger: str = field(validator=_name)

    def __str__(self) -> str:
        return f"{self.trigger} requires {_said(self.when)}{_given(self.guards)}"

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
    """Wherever a trigger changed the statuses, another one can change them back, and to nothing else.

    It fails too where the trigger never changes any.

    Attributes:
        trigger: what is undone.
        by: the trigger that undoes it.
    """

    trigger: str = field(validator=_name)
    by: str = field(validator=_name, kw_only=True)

    def __str__(self) -> str:
        return f"{self.trigger} is undone by {self.by}{_given(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        done = [edge for edge in graph.edges if edge.rule.trigger == self.trigger and edge.source != edge.target]
        if not done:
            return along(self, graph.states[0], (), [f"{self.trigger}: it changes no status, so nothing can undo it"])
        failures = (failure for edge in done for failure in self._failures(graph, edge))
        return min(failures, key=lambda failure: len(failure.path), default=None)

    def _failures(self, graph: Graph, edge: Edge) -> Iterator[Failure]:
        """How what one edge did is not undone, or done into something else."""
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
    """Stock and totals follow the state: on every way an order takes its stock before it gives it back.

    As both are derived from the state alone, taking and giving back come in turn if the state in which an order is
    created neither holds stock nor counts: creating it moves none.
    """

    def __str__(self) -> str:
        return f"stock and totals are taken and given back in turn{_given(self.guards)}"

    def failure(self, graph: Graph) -> Failure | None:
        workflow = graph.workflow
        start = graph.states[0]
        for what, has in (("holds_stock", workflow.holds), ("counts", workflow.counts_in)):
            if has(start):
                ended = next((state for state in graph.states if not has(state)), start)
                hint = f"{what}: it is true of a new order, so the way that ends it gives back what was never taken"
                return along(self, ended, graph.path_to(ended), [hint])
        return None


def _from_the_start() -> list[str]:
    return ["the claim: it is not so of a new order already"]


def _said(when: When) -> str:
    """A condition in words."""
    parts = [" and ".join(sorted(when.has))] if when.has else []
    if when.has_any:
        parts.append(" or ".join(sorted(when.has_any)))
    if when.lacks:
        parts.append("not " + " nor ".join(sorted(when.lacks)))
    return ", ".join(parts)


def _given(guards: Known) -> str:
    """What is known of guards, in words."""
    told = [
        f"{code} holds where {_said(known)}" if isinstance(known, When) else f"{code} {'holds' if known else 'fails'}"
        for code, known in guards.items()
    ]
    return f" (given that {'; '.join(told)})" if told else ""


def _distance(when: When, state: str) -> int:
    """How many statuses must be ticked or unticked in a state to meet a condition."""
    statuses = statuses_of(state)
    return (
        len(when.has - statuses)
        + len(when.lacks & statuses)
        + (when.has_any.isdisjoint(statuses) and bool(when.has_any))
    )


def _in_the_way(graph: Graph, when: When, state: str) -> list[str]:
    """What keeps an order in a state from meeting a condition: the rules that would bring it nearer."""
    statuses = statuses_of(state)
    add = when.has - statuses
    if when.has_any.isdisjoint(statuses):
        add |= when.has_any
    drop = when.lacks & statuses
    told = closed(graph.workflow, state, rows_that(graph.workflow, add=add, drop=drop))
    told += [f"{name}: no rule ticks it" for name in sorted(add) if not rows_that(graph.workflow, add=[name])]
    told += [f"{name}: no rule unticks it" for name in sorted(drop) if not rows_that(graph.workflow, drop=[name])]
    return told

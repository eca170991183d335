"""A workflow: a table of rules, checked when it is built and expanded to states and edges.

From the empty set of statuses the rules are followed to every set that they can reach. Each of those is a state; each
rule, in each state where its statuses allow it, is an edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from order_fsm import validation
from order_fsm.errors import InvalidInput, WorkflowError
from order_fsm.model import UNFINISHED, PaymentKind, When, statuses_of
from order_fsm.rules import lint as findings
from order_fsm.rules.rule import MONEY_FACTS, STOCK_SUFFICES, Edge, Guard, Rule, Status

if TYPE_CHECKING:
    from transitions import Machine

__all__ = ["Guard", "Rule", "Status", "When", "Workflow"]

STATE_LIMIT = 4096
"""The most states that a workflow may reach: twelve independent statuses."""

REFUND_DUE = "refund_due"
"""The queue that every workflow has: orders of which money is due back, by the ledger."""

_Part = TypeVar("_Part")


class Workflow:
    """Statuses and rules, valid and expanded; immutable.

    Attributes:
        statuses: the tick boxes in declared order.
        rules: the rows of the table in declared order.
        holds_stock: when an order holds its stock.
        counts: when an order counts in totals.
        queues: the named conditions that jobs stand in; `refund_due` is a queue of every workflow beside them.
        states: the names of all reachable states, nearest to the empty one first.
        edges: every rule in every state where it may be taken.
    """

    def __init__(
        self,
        statuses: Iterable[Status],
        rules: Iterable[Rule],
        *,
        holds_stock: When,
        counts: When,
        queues: Mapping[str, When],
    ) -> None:
        """Check and expand a table.

        Args:
            statuses: the tick boxes, in the order in which names of states list them.
            rules: the rows.
            holds_stock: when an order holds its stock.
            counts: when an order counts in totals.
            queues: the conditions of the named queues.

        Raises:
            InvalidInput: a part is of another kind.
            WorkflowError: with every finding: an unknown status, a rule that can never fire, two unguarded rules of
                one trigger open in one state, more than 4,096 reachable states, and the like.
        """
        self.statuses = _all(Status, statuses, "statuses")
        self.rules = _all(Rule, rules, "rules")
        self.holds_stock, self.counts = _all(When, (holds_stock, counts), "holds_stock and counts")
        _all(When, queues.values(), "the values of queues")
        self.queues: Mapping[str, When] = MappingProxyType(dict(queues))
        self._names = tuple(status.name for status in self.statuses)
        self._rules_of: dict[str, list[Rule]] = {}
        for rule in self.rules:
            self._rules_of.setdefault(rule.trigger, []).append(rule)
        conditions = {"holds_stock": holds_stock, "counts": counts}
        conditions |= {f"queue {name!r}": when for name, when in self.queues.items()}
        found = [*findings.misnamed(self.statuses, self.rules, conditions)]
        if REFUND_DUE in self.queues:
            found.append(f"queue {REFUND_DUE!r} is there by itself")
        undeclared = frozenset().union(*(rule.adds for rule in self.rules)) - set(self._names)
        self._names += tuple(sorted(undeclared))  # So that one mistake does not look like many.
        sets = self._reachable()
        if len(sets) > STATE_LIMIT:
            raise WorkflowError([*found, f"more than {STATE_LIMIT} states can be reached; forbid some combinations"])
        self.states = tuple(map(self.state_name, sets))
        self.edges = tuple(self._expanded(sets))
        self._known_states = frozenset(self.states)
        self._holding = frozenset(filter(self._holds, self.states))
        self._counting = frozenset(filter(self._counts, self.states))
        self._open: dict[tuple[str, str], list[Edge]] = {}
        for edge in self.edges:
            self._open.setdefault((edge.source, edge.rule.trigger), []).append(edge)
        found += [*findings.never_fired(self.rules, self._open.values()), *findings.ambiguous(self._open.values())]
        if found:
            raise WorkflowError(found)
        self._facts_of = {
            trigger: frozenset().union(*(rule.facts | (MONEY_FACTS if rule.ledger else set()) for rule in rules))
            for trigger, rules in self._rules_of.items()
        }

    @property
    def triggers(self) -> tuple[str, ...]:
        """The names of all triggers, in declared order."""
        return tuple(self._rules_of)

    @cached_property
    def machine(self) -> Machine:
        """The same as one flat `transitions.Machine`, shared by all orders and threads."""
        # Imported on demand: `transitions` is slow to import, and deciding does not need it.
        from order_fsm.rules.machine import flat_machine

        return flat_machine(self.states, self.edges)

    def state_name(self, statuses: frozenset[str]) -> str:
        """The name of a set of statuses: joined in declared order with `+`; `unfinished` for the empty set."""
        return "+".join(name for name in self._names if name in statuses) or UNFINISHED

    def has_state(self, state: str) -> bool:
        """Whether a name is that of a reachable state."""
        return state in self._known_states

    def knows(self, status: str) -> bool:
        """Whether it is one of the statuses."""
        return status in self._names

    def known_statuses(self, statuses: Iterable[str]) -> frozenset[str]:
        """A set of statuses, checked.

        Raises:
            InvalidInput: it is none, or one of them is not of this workflow; the message lists those that are.
        """
        names = validation.names(statuses, "statuses")
        unknown = sorted(names.difference(self._names))
        if unknown:
            raise InvalidInput(f"a status must be one of {', '.join(self._names)}, not {unknown[0]!r}")
        return names

    def rules_of(self, trigger: str) -> Sequence[Rule]:
        """The rules of a trigger, in declared order; none where the trigger is unknown."""
        return self._rules_of.get(trigger, ())

    def edges_from(self, state: str, trigger: str) -> Sequence[Edge]:
        """The edges that a trigger may take from a state, the first choice first."""
        return self._open.get((state, trigger), ())

    def guards_in(self, rule: Rule, statuses: frozenset[str]) -> tuple[Guard, ...]:
        """The guards of a rule that count in a state: all, but that stock matters only to a rule that takes it."""
        if STOCK_SUFFICES not in rule.guards:
            return rule.guards
        holds = self.holds_stock.matches
        takes_stock = not holds(statuses) and holds(rule.target(statuses))
        return rule.guards if takes_stock else tuple(guard for guard in rule.guards if guard is not STOCK_SUFFICES)

    def facts_of(self, trigger: str) -> frozenset[str]:
        """The names of the facts that a trigger may come with."""
        return self._facts_of[trigger]

    def ledger_of(self, trigger: str) -> PaymentKind | None:
        """The kind of ledger row that a trigger records, if any."""
        return self._rules_of[trigger][0].ledger

    def trigger_of(self, kind: str) -> str | None:
        """The trigger that records ledger rows of a kind; None where none does."""
        return next((rule.trigger for rule in self.rules if rule.ledger is not None and rule.ledger == kind), None)

    def holds(self, state: str) -> bool:
        """Whether an order holds its stock in a state."""
        return state in self._holding or (state not in self._known_states and self._holds(state))

    def counts_in(self, state: str) -> bool:
        """Whether an order counts in totals in a state."""
        return state in self._counting or (state not in self._known_states and self._counts(state))

    def queues_of(self, state: str) -> list[str]:
        """The names of the queues in which an order in this state stands, `refund_due` aside."""
        return [name for name, when in self.queues.items() if when.matches(statuses_of(state))]

    def extend(
        self,
        *,
        statuses: Iterable[Status] = (),
        rules: Iterable[Rule] = (),
        forbids: Mapping[str, Iterable[str]] | None = None,
        holds_stock: When | None = None,
        counts: When | None = None,
        queues: Mapping[str, When] | None = None,
    ) -> Workflow:
        """A new workflow with a shop's own statuses and rules added to these.

        Args:
            statuses: to add after the present ones.
            rules: to add after the present ones.
            forbids: triggers of present rules, each with the statuses that shall close it from now on.
            holds_stock, counts: in place of the present ones, where given.
            queues: to add, or to put in place of present ones of the same name.

        Raises:
            WorkflowError: the outcome is not valid; see `Workflow`.
        """
        closed = {trigger: validation.names(names, "forbids") for trigger, names in (forbids or {}).items()}
        unknown = closed.keys() - set(self.triggers)
        if unknown:
            raise WorkflowError(
                f"forbids names the trigger {trigger!r}, which no rule has" for trigger in sorted(unknown)
            )
        present = (evolve(rule, forbids=rule.forbids | closed.get(rule.trigger, frozenset())) for rule in self.rules)
        return Workflow(
            (*self.statuses, *statuses),
            (*present, *rules),
            holds_stock=holds_stock or self.holds_stock,
            counts=counts or self.counts,
            queues={**self.queues, **(queues or {})},
        )

    def _holds(self, state: str) -> bool:
        return self.holds_stock.matches(statuses_of(state))

    def _counts(self, state: str) -> bool:
        return self.counts.matches(statuses_of(state))

    def _reachable(self) -> list[frozenset[str]]:
        """The sets of statuses that the rules reach, breadth first; stops beyond the limit."""
        found: dict[frozenset[str], None] = {frozenset(): None}
        edge_of_search = list(found)
        while edge_of_search and len(found) <= STATE_LIMIT:
            ahead: dict[frozenset[str], None] = {}
            for statuses in edge_of_search:
                for rule in self.rules:
                    if rule.opens(statuses) and (target := rule.target(statuses)) not in found:
                        found[target] = ahead[target] = None
            edge_of_search = list(ahead)
        return list(found)

    def _expanded(self, sets: Iterable[frozenset[str]]) -> Iterator[Edge]:
        for statuses in sets:
            for row, rule in enumerate(self.rules, start=1):
                if rule.opens(statuses):
                    after = rule.target(statuses)
                    source, target = self.state_name(statuses), self.state_name(after)
                    guards = self.guards_in(rule, statuses)
                    yield Edge(row, rule, source, target, self.counts.matches(after), guards)


def _all(kind: type[_Part], parts: Iterable[object], what: str) -> tuple[_Part, ...]:
    checked = []
    for part in parts:
        if not isinstance(part, kind):
            raise InvalidInput(f"{what} must be of {kind.__name__}, not of {validation.shown(part)}")
        checked.append(part)
    return tuple(checked)

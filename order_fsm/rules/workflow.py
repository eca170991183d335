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
from order_fsm.model import UNFINISHED, Fact, GoodsKind, PaymentKind, When, statuses_of
from order_fsm.rules import lint
from order_fsm.rules.rule import AMEND, GOODS_FACTS, MONEY_FACTS, STOCK_SUFFICES, Edge, Guard, Rule, Status
from order_fsm.rules.shipping import GOODS_CHECKS

if TYPE_CHECKING:
    from transitions import Machine

__all__ = ["Guard", "Rule", "Status", "When", "Workflow"]

STATE_LIMIT = 4096
"""The most states that a workflow may reach: twelve independent statuses."""

REFUND_DUE = "refund_due"
UNMATCHED = "unmatched"
PART_DISPATCHED = "part_dispatched"
LEDGER_QUEUES = (REFUND_DUE, UNMATCHED, PART_DISPATCHED)
"""The queues that every workflow has: orders with money due back, with money held in another currency, and with a part
of the goods shipped."""

_Part = TypeVar("_Part")


class Workflow:
    """Statuses and rules, valid and expanded; immutable.

    Attributes:
        statuses: the tick boxes in declared order.
        rules: the rows of the table in declared order.
        holds_stock: when an order holds its stock.
        counts: when an order counts in totals.
        queues: the named conditions that jobs stand in. Every workflow has `LEDGER_QUEUES` as well.
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
        self.holds_stock, self.counts = _when(holds_stock, "holds_stock"), _when(counts, "counts")
        self.queues: Mapping[str, When] = MappingProxyType(_queues(queues))
        self._names = tuple(status.name for status in self.statuses)
        self._rules_of: dict[str, list[Rule]] = {}
        for rule in self.rules:
            self._rules_of.setdefault(rule.trigger, []).append(rule)
        conditions = {"holds_stock": holds_stock, "counts": counts}
        conditions |= {f"queue {name!r}": when for name, when in self.queues.items()}
        found = [*lint.misnamed(self.statuses, self.rules, conditions), *lint.never_ticked(self.statuses, self.rules)]
        found += [f"queue {name!r} is there by itself" for name in LEDGER_QUEUES if name in self.queues]
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
        found += [*lint.never_fired(self.rules, self._open.values()), *lint.ambiguous(self._open.values())]
        if found:
            raise WorkflowError(found)
        self._facts_of = {
            trigger: frozenset().union(*map(_accepted, rules)) for trigger, rules in self._rules_of.items()
        }
        self._checks_of = {trigger: _checks(rules[0]) for trigger, rules in self._rules_of.items()}

    @property
    def triggers(self) -> tuple[str, ...]:
        """The names of all triggers, in declared order."""
        return tuple(self._rules_of)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the table: statuses, rules, guard codes, policy flags and conditions.

        It is made of a canonical JSON text, so equal tables have equal fingerprints in every process and on every
        version of Python. Every entry stores that of the rules that decided it, and `Orders.audit(workflows=...)` finds
        the rules by it.

        The test of a guard is not part of it: no digest of code is the same everywhere. So give a guard a new `code`
        when its test changes. The fingerprint then differs, and entries from before the change are not judged by the
        new test.
        """
        # Imported on demand: the first change needs them, reading a table does not.
        from hashlib import sha256
        from json import dumps

        table = [
            [[status.name, status.tick, status.untick] for status in self.statuses],
            [_row_content(rule) for rule in self.rules],
            [_when_content(when) for when in (self.holds_stock, self.counts)],
            {name: _when_content(when) for name, when in self.queues.items()},
        ]
        return sha256(dumps(table, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:16]

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
            hint = validation.did_you_mean(unknown[0], self._names)
            raise InvalidInput(f"a status must be one of {', '.join(self._names)}, not {unknown[0]!r}{hint}")
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
        takes_stock = holds(rule.target(statuses)) and (rule.trigger == AMEND or not holds(statuses))
        return rule.guards if takes_stock else tuple(guard for guard in rule.guards if guard is not STOCK_SUFFICES)

    def facts_of(self, trigger: str) -> frozenset[str]:
        """The names of the facts that a trigger may come with."""
        return self._facts_of[trigger]

    def checked_facts(self, trigger: str, facts: Mapping[str, object]) -> dict[str, Fact]:
        """Check the facts of a trigger.

        Raises:
            InvalidInput: if the trigger does not accept a fact, or its value is not valid.
        """
        return validation.facts(facts, self._facts_of[trigger], trigger, self._checks_of[trigger])

    def ledger_of(self, trigger: str) -> PaymentKind | None:
        """The kind of ledger row that a trigger records, if any."""
        return self._rules_of[trigger][0].ledger

    def goods_of(self, trigger: str) -> GoodsKind | None:
        """The kind of shipment that a trigger records, if any."""
        return self._rules_of[trigger][0].goods

    def lapses(self, trigger: str) -> bool:
        """Whether a trigger ends the credits of an order that holds no money."""
        return self._rules_of[trigger][0].lapses

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
        """The names of the queues in which an order in this state stands, except `LEDGER_QUEUES`."""
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
        if forbids is not None and not isinstance(forbids, Mapping):
            raise InvalidInput(f"forbids must be a dict such as {{'pay': {{'paid'}}}}, not {validation.shown(forbids)}")
        closed = {trigger: validation.names(names, "forbids") for trigger, names in (forbids or {}).items()}
        unknown = closed.keys() - set(self.triggers)
        if unknown:
            raise WorkflowError(
                f"forbids names the trigger {trigger!r}, which no rule has" for trigger in sorted(unknown)
            )
        new_statuses, new_rules = _all(Status, statuses, "statuses"), _all(Rule, rules, "rules")
        ticked = frozenset().union(*(rule.adds for rule in (*self.rules, *new_rules)))
        unused = [
            f"status {status.name!r} is never ticked: no rule adds it"
            for status in new_statuses
            if status.name not in ticked
        ]
        present = (evolve(rule, forbids=rule.forbids | closed.get(rule.trigger, frozenset())) for rule in self.rules)
        try:
            workflow = Workflow(
                (*self.statuses, *new_statuses),
                (*present, *new_rules),
                holds_stock=self.holds_stock if holds_stock is None else holds_stock,
                counts=self.counts if counts is None else counts,
                queues={**self.queues, **({} if queues is None else _queues(queues))},
            )
        except WorkflowError as error:
            raise WorkflowError(dict.fromkeys([*unused, *error.findings])) from None
        if unused:
            raise WorkflowError(unused)
        return workflow

    def translated(
        self, labels: Mapping[str, str] | None = None, customer_labels: Mapping[str, str] | None = None
    ) -> Workflow:
        """Return the same workflow with other labels of its statuses.

        Labels change no rule and no fingerprint, so workflows in several languages may share one store.

        Args:
            labels: from the name of a status to its words, for the owner and the customer.
            customer_labels: from the name of a status to its words for the customer, if they differ.

        Raises:
            InvalidInput: if a name is not that of a status, or a label is not valid.
        """
        both, own = _labels(labels, "labels"), _labels(customer_labels, "customer_labels")
        self.known_statuses({*both, *own})
        return Workflow(
            [
                evolve(
                    status,
                    label=both.get(status.name, status.label),
                    customer_label=own.get(status.name, both.get(status.name, status.customer_label)),
                )
                for status in self.statuses
            ],
            self.rules,
            holds_stock=self.holds_stock,
            counts=self.counts,
            queues=self.queues,
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


def _accepted(rule: Rule) -> frozenset[str]:
    """Return the names of all facts that a rule accepts."""
    return rule.facts | GOODS_FACTS[rule.goods] | (MONEY_FACTS if rule.ledger else frozenset())


def _checks(rule: Rule) -> Mapping[str, validation.Check]:
    """Return the checks of the facts that the engine reads."""
    money = {} if rule.ledger is None else validation.MONEY_FACTS
    return money if rule.goods is None else {**money, **GOODS_CHECKS}


def _row_content(rule: Rule) -> list[object]:
    sets = (rule.needs, rule.needs_any, rule.forbids, rule.adds, rule.drops, rule.facts)
    guards = [[guard.code, guard.policy] for guard in rule.guards]
    return [rule.trigger, *map(sorted, sets), guards, rule.ledger, rule.announces, rule.lapses, rule.goods]


def _when_content(when: When) -> list[list[str]]:
    return [sorted(when.has), sorted(when.lacks), sorted(when.has_any)]


def _all(kind: type[_Part], parts: object, what: str) -> tuple[_Part, ...]:
    if isinstance(parts, str | Mapping) or not isinstance(parts, Iterable):
        raise InvalidInput(f"{what} must be a list of {kind.__name__}(...), not {validation.shown(parts)}")
    checked = []
    for part in parts:
        if not isinstance(part, kind):
            raise InvalidInput(f"{what} must be a list of {kind.__name__}(...), not of {validation.shown(part)}")
        checked.append(part)
    return tuple(checked)


def _labels(labels: object, what: str) -> dict[str, str]:
    if labels is not None and not isinstance(labels, Mapping):
        example = "{'dispatched': 'On its way'}"
        raise InvalidInput(f"{what} must be a dict such as {example}, not {validation.shown(labels)}")
    return {name: validation.name(label, f"a label in {what}") for name, label in (labels or {}).items()}


def _when(value: object, what: str) -> When:
    if not isinstance(value, When):
        raise InvalidInput(f"{what} must be a condition such as When(has={{'sent'}}), not {validation.shown(value)}")
    return value


def _queues(queues: object) -> dict[str, When]:
    if not isinstance(queues, Mapping):
        example = "{'to_pay': When(lacks={'paid'})}"
        raise InvalidInput(f"queues must be a dict such as {example}, not {validation.shown(queues)}")
    return {
        validation.name(name, "the name of a queue"): _when(when, f"queue {name!r}") for name, when in queues.items()
    }

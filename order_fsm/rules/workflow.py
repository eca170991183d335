"""Check a table of rules, and expand it to states and edges.

The expansion starts at the empty set of statuses and follows the rules to every reachable set. Each reachable set is a
state. Each rule is one edge in every state whose statuses allow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from order_fsm import validation
from order_fsm.errors import InvalidInput, WorkflowError
from order_fsm.model import UNFINISHED, Fact, GoodsKind, Order, PaymentKind, When, statuses_of
from order_fsm.rules import lint
from order_fsm.rules.rule import AMEND, GOODS_FACTS, MONEY_FACTS, STOCK_SUFFICES, Edge, Facts, Guard, Rule, Status
from order_fsm.rules.shipping import GOODS_CHECKS

if TYPE_CHECKING:
    from transitions import Machine

STATE_LIMIT = 4096
"""The limit of reachable states. Twelve independent statuses reach it."""

REFUND_DUE = "refund_due"
UNMATCHED = "unmatched"
PART_DISPATCHED = "part_dispatched"
LEDGER_QUEUES = (REFUND_DUE, UNMATCHED, PART_DISPATCHED)
"""The queues that every workflow has: orders with money due back, with money held in another currency, and with a part
of the goods shipped."""

_Part = TypeVar("_Part")


class Workflow:
    """Valid statuses and rules, expanded to states. Immutable.

    Attributes:
        statuses: the tick boxes in declared order.
        rules: the rows of the table in declared order.
        holds_stock: when an order holds its stock.
        counts: when an order counts in totals.
        queues: the conditions of the named queues. Every workflow has `LEDGER_QUEUES` as well.
        states: the names of all reachable states, nearest to the empty one first.
        edges: every rule in every state that allows it.
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
            holds_stock: when an order holds its stock. It takes the stock when a change leads to such a state, so a new
                order never holds stock.
            counts: when an order counts in totals.
            queues: the conditions of the named queues.

        Raises:
            InvalidInput: if a part has the wrong type.
            WorkflowError: if the table has faults, such as an unknown status, a rule that can never fire, two unguarded
                rules of one trigger open in one state, or more than 4,096 reachable states. The error lists every
                fault.
        """
        self.statuses = _all(Status, statuses, "statuses")
        self.rules = _all(Rule, rules, "rules")
        self.holds_stock, self.counts = _when(holds_stock, "holds_stock"), _when(counts, "counts")
        self.queues: Mapping[str, When] = MappingProxyType(_queues(queues))
        self._names = tuple(status.name for status in self.statuses)
        self._rules_of: dict[str, list[Rule]] = {}
        self._stock_guards: dict[tuple[Rule, ...], Guard] = {}
        for rule in self.rules:
            self._rules_of.setdefault(rule.trigger, []).append(rule)
        conditions = {"holds_stock": holds_stock, "counts": counts}
        conditions |= {f"queue {name!r}": when for name, when in self.queues.items()}
        found = [*lint.misnamed(self.statuses, self.rules, conditions), *lint.never_ticked(self.statuses, self.rules)]
        found += [f"queue {name!r} is built in: choose another name" for name in LEDGER_QUEUES if name in self.queues]
        undeclared = frozenset().union(*(rule.adds for rule in self.rules)) - set(self._names)
        self._names += tuple(sorted(undeclared))  # Otherwise one unknown status would look like many faults.
        sets = self._reachable()
        if len(sets) > STATE_LIMIT:
            raise WorkflowError([*found, f"more than {STATE_LIMIT} states are reachable: forbid some combinations"])
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
    def fired_triggers(self) -> tuple[str, ...]:
        """The names of the triggers that `Orders.fire` accepts: all except `amend`."""
        return tuple([trigger for trigger in self.triggers if trigger != AMEND])

    @property
    def triggers(self) -> tuple[str, ...]:
        """The names of all triggers, in declared order."""
        return tuple(self._rules_of)

    @cached_property
    def fingerprint(self) -> str:
        """The digest of statuses, rules, guard codes, policy flags and conditions.

        It hashes a canonical JSON text, so equal tables have equal fingerprints in every process and on every version
        of Python. Every entry stores the fingerprint of the rules that decided it. `Orders.audit(workflows=...)` uses
        it to find these rules.

        It does not include the test of a guard, because no digest of code is the same everywhere. So give a guard a new
        `code` when its test changes. The fingerprint then differs, and an audit does not judge older entries by the new
        test.
        """
        # Imported on demand: only the first change needs them.
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
        """The flat `transitions.Machine`, shared by all orders and threads."""
        # Imported on demand: `transitions` is slow to import, and deciding does not need it.
        from order_fsm.rules.machine import flat_machine

        return flat_machine(self.states, self.edges)

    def state_name(self, statuses: frozenset[str]) -> str:
        """Return the name of a set of statuses.

        The name joins them in declared order with `+`. The empty set is named `unfinished`.
        """
        return "+".join(name for name in self._names if name in statuses) or UNFINISHED

    def has_state(self, state: str) -> bool:
        """Return whether this is the name of a reachable state."""
        return state in self._known_states

    def knows(self, status: str) -> bool:
        """Return whether the workflow has this status."""
        return status in self._names

    def known_statuses(self, statuses: Iterable[str], what: str = "statuses") -> frozenset[str]:
        """Check a set of statuses.

        Args:
            statuses: the value to check.
            what: the name of the value, for the error.

        Raises:
            InvalidInput: if the value is not a set of names, or the workflow lacks one of them. The message lists its
                statuses.
        """
        names = validation.names(statuses, what)
        unknown = sorted(names.difference(self._names))
        if unknown:
            hint = validation.did_you_mean(unknown[0], self._names)
            raise InvalidInput(f"a status must be one of {', '.join(self._names)}, not {unknown[0]!r}{hint}")
        return names

    def rules_of(self, trigger: str) -> Sequence[Rule]:
        """Return the rules of a trigger, in declared order.

        The result is empty if the trigger is unknown.
        """
        return self._rules_of.get(trigger, ())

    def edges_from(self, state: str, trigger: str) -> Sequence[Edge]:
        """Return the edges of a trigger from a state, in declared order."""
        return self._open.get((state, trigger), ())

    def guards_in(self, rule: Rule, statuses: frozenset[str]) -> tuple[Guard, ...]:
        """Return the guards of a rule that apply in a state.

        `STOCK_SUFFICES` applies only if the rule takes stock there, or if an earlier rule takes stock and only misses
        stock. Otherwise an order without stock would take this rule instead. All other guards always apply.
        """
        if STOCK_SUFFICES not in rule.guards or self._takes_stock(rule, statuses):
            return rule.guards
        earlier = tuple(
            one
            for one in takewhile(lambda one: one is not rule, self.rules_of(rule.trigger))
            if STOCK_SUFFICES in one.guards and one.opens(statuses) and self._takes_stock(one, statuses)
        )
        others = tuple(guard for guard in rule.guards if guard is not STOCK_SUFFICES)
        if not earlier:
            return others
        # The same rules always have the same guard, so that a record of outcomes by guard finds it.
        if earlier not in self._stock_guards:
            self._stock_guards[earlier] = _not_instead_of(earlier)
        return (self._stock_guards[earlier], *others)

    def _takes_stock(self, rule: Rule, statuses: frozenset[str]) -> bool:
        holds = self.holds_stock.matches
        return holds(rule.target(statuses)) and (rule.trigger == AMEND or not holds(statuses))

    def facts_of(self, trigger: str) -> frozenset[str]:
        """Return the names of the facts that a trigger accepts."""
        return self._facts_of[trigger]

    def checked_facts(self, trigger: str, facts: Mapping[str, object]) -> dict[str, Fact]:
        """Check the facts of a trigger.

        Raises:
            InvalidInput: if the trigger does not accept a fact, or its value is not valid.
        """
        return validation.facts(facts, self._facts_of[trigger], trigger, self._checks_of[trigger])

    def ledger_of(self, trigger: str) -> PaymentKind | None:
        """Return the kind of ledger row that a trigger records, if any."""
        return self._rules_of[trigger][0].ledger

    def goods_of(self, trigger: str) -> GoodsKind | None:
        """Return the kind of shipment that a trigger records, if any."""
        return self._rules_of[trigger][0].goods

    def trigger_of(self, kind: str) -> str | None:
        """Return the trigger that records a kind of ledger row, if any."""
        return next((rule.trigger for rule in self.rules if rule.ledger == kind), None)

    def holds(self, state: str) -> bool:
        """Return whether an order holds its stock in a state."""
        return state in self._holding or (state not in self._known_states and self._holds(state))

    def counts_in(self, state: str) -> bool:
        """Return whether an order counts in totals in a state."""
        return state in self._counting or (state not in self._known_states and self._counts(state))

    def queues_of(self, state: str) -> list[str]:
        """Return the queues of a state, without `LEDGER_QUEUES`."""
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
        """Return a new workflow with further statuses and rules.

        Args:
            statuses: the statuses to add after the present ones.
            rules: the rules to add after the present ones.
            forbids: by trigger of the present rules, the statuses that now also forbid it.
            holds_stock, counts: the conditions that replace the present ones, if given.
            queues: the queues to add. They replace present queues of the same name.

        Raises:
            InvalidInput: if an argument has the wrong type.
            WorkflowError: if the new workflow has faults. See `Workflow`.
        """
        if forbids is not None and not isinstance(forbids, Mapping):
            raise InvalidInput(f"forbids must be a dict such as {{'pay': {{'paid'}}}}, not {validation.shown(forbids)}")
        closed = {trigger: validation.names(names, "forbids") for trigger, names in (forbids or {}).items()}
        unknown = closed.keys() - set(self.triggers)
        if unknown:
            raise WorkflowError(
                f"forbids names the trigger {trigger!r}, and no rule has that trigger" for trigger in sorted(unknown)
            )
        new_statuses, new_rules = _all(Status, statuses, "statuses"), _all(Rule, rules, "rules")
        present = (evolve(rule, forbids=rule.forbids | closed.get(rule.trigger, frozenset())) for rule in self.rules)
        return Workflow(
            (*self.statuses, *new_statuses),
            (*present, *new_rules),
            holds_stock=self.holds_stock if holds_stock is None else holds_stock,
            counts=self.counts if counts is None else counts,
            queues={**self.queues, **({} if queues is None else _queues(queues))},
        )

    def translated(
        self, labels: Mapping[str, str] | None = None, customer_labels: Mapping[str, str] | None = None
    ) -> Workflow:
        """Return the same workflow with other labels of its statuses.

        Labels change no rule and no fingerprint, so workflows in several languages may share one store.

        Args:
            labels: by the name of a status, its label for the owner and the customer.
            customer_labels: by the name of a status, its label for the customer, if it differs.

        Raises:
            InvalidInput: if the workflow lacks a status, or a label is not valid.
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
        """Return the sets of statuses that the rules reach, breadth first.

        The search stops beyond the limit.
        """
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
    """Return the checks for the facts that the engine reads."""
    money = {} if rule.ledger is None else validation.MONEY_CHECKS
    return money if rule.goods is None else {**money, **GOODS_CHECKS}


def _row_content(rule: Rule) -> list[object]:
    sets = (rule.needs, rule.needs_any, rule.forbids, rule.adds, rule.drops, rule.facts)
    guards = [[guard.code, guard.policy] for guard in rule.guards]
    return [rule.trigger, *map(sorted, sets), guards, rule.ledger, rule.announces, rule.lapses, rule.goods]


def _when_content(when: When) -> list[list[str]]:
    return [sorted(when.has), sorted(when.lacks), sorted(when.has_any)]


def _not_instead_of(earlier: Sequence[Rule]) -> Guard:
    """Return a guard that fails if one of these rules fails for missing stock alone."""
    others = [[guard for guard in rule.guards if guard is not STOCK_SUFFICES] for rule in earlier]

    def holds(order: Order, facts: Facts) -> bool:
        return not facts["shortages"] or not any(all(one.holds(order, facts) for one in guards) for guards in others)

    return Guard(STOCK_SUFFICES.code, STOCK_SUFFICES.message, holds)


def check_workflow(value: object) -> None:
    """Check an argument that must be a workflow.

    Raises:
        InvalidInput: if it is not a Workflow.
    """
    if not isinstance(value, Workflow):
        hint = ": call it, as in shop_workflow()" if callable(value) else ""
        raise InvalidInput(f"workflow must be a Workflow, not {validation.shown(value)}{hint}")


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

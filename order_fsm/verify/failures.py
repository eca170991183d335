"""Failures of claims: the shortest path, and the rows to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from attrs import frozen

from order_fsm.model import Order, When, statuses_of
from order_fsm.rules.rule import Edge, Guard, Rule
from order_fsm.rules.workflow import Workflow

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@frozen(eq=False)
class Failure:
    """A claim that does not hold, with the shortest path that shows it.

    Attributes:
        claim: the claim.
        state: the name of the state that shows the failure. For a claim about a trigger, the state in which it fires.
        path: the triggers that lead from an unfinished order to that state, then the one that should not fire, if any.
        steps: the same, each with its row of the table, its facts, and the state after it.
        hints: the rows to check, and the conditions that they lack.
    """

    claim: object
    state: str
    path: tuple[str, ...]
    steps: tuple[str, ...]
    hints: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"fails: {self.claim}", f"  state: {self.state}"]
        lines += [f"  {number}. {step}" for number, step in enumerate(self.steps, start=1)]
        lines += [f"  check {hint}" for hint in self.hints]
        return "\n".join(lines)


def along(claim: object, state: str, edges: Sequence[Edge], hints: Iterable[str]) -> Failure:
    """Return the failure that a path of edges shows."""
    width = max((len(edge.rule.trigger) for edge in edges), default=0)
    steps = (
        f"{edge.rule.trigger:<{width}}  {f'(row {edge.row})':<8}  -> {edge.target}{_override(claim, edge)}"
        for edge in edges
    )
    return Failure(claim, state, tuple(edge.rule.trigger for edge in edges), tuple(steps), tuple(hints))


def _override(claim: object, edge: Edge) -> str:
    """Return the policy guards that only an override passes. A guard that the claim names is never overridden."""
    known = getattr(claim, "guards", {})
    codes = [guard.code for guard in edge.guards if guard.policy and guard.code not in known and _fails(guard, edge)]
    return f"  (with an override of {', '.join(codes)})" if codes else ""


def _fails(guard: Guard, edge: Edge) -> bool:
    """Return whether a guard fails for an order in the state from which a rule is taken, without money and facts."""
    order = Order(
        id="order",
        state=edge.source,
        counted=edge.counted,
        version=1,
        total=Decimal(1),
        currency="GBP",
        lines=(),
        customer=None,
        email=None,
        payments=(),
        created_at=_NOW,
        updated_at=_NOW,
    )
    try:
        return not guard.holds(order, {"comment": "", "shortages": (), "amount": Decimal(1), "currency": "GBP"})
    except Exception:  # A guard of the shop may need facts.
        return False


def named(row: int, rule: Rule) -> str:
    """Return the name of a rule in failures."""
    return f"row {row} ({rule.trigger})"


def lacking(edge: Edge, when: When) -> list[str]:
    """Return the conditions that would close a rule in a state.

    Args:
        edge: the rule, and the state in which it was taken.
        when: the condition on states in which the rule must not be open.
    """
    statuses = statuses_of(edge.source)
    rule = edge.rule
    forbid = sorted((when.has & statuses) - rule.needs)
    need = sorted(when.lacks - statuses - rule.forbids - rule.adds)
    lacks = [f"does not forbid {name}" for name in forbid] + [f"does not need {name}" for name in need]
    where = f"{named(edge.row, rule)}, open in state {edge.source}"
    return [f"{where}: it {' and '.join(lacks)}" if lacks else where]


def closed(workflow: Workflow, state: str, rows: Iterable[int]) -> list[str]:
    """Return why rules are not open in a state.

    Args:
        workflow: has the rules.
        state: the name of the state.
        rows: the numbers of the rules in the table, from 1.
    """
    hints: list[str] = []
    for row in rows:
        rule = workflow.rules[row - 1]
        reasons = "; ".join(reason.message for reason in rule.unmet(statuses_of(state)))
        why = f"closed there: {reasons}" if reasons else "open there, and never taken or leading elsewhere"
        hints.append(f"{named(row, rule)}, {why}")
    return hints


def rows_that(workflow: Workflow, *, add: Iterable[str] = (), drop: Iterable[str] = ()) -> list[int]:
    """Return the numbers of the rules that tick a status of `add` or untick one of `drop`."""
    adds, drops = frozenset(add), frozenset(drop)
    return [row for row, rule in enumerate(workflow.rules, start=1) if rule.adds & adds or rule.drops & drops]

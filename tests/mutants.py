"""All small mistakes in a table of rules: one item dropped, added or changed in one row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, get_args

from attrs import evolve

from order_fsm import Rule, Workflow
from order_fsm.model import GoodsKind, PaymentKind

PARTS = ("needs", "needs_any", "forbids", "adds", "drops")
Mutant = tuple[str, Sequence[Rule]]
"""The label of the change, and the changed rows."""


def mutants_of(workflow: Workflow, row: int) -> Iterator[Mutant]:
    """Yield each mutant that differs from a workflow in one row, given by its number from 1."""
    rule = workflow.rules[row - 1]
    for label, other in (*_statuses(workflow, rule), *_guards(workflow, rule), *_rest(workflow, rule)):
        yield f"{row} {rule.trigger}: {label}", _with(workflow, row, [other])
    yield f"{row} {rule.trigger}: left out", _with(workflow, row, [])


def mutants_of_the_whole(workflow: Workflow) -> Iterator[Mutant]:
    """Yield each mutant of several rows: two rows of a trigger swapped, or another ledger kind of a trigger."""
    rows = list(enumerate(workflow.rules, start=1))
    for trigger in workflow.triggers:
        for (first, one), (second, other) in pairwise((row, rule) for row, rule in rows if rule.trigger == trigger):
            swapped = [*workflow.rules]
            swapped[first - 1], swapped[second - 1] = other, one
            yield f"{first} and {second} {trigger}: in the other order", swapped
        for kind in {*get_args(PaymentKind), None} - {workflow.ledger_of(trigger)}:
            changed = [evolve(rule, ledger=kind) if rule.trigger == trigger else rule for rule in workflow.rules]
            yield f"{trigger}: ledger={kind}", changed
        for goods in {*get_args(GoodsKind), None} - {workflow.goods_of(trigger)}:
            changed = [evolve(rule, goods=goods) if rule.trigger == trigger else rule for rule in workflow.rules]
            yield f"{trigger}: goods={goods}", changed


def _with(workflow: Workflow, row: int, instead: Sequence[Rule]) -> list[Rule]:
    return [*workflow.rules[: row - 1], *instead, *workflow.rules[row:]]


def _statuses(workflow: Workflow, rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Yield statuses with one added, dropped or replaced."""
    names = {status.name for status in workflow.statuses}
    for part in PARTS:
        present: frozenset[str] = getattr(rule, part)
        missing = sorted(names - present)
        for name in sorted(present):
            yield f"{part} without {name}", _evolved(rule, part, present - {name})
            for other in missing:
                yield f"{part} with {other} for {name}", _evolved(rule, part, present - {name} | {other})
        for other in missing:
            yield f"{part} with {other}", _evolved(rule, part, present | {other})


def _evolved(rule: Rule, part: str, names: frozenset[str]) -> Rule:
    changed: dict[str, Any] = {part: names}
    return evolve(rule, **changed)


def _guards(workflow: Workflow, rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Yield guards with one added, dropped, replaced, or with the other policy flag."""
    numbers: dict[Any, str] = {}
    for other in workflow.rules:
        for guard in other.guards:
            if guard not in numbers:
                same = sum(known.code == guard.code for known in numbers)
                numbers[guard] = guard.code + "'" * same
    for place, guard in enumerate(rule.guards):
        before, after = rule.guards[:place], rule.guards[place + 1 :]
        yield f"guards without {numbers[guard]}", evolve(rule, guards=(*before, *after))
        flipped = evolve(guard, policy=not guard.policy)
        yield f"{numbers[guard]} policy={flipped.policy}", evolve(rule, guards=(*before, flipped, *after))
        for other in numbers:
            if other not in rule.guards:
                label = f"guards with {numbers[other]} for {numbers[guard]}"
                yield label, evolve(rule, guards=(*before, other, *after))
    for other in numbers:
        if other not in rule.guards:
            yield f"guards with {numbers[other]}", evolve(rule, guards=(*rule.guards, other))


def _rest(workflow: Workflow, rule: Rule) -> Iterator[tuple[str, Rule]]:
    for kind in {*get_args(PaymentKind), None} - {rule.ledger}:
        yield f"ledger={kind}", evolve(rule, ledger=kind)
    for goods in {*get_args(GoodsKind), None} - {rule.goods}:
        yield f"goods={goods}", evolve(rule, goods=goods)
    topics = {other.announces for other in workflow.rules} | {"order.updated", None}
    for topic in topics - {rule.announces}:
        yield f"announces={topic}", evolve(rule, announces=topic)

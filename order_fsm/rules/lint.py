"""Faults of a table of rules. Each finding is a sentence for the author of the table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from order_fsm.model import UNFINISHED, When
from order_fsm.rules.rule import Edge, Rule, Status

RESERVED_TRIGGERS = frozenset({"create", "comment", "save", "erase"})
"""Names of history entries that no rule makes."""

RESERVED_FACTS = frozenset(
    {"self", "order_id", "trigger", "key", "by", "comment", "visible", "notify", "override"}
    | {"shortages", "gateway", "outstanding", "online", "bound", "several"}
)


def misnamed(statuses: Sequence[Status], rules: Sequence[Rule], conditions: Mapping[str, When]) -> Iterator[str]:
    """Names that are unknown, taken twice, or reserved.

    Args:
        statuses: of the table.
        rules: of the table.
        conditions: all other places where statuses are named.
    """
    names = [status.name for status in statuses]
    for name in names:
        if names.count(name) > 1:
            yield f"status {name!r} is declared more than once"
        if "+" in name or name == UNFINISHED:
            yield f"status {name!r} cannot have this name: '+' and {UNFINISHED!r} are for names of states"
    used = {where: when.has | when.has_any | when.lacks for where, when in conditions.items()}
    for row, rule in enumerate(rules, start=1):
        label = _label(row, rule)
        used[label] = rule.needs | rule.needs_any | rule.forbids | rule.adds | rule.drops
        if rule.adds & rule.drops:
            yield f"{label} both adds and drops {_listed(rule.adds & rule.drops)}"
        if rule.facts & RESERVED_FACTS:
            yield f"{label} takes facts of reserved names: {_listed(rule.facts & RESERVED_FACTS)}"
        if rule.lapses and rule.ledger is not None:
            yield f"{label} ends credits, so it cannot record {rule.ledger} too"
    for where, mentioned in used.items():
        if unknown := mentioned - set(names):
            yield f"{where} names unknown statuses: {_listed(unknown)}"
    yield from _misnamed_triggers(statuses, rules)


def _misnamed_triggers(statuses: Sequence[Status], rules: Sequence[Rule]) -> Iterator[str]:
    kinds: dict[str, set[object]] = {}
    for rule in rules:
        kinds.setdefault(rule.trigger, set()).add("a refund of 0" if rule.lapses else rule.ledger)
    for status in statuses:
        for trigger in {status.tick, status.untick} - {None, *kinds}:
            yield f"status {status.name!r} is ticked or unticked by {trigger!r}, which no rule has"
    for trigger, ledgers in kinds.items():
        if trigger in RESERVED_TRIGGERS:
            yield f"trigger {trigger!r} is the name of another kind of history entry"
        if len(ledgers) > 1:
            yield f"the rules of {trigger!r} record different kinds of ledger rows"


def never_ticked(statuses: Sequence[Status], rules: Sequence[Rule]) -> Iterator[str]:
    """Yield statuses that no rule adds."""
    added = frozenset().union(*(rule.adds for rule in rules))
    for status in statuses:
        if status.name not in added:
            yield f"status {status.name!r} is never ticked: no rule adds it"


def never_fired(rules: Sequence[Rule], choices: Iterable[Sequence[Edge]]) -> Iterator[str]:
    """Rules that are never taken.

    Args:
        rules: of the table.
        choices: the edges of one trigger in one state, the first choice first; of every trigger and state.
    """
    reachable: set[int] = set()
    opened: set[int] = set()
    for edges in choices:
        opened |= {edge.row for edge in edges}
        for edge in edges:
            reachable.add(edge.row)
            if not edge.guards:
                # Nothing comes after it. Where that is unguarded too, `ambiguous` tells.
                reachable |= {other.row for other in edges if not other.guards}
                break
    for row, rule in enumerate(rules, start=1):
        if row not in opened:
            yield f"{_label(row, rule)} can never fire: no state that can be reached is open to it"
        elif row not in reachable:
            yield f"{_label(row, rule)} can never fire: wherever it is open, a rule before it is always taken"


def ambiguous(choices: Iterable[Collection[Edge]]) -> Iterator[str]:
    """Unguarded rules of one trigger that are open in one state; `choices` as in `never_fired`."""
    told: set[tuple[int, int]] = set()
    for edges in choices:
        unguarded = [edge for edge in edges if not edge.guards]
        for other in unguarded[1:]:
            first = unguarded[0]
            if (first.row, other.row) not in told:
                told.add((first.row, other.row))
                yield (
                    f"rules {first.row} and {other.row} ({first.rule.trigger}) are both open in state {first.source},"
                    " and no guard tells them apart"
                )


def _label(row: int, rule: Rule) -> str:
    return f"rule {row} ({rule.trigger})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

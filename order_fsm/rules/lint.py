"""Find faults in a table of rules.

Each finding is a sentence for the author of the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from order_fsm.model import UNFINISHED, When
from order_fsm.rules.rule import AMEND, Edge, Rule, Status

RESERVED_TRIGGERS = frozenset({"create", "comment", "save", "adopt", "resend", "migrate", "override", "erase"})
"""Names of history entries that no rule creates, and of other actions that need permission."""

RESERVED_FACTS = frozenset(
    {"self", "order_id", "trigger", "key", "by", "comment", "visible", "notify", "override"}
    | {"shortages", "gateway", "outstanding", "online", "bound", "several"}
    | {"goods_left", "pieces", "beyond"}
)


def misnamed(statuses: Sequence[Status], rules: Sequence[Rule], conditions: Mapping[str, When]) -> Iterator[str]:
    """Yield names that are unknown, used twice, or reserved.

    Args:
        statuses: the statuses of the table.
        rules: the rules of the table.
        conditions: all other conditions on statuses, by the name to report.
    """
    names = [status.name for status in statuses]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"status {name!r} is declared more than once"
        if "+" in name or name == UNFINISHED:
            yield f"status {name!r} cannot have this name: '+' and {UNFINISHED!r} are reserved for names of states"
    used = {where: when.has | when.has_any | when.lacks for where, when in conditions.items()}
    for row, rule in enumerate(rules, start=1):
        label = _label(row, rule)
        used[label] = rule.needs | rule.needs_any | rule.forbids | rule.adds | rule.drops
        if rule.adds & rule.drops:
            yield f"{label} both adds and drops {_listed(rule.adds & rule.drops)}"
        if rule.facts & RESERVED_FACTS:
            yield f"{label} accepts facts with reserved names: {_listed(rule.facts & RESERVED_FACTS)}"
        if rule.lapses and rule.ledger is not None:
            yield f"{label} ends credits, so it cannot record {rule.ledger} too"
    for where, mentioned in used.items():
        if unknown := mentioned - set(names):
            yield f"{where} names unknown statuses: {_listed(unknown)}"
    yield from _misnamed_triggers(statuses, rules)


def _misnamed_triggers(statuses: Sequence[Status], rules: Sequence[Rule]) -> Iterator[str]:
    kinds: dict[str, set[object]] = {}
    goods: dict[str, set[object]] = {}
    for rule in rules:
        kinds.setdefault(rule.trigger, set()).add("a refund of 0" if rule.lapses else rule.ledger)
        goods.setdefault(rule.trigger, set()).add(rule.goods)
    for status in statuses:
        for trigger in {status.tick, status.untick} - {None, *kinds}:
            yield f"status {status.name!r} is ticked or unticked by {trigger!r}, and no rule has that trigger"
        if AMEND in (status.tick, status.untick):
            yield f"status {status.name!r} cannot be ticked or unticked by {AMEND!r}: a form does not fire that trigger"
    for trigger, ledgers in kinds.items():
        if trigger in RESERVED_TRIGGERS:
            yield f"trigger {trigger!r} has a reserved name: another kind of entry or permission uses it"
        if trigger == AMEND and ledgers != {None}:
            yield f"the rules of {trigger!r} cannot record ledger rows: use Orders.amend(credited=...)"
        if len(ledgers) > 1:
            yield f"the rules of {trigger!r} record different kinds of ledger rows"
        if len(goods[trigger]) > 1:
            yield f"the rules of {trigger!r} record different kinds of shipments"


def never_ticked(statuses: Sequence[Status], rules: Sequence[Rule]) -> Iterator[str]:
    """Yield statuses that no rule adds."""
    added = frozenset().union(*(rule.adds for rule in rules))
    for status in statuses:
        if status.name not in added:
            yield f"status {status.name!r} is never ticked: no rule adds it"


def never_fired(rules: Sequence[Rule], choices: Iterable[Sequence[Edge]]) -> Iterator[str]:
    """Yield rules that never fire.

    Args:
        rules: the rules of the table.
        choices: for every trigger and state, the edges in the order in which they are tried.
    """
    reachable: set[int] = set()
    opened: set[int] = set()
    for edges in choices:
        opened |= {edge.row for edge in edges}
        for edge in edges:
            reachable.add(edge.row)
            if not edge.guards:
                # Later edges cannot fire. Unguarded ones count as reachable, because `ambiguous` reports them.
                reachable |= {other.row for other in edges if not other.guards}
                break
    for row, rule in enumerate(rules, start=1):
        if row not in opened:
            yield f"{_label(row, rule)} can never fire: it is open in no reachable state"
        elif row not in reachable:
            yield f"{_label(row, rule)} can never fire: an earlier rule always fires in its states"


def ambiguous(choices: Iterable[Collection[Edge]]) -> Iterator[str]:
    """Yield unguarded rules of one trigger that are open together.

    `choices` is as in `never_fired`.
    """
    reported: set[tuple[int, int]] = set()
    for edges in choices:
        unguarded = [edge for edge in edges if not edge.guards]
        for other in unguarded[1:]:
            first = unguarded[0]
            if (first.row, other.row) not in reported:
                reported.add((first.row, other.row))
                yield (
                    f"rules {first.row} and {other.row} ({first.rule.trigger}) are both open in state {first.source},"
                    " and no guard decides between them"
                )


def _label(row: int, rule: Rule) -> str:
    return f"rule {row} ({rule.trigger})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

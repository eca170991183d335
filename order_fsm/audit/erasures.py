"""Check erasures: blank values, values that must be blank, and steps that can no longer be judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from order_fsm.erasure import ERASE, personal_facts
from order_fsm.model import LASTING_FACTS, Entry, Finding, Order
from order_fsm.rules.rule import AMEND
from order_fsm.rules.workflow import Workflow


def last_erasure(entries: Sequence[Entry]) -> int:
    """Return the version of the last erasing entry, or 0."""
    return max((entry.version for entry in entries if entry.trigger == ERASE), default=0)


def erasures(order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield a finding for each value that vanished without an erasure, and for each that an erasure left."""
    last = last_erasure(entries)
    for entry in entries:
        if entry.version > last and entry.erased:
            message = f"entry {entry.version} lost its comment or facts, and no later entry erases them"
            yield Finding(order.id, "erased", message)
        elif entry.version < last and (entry.comment or personal_facts(entry.facts)):
            message = f"entry {entry.version} has a comment or facts that entry {last} erased"
            yield Finding(order.id, "erased", message)
    is_blank = order.customer is None and order.email is None and not order.data
    if last and not is_blank and not any(entry.trigger == AMEND for entry in entries[last:]):
        yield Finding(order.id, "erased", f"it has a customer, an email or data, which entry {last} erased")


def is_possible(workflow: Workflow, entry: Entry) -> bool:
    """Return whether a rule may have decided an entry whose values were erased.

    The erased values are the shop's own facts, and values that a guard of the shop may have read.
    """
    unknown_facts = entry.erased and workflow.facts_of(entry.trigger) - LASTING_FACTS
    if not unknown_facts and not _has_own_guards(workflow, entry.trigger):
        return False
    edges = workflow.edges_from(entry.state_before, entry.trigger)
    return any(edge.target == entry.state_after for edge in edges)


def _has_own_guards(workflow: Workflow, trigger: str) -> bool:
    tests = [guard.test for rule in workflow.rules_of(trigger) for guard in rule.guards]
    return any(not getattr(test, "__module__", "").startswith("order_fsm.") for test in tests)

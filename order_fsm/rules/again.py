"""Deciding again: what today's rules lead to from an order as it was before one of its entries."""

from __future__ import annotations

from collections.abc import Sequence

from order_fsm.errors import Refused
from order_fsm.model import Entry, Order
from order_fsm.rules.amendment import amended, order_as_of
from order_fsm.rules.decide import Decision, decide
from order_fsm.rules.request import Request
from order_fsm.rules.rule import AMEND
from order_fsm.rules.workflow import Workflow


def decided_again(
    workflow: Workflow, order: Order, history: Sequence[Entry], version: int, counting: Workflow | None = None
) -> Decision | Refused:
    """Decide an entry of a history again. Whether there was enough stock is not known, so it is assumed.

    Args:
        workflow: the rules. They have the trigger of the entry.
        order: now.
        history: all of its entries.
        version: of the entry, above 1.
        counting: the rules that say whether the order counted before the entry. By default the same.

    Raises:
        Exception: as a guard does.
    """
    entry = history[version - 1]
    then, facts = order_as_of(counting or workflow, order, history, version - 1), entry.facts
    if entry.trigger == AMEND:
        then = amended(then, facts)
    # An erased comment may have been the reason for the step.
    comment = "erased" if entry.erased else entry.comment
    request = Request(entry.trigger, entry.at, facts, entry.by, comment, override=entry.override)
    return decide(workflow, then, request)

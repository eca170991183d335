"""Decide a history entry again, under today's rules."""

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
    """Decide a history entry again, on the order as it was then.

    The history does not record the stock of that time, so the decision assumes enough stock.

    Args:
        workflow: the rules. They must have the trigger of the entry.
        order: the order as it is now.
        history: all entries of the order.
        version: the version of the entry, above 1.
        counting: the rules that determine whether the order counted before the entry. By default `workflow`.

    Raises:
        Exception: if a guard raises.
    """
    entry = history[version - 1]
    then, facts = order_as_of(counting or workflow, order, history, version - 1), entry.facts
    if entry.trigger == AMEND:
        then = amended(then, facts)
    # An erased comment may have been the reason for the step.
    comment = "erased" if entry.erased else entry.comment
    request = Request(entry.trigger, entry.at, facts, entry.by, comment, override=entry.override)
    return decide(workflow, then, request)

"""Rebuild messages from the history and the ledger of their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from order_fsm import validation
from order_fsm.errors import InvalidInput, Refused
from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.model import ADOPT, Entry, Message, Order
from order_fsm.orders.calls import UNMATCHED
from order_fsm.orders.messages import Topic, message_about, topics_of
from order_fsm.rules.again import decided_again
from order_fsm.rules.amendment import order_as_of
from order_fsm.rules.decide import Decision
from order_fsm.rules.workflow import Workflow
from order_fsm.validation import GATEWAY

DUE, UPDATED = "refund.due", "order.updated"


def rebuilt_message(workflow: Workflow, order: Order, history: Sequence[Entry], topic: str, at: datetime) -> Message:
    """Return the last message of a topic under a new id.

    The new id has the version of the same entry.

    Args:
        workflow: the rules.
        order: the order as it is now.
        history: all entries of the order.
        topic: the topic of the message.
        at: the time of the new message.

    Raises:
        InvalidInput: if the order never had such a message, or its history and ledger do not suffice to rebuild it. The
            error lists the topics that can be resent.
    """
    known: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for entry in reversed(history):
        for name, facts in _topics(workflow, order, history, entry):
            known.setdefault(name, (entry.version, facts))
    due = order.refund_due
    if due > 0:
        version, _ = known.get(DUE, (order.version, {}))
        known[DUE] = version, {"amount": due, "refund_due": due, "currency": order.currency}
    else:
        known.pop(DUE, None)
    if topic not in known:
        can = ", ".join(sorted(known)) or "(none)"
        hint = validation.did_you_mean(topic, known)
        raise InvalidInput(f"topic must be one that order {order.id!r} can resend: {can}; not {topic!r}{hint}")
    version, facts = known[topic]
    return message_about((topic, facts), order.id, version, 1, history[version - 1].state_after, at)


def _topics(workflow: Workflow, order: Order, history: Sequence[Entry], entry: Entry) -> Iterator[Topic]:
    """Yield the topics and facts of the messages about one entry.

    A message about stock cannot be rebuilt.
    """
    if entry.version == 1:
        return
    if entry.trigger == ADOPT:
        yield from _of_adoption(workflow, order, history, entry)
        return
    steps = _of_one_form(history, entry) if entry.notify else [entry]
    before = order_as_of(workflow, order, history, steps[0].version - 1)
    after = order_as_of(workflow, order, history, entry.version)
    decisions = [_decision(workflow, order, history, step) for step in steps]
    updated = [one for one in topics_of(before, after, decisions, ()) if one[0] == UPDATED]
    if len(steps) > 1:
        before, decisions = order_as_of(workflow, order, history, entry.version - 1), decisions[-1:]
    yield from (one for one in topics_of(before, after, decisions, ()) if one[0] != UPDATED)
    yield from updated


def _of_adoption(workflow: Workflow, order: Order, history: Sequence[Entry], entry: Entry) -> Iterator[Topic]:
    """Yield the message about money that an adoption made due back.

    One commit wrote all entries of the adoption, and the last one has the boxes.
    """
    if entry.version < len(history) and history[entry.version].trigger == ADOPT:
        return
    before, after = (order_as_of(workflow, order, history, version) for version in (1, entry.version))
    yield from (one for one in topics_of(before, after, [Decision(after, entry, None)], ()) if one[0] == DUE)


def _of_one_form(history: Sequence[Entry], entry: Entry) -> list[Entry]:
    """Return the entries of the commit that ends with an entry.

    The steps of a form differ only in their boxes and flags.
    """
    steps = [entry]
    for earlier in reversed(history[: entry.version - 1]):
        same = (earlier.at, earlier.by, earlier.comment, earlier.key) == (entry.at, entry.by, entry.comment, entry.key)
        # A step is also visible if its rule announces it.
        is_visible = earlier.visible and bool(earlier.comment)
        if not same or earlier.notify or is_visible or earlier.trigger in ("create", "comment", ADOPT):
            break
        steps.insert(0, earlier)
    return steps


def _decision(workflow: Workflow, order: Order, history: Sequence[Entry], entry: Entry) -> Decision:
    """Return the decision of an entry.

    It has the edge of the table if today's rules lead to the same state.
    """
    after = order_as_of(workflow, order, history, entry.version)
    if workflow.rules_of(entry.trigger):
        again = decided_again(workflow, order, history, entry.version)
        if not isinstance(again, Refused) and again.entry.state_after == entry.state_after:
            return Decision(after, entry, again.edge)
    facts = entry.facts
    # The entry notes money of a gateway that no ledger covers.
    is_money = facts.get("kind") in PAYMENT_KINDS and bool(facts.get("amount"))
    is_unmatched = entry.by == GATEWAY and is_money and "reasons" in facts
    paid = "paid" in entry.after - entry.before and after.held_online > 0
    return Decision(after, entry, None, UNMATCHED if is_unmatched else "order.paid" if paid else None)

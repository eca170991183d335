"""Checks of one order against its history, its ledger and the rules. Reads no store. Each function yields findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from order_fsm.errors import OrderFsmError, Refused
from order_fsm.model import ADOPT, UNFINISHED, Entry, Finding, Order, Payment, invoiced_by_payment
from order_fsm.money import ZERO
from order_fsm.rules.adoption import adopted_again, placed_at
from order_fsm.rules.again import decided_again
from order_fsm.rules.amendment import PARTS, difference, order_as_of, unlike_history
from order_fsm.rules.rule import AMEND
from order_fsm.rules.workflow import Workflow

OWN_TRIGGERS = frozenset({"create", "comment", "migrate", "resend", ADOPT})
"""Triggers of entries that no rule makes."""

_RECORDS = {AMEND: "credited", ADOPT: "kind"}
"""By trigger, the fact of an entry that records a payment."""


def findings(workflow: Workflow, order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield all faults of an order.

    Args:
        workflow: the rules to judge it by.
        order: the order now.
        entries: its history.
    """
    broken = [*_history(order, entries), *_fold(order, entries)]
    yield from broken
    if broken:
        return  # The other checks would repeat it.
    first = _first_judged(workflow, entries)
    yield from _ledger(workflow, order, entries, first)
    if not workflow.has_state(order.state):
        message = f"the workflow has no state {order.state!r}: it was committed under other rules; see Orders.migrate"
        yield Finding(order.id, "unknown_state", message)
        return
    if order.counted != workflow.counts_in(order.state):
        rules_say = "does not count" if order.counted else "counts"
        yield Finding(order.id, "counted", f"by the rules it {rules_say} in totals")
    if (order.reserved is not None) != (bool(order.lines) and workflow.holds(order.state)):
        rules_say = "does not hold" if order.reserved is not None else "holds"
        yield Finding(order.id, "reserved", f"by the rules it {rules_say} stock")
    yield from _steps(workflow, order, entries, first)


def _history(order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Versions are dense from 1, and each entry begins where the one before it ended."""
    state = UNFINISHED
    for version, entry in enumerate(entries, 1):
        if entry.version != version:
            yield Finding(order.id, "history", f"entry {version} says that it is entry {entry.version}")
        if entry.state_before != state:
            message = f"entry {version} begins in {entry.state_before!r}, and the one before it led to {state!r}"
            yield Finding(order.id, "history", message)
        state = entry.state_after


def _fold(order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """The order is what its history leads to."""
    if not entries:
        yield Finding(order.id, "fold", "it has no history")
        return
    last = entries[-1]
    for what, says, led in (
        ("state", order.state, last.state_after),
        ("version", order.version, len(entries)),
        ("time of creation", order.created_at, entries[0].at),
        ("time of change", order.updated_at, last.at),
        ("mark of an invoice by payment", order.invoiced_by_payment, invoiced_by_payment(entries)),
    ):
        if says != led:
            yield Finding(order.id, "fold", f"its {what} is {says}, by its history {led}")
    # Without the values: they may be personal.
    for part, version in unlike_history(order, entries):
        yield Finding(order.id, "fold", f"its {part} is not that of the amendment in entry {version}")


def _first_judged(workflow: Workflow, entries: Sequence[Entry]) -> int:
    """The number of entries that the table does not judge: up to the last that names what is not in it, or that says
    that the order was moved to this table."""
    judged = 0
    for entry in entries:
        known = entry.trigger in OWN_TRIGGERS or workflow.rules_of(entry.trigger)
        states_known = workflow.has_state(entry.state_before) and workflow.has_state(entry.state_after)
        if not known or not states_known or (entry.trigger == "migrate" and not workflow.rules_of("migrate")):
            judged = entry.version
    return judged


def _ledger(workflow: Workflow, order: Order, entries: Sequence[Entry], first: int) -> Iterator[Finding]:
    """Each payment is what an entry records, and each entry that records one has it."""
    recorded: dict[int, int] = {}
    for number, payment in enumerate(order.payments, 1):
        recorded[payment.version] = recorded.get(payment.version, 0) + 1
        if number > 1 and payment.version < order.payments[number - 2].version:
            yield Finding(order.id, "ledger", f"payment {number} stands behind a later one")
        if not 1 <= payment.version <= len(entries):
            yield Finding(order.id, "ledger", f"payment {number} is of entry {payment.version}, which is not there")
            continue
        entry = entries[payment.version - 1]
        differs = _differs(workflow, payment, entry)
        if differs:
            message = f"payment {number} and entry {entry.version}, which records it, differ in {', '.join(differs)}"
            yield Finding(order.id, "ledger", message)
    for entry in entries[first:]:
        rules = workflow.rules_of(entry.trigger)
        least = 1 if (rules and rules[0].ledger is not None) or _RECORDS.get(entry.trigger) in entry.facts else 0
        most = 1 if rules and rules[0].lapses else least
        there = recorded.get(entry.version, 0)
        if not least <= there <= most:
            message = f"entry {entry.version} ({entry.trigger}) records {most} payments, the ledger has {there} of it"
            yield Finding(order.id, "ledger", message)


def _differs(workflow: Workflow, payment: Payment, entry: Entry) -> list[str]:
    """Return the columns of a payment that its entry contradicts."""
    facts = entry.facts
    kind = workflow.ledger_of(entry.trigger) if workflow.rules_of(entry.trigger) else facts.get("kind")
    pairs = {
        "kind": (payment.kind, payment.kind if kind is None else kind),
        # A row of 0 moves no money: it identifies a payment, or ends a credit.
        "amount": (payment.amount, facts.get("amount") if payment.amount else ZERO),
        "currency": (payment.currency, facts.get("currency", payment.currency)),
        "reference": (payment.reference, facts.get("reference", payment.reference)),
        "transaction_id": (payment.transaction_id, facts.get("transaction_id", payment.transaction_id)),
        "time": (payment.at, entry.at),
    }
    return [name for name, (one, other) in pairs.items() if one != other]


def _steps(workflow: Workflow, order: Order, entries: Sequence[Entry], first: int) -> Iterator[Finding]:
    """Each step is one that the table takes: from the state, with the money that was there, for what was asked.

    Whether there was enough stock is not known afterwards, so it is assumed.
    """
    yield from _adoption(workflow, order, entries, first)
    for entry in entries[first:]:
        if entry.trigger == ADOPT:
            continue
        if entry.trigger in OWN_TRIGGERS and not workflow.rules_of(entry.trigger):
            if entry.state_after != entry.state_before or (entry.trigger == "create") != (entry.version == 1):
                yield Finding(order.id, "rule", f"entry {entry.version} ({entry.trigger}) is no step of the library")
        elif entry.version == 1:
            yield Finding(order.id, "rule", f"the history begins with {entry.trigger} and not with create")
        else:
            led = _led(workflow, order, entries, entry)
            if led != entry.state_after:
                message = (
                    f"entry {entry.version}: {entry.trigger} led from {entry.state_before} to {entry.state_after};"
                    f" by the rules {led}"
                )
                yield Finding(order.id, "rule", message)


def _led(workflow: Workflow, order: Order, history: Sequence[Entry], entry: Entry) -> str:
    """Return the state to which the rules lead, or why they do not, or why the ledger is another one than theirs."""
    if entry.trigger == AMEND and not _amends(order_as_of(workflow, order, history, entry.version - 1), entry):
        return "it changes other parts than it says"
    try:
        decision = decided_again(workflow, order, history, entry.version)
    except OrderFsmError as error:
        return f"it cannot be: {error}"
    except Exception as error:
        # A guard of the shop: its error is about one order.
        return f"it is unknown: a guard raised {type(error).__name__}"
    if isinstance(decision, Refused):
        return "it is refused: " + ", ".join(reason.code for reason in decision.reasons)
    rows = tuple(payment for payment in order.payments if payment.version == entry.version)
    before = sum(payment.version < entry.version for payment in order.payments)
    if decision.order.payments[before:] != rows:
        return f"{decision.order.state}, with another row in the ledger"
    return decision.order.state


def _amends(then: Order, entry: Entry) -> bool:
    """Return whether an amendment says what the parts were that it changes, and changes them."""
    facts = entry.facts
    wanted = {name: value for name, value in facts.items() if not name.endswith("_before")}
    return bool(facts) and wanted.keys() <= set(PARTS) and difference(then, wanted) == facts


def _adoption(workflow: Workflow, order: Order, entries: Sequence[Entry], first: int) -> Iterator[Finding]:
    """An adoption follows the creation, and its boxes and payments agree."""
    adopting = [entry for entry in entries if entry.trigger == ADOPT]
    if not adopting or adopting[-1].version <= first:
        return
    fault = None
    if [entry.version for entry in adopting] != list(range(2, len(adopting) + 2)):
        fault = "its entries do not follow the creation"
    else:
        try:
            placed_at(adopting[-1])
            then = adopted_again(workflow, order_as_of(workflow, order, entries, 1), adopting)
        except (LookupError, ValueError) as error:  # InvalidInput is a ValueError.
            fault = str(error)
        else:
            rows = tuple(payment for payment in order.payments if payment.version <= then.version)
            if (then.state, then.payments) != (adopting[-1].state_after, rows):
                fault = f"it leads to {then.state}, or to another ledger"
    if fault is not None:
        yield Finding(order.id, "rule", f"the adoption cannot be: {fault}")

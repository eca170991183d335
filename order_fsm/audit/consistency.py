"""Check one order against its history, its ledger and the rules, without a store.

Each function yields findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from order_fsm.audit.erasures import erasures, is_possible, last_erasure
from order_fsm.errors import OrderFsmError, Refused
from order_fsm.goods import less
from order_fsm.model import (
    ADOPT,
    UNFINISHED,
    Entry,
    Finding,
    Order,
    Payment,
    Shipment,
    invoiced_by_payment,
    placed_at,
    placing_of,
    quantities_of,
)
from order_fsm.money import ZERO
from order_fsm.rules.adoption import adopted_again
from order_fsm.rules.again import decided_again
from order_fsm.rules.amendment import PARTS, difference, order_as_of, unlike_history
from order_fsm.rules.rule import AMEND
from order_fsm.rules.workflow import Workflow

OWN_TRIGGERS = frozenset({"create", "comment", "migrate", "resend", "erase", ADOPT})
"""Triggers of entries that the library itself adds."""

_RECORDS = {AMEND: "credited", ADOPT: "kind"}
"""By trigger, the fact of an entry that records a payment."""


class Tables:
    """The current and earlier tables of a shop. Each entry is judged by the table that decided it."""

    def __init__(self, workflow: Workflow, earlier: Iterable[Workflow] = ()) -> None:
        """Take the tables.

        Args:
            workflow: the current rules.
            earlier: earlier rules.
        """
        self.today = workflow
        self._by_fingerprint = {table.fingerprint: table for table in (*earlier, workflow)}

    def of(self, entry: Entry) -> Workflow | None:
        """Return the table that decided an entry, or None if it is unknown."""
        return None if entry.rules_fingerprint is None else self._by_fingerprint.get(entry.rules_fingerprint)

    def unjudged(self, entries: Iterable[Entry]) -> int:
        """Return the number of entries that unknown rules decided."""
        return sum(not _is_own(entry) and self.of(entry) is None for entry in entries)


def findings(tables: Tables, order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield all faults of an order.

    Args:
        tables: the rules that judge the order.
        order: the order now.
        entries: its history.
    """
    broken = [*_history(order, entries), *_fold(order, entries)]
    yield from broken
    if broken:
        return  # Other checks would repeat this fault.
    yield from erasures(order, entries)
    yield from _ledger(tables, order, entries)
    yield from _shipments(order, entries)
    yield from _under(tables.today, order)
    yield from _steps(tables, order, entries)


def _under(workflow: Workflow, order: Order) -> Iterator[Finding]:
    """Check the order against the current rules."""
    if not workflow.has_state(order.state):
        message = f"the rules have no state {order.state!r}: other rules committed it, see Orders.migrate"
        yield Finding(order.id, "unknown_state", message)
        return
    if order.counted != workflow.counts_in(order.state):
        rules_say = "does not count" if order.counted else "counts"
        yield Finding(order.id, "counted", f"by the rules it {rules_say} in totals")
    if (order.reserved is not None) != (bool(order.lines) and workflow.holds(order.state)):
        rules_say = "does not hold" if order.reserved is not None else "holds"
        yield Finding(order.id, "reserved", f"by the rules it {rules_say} stock")


def _is_own(entry: Entry) -> bool:
    """Return whether the library itself added an entry. A shop may have a rule with the same name."""
    return entry.trigger in OWN_TRIGGERS and entry.rules_fingerprint is None


def _history(order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Check that versions are dense from 1 and each entry starts in the state that the previous one led to."""
    state = UNFINISHED
    for version, entry in enumerate(entries, 1):
        if entry.version != version:
            yield Finding(order.id, "history", f"entry {version} has the version {entry.version}")
        if entry.state_before != state:
            message = f"entry {version} starts in {entry.state_before!r}, and the previous one led to {state!r}"
            yield Finding(order.id, "history", message)
        state = entry.state_after


def _fold(order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Check that the order is the result of its history."""
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
        ("time of placing", order.placed_at, _placed(order, entries)),
    ):
        if says != led:
            yield Finding(order.id, "fold", f"its {what} is {says}, and by its history {led}")
    # The values may be personal.
    for part, version in unlike_history(order, entries):
        yield Finding(order.id, "fold", f"its {part} differs from the amendment in entry {version}")


def _placed(order: Order, entries: Sequence[Entry]) -> datetime | None:
    """Return the time of placing by the history. A damaged adoption has its own finding."""
    try:
        return placed_at(entries)
    except (LookupError, ValueError):
        return order.placed_at


def _shipments(order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Check each shipment against its entry, and the pieces that it drew from stock."""
    for number, row in enumerate(order.shipments, 1):
        entry = entries[row.version - 1] if 1 <= row.version <= len(entries) else None
        pieces = quantities_of(row.lines)
        if number > 1 and row.version < order.shipments[number - 2].version:
            yield Finding(order.id, "goods", f"shipment {number} comes after a later one")
        if entry is None or entry.at != row.at or entry.facts.get("items", row.lines) != row.lines:
            yield Finding(order.id, "goods", f"shipment {number} differs from entry {row.version}, which records it")
        elif any(drawn > pieces.get(sku, 0) for sku, drawn in quantities_of(row.drawn).items()):
            yield Finding(order.id, "goods", f"shipment {number} drew more pieces from stock than it has")
    if less(quantities_of(order.reserved or ()), order.to_ship):
        yield Finding(order.id, "goods", "it holds more pieces than it has left to ship")


def _ledger(tables: Tables, order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Check each payment against its entry, and each entry against its payment."""
    recorded: dict[int, int] = {}
    for number, payment in enumerate(order.payments, 1):
        recorded[payment.version] = recorded.get(payment.version, 0) + 1
        if number > 1 and payment.version < order.payments[number - 2].version:
            yield Finding(order.id, "ledger", f"payment {number} comes after a later one")
        if not 1 <= payment.version <= len(entries):
            yield Finding(order.id, "ledger", f"payment {number} is of entry {payment.version}, which does not exist")
            continue
        entry = entries[payment.version - 1]
        differs = _differs(tables.of(entry), payment, entry)
        if differs:
            message = f"payment {number} and entry {entry.version}, which records it, differ in {', '.join(differs)}"
            yield Finding(order.id, "ledger", message)
    for entry in entries:
        table = tables.of(entry)
        if table is None and not _is_own(entry):
            continue
        rules = () if table is None else table.rules_of(entry.trigger)
        least = 1 if (rules and rules[0].ledger is not None) or _RECORDS.get(entry.trigger) in entry.facts else 0
        most = 1 if rules and rules[0].lapses else least
        there = recorded.get(entry.version, 0)
        if not least <= there <= most:
            message = (
                f"entry {entry.version} ({entry.trigger}) records {most} payments, and the ledger has {there} of them"
            )
            yield Finding(order.id, "ledger", message)


def _differs(table: Workflow | None, payment: Payment, entry: Entry) -> list[str]:
    """Return the columns of a payment that its entry contradicts."""
    facts = entry.facts
    is_ruled = table is not None and table.rules_of(entry.trigger)
    kind = table.ledger_of(entry.trigger) if table is not None and is_ruled else facts.get("kind")
    pairs = {
        "kind": (payment.kind, payment.kind if kind is None else kind),
        # A row of 0 moves no money. It identifies a payment or ends a credit.
        "amount": (payment.amount, facts.get("amount") if payment.amount else ZERO),
        "currency": (payment.currency, facts.get("currency", payment.currency)),
        "reference": (payment.reference, facts.get("reference", payment.reference)),
        "transaction_id": (payment.transaction_id, facts.get("transaction_id", payment.transaction_id)),
        "time": (payment.at, entry.at),
    }
    return [name for name, (one, other) in pairs.items() if one != other]


def _steps(tables: Tables, order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Check that its table takes each step, with the state, money and request of that time.

    The stock of that time is unknown, so the check assumes that it sufficed.
    """
    adoption = list(_adoption(tables, order, entries))
    yield from adoption
    if adoption:
        return  # Later steps would repeat the fault.
    erased = last_erasure(entries)
    for entry in entries:
        table = tables.of(entry)
        if entry.trigger == ADOPT:
            continue
        if entry.version == 1 and entry.trigger != "create":
            yield Finding(order.id, "rule", f"the history starts with {entry.trigger}, not with create")
        elif _is_own(entry):
            moves = entry.state_after != entry.state_before and entry.trigger != "migrate"
            if moves or (entry.trigger == "create") != (entry.version == 1):
                yield Finding(order.id, "rule", f"entry {entry.version} ({entry.trigger}) is not a step of the library")
        elif table is not None:
            led = _led(table, tables, order, entries, entry)
            if led != entry.state_after and not (entry.version < erased and is_possible(table, entry)):
                message = (
                    f"entry {entry.version}: {entry.trigger} led from {entry.state_before} to {entry.state_after};"
                    f" by the rules: {led}"
                )
                yield Finding(order.id, "rule", message)


def _led(table: Workflow, tables: Tables, order: Order, history: Sequence[Entry], entry: Entry) -> str:
    """Return the state that the rules lead to, or the reason of a refusal, or the difference of the ledger."""
    if not table.rules_of(entry.trigger):
        return "there is no such trigger"
    previous = next((one for one in reversed(history[: entry.version - 1]) if one.trigger != "comment"), entry)
    # The table of the previous entry decides whether the order counted. A created or moved order has no table.
    counting = tables.of(previous) or table
    if entry.trigger == AMEND and not _amends(order_as_of(counting, order, history, entry.version - 1), entry):
        return "it changes other parts than it names"
    try:
        decision = decided_again(table, order, history, entry.version, counting)
    except OrderFsmError as error:
        return f"it is impossible: {error}"
    except Exception as error:
        # A guard of the shop raised. One order must not end the audit.
        return f"it is unknown: a guard raised {type(error).__name__}"
    if isinstance(decision, Refused):
        return "it is refused: " + ", ".join(reason.code for reason in decision.reasons)
    rows = tuple(payment for payment in order.payments if payment.version == entry.version)
    before = sum(payment.version < entry.version for payment in order.payments)
    if decision.order.payments[before:] != rows:
        return f"{decision.order.state}, with another row in the ledger"
    if decision.order.state == entry.state_after and _goods_of(decision.order, entry.version) != _goods_of(
        order, entry.version
    ):
        return f"{decision.order.state}, with other shipments"
    return decision.order.state


def _goods_of(order: Order, version: int) -> list[Shipment]:
    """Return the shipments that an entry recorded, without the pieces drawn from stock, which are unknown."""
    return [replace(row, drawn=()) for row in order.shipments if row.version == version]


def _amends(then: Order, entry: Entry) -> bool:
    """Return whether an amendment has the old values of the parts that it changes, and changes them."""
    facts = entry.facts
    wanted = {name: value for name, value in facts.items() if not name.endswith("_before")}
    return bool(facts or entry.erased) and wanted.keys() <= set(PARTS) and difference(then, wanted) == facts


def _adoption(tables: Tables, order: Order, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Check that an adoption follows the creation, and its boxes and payments agree by its own rules."""
    adopting = [entry for entry in entries if entry.trigger == ADOPT]
    if not adopting:
        return
    workflow = tables.of(adopting[-1])
    fault = None
    try:
        placing_of(adopting[-1])
    except (LookupError, ValueError) as error:
        fault = str(error)
    if [entry.version for entry in adopting] != list(range(2, len(adopting) + 2)):
        fault = "its entries do not follow the creation"
    elif fault is None and workflow is not None and workflow.has_state(adopting[-1].state_after):
        try:
            then = adopted_again(workflow, order_as_of(workflow, order, entries, 1), adopting)
        except (LookupError, ValueError) as error:  # InvalidInput is a ValueError.
            fault = str(error)
        else:
            rows = tuple(payment for payment in order.payments if payment.version <= then.version)
            goods = tuple(row for row in order.shipments if row.version <= then.version)
            if (then.state, then.payments, then.shipments) != (adopting[-1].state_after, rows, goods):
                fault = f"it leads to {then.state}, or to other ledgers"
    if fault is not None:
        yield Finding(order.id, "rule", f"the adoption is impossible: {fault}")

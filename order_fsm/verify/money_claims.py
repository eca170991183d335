"""Claims about the money and stock of an order under the shop's rules.

`goods_claims` has the claims about its goods.
"""

from __future__ import annotations

from order_fsm.ledger import HELD
from order_fsm.money import ZERO
from order_fsm.rules.rule import AMEND
from order_fsm.verify.asks import REASON
from order_fsm.verify.ledger import EveryChange, EveryOrder, EveryStep
from order_fsm.verify.worlds import Step, World

CHANGES = {
    "place": ("sent", "unplace"),
    "invoice": ("invoiced", "uninvoice"),
    "dispatch": ("dispatched", "undispatch"),
    "cancel": ("cancelled", "reinstate"),
    "expire": ("cancelled", "reinstate"),
}
"""By trigger, the box that it ticks and the trigger that unticks the box."""

UNDOING = ("unplace", "uninvoice", "undispatch", "reinstate")
MONEY_IN = ("pay", "refund_failed", "restore_payment")
MONEY_OUT = ("refund", "unpay")
SETTLED = {"paid", "invoiced"}
"""The boxes that the engine derives from the money."""


# Of every order


def _paid_is_covered(world: World) -> bool:
    order = world.order
    return not order.counted or ("paid" in order.statuses) == (not order.outstanding)


def _due_or_outstanding(world: World) -> bool:
    return not (world.order.refund_due and world.order.outstanding)


def _due_is_held(world: World) -> bool:
    order = world.order
    held = max(order.held, ZERO)
    return order.refund_due <= held and (order.counted or order.refund_due == held)


def _cancelled_returns_all(world: World) -> bool:
    order = world.order
    return "cancelled" not in order.statuses or (not order.outstanding and order.refund_due == max(order.held, ZERO))


def _money_is_on_sent_orders(world: World) -> bool:
    order = world.order
    return "sent" in order.statuses or not (order.held > 0 or order.unmatched)


def _returns_at_most_captured(world: World) -> bool:
    for row in world.order.payments:
        of_payment = [
            one for one in world.order.payments if (one.reference, one.currency) == (row.reference, row.currency)
        ]
        sums = {kind: sum((one.amount for one in of_payment if one.kind == kind), start=ZERO) for kind in HELD}
        if sums["reversed"] > sums["captured"] + sums["restored"] or sums["restored"] > sums["reversed"]:
            return False
        if row.reference is not None and sums["refunded"] > sums["captured"] + sums["refund_failed"]:
            return False
    return True


def _credit_is_not_negative(world: World) -> bool:
    return world.order.credited >= 0


def _invoice_mark_is_valid(world: World) -> bool:
    order = world.order
    lasts = {"paid", "dispatched", "cancelled"}
    return not order.invoiced_by_payment or ("invoiced" in order.statuses and not lasts.isdisjoint(order.statuses))


def _is_in_a_queue(world: World) -> bool:
    return bool(world.queues)


def _does_not_count(world: World) -> bool:
    statuses = world.order.statuses
    live = "sent" in statuses and "cancelled" not in statuses
    return live or not (world.order.counted or world.holds)


# Of every step


def _appends_one_entry(step: Step) -> bool:
    before, after = step.before, step.after
    if step.duplicate:
        return after.history is before.history
    entry = after.history[-1]
    return (
        after.history[:-1] == before.history
        and (entry.before, entry.after) == (before.order.statuses, after.order.statuses)
        and entry.version == after.order.version == len(after.history)
    )


def _refusal_changes_nothing(step: Step) -> bool:
    if step.refused is None:
        return True
    return bool(step.refused.reasons) and step.after.order is step.before.order and not step.messages


def _redelivery_changes_nothing(step: Step) -> bool:
    if len(step.before.order.payments) > 1:
        return True
    again = step.again()
    return again.duplicate and again.after is again.before and not again.messages


def _reference_counts_once(step: Step) -> bool:
    reference = step.ask.facts.get("reference")
    rows = step.before.order.payments
    seen = reference is not None and any(row.kind == "captured" and row.reference == reference for row in rows)
    return step.duplicate == seen and (not seen or step.after is step.before)


def _no_money_moves(step: Step) -> bool:
    return not step.recorded and step.after.order.held == step.before.order.held


def _reports_refund_due(step: Step) -> bool:
    rises = step.after.order.refund_due > step.before.order.refund_due
    fails = step.after.order.counted and any(kind == "refund_failed" for kind, _ in step.recorded) and not step.foreign
    return ("refund.due" in step.topics) == (rises or fails)


def _reports_shortages(step: Step) -> bool:
    takes = step.after.on_hand < step.before.on_hand
    return ("stock.short" in step.topics) == (takes and step.after.on_hand < 0)


def _waits_for_stock(step: Step) -> bool:
    return "stock.short" not in step.topics


def _payment_is_recorded(step: Step) -> bool:
    if step.duplicate:
        return not step.recorded
    amount = step.ask.facts.get("amount", step.before.order.outstanding)
    return step.recorded == ([("captured", amount)] if amount > 0 else [])


def _reports_online_payment(step: Step) -> bool:
    ticked = "paid" in step.after.order.statuses - step.before.order.statuses
    return ("order.paid" in step.topics) == (ticked and step.after.order.held_online > 0)


def _reports_part_payment(step: Step) -> bool:
    order = step.after.order
    part = bool(step.recorded) and not step.foreign and order.counted and order.outstanding > 0
    return ("payment.received" in step.topics) == part


def _reports_reversal(step: Step) -> bool:
    row = step.after.order.payments[-1]
    return ("payment.reversed" in step.topics) == (row.reference is not None)


def _reports_unmatched_money(step: Step) -> bool:
    before, after = step.before.order.unmatched, step.after.order.unmatched
    more = any(money > before.get(currency, ZERO) for currency, money in after.items())
    return ("payment.unmatched" in step.topics) == more


def _foreign_settles_nothing(step: Step) -> bool:
    before, after = step.before.order, step.after.order
    return not step.foreign or (before.held, before.credited) == (after.held, after.credited)


def _money_changes_its_boxes(step: Step) -> bool:
    before, after = step.before.order.statuses, step.after.order.statuses
    changed = (before ^ after) - ({"sent"} if step.ask.trigger == "pay" else set())
    return changed <= (set() if "cancelled" in before else SETTLED)


def _money_in_unticks_nothing(step: Step) -> bool:
    return step.before.order.statuses <= step.after.order.statuses


def _money_out_ticks_nothing(step: Step) -> bool:
    return step.after.order.statuses <= step.before.order.statuses


def _failed_refund_restores(step: Step) -> bool:
    before = step.before.order
    transaction_id = step.ask.facts.get("transaction_id")
    if transaction_id is None or "dispatched" in before.statuses or not _ticks_nothing_new(step):
        return True
    failed = step.then("refund_failed", transaction_id=transaction_id).after.order
    return (failed.held, failed.statuses, failed.outstanding) == (before.held, before.statuses, before.outstanding)


def _won_dispute_restores(step: Step) -> bool:
    before = step.before.order
    transaction_id = step.ask.facts.get("transaction_id")
    if transaction_id is None or not _ticks_nothing_new(step):
        return True
    won = step.then("restore_payment", transaction_id=transaction_id).after.order
    return (won.held, won.statuses, won.outstanding, won.refund_due) == (
        before.held,
        before.statuses,
        before.outstanding,
        before.refund_due,
    )


def _ticks_nothing_new(step: Step) -> bool:
    """Return whether ticking paid again cannot tick an invoice that did not exist before."""
    return "invoiced" in step.before.order.statuses or "paid" not in step.before.order.statuses


def _ticks_its_box(step: Step) -> bool:
    box, _ = CHANGES[step.ask.trigger]
    ticks = {box} - ({"dispatched"} if step.after.order.to_ship else set())
    free = {"paid"} if box == "sent" and not step.before.order.cost else set()
    return step.after.order.statuses == step.before.order.statuses | ticks | free


def _unticks_its_box(step: Step) -> bool:
    boxes = {box for box, undo in CHANGES.values() if undo == step.ask.trigger}
    settles = SETTLED if step.ask.trigger != "uninvoice" else set()
    return (step.before.order.statuses ^ step.after.order.statuses) - settles == boxes


def _is_undone(step: Step) -> bool:
    before = step.before.order
    if step.ask.trigger == "dispatch" and before.credited and before.held <= 0:
        return True  # The return of goods ends the credits of an order that holds no money.
    if step.after.order.part_dispatched:
        return True  # A part is taken back by `return_items`.
    undone = step.then(CHANGES[step.ask.trigger][1], REASON, override=True)
    if not undone.done:
        # Another buyer may have the returned pieces by now.
        return step.before.holds > step.after.holds and step.after.on_hand < step.before.holds
    after = undone.after.order
    same = (before.statuses, before.held, before.outstanding, before.refund_due, before.invoiced_by_payment) == (
        after.statuses,
        after.held,
        after.outstanding,
        after.refund_due,
        after.invoiced_by_payment,
    )
    # Pieces that were shipped earlier come back too.
    return same and (bool(before.shipments) or step.before.holds == undone.after.holds)


def _override_has_reason(step: Step) -> bool:
    return not step.overridden or (step.ask.override and bool(step.ask.comment))


def _queue_to_dispatch(step: Step) -> bool:
    if step.ask.override or step.ask.raced or "items" in step.ask.facts:
        return True
    return step.done == ("to_dispatch" in step.before.queues)


def _has_reason(step: Step) -> bool:
    return bool(step.ask.comment)


def _is_explained(step: Step) -> bool:
    return bool(step.ask.comment) or step.ask.gateway


def _no_money_captured(step: Step) -> bool:
    return all(row.kind != "captured" for row in step.before.order.payments)


def _changes_named_fields(step: Step) -> bool:
    before, after = step.before.order, step.after.order
    parts = {"lines": before.lines, "total": before.total, "credited": before.credited, **step.ask.facts}
    return all(getattr(after, name) == value for name, value in parts.items()) and after.held == before.held


def _amendment_settles(step: Step) -> bool:
    before, after = step.before.order, step.after.order
    boxes = {*SETTLED, "dispatched"} if before.counted else set()
    return (before.statuses ^ after.statuses) <= boxes


def _amendment_is_undone(step: Step) -> bool:
    """Return whether restoring the total restores the order. Only an invoice by payment may be new."""
    before = step.before.order
    if "total" not in step.ask.facts:
        return True
    after = step.then(AMEND, total=before.total).after.order
    invoice = {"invoiced"} if after.invoiced_by_payment and not before.invoiced_by_payment else set()
    return (before.statuses | invoice, before.held, before.outstanding, before.refund_due) == (
        after.statuses,
        after.held,
        after.outstanding,
        after.refund_due,
    )


def _no_money_recorded(step: Step) -> bool:
    return not any(row.amount for row in step.before.order.payments)


MONEY_AND_STOCK = (
    EveryOrder("a live order is paid if and only if nothing is outstanding", _paid_is_covered),
    EveryOrder("money is never due back and outstanding at once", _due_or_outstanding),
    EveryOrder("at most the money held is due back, and all of it if the order does not count", _due_is_held),
    EveryOrder("nothing is outstanding on a cancelled order, and all its money is due back", _cancelled_returns_all),
    EveryOrder("an order that holds money is sent", _money_is_on_sent_orders),
    EveryOrder("each payment returns at most its captured money, and restores at most the money that it returned", _returns_at_most_captured),
    EveryOrder("credits are never below zero", _credit_is_not_negative),
    EveryOrder("an invoice by payment lasts while the order is paid, dispatched or cancelled", _invoice_mark_is_valid),
    EveryOrder("every order is in at least one queue", _is_in_a_queue),
    EveryOrder("an order that is not sent, or is cancelled, holds no stock and does not count in totals", _does_not_count),
    EveryChange("a change adds one entry, which starts in the state that the previous entry led to", _appends_one_entry),
    EveryStep("a refused request changes nothing and has a reason", _refusal_changes_nothing),
    EveryChange("a redelivery under the same key changes nothing", _redelivery_changes_nothing),
    EveryChange("an override has a reason", _override_has_reason),
    EveryChange("a message reports a refund due if and only if more is due back or a refund of a live order fails", _reports_refund_due),
    EveryChange("a message reports missing stock if and only if an order takes it", _reports_shortages),
    EveryChange("a message reports unmatched money if and only if money in another currency arrives", _reports_unmatched_money),
    EveryChange("a message reports an order as paid if and only if it becomes paid with online money", _reports_online_payment),
    EveryChange("triggers of boxes move no money", _no_money_moves, of=(*CHANGES, *UNDOING)),
    EveryChange("only a payment takes stock that is missing", _waits_for_stock, of=("place", "reinstate", AMEND)),
    EveryStep("a payment reference counts once, however late its redelivery", _reference_counts_once, of=("pay",)),
    EveryStep("a payment above zero is always recorded, once", _payment_is_recorded, of=("pay",)),
    EveryChange("a message reports the outstanding money if and only if a live order was paid in part", _reports_part_payment, of=("pay",)),
    EveryChange("a message reports a reversal if and only if online money is reversed", _reports_reversal, of=("unpay",)),
    EveryChange("money in another currency settles nothing", _foreign_settles_nothing, of=(*MONEY_IN, *MONEY_OUT)),
    EveryChange("money changes only paid and invoiced, and no box of a cancelled order", _money_changes_its_boxes, of=(*MONEY_IN, *MONEY_OUT)),
    EveryChange("incoming money unticks no box", _money_in_unticks_nothing, of=MONEY_IN),
    EveryChange("outgoing money ticks no box", _money_out_ticks_nothing, of=MONEY_OUT),
    EveryChange("a failed refund restores the money and boxes from before the refund", _failed_refund_restores, of=("refund",)),
    EveryChange("a won dispute restores the money and boxes from before the dispute", _won_dispute_restores, of=("unpay",)),
    EveryChange("place, invoice, dispatch of all goods left, cancel and expire tick their box, and place ticks paid on a free order", _ticks_its_box, of=tuple(CHANGES)),
    EveryChange("the undoing triggers untick that box and settle paid and invoiced", _unticks_its_box, of=UNDOING),
    EveryChange("undoing these changes restores the order, except after a part shipment or if the stock is gone", _is_undone, of=tuple(CHANGES)),
    EveryStep("an order is in to_dispatch if and only if it can be dispatched without override", _queue_to_dispatch, of=("dispatch",)),
    EveryChange("undispatch has a reason", _has_reason, of=("undispatch",)),
    EveryChange("a reversal has a reason or comes from a gateway", _is_explained, of=("unpay",)),
    EveryChange("an amendment changes the fields that it names and moves no money", _changes_named_fields, of=(AMEND,)),
    EveryChange("an amendment changes only paid, invoiced and dispatched, and no box of an order that does not count", _amendment_settles, of=(AMEND,)),
    EveryChange("amending the total back restores money and boxes", _amendment_is_undone, of=(AMEND,)),
    EveryChange("an order with captured money is never unplaced", _no_money_captured, of=("unplace",)),
    EveryChange("an order with recorded money never expires", _no_money_recorded, of=("expire",)),
)  # fmt: skip
"""Claims about the money and stock of an order under every dispatch policy."""

"""What is true of the shop's own rules of an order with its money and stock, each in a sentence."""

from __future__ import annotations

from order_fsm.money import ZERO, minus
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
"""By trigger, the box that it ticks, and the trigger that unticks that."""

UNDOING = ("unplace", "uninvoice", "undispatch", "reinstate")


# Of every order


def _paid_is_covered(world: World) -> bool:
    order = world.order
    if not order.total:  # It is covered by nothing, and paid when somebody says so.
        return "paid" in order.statuses or order.received == 0
    return ("paid" in order.statuses) == (order.received >= order.total)


def _money_is_for_what_is_sent(world: World) -> bool:
    return world.order.received <= 0 or "sent" in world.order.statuses


def _nothing_is_reversed_twice(world: World) -> bool:
    return world.order.received >= 0


def _money_is_accounted_for(world: World) -> bool:
    order = world.order
    held = minus(minus(order.captured, order.reversed), order.refunded)
    may_keep = order.total if world.workflow.counts_in(order.state) else ZERO
    return order.refund_due == max(minus(held, may_keep), ZERO)


def _stands_in_a_queue(world: World) -> bool:
    return bool(world.queues)


def _leaves_totals(world: World) -> bool:
    statuses = world.order.statuses
    live = "sent" in statuses and "cancelled" not in statuses
    return live or not (world.order.counted or world.holds)


def _stock_is_constant(world: World) -> bool:
    return world.on_hand + world.holds + world.taken == 1


# Of every step


def _history_grows(step: Step) -> bool:
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
    seen = reference is not None and any(row.reference == reference for row in step.before.order.payments)
    return step.duplicate == seen and (not seen or step.after is step.before)


def _no_money_moves(step: Step) -> bool:
    return step.after.order.payments == step.before.order.payments


def _due_is_told(step: Step) -> bool:
    return step.after.order.refund_due <= step.before.order.refund_due or "refund.due" in step.topics


def _short_is_told(step: Step) -> bool:
    takes = step.after.holds > step.before.holds
    return ("stock.short" in step.topics) == (takes and step.after.on_hand < 0)


def _waits_for_stock(step: Step) -> bool:
    return "stock.short" not in step.topics


def _payment_is_recorded(step: Step) -> bool:
    order = step.before.order
    amount = step.amount(order.outstanding)
    counts = amount > 0 or (not order.total and "paid" not in order.statuses)
    due = counts and not step.foreign and not step.duplicate
    return step.recorded == ([("captured", amount)] if due else [])


def _refund_is_recorded(step: Step) -> bool:
    held = step.before.order.held
    amount = step.amount(held)
    return step.recorded == ([("refunded", amount)] if 0 < amount <= held and not step.foreign else [])


def _reversal_is_recorded(step: Step) -> bool:
    order = step.before.order
    amount = step.amount(order.received)
    some = amount > 0 or ("paid" in order.statuses and not order.total and not order.received)
    fits = some and amount <= order.received and step.ask.comment and not step.foreign
    return step.recorded == ([("reversed", amount)] if fits else [])


def _paid_online_is_told(step: Step) -> bool:
    ticked = "paid" in step.after.order.statuses - step.before.order.statuses
    return ("order.paid" in step.topics) == (ticked and step.online)


def _reversal_unticks(step: Step) -> bool:
    before, after = step.before.order, step.after.order
    covered = after.received > 0 and after.received >= after.total
    return after.statuses == (before.statuses if covered else before.statuses - {"paid"})


def _refund_leaves_boxes(step: Step) -> bool:
    return step.after.order.statuses == step.before.order.statuses


def _ticks_its_box(step: Step) -> bool:
    box, _ = CHANGES[step.ask.trigger]
    return step.after.order.statuses == step.before.order.statuses | {box}


def _unticks_its_box(step: Step) -> bool:
    boxes = {box for box, undo in CHANGES.values() if undo == step.ask.trigger}
    return step.after.order.statuses == step.before.order.statuses - boxes


def _is_undone(step: Step) -> bool:
    undone = step.then(CHANGES[step.ask.trigger][1], REASON, override=True)
    if not undone.done:
        # The piece that it gave back may be sold by now.
        return step.before.holds > step.after.holds and step.after.on_hand < 1
    before, after = step.before, undone.after
    return (before.order.statuses, before.order.refund_due, before.holds) == (
        after.order.statuses,
        after.order.refund_due,
        after.holds,
    )


def _override_has_reason(step: Step) -> bool:
    return not step.overridden or (step.ask.override and bool(step.ask.comment))


def _queue_to_dispatch(step: Step) -> bool:
    if step.ask.override or step.ask.raced:
        return True
    return step.done == ("to_dispatch" in step.before.queues)


def _has_reason(step: Step) -> bool:
    return bool(step.ask.comment)


def _no_money_captured(step: Step) -> bool:
    return step.before.order.received <= 0


def _no_money_held(step: Step) -> bool:
    return step.before.order.held <= 0


MONEY_AND_STOCK = (
    EveryOrder("an order is paid if and only if the money received covers its total", _paid_is_covered),
    EveryOrder("an order for which money was received is sent", _money_is_for_what_is_sent),
    EveryOrder("no more is reversed than was captured", _nothing_is_reversed_twice),
    EveryOrder("money captured is reversed, refunded, kept up to the total of a live order, or due", _money_is_accounted_for),
    EveryOrder("an order stands in at least one queue", _stands_in_a_queue),
    EveryOrder("an order that is not sent, or is cancelled, holds no stock and is in no total", _leaves_totals),
    EveryOrder("on hand and held together are constant", _stock_is_constant),
    EveryChange("what is done is one entry that begins where the one before ended", _history_grows),
    EveryStep("what is refused changes nothing, and has a reason", _refusal_changes_nothing),
    EveryChange("a redelivery under the same key changes nothing", _redelivery_changes_nothing),
    EveryStep("a payment reference counts once, however late it is delivered again", _reference_counts_once),
    EveryChange("an override has a reason", _override_has_reason),
    EveryChange("when more money is to be given back, a message says so", _due_is_told),
    EveryChange("when an order takes what is not there, a message says so, and only then", _short_is_told),
    EveryChange("no money moves but by pay, refund and unpay", _no_money_moves, of=(*CHANGES, *UNDOING)),
    EveryChange("nothing but a payment takes stock that is not there", _waits_for_stock, of=("place", "reinstate")),
    EveryStep("a payment in the order's currency is always recorded, once; no other is", _payment_is_recorded, of=("pay",)),
    EveryStep("a refund is recorded if it is more than nothing and at most what is held", _refund_is_recorded, of=("refund",)),
    EveryStep("a reversal is recorded if it has a reason and is at most what was received", _reversal_is_recorded, of=("unpay",)),
    EveryChange("a refund leaves all boxes as they are", _refund_leaves_boxes, of=("refund",)),
    EveryChange("a reversal unticks paid unless money is left that covers the total, and nothing else", _reversal_unticks, of=("unpay",)),
    EveryChange("the customer is told of an online payment that makes the order paid, and of no other", _paid_online_is_told, of=("pay",)),
    EveryChange("place, invoice, dispatch, cancel and expire tick their own box and no other", _ticks_its_box, of=tuple(CHANGES)),
    EveryChange("what undoes them unticks that box and no other", _unticks_its_box, of=UNDOING),
    EveryChange("what they did can be undone, unless the stock is gone, and then all is as before", _is_undone, of=tuple(CHANGES)),
    EveryStep("what can be dispatched without override stands in to_dispatch, and nothing else does", _queue_to_dispatch, of=("dispatch",)),
    EveryChange("undispatch has a reason", _has_reason, of=("undispatch",)),
    EveryChange("no order is unplaced for which money was captured", _no_money_captured, of=("unplace",)),
    EveryChange("no order expires that holds money", _no_money_held, of=("expire",)),
)  # fmt: skip
"""What is so of an order with its money and stock, whatever it costs before it may leave."""

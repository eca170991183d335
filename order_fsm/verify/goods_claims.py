"""Claims about the goods of an order under the shop's rules."""

from __future__ import annotations

from order_fsm.goods import less
from order_fsm.rules.rule import AMEND
from order_fsm.rules.workflow import PART_DISPATCHED
from order_fsm.verify.ledger import EveryChange, EveryOrder
from order_fsm.verify.worlds import ITEM, Step, World

GOODS_MOVE = ("dispatch", "return_items", "undispatch")


# Of every order


def _stock_is_constant(world: World) -> bool:
    stock = world.stock
    return world.on_hand + stock.held + stock.out + stock.lost + world.taken == world.pieces


def _stock_is_that_of_the_order(world: World) -> bool:
    drawn = sum(world.order.goods.drawn.values())
    return (world.stock.held, world.stock.out) == (world.holds, drawn)


def _holds_pieces_left(world: World) -> bool:
    order = world.order
    return world.holds == (sum(order.to_ship.values()) if order.counted else 0)


def _out_is_ordered(world: World) -> bool:
    goods = world.order.goods
    within = not (
        less(goods.out, world.order.quantities) or less(goods.out, goods.shipped) or less(goods.drawn, goods.out)
    )
    sums = (*(number for part in goods for number in part.values()), *world.stock[1:4])
    return within and all(number >= 0 for number in sums)


def _dispatched_is_shipped(world: World) -> bool:
    order = world.order
    if "cancelled" in order.statuses or not order.lines:
        return True
    whole, ticked = bool(order.goods.shipped) and not order.to_ship, "dispatched" in order.statuses
    return whole if ticked else not whole or _amended_when_not_live(world)


def _amended_when_not_live(world: World) -> bool:
    """Return whether an amendment left `dispatched` unticked. The next `dispatch` ticks it."""
    amended = [entry.after for entry in world.history if entry.trigger == AMEND]
    return any("sent" not in statuses or "cancelled" in statuses for statuses in amended)


def _out_is_live(world: World) -> bool:
    statuses = world.order.statuses
    return ("sent" in statuses and "cancelled" not in statuses) or not world.order.out


def _is_in_part_dispatched(world: World) -> bool:
    order = world.order
    live = "sent" in order.statuses and "cancelled" not in order.statuses
    part = live and bool(order.goods.shipped) and any(order.to_ship.values())
    return (PART_DISPATCHED in world.queues) == part and not (part and "dispatched" in order.statuses)


# Of every change


def _goods_stay(step: Step) -> bool:
    return step.ask.trigger in GOODS_MOVE or step.after.order.shipments is step.before.order.shipments


def _ships_named_pieces(step: Step) -> bool:
    before, after = step.before, step.after
    asked = _asked(step, before.order.to_ship)
    return (
        after.order.to_ship == less(before.order.to_ship, {ITEM: asked})
        and sum(after.order.out.values()) == sum(before.order.out.values()) + asked
        and _on_the_shelf(after) == _on_the_shelf(before)
    )


def _returns_named_pieces(step: Step) -> bool:
    before, after = step.before, step.after
    asked = _asked(step, before.order.out)
    shelved = 0 if step.ask.facts.get("restock") is False else asked
    return (
        after.order.to_ship == before.order.to_ship
        and sum(after.order.out.values()) == sum(before.order.out.values()) - asked
        and _on_the_shelf(after) == _on_the_shelf(before) + shelved
        and after.stock.lost == before.stock.lost + asked - shelved
    )


def _changes_no_box(step: Step) -> bool:
    return step.after.order.statuses == step.before.order.statuses


def _is_left_to_ship(step: Step) -> bool:
    order = step.after.order
    return not order.out and order.to_ship == order.quantities and step.after.stock.lost == step.before.stock.lost


def _amendment_moves_the_difference(step: Step) -> bool:
    """Return whether an amendment takes the pieces that it adds and returns those that it removes."""
    before, after = step.before, step.after
    more = sum(after.order.to_ship.values()) - sum(before.order.to_ship.values())
    taken = more if before.order.counted else 0
    return _on_the_shelf(after) == _on_the_shelf(before) - taken and after.order.out == before.order.out


def _on_the_shelf(world: World) -> int:
    """Return the pieces that the order left on the shelf, including those that the other buyer took since."""
    return world.on_hand + world.taken


def _asked(step: Step, all_of: dict[str, int]) -> int:
    items = step.ask.facts.get("items")
    return items[ITEM] if isinstance(items, dict) else sum(all_of.values())


GOODS = (
    EveryOrder("the sum of available, held, out and lost pieces is constant", _stock_is_constant),
    EveryOrder("the held and out pieces of the stock are those of the order", _stock_is_that_of_the_order),
    EveryOrder("a live order holds the pieces that it has left to ship, and any other order holds no pieces", _holds_pieces_left),
    EveryOrder("the pieces that are out were ordered and shipped, and no number of pieces is below zero", _out_is_ordered),
    EveryOrder("an order with lines is dispatched if and only if something was shipped and nothing is left", _dispatched_is_shipped),
    EveryOrder("only orders that are sent and not cancelled have goods out", _out_is_live),
    EveryOrder("an order is in part_dispatched if and only if it is live and partly shipped", _is_in_part_dispatched),
    EveryChange("only dispatch, return_items and undispatch move goods", _goods_stay),
    EveryChange("dispatch ships the pieces that it names, or all that are left, from those that the order holds", _ships_named_pieces, of=("dispatch",)),
    EveryChange("return_items takes back the pieces that it names, or all that are out, to the shelf unless restock=False", _returns_named_pieces, of=("return_items",)),
    EveryChange("return_items changes no box", _changes_no_box, of=("return_items",)),
    EveryChange("after undispatch no pieces are out, and all are left to ship", _is_left_to_ship, of=("undispatch",)),
    EveryChange("an amendment takes the pieces that it adds and returns those that it removes", _amendment_moves_the_difference, of=(AMEND,)),
)  # fmt: skip
"""Claims about the goods of an order under every dispatch policy."""

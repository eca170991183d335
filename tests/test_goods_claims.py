"""Each claim about goods fails for rules or formulas that break it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import pytest
from attrs import evolve

from order_fsm import Rule, Workflow, goods, shop_workflow
from order_fsm.model import Order
from order_fsm.orders import stock
from order_fsm.rules import holding, shipping
from order_fsm.rules.workflow import PART_DISPATCHED
from order_fsm.verify import EveryOrder, prove
from order_fsm.verify.goods_claims import GOODS
from tests.formula_mutants import in_force

# Coverage would trace a replaced formula by its old code.
pytestmark = pytest.mark.no_cover

TABLE = shop_workflow()


def changed(trigger: str, **parts: Any) -> Workflow:
    """Return the table with other rows of a trigger."""
    return built([evolve(rule, **parts) if rule.trigger == trigger else rule for rule in TABLE.rules])


def without(code: str) -> Workflow:
    """Return the table without a guard."""
    return built(
        [evolve(rule, guards=tuple(guard for guard in rule.guards if guard.code != code)) for rule in TABLE.rules]
    )


def built(rules: Iterable[Rule]) -> Workflow:
    return Workflow(
        TABLE.statuses,
        rules,
        holds_stock=TABLE.holds_stock,
        counts=TABLE.counts,
        queues=TABLE.queues,
    )


SHIPPING_ALL = in_force(shipping, "handle", "quantities_of(items) if isinstance(items, tuple) else bound", "bound")

BROKEN: dict[str, tuple[Callable[[], Any], Callable[[], Workflow]]] = {
    "the sum of available, held, out and lost pieces is constant": (
        in_force(stock, "stock_moves", "-more, more", "more, more"),
        shop_workflow,
    ),
    "the held and out pieces of the stock are those of the order": (
        in_force(stock, "stock_moves", '1 if row.kind == "shipped" else -1', "1"),
        shop_workflow,
    ),
    "a live order holds the pieces that it has left to ship, and any other order holds no pieces": (
        in_force(holding, "held_after", "less(quantities_of(held), handling.drawn)", "quantities_of(held)"),
        shop_workflow,
    ),
    "the pieces that are out were ordered and shipped, and no number of pieces is below zero": (
        nullcontext,
        lambda: without("below_out"),
    ),
    "an order with lines is dispatched if and only if something was shipped and nothing is left": (
        nullcontext,
        lambda: without("no_goods_left"),
    ),
    "only orders that are sent and not cancelled have goods out": (nullcontext, lambda: without("goods_out")),
    "an order is in part_dispatched if and only if it is live and partly shipped": (
        in_force(Order, "part_dispatched", " and bool(less(self.quantities, shipped))", ""),
        shop_workflow,
    ),
    "only dispatch, return_items and undispatch move goods": (
        nullcontext,
        lambda: changed("invoice", goods="shipped"),
    ),
    "dispatch ships the pieces that it names, or all that are left, from those that the order holds": (
        SHIPPING_ALL,
        shop_workflow,
    ),
    "return_items takes back the pieces that it names, or all that are out, to the shelf unless restock=False": (
        in_force(shipping, "handle", "is not False", "is True"),
        shop_workflow,
    ),
    "return_items changes no box": (nullcontext, lambda: changed("return_items", drops={"paid"})),
    "after undispatch no pieces are out, and all are left to ship": (
        in_force(goods, "goods", "shipped, out, drawn, given_up = {}, {}, {}, {}", "pass"),
        shop_workflow,
    ),
    "an amendment takes the pieces that it adds and returns those that it removes": (
        in_force(holding, "held_as_amended", "(more.get(sku, 0) if sku in tracked else 0)", "0"),
        shop_workflow,
    ),
}
"""By claim, a wrong formula and a table for which it fails."""


@pytest.mark.parametrize("claim", GOODS, ids=str)
def test_claim_about_goods_fails_for_rules_that_break_it(claim: Any) -> None:
    formula, table = BROKEN[str(claim)]
    workflow = table()
    with formula():
        proof = prove(workflow, claim)
    assert [failure.claim for failure in proof.failures] == [claim]


def test_part_dispatched_order_is_in_the_queues_of_its_world() -> None:
    never = EveryOrder("never", lambda world: PART_DISPATCHED not in world.queues)
    (failure,) = prove(TABLE, never).failures
    assert failure.path == ("pay", "dispatch")
    assert "shipped 1, out 1, lost 0" in str(failure)
    assert "for all 2 pieces of an item" in str(failure)


def test_goods_may_be_lost_and_missing() -> None:
    """The proofs visit orders with lost pieces, pieces sold to another buyer, and missing pieces."""
    claims = [
        EveryOrder("never lost", lambda world: not world.stock.lost),
        EveryOrder("never all shipped", lambda world: sum(world.order.goods.shipped.values()) < 3),
        EveryOrder("never short", lambda world: world.pieces == 1 or world.on_hand >= 0),
        EveryOrder("never given up", lambda world: not world.order.goods.given_up),
    ]
    assert [failure.claim for failure in prove(TABLE, *claims).failures] == claims

"""Real orders take every row of the shop's table from every open state, and fail every guard.

`pytest --rule-coverage` shows that nothing is left out: this file alone takes every edge of every policy, and every
guard holds and fails.
"""

from __future__ import annotations

from typing import Any

import pytest

from order_fsm import Line, Refused, Workflow, shop_workflow
from order_fsm.rules.shop import Dispatch
from order_fsm.testing.paths import LINES, TOTAL, paths

from .conftest import POLICIES, Shop

REASON: dict[str, Any] = {"comment": "a reason"}
ONLINE: dict[str, Any] = {"reference": "ch_1"}
ONE: dict[str, Any] = {"amount": "1.00"}

FREE = {("place", "sent+paid"), ("unplace", "unfinished")}
"""The triggers and targets of rows that only a free order takes."""


@pytest.mark.no_cover
@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES)
def test_every_row_changes_its_boxes_in_every_open_state(options: tuple[Dispatch, bool], new_shop: type[Shop]) -> None:
    """It ticks and unticks its boxes, records its ledger row, and queues its messages."""
    workflow = shop_workflow(*options)
    taken = set()
    for path in paths(workflow):
        shop = new_shop(workflow)
        before = shop.create(lines=LINES, total=str(TOTAL))
        for step in path:
            if step.arguments is None:
                break  # The order exists only for the refusal.
            rule = workflow.rules[step.row - 1]
            paid = shop.topics().count("order.paid")
            shop.clock.pass_by(seconds=1)
            order = step.play(shop.orders, "1001").order
            where = f"rule {step.row}, {step.trigger} from {step.source}"
            assert order.statuses == (before.statuses - rule.drops) | rule.adds, where
            kinds = [row.kind for row in order.payments[len(before.payments) :]]
            assert kinds in ([[rule.ledger]] if rule.ledger else [[], ["refunded"]] if rule.lapses else [[]]), where
            assert shop.topics().count("order.paid") - paid == (rule.announces == "order.paid"), where
            taken.add((step.row, step.source))
            before = order
    left = {(edge.rule.trigger, edge.target) for edge in workflow.edges if (edge.row, edge.source) not in taken}
    assert left == FREE


def test_free_order_is_placed_as_paid_and_unplaced(workflow: Workflow, new_shop: type[Shop]) -> None:
    shop = new_shop(workflow)
    shop.create(total="0")
    assert shop.orders.fire("1001", "place").order.state == "sent+paid"
    assert shop.orders.fire("1001", "unplace").order.state == "unfinished"


def test_an_online_part_payment_is_recorded_and_pays_nothing(workflow: Workflow, new_shop: type[Shop]) -> None:
    """The rows for part payments take it, on a live order and on a cancelled one."""
    for state in ("sent", "cancelled"):
        shop = new_shop(workflow)
        shop.bring(state)
        order = shop.orders.fire("1001", "pay", **ONLINE, **ONE).order
        assert "sent" in order.statuses
        assert "paid" not in order.statuses
        assert str(order.captured) == "1.00"


REFUSALS: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("sent", "pay", {"amount": "0"}, {"nothing_outstanding"}),
    ("sent+paid", "pay", {"amount": "0"}, {"nothing_outstanding"}),
    ("sent+cancelled", "pay", {}, {"nothing_outstanding"}),
    ("sent+paid", "refund", {"amount": "0"}, {"no_amount"}),
    ("sent+paid", "refund", {"amount": "10.01"}, {"beyond_bound"}),
    ("sent+paid", "refund", {**ONE, "currency": "EUR"}, {"beyond_bound"}),
    ("sent+paid", "refund", {"amount": "11", "credit": True}, {"beyond_bound", "beyond_cost"}),
    ("unfinished", "refund", ONE, {"needs_sent", "beyond_bound"}),
    ("sent+paid", "unpay", {}, {"reason_required"}),
    ("sent+paid", "unpay", {"amount": "0", **REASON}, {"no_amount"}),
    ("sent+paid", "unpay", {"amount": "10.01", **REASON}, {"beyond_bound"}),
    ("sent", "unpay", {**REASON, **ONE}, {"beyond_bound"}),
    ("sent", "unpay", {}, {"no_amount", "reason_required"}),
    ("sent+paid", "refund_failed", ONE, {"beyond_bound"}),
    ("sent+paid", "restore_payment", ONE, {"beyond_bound"}),
    ("sent+paid+dispatched", "undispatch", {"comment": " "}, {"reason_required"}),
    ("sent+invoiced+paid+dispatched", "undispatch", {"comment": " "}, {"reason_required"}),
]
"""A state, a trigger with its facts, and the codes of the reasons of its refusal."""


@pytest.mark.parametrize(("state", "trigger", "said", "codes"), REFUSALS)
def test_a_guard_that_fails_is_the_reason(
    workflow: Workflow, new_shop: type[Shop], state: str, trigger: str, said: dict[str, Any], codes: set[str]
) -> None:
    refused(new_shop(workflow), state, trigger, said, codes)


def refused(shop: Shop, state: str, trigger: str, said: dict[str, Any], codes: set[str], money: bool = False) -> None:
    shop.bring(state)
    if money:
        shop.orders.fire("1001", "pay", **ONE)
    before = shop.dump()
    assert codes_of(shop, trigger, said) == codes
    assert shop.dump() == before


def codes_of(shop: Shop, trigger: str, said: dict[str, Any]) -> set[str]:
    """Return the reasons why a trigger is refused."""
    with pytest.raises(Refused) as error:
        shop.orders.fire("1001", trigger, **said)
    return {reason.code for reason in error.value.reasons}


@pytest.mark.parametrize("state", ["unpaid", "paid", "cancelled"])
def test_money_that_moves_back_names_its_payment_amount_and_reason(
    workflow: Workflow, new_shop: type[Shop], state: str
) -> None:
    shop = new_shop(workflow)
    shop.create(total="10")
    for reference in ("ch_1", "ch_2"):
        payment: dict[str, Any] = {"amount": "3", "reference": reference}
        shop.orders.fire("1001", "pay", **payment)
        shop.orders.fire("1001", "refund", **{**payment, "amount": "1", "transaction_id": f"re_{reference}"})
        shop.orders.fire("1001", "unpay", **{**payment, "amount": "1"}, **REASON)
    if state == "paid":
        shop.orders.fire("1001", "pay", reference="ch_3")
    elif state == "cancelled":
        shop.orders.fire("1001", "cancel")
    before = shop.dump()
    for trigger in ("unpay", "refund_failed", "restore_payment"):
        assert codes_of(shop, trigger, REASON) == {"which_payment"}
    for trigger in ("unpay", "refund_failed", "restore_payment", "refund"):
        too_much = {"amount": "11", "reference": "ch_1", **REASON}
        assert codes_of(shop, trigger, too_much) == {"beyond_bound"}
        assert codes_of(shop, trigger, {**too_much, "amount": "0"}) == {"no_amount"}
    assert codes_of(shop, "unpay", {"reference": "ch_1"}) == {"reason_required"}
    assert codes_of(shop, "refund", {"amount": "11", "credit": True}) == {"beyond_bound", "beyond_cost"}
    assert shop.dump() == before


@pytest.mark.parametrize("trigger", ["expire", "unplace"])
def test_money_prevents_unplacing_and_expiry(workflow: Workflow, new_shop: type[Shop], trigger: str) -> None:
    refused(new_shop(workflow), "sent", trigger, {}, {"holds_money"}, money=True)


@pytest.mark.parametrize(
    ("state", "trigger"),
    [
        ("unfinished", "place"),
        ("sent+cancelled", "reinstate"),
        ("sent+invoiced+paid+cancelled", "reinstate"),
    ],
)
def test_missing_stock_prevents_placing_and_reinstating(
    workflow: Workflow, new_shop: type[Shop], state: str, trigger: str
) -> None:
    shop = new_shop(workflow)
    shop.bring(state)
    shop.orders.set_stock("TEAPOT", 1)
    with pytest.raises(Refused) as error:
        shop.orders.fire("1001", trigger)
    assert [reason.code for reason in error.value.reasons] == ["out_of_stock"]


@pytest.mark.parametrize("invoiced", [True, False])
@pytest.mark.parametrize(
    ("dispatch", "state", "trigger", "code"),
    [
        ("on_account", "sent", "dispatch", "not_paid_nor_invoiced"),
        ("prepaid", "sent", "dispatch", "not_paid"),
        ("prepaid", "sent+invoiced", "dispatch", "not_paid"),
        ("on_account", "sent+invoiced+dispatched", "uninvoice", "dispatched_on_invoice"),
        ("prepaid", "sent+invoiced+dispatched", "uninvoice", "dispatched_on_invoice"),
    ],
)
def test_policy_is_the_reason_without_an_override(
    new_shop: type[Shop], dispatch: Any, invoiced: bool, state: str, trigger: str, code: str
) -> None:
    refused(new_shop(shop_workflow(dispatch, invoiced)), state, trigger, {}, {code})


@pytest.mark.parametrize("state", ["sent", "sent+paid", "sent+invoiced+paid"])
def test_missing_stock_prevents_an_amendment(workflow: Workflow, new_shop: type[Shop], state: str) -> None:
    shop = new_shop(workflow)
    order = shop.bring(state)
    with pytest.raises(Refused) as error:
        shop.orders.amend("1001", version=order.version, lines=[Line("TEAPOT", 99)])
    assert [reason.code for reason in error.value.reasons] == ["out_of_stock"]


@pytest.mark.parametrize("state", ["sent", "sent+paid", "sent+invoiced+paid"])
def test_goods_that_are_out_prevent_changes(workflow: Workflow, new_shop: type[Shop], state: str) -> None:
    """They limit shipments, returns and amendments, and prevent the end of the order."""

    def amended_to(pieces: int) -> set[str]:
        version = shop.orders.get("1001").version
        with pytest.raises(Refused) as error:
            shop.orders.amend("1001", version=version, lines=[Line("TEAPOT", pieces)] if pieces else [])
        return {reason.code for reason in error.value.reasons}

    shop = new_shop(workflow)
    shop.bring(state)
    assert codes_of(shop, "return_items", {}) == {"nothing_out"}
    shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1}, override=True, **REASON)
    assert codes_of(shop, "dispatch", {"items": {"TEAPOT": 2}, "override": True, **REASON}) == {"beyond_order"}
    assert codes_of(shop, "return_items", {"items": {"TEAPOT": 2}}) == {"beyond_out"}
    for trigger in ("cancel", "expire", "unplace") if state == "sent" else ("cancel",):
        assert codes_of(shop, trigger, {}) == {"goods_out"}
    assert (amended_to(0), amended_to(99)) == ({"below_out"}, {"out_of_stock"})
    shop.orders.fire("1001", "dispatch", override=True, **REASON)
    assert (amended_to(1), amended_to(99)) == ({"below_out"}, {"out_of_stock"})

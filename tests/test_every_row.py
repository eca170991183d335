"""Every row of the shop's table, from every state in which it is open, and every guard of it failing: by real orders.

`pytest --rule-coverage` shows that nothing is left out: this file alone takes every edge of every policy, and has every
guard hold and fail.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import Orders, Refused, Rule, Workflow, shop_workflow

if TYPE_CHECKING:
    from tests.conftest import Shop

REASON: dict[str, Any] = {"comment": "a reason"}
ONLINE: dict[str, Any] = {"reference": "ch_1"}
ONE: dict[str, Any] = {"amount": "1.00"}
OVERRIDE: dict[str, Any] = {**REASON, "override": True}

WAYS: tuple[dict[str, Any], ...] = (
    {},  # place
    ONLINE,  # pay, online in full
    ONLINE,  # pay, online on a cancelled order
    {},  # pay, by hand in full
    ONE,  # pay, in part
    ONE,  # pay, once more
    {},  # invoice
    OVERRIDE,  # dispatch
    {},  # cancel
    {},  # expire
    ONE,  # refund
    {},  # unplace
    OVERRIDE,  # uninvoice
    {**ONE, **REASON},  # unpay, of what is over
    REASON,  # unpay, of what made it paid
    {**ONE, **REASON},  # unpay, of a part payment
    REASON,  # undispatch
    {},  # reinstate
)
"""What each row of the table comes with."""

OF_A_DEPOSIT = {11, 14, 16}
"""The rows that give back 1.00: what a row of the shop's own took before."""


@cache
def with_deposits(workflow: Workflow) -> Workflow:
    return workflow.extend(rules=[Rule("deposit", ledger="captured")])


def deposit(shop: Shop) -> None:
    """1.00 that came under a rule of the shop's own, in any state: so even an unfinished order may hold money."""
    Orders(shop.store, with_deposits(shop.orders.workflow), shop.clock).fire("1001", "deposit", amount="1.00")


def test_every_row_does_what_it_says_in_every_state_where_it_is_open(workflow: Workflow, new_shop: type[Shop]) -> None:
    """It ticks and unticks its boxes, records its ledger row, and announces what it has to."""
    for edge in workflow.edges:
        shop = new_shop(workflow)
        before = shop.bring(edge.source)
        if edge.row in OF_A_DEPOSIT:
            deposit(shop)
            before = shop.orders.get("1001")
        said = WAYS[edge.row - 1]
        paid = shop.topics().count("order.paid")
        receipt = shop.orders.fire("1001", edge.rule.trigger, **said)
        where = f"rule {edge.row}, {edge.rule.trigger} from {edge.source}"
        assert receipt.order.statuses == (before.statuses - edge.rule.drops) | edge.rule.adds, where
        recorded = receipt.order.payments[len(before.payments) :]
        assert [one.kind for one in recorded] == ([] if edge.rule.ledger is None else [edge.rule.ledger]), where
        assert shop.topics().count("order.paid") - paid == (edge.rule.announces == "order.paid"), where


def test_an_online_part_payment_is_recorded_and_pays_nothing(workflow: Workflow, new_shop: type[Shop]) -> None:
    """On a live order and on a cancelled one: it is the rows for a part that take it."""
    for state in ("sent", "cancelled"):
        shop = new_shop(workflow)
        shop.bring(state)
        order = shop.orders.fire("1001", "pay", **ONLINE, **ONE).order
        assert "sent" in order.statuses
        assert "paid" not in order.statuses
        assert str(order.captured) == "1.00"


REFUSALS: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("unfinished", "pay", {**ONLINE, "currency": "EUR"}, {"wrong_currency"}),
    ("cancelled", "pay", {**ONLINE, "currency": "EUR"}, {"wrong_currency"}),
    ("sent", "pay", {"amount": "0"}, {"not_covered"}),
    ("sent+paid", "pay", {"amount": "0"}, {"nothing_outstanding"}),
    ("sent+paid", "pay", {**ONE, "currency": "EUR"}, {"wrong_currency"}),
    ("sent+paid", "refund", {"amount": "0"}, {"not_refundable"}),
    ("sent+paid", "refund", {"amount": "10.01"}, {"not_refundable"}),
    ("sent+paid", "refund", {**ONE, "currency": "EUR"}, {"wrong_currency"}),
    ("sent+paid", "unpay", {}, {"reason_required"}),
    ("sent+paid", "unpay", {"amount": "0", **REASON}, {"nothing_received"}),
    ("sent+paid", "unpay", {"amount": "10.01", **REASON}, {"not_reversible"}),
    ("sent+paid", "unpay", {**REASON, "currency": "EUR"}, {"wrong_currency"}),
    ("sent", "unpay", {**REASON, **ONE}, {"not_reversible"}),
    ("sent", "unpay", {"amount": "0", **REASON}, {"nothing_received"}),
    ("sent", "unpay", {}, {"nothing_received", "reason_required"}),
    ("sent", "unpay", {"amount": "0", **REASON, "currency": "EUR"}, {"nothing_received", "wrong_currency"}),
    ("sent+paid+dispatched", "undispatch", {"comment": " "}, {"reason_required"}),
]
"""A state, a trigger with what it comes with, and the codes of what is in its way."""


@pytest.mark.parametrize(("state", "trigger", "said", "codes"), REFUSALS)
def test_a_guard_that_fails_is_the_reason(
    workflow: Workflow, new_shop: type[Shop], state: str, trigger: str, said: dict[str, Any], codes: set[str]
) -> None:
    refused(new_shop(workflow), state, trigger, said, codes)


def refused(shop: Shop, state: str, trigger: str, said: dict[str, Any], codes: set[str], money: bool = False) -> None:
    shop.bring(state)
    if money:
        deposit(shop)
    before = shop.dump()
    with pytest.raises(Refused) as error:
        shop.orders.fire("1001", trigger, **said)
    assert {reason.code for reason in error.value.reasons} == codes
    assert shop.dump() == before


@pytest.mark.parametrize("trigger", ["expire", "unplace"])
def test_money_keeps_an_order_where_it_is(workflow: Workflow, new_shop: type[Shop], trigger: str) -> None:
    refused(new_shop(workflow), "sent", trigger, {}, {"holds_money"}, money=True)


@pytest.mark.parametrize(("state", "trigger"), [("unfinished", "place"), ("sent+cancelled", "reinstate")])
def test_stock_that_is_gone_is_waited_for(workflow: Workflow, new_shop: type[Shop], state: str, trigger: str) -> None:
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
def test_policy_is_the_reason_where_nobody_overrides_it(
    new_shop: type[Shop], dispatch: Any, invoiced: bool, state: str, trigger: str, code: str
) -> None:
    refused(new_shop(shop_workflow(dispatch, invoiced)), state, trigger, {}, {code})

"""Cases M1 to M14 of money in real shops, on every store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import InvalidInput, KeyReused, Order, Orders, Receipt, Refused
from order_fsm.payments import minor, to_minor
from order_fsm.validation import GATEWAY
from order_fsm_adapters.memory import MemoryStore
from tests.stores import KINDS, opened

if TYPE_CHECKING:
    from tests.conftest import Shop


@pytest.fixture(params=[*KINDS, "postgresql", "mariadb"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, new_shop: type[Shop]) -> Iterator[Shop]:
    """Return a shop with an unplaced order over 100.00 GBP."""
    kind = request.param
    with opened(kind, tmp_path) if kind in KINDS else request.getfixturevalue(kind).store(str(tmp_path)) as store:
        shop = new_shop(store=store)
        shop.create("1", total="100.00")
        yield shop


def fire(shop: Shop, trigger: str, amount: object = None, reference: str | None = None, **said: Any) -> Order:
    return receipt(shop, trigger, amount, reference, **said).order


def receipt(shop: Shop, trigger: str, amount: object = None, reference: str | None = None, **said: Any) -> Receipt:
    facts: dict[str, Any] = (
        {"amount": amount, "reference": reference} if amount is not None or reference is not None else {}
    )
    return shop.orders.fire("1", trigger, comment="a reason", **facts, **said)


def gateway(shop: Shop, trigger: str, amount: object, reference: str, transaction_id: str, **said: Any) -> Receipt:
    """Fire a fact of a gateway."""
    return shop.orders.fire(
        "1",
        trigger,
        amount=amount,
        reference=reference,
        transaction_id=transaction_id,
        provider="acme",
        by=GATEWAY,
        **said,
    )


def queues(shop: Shop) -> set[str]:
    names = (*shop.orders.workflow.queues, "refund_due", "unmatched")
    found = {name for name in names if [order.id for order in shop.orders.queue(name)] == ["1"]}
    assert {name for name, number in shop.orders.counts().items() if number} == found
    return found


def refused(shop: Shop, trigger: str, amount: object = None, reference: str | None = None, **said: Any) -> list[str]:
    before = shop.dump()
    with pytest.raises(Refused) as refusal:
        receipt(shop, trigger, amount, reference, **said)
    assert shop.dump() == before
    return [reason.code for reason in refusal.value.reasons]


def audited(shop: Shop) -> None:
    assert not shop.orders.audit().findings


def test_m1_refund_of_money_that_was_due_does_not_lower_the_cost(shop: Shop) -> None:
    fire(shop, "pay", 20, "ch_1")
    assert fire(shop, "cancel").refund_due == 20
    assert fire(shop, "refund", 20, "ch_1").refund_due == 0
    order = fire(shop, "reinstate")
    assert (order.outstanding, order.credited, order.state) == (Decimal(100), Decimal(0), "sent")
    assert fire(shop, "pay", 80).state == "sent"
    audited(shop)


def test_m2_full_refund_before_dispatch_leaves_the_order_unpaid(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    order = gateway(shop, "refund", 100, "ch_1", "re_1").order
    assert (order.state, order.outstanding, order.refund_due) == ("sent", Decimal(100), Decimal(0))
    assert queues(shop) == {"to_invoice", "to_pay"}
    assert refused(shop, "dispatch") == ["not_paid_nor_invoiced"]
    audited(shop)


@pytest.mark.parametrize(("dispatched", "amount"), [(False, 30), (True, 30), (True, 100)])
def test_m3_refund_of_a_live_paid_order_reduces_its_price(shop: Shop, dispatched: bool, amount: int) -> None:
    fire(shop, "pay", 100, "ch_1")
    if dispatched:
        fire(shop, "dispatch")
    order = fire(shop, "refund", amount, "ch_1")
    assert "paid" in order.statuses
    assert (order.outstanding, order.refund_due, order.credited) == (Decimal(0), Decimal(0), Decimal(amount))
    assert shop.orders.totals() == {"GBP": 100}
    audited(shop)


def test_m4_chargeback_before_dispatch_unticks_the_invoice_of_the_payment(shop: Shop) -> None:
    assert fire(shop, "pay", 100, "ch_1").state == "sent+invoiced+paid"
    order = gateway(shop, "unpay", 100, "ch_1", "dp_1").order
    assert (order.state, order.outstanding) == ("sent", Decimal(100))
    (message,) = shop.messages("payment.reversed")
    assert message.payload["amount"] == "100"
    assert "to_dispatch" not in queues(shop)
    assert refused(shop, "dispatch") == ["not_paid_nor_invoiced"]
    audited(shop)


def test_m4_chargeback_keeps_an_invoice_that_was_ticked_by_hand(shop: Shop) -> None:
    fire(shop, "place")
    fire(shop, "invoice")
    fire(shop, "pay", 100, "ch_1")
    assert gateway(shop, "unpay", 100, "ch_1", "dp_1").order.state == "sent+invoiced"
    audited(shop)


def test_m4_invoice_of_the_payment_lasts_while_the_order_is_dispatched(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    fire(shop, "dispatch")
    assert gateway(shop, "unpay", 100, "ch_1", "dp_1").order.state == "sent+invoiced+dispatched"
    assert fire(shop, "undispatch").state == "sent"
    audited(shop)


@pytest.mark.parametrize("first", ["by hand", "gateway"])
def test_m5_refund_counts_once_in_any_order_of_reports(shop: Shop, first: str) -> None:
    gateway(shop, "pay", 100, "ch_1", "ch_1")
    told: list[Callable[[], Receipt]] = [
        lambda: receipt(shop, "refund", 30, "ch_1", transaction_id="re_1"),
        lambda: gateway(shop, "refund", 30, "ch_1", "re_1"),
    ]
    one, other = told if first == "by hand" else reversed(told)
    assert not one().duplicate
    assert other().duplicate
    assert shop.orders.get("1").refunded == 30
    assert {row.provider for row in shop.orders.get("1").payments} == {"acme"}
    audited(shop)


def test_m6_dispute_won_counts_the_money_again(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    fire(shop, "dispatch")
    gateway(shop, "unpay", 100, "ch_1", "dp_1")
    assert "debt" in queues(shop)
    order = gateway(shop, "restore_payment", 100, "ch_1", "dp_1").order
    assert (order.state, order.held, order.refund_due) == ("sent+invoiced+paid+dispatched", Decimal(100), Decimal(0))
    assert not shop.messages("refund.due")
    audited(shop)


def test_m6_dispute_won_under_its_own_id_is_not_restored_again(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    gateway(shop, "unpay", 100, "ch_1", "dp_1")
    gateway(shop, "restore_payment", 100, "ch_1", "won_1")
    before = shop.dump()
    with pytest.raises(Refused, match="no_amount"):
        shop.orders.fire("1", "restore_payment")
    with pytest.raises(Refused, match="beyond_bound"):
        gateway(shop, "restore_payment", 100, "ch_1", "dp_1")
    assert shop.dump() == before


def test_m6_won_dispute_waits_for_the_report_of_its_loss(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    with pytest.raises(Refused) as early:
        gateway(shop, "restore_payment", 100, "ch_1", "dp_1")
    assert [reason.code for reason in early.value.reasons] == ["beyond_bound"]
    gateway(shop, "unpay", 100, "ch_1", "dp_1")
    assert gateway(shop, "restore_payment", 100, "ch_1", "dp_1").order.state == "sent+invoiced+paid"
    assert not shop.messages("refund.due")


@pytest.mark.parametrize("amounts", [(50, 50), (60, 40)])
def test_m7_two_captures_of_one_payment_count_both(shop: Shop, amounts: tuple[int, int]) -> None:
    for number, amount in enumerate(amounts):
        assert not gateway(shop, "pay", amount, "auth_1", f"cap_{number}").duplicate
    order = shop.orders.get("1")
    assert (order.captured, order.outstanding) == (Decimal(100), Decimal(0))
    assert gateway(shop, "pay", amounts[1], "auth_1", "cap_1").duplicate
    with pytest.raises(KeyReused):
        gateway(shop, "pay", 70, "auth_1", "cap_1")
    audited(shop)


def test_m7_first_identified_capture_adopts_an_unidentified_one(shop: Shop) -> None:
    """A redirect reports only the payment, and the webhook its capture. A second capture is new money."""
    fire(shop, "pay", 50, "auth_1")
    assert gateway(shop, "pay", 50, "auth_1", "cap_1").duplicate
    assert not shop.orders.comment("1", "The capture is identified.").duplicate
    assert gateway(shop, "pay", 50, "auth_1", "cap_1").duplicate
    assert shop.orders.get("1").captured == 50
    assert not gateway(shop, "pay", 50, "auth_1", "cap_2").duplicate
    assert shop.orders.get("1").captured == 100
    assert receipt(shop, "pay", 50, "auth_1").duplicate
    audited(shop)


def test_m8_refund_counts_once_and_is_due_again_when_it_fails(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    fire(shop, "cancel")
    gateway(shop, "refund", 100, "ch_1", "re_1")
    assert gateway(shop, "refund", 100, "ch_1", "re_1", key="evt_9").duplicate
    told = len(shop.messages("refund.due"))
    order = gateway(shop, "refund_failed", 100, "ch_1", "re_1").order
    assert (order.held, order.refund_due) == (Decimal(100), Decimal(100))
    assert len(shop.messages("refund.due")) == told + 1
    audited(shop)


def test_m8_refund_recorded_by_hand_by_its_id_is_due_again_when_it_fails(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    fire(shop, "cancel")
    shop.orders.fire("1", "refund", amount=30, transaction_id="re_1")
    assert gateway(shop, "refund", 30, "ch_1", "re_1").duplicate
    order = gateway(shop, "refund_failed", 30, "ch_1", "re_1").order
    assert (order.held, order.refund_due) == (Decimal(100), Decimal(100))
    audited(shop)


def test_m8_failed_refund_of_a_live_order_queues_a_message(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    gateway(shop, "refund", 100, "ch_1", "re_1")
    order = gateway(shop, "refund_failed", 100, "ch_1", "re_1").order
    assert (order.state, order.outstanding, order.refund_due) == ("sent+invoiced+paid", Decimal(0), Decimal(0))
    (message,) = shop.messages("refund.due")
    assert message.payload["amount"] == "100"
    audited(shop)


def test_m9_money_in_another_currency_pays_for_nothing(shop: Shop) -> None:
    fire(shop, "place")
    order = fire(shop, "pay", 117, "ch_1", currency="EUR")
    assert (order.held, order.outstanding, order.state) == (Decimal(0), Decimal(100), "sent")
    assert order.unmatched == {"EUR": 117}
    (message,) = shop.messages("payment.unmatched")
    assert (message.payload["amount"], message.payload["currency"]) == ("117", "EUR")
    assert "unmatched" in queues(shop)
    assert refused(shop, "expire") == ["holds_money"]
    order = fire(shop, "refund", 117, "ch_1", currency="EUR")
    assert order.unmatched == {}
    assert "unmatched" not in queues(shop)
    audited(shop)


def test_m10_part_payment_reports_the_outstanding_money(shop: Shop) -> None:
    fire(shop, "pay", 98, "ch_1")
    (message,) = shop.messages("payment.received")
    assert (message.payload["amount"], message.payload["outstanding"]) == ("98", "2.00")


@pytest.mark.parametrize(
    ("total", "currency", "unit"), [("33.333333", "GBP", "0.01"), ("100.50", "JPY", "1"), ("0.0001", "BHD", "0.001")]
)
def test_m11_total_finer_than_the_smallest_unit_is_refused(shop: Shop, total: str, currency: str, unit: str) -> None:
    with pytest.raises(InvalidInput, match=rf"smallest unit of the currency, {unit}$"):
        shop.orders.create("2", total=total, currency=currency)


def test_m11_payment_finer_than_the_smallest_unit_is_refused(shop: Shop) -> None:
    for said in ({}, {"currency": "GBP"}):
        with pytest.raises(InvalidInput, match=r"0\.01$"):
            fire(shop, "pay", "33.333", "ch_1", **said)
    with pytest.raises(InvalidInput, match=r"unit of the currency, 1$"):
        fire(shop, "pay", "100.5", "ch_1", currency="JPY")


def test_m11_unknown_currency_is_refused_unless_the_shop_declares_it(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="PTS"):
        shop.orders.create("2", total=5, currency="PTS")
    with pytest.raises(InvalidInput, match="PTS"):
        fire(shop, "pay", 5, "ch_1", currency="PTS")
    orders = Orders(shop.store, currencies={"PTS": 0})
    assert orders.create("2", total=5, currency="PTS").total == 5
    with pytest.raises(InvalidInput, match="smallest unit"):
        orders.create("3", total="0.5", currency="PTS")
    assert orders.fire("2", "pay", amount=5).order.state == "sent+paid"


@pytest.mark.parametrize("units", [["PTS"], "PTS", 7, {"PTS": -1}, {"PTS": 9}, {"PTS": "2"}, {"pts": 2}, {"PTS": True}])
def test_m11_units_of_a_shop_are_checked(units: Any) -> None:
    with pytest.raises(InvalidInput):
        Orders(MemoryStore(), currencies=units)
    with pytest.raises(InvalidInput):
        minor(5, "GBP", units)
    with pytest.raises(InvalidInput):
        to_minor("5", "GBP", units)


def test_m12_free_order_is_paid_when_it_is_placed(shop: Shop) -> None:
    shop.create("free", total="0", lines=())
    order = shop.orders.fire("free", "place").order
    assert order.state == "sent+paid"
    assert shop.topics() == ["order.placed"]
    with pytest.raises(Refused):
        shop.orders.fire("free", "expire")
    assert shop.orders.fire("free", "unplace").order.state == "unfinished"
    shop.orders.fire("free", "place")
    assert shop.orders.fire("free", "dispatch").order.state == "sent+paid+dispatched"


def test_m13_order_with_online_money_queues_order_paid(shop: Shop) -> None:
    fire(shop, "pay", 20, "ch_1")
    assert not shop.messages("order.paid")
    order = fire(shop, "pay", 80)
    assert order.state == "sent+invoiced+paid"
    (message,) = shop.messages("order.paid")
    assert message.payload["amount"] == "80"
    assert refused(shop, "refund", 100, "ch_1") == ["beyond_bound"]
    assert refused(shop, "refund", 21, "ch_1") == ["beyond_bound"]
    assert fire(shop, "refund", 20, "ch_1").held == 80


def test_m13_order_paid_only_by_hand_queues_no_order_paid(shop: Shop) -> None:
    fire(shop, "pay", 100)
    assert not shop.messages("order.paid")


def test_m14_debit_that_fails_is_reversed(shop: Shop) -> None:
    gateway(shop, "pay", 100, "dd_1", "dd_1")
    order = gateway(shop, "unpay", 100, "dd_1", "dd_1 failed").order
    assert (order.state, order.outstanding, order.held) == ("sent", Decimal(100), Decimal(0))
    assert gateway(shop, "unpay", 100, "dd_1", "dd_1 failed").duplicate
    with pytest.raises(Refused) as beyond:
        gateway(shop, "unpay", 100, "dd_1", "dd_1 again")
    assert [reason.code for reason in beyond.value.reasons] == ["beyond_bound"]


# Facts fired by hand


def test_reversal_by_hand_needs_a_reason_and_a_gateway_does_not(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    with pytest.raises(Refused) as refusal:
        shop.orders.fire("1", "unpay")
    assert [reason.code for reason in refusal.value.reasons] == ["reason_required"]
    assert gateway(shop, "unpay", 100, "ch_1", "dp_1").order.held == 0


def test_reversal_without_a_reference_asks_which_of_several_payments(shop: Shop) -> None:
    fire(shop, "pay", 40, "ch_1")
    fire(shop, "pay", 60, "ch_2")
    assert refused(shop, "unpay") == ["which_payment"]
    assert fire(shop, "unpay", None, "ch_2").held == 40
    order = fire(shop, "unpay")
    assert order.held == 0
    assert [row.reference for row in order.payments if row.kind == "reversed"] == ["ch_2", "ch_1"]
    audited(shop)


def test_failed_refund_without_an_id_asks_which_of_several_refunds(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    fire(shop, "refund", 10, "ch_1", transaction_id="re_1")
    fire(shop, "refund", 20, "ch_1", transaction_id="re_2")
    assert refused(shop, "refund_failed") == ["which_payment"]
    assert fire(shop, "refund_failed", transaction_id="re_1").held == 80
    assert fire(shop, "refund_failed").held == 100
    assert refused(shop, "refund_failed") == ["no_amount"]
    audited(shop)


def test_refund_without_an_amount_is_all_that_is_due_or_else_held(shop: Shop) -> None:
    fire(shop, "pay", 130, "ch_1")
    assert fire(shop, "refund").held == 100
    assert fire(shop, "refund").held == 0
    audited(shop)


def test_credit_of_a_refund_can_be_given_or_denied(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    assert fire(shop, "refund", 30, "ch_1", credit=False).outstanding == 30
    assert shop.orders.get("1").state == "sent"
    order = fire(shop, "refund", 30, "ch_1", credit=True)
    assert (order.credited, order.cost, order.outstanding) == (Decimal(30), Decimal(70), Decimal(30))
    audited(shop)


def test_credit_is_at_most_the_cost(shop: Shop) -> None:
    fire(shop, "pay", 130, "ch_1")
    assert refused(shop, "refund", 110, "ch_1", credit=True) == ["beyond_cost"]


def test_goods_that_come_back_after_a_full_refund_end_its_credit(shop: Shop) -> None:
    fire(shop, "pay", 100, "ch_1")
    fire(shop, "dispatch")
    fire(shop, "refund", 100, "ch_1")
    order = fire(shop, "undispatch")
    assert (order.state, order.outstanding, order.credited) == ("sent", Decimal(100), Decimal(0))
    assert (order.payments[-1].kind, order.payments[-1].amount, order.payments[-1].credit) == (
        "refunded",
        Decimal(0),
        Decimal(-100),
    )
    audited(shop)


# The form


def save(shop: Shop, *boxes: str) -> Order:
    order = shop.orders.get("1")
    return shop.orders.save("1", boxes, version=order.version, comment="a reason").order


def test_form_unticks_paid_by_reversing_the_money_recorded_by_hand(shop: Shop) -> None:
    fire(shop, "pay", 20, "ch_1")
    fire(shop, "pay", 80)
    order = save(shop, "sent")
    assert (order.state, order.held, order.held_online) == ("sent", Decimal(20), Decimal(20))
    order = save(shop, "sent", "paid")
    assert (order.outstanding, order.payments[-1].reference, order.payments[-1].amount) == (
        Decimal(0),
        None,
        Decimal(80),
    )
    audited(shop)


def test_form_unticks_paid_of_an_order_that_also_has_foreign_money_by_hand(shop: Shop) -> None:
    fire(shop, "pay", 20, currency="EUR")
    fire(shop, "pay", 100)
    order = save(shop, "sent")
    assert (order.state, order.held, order.unmatched) == ("sent", Decimal(0), {"EUR": Decimal(20)})
    audited(shop)


@pytest.mark.parametrize("by_hand", [0, 5])
def test_form_cannot_untick_paid_while_money_that_came_online_covers_the_cost(shop: Shop, by_hand: int) -> None:
    fire(shop, "pay", 100, "ch_1")
    if by_hand:
        fire(shop, "pay", by_hand)
    before = shop.dump()
    with pytest.raises(Refused) as refusal:
        save(shop, "sent", "invoiced")
    assert [reason.code for reason in refusal.value.reasons] == ["no_effect" if by_hand else "nothing_by_hand"]
    assert shop.dump() == before

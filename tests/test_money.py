"""Money is a ledger of facts. Paid, outstanding, overpaid and refund due follow from it."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import KeyReused, Line, Order, Refused
from order_fsm.payments import PaymentEvent
from order_fsm.payments.facts import key_of

if TYPE_CHECKING:
    from tests.conftest import Shop


def sums(order: Order) -> dict[str, str]:
    names = ("captured", "refunded", "reversed", "outstanding", "overpaid", "refund_due")
    return {name: f"{getattr(order, name):.2f}" for name in names if getattr(order, name)}


def refused(shop: Shop, trigger: str, **facts: Any) -> list[str]:
    before = shop.dump()
    with pytest.raises(Refused) as refusal:
        shop.orders.fire("1001", trigger, **facts)
    assert shop.dump() == before
    return [reason.code for reason in refusal.value.reasons]


def test_a_payment_is_a_row_of_the_ledger(shop: Shop) -> None:
    shop.create(total="49.90")
    order = shop.orders.fire("1001", "pay", amount="49.90", currency="GBP", reference="ch_1").order
    (payment,) = order.payments
    assert (payment.kind, payment.amount, payment.reference, payment.at, payment.version) == (
        "captured",
        Decimal("49.90"),
        "ch_1",
        shop.clock.now,
        2,
    )
    assert shop.orders.history("1001")[-1].facts == {
        "amount": Decimal("49.90"),
        "currency": "GBP",
        "reference": "ch_1",
    }
    assert sums(order) == {"captured": "49.90"}


@pytest.mark.parametrize("amount", ["10", "10.00", 10, Decimal("1E+1"), Decimal("10.0")])
def test_an_amount_is_a_string_an_int_or_a_decimal(shop: Shop, amount: Any) -> None:
    shop.create()
    assert shop.orders.fire("1001", "pay", amount=amount).order.state == "sent+paid"


def test_part_payments_add_up(shop: Shop) -> None:
    """The payment that covers the total ticks paid. Each payment ticks `sent`."""
    shop.create()
    states = [
        shop.orders.fire("1001", "pay", amount=amount, reference=f"ch_{amount}").order
        for amount in ("3.00", "6.99", "0.01")
    ]
    assert [order.state for order in states] == ["sent", "sent", "sent+invoiced+paid"]
    assert [sums(order).get("outstanding") for order in states] == ["7.00", "0.01", None]
    assert shop.topics() == ["payment.received", "payment.received", "order.paid"]


def test_a_payment_without_an_amount_is_the_outstanding_money(shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", amount="4")
    assert shop.orders.fire("1001", "pay").order.payments[-1].amount == 6


def test_overpayment_is_recorded_and_due_back(shop: Shop) -> None:
    shop.create()
    order = shop.orders.fire("1001", "pay", amount="12.50").order
    assert order.state == "sent+paid"
    assert sums(order) == {"captured": "12.50", "overpaid": "2.50", "refund_due": "2.50"}


def test_a_second_payment_is_recorded_and_due_back(shop: Shop) -> None:
    shop.bring("sent+paid")
    order = shop.orders.fire("1001", "pay", amount="10", reference="ch_2").order
    assert order.state == "sent+paid"
    assert sums(order) == {"captured": "20.00", "overpaid": "10.00", "refund_due": "10.00"}


def test_no_default_payment_without_outstanding_money(shop: Shop) -> None:
    shop.bring("sent+paid")
    assert refused(shop, "pay") == ["nothing_outstanding"]
    assert refused(shop, "pay", amount=0) == ["nothing_outstanding"]


def test_a_payment_of_zero_is_refused(shop: Shop) -> None:
    """It would place the order without waiting for stock, and add a row of 0.00 to the ledger."""
    shop.create(lines=[Line("TEAPOT", 11)])
    assert refused(shop, "pay", amount=0)
    assert refused(shop, "pay", amount="0.00", reference="ch_1")


@pytest.mark.parametrize("trigger", ["refund", "unpay"])
def test_money_of_another_currency_is_refunded_only_if_it_was_captured(shop: Shop, trigger: str) -> None:
    shop.bring("sent+paid")
    assert refused(shop, trigger, amount="1", currency="EUR", comment="x") == ["beyond_bound"]
    shop.orders.fire("1001", "pay", amount="1", currency="EUR")
    assert shop.orders.fire("1001", trigger, amount="1", currency="EUR", comment="x").order.unmatched == {}


def test_a_payment_on_a_cancelled_order_is_recorded_and_due_back(shop: Shop) -> None:
    """K5: cancelled stays ticked, invoiced unticked, stock does not move, and a message reports the refund due."""
    shop.bring("sent+cancelled")
    order = shop.orders.fire("1001", "pay", amount="10", reference="ch_1", key="evt_1").order
    assert order.state == "sent+cancelled"
    assert sums(order) == {"captured": "10.00", "refund_due": "10.00"}
    assert shop.orders.stock("TEAPOT") == 10
    assert shop.orders.totals() == {}
    assert [order.id for order in shop.orders.queue("refund_due")] == ["1001"]
    assert "refund.due" in shop.topics()


def test_cancelling_moves_no_money(shop: Shop) -> None:
    """woocommerce/woocommerce-gateway-stripe#900: it only reports the refund due."""
    order = shop.bring("sent+paid")
    cancelled = shop.orders.fire("1001", "cancel").order
    assert cancelled.payments == order.payments
    assert sums(cancelled) == {"captured": "10.00", "refund_due": "10.00"}


def test_a_refund_is_at_most_the_held_money(shop: Shop) -> None:
    """woocommerce/woocommerce-gateway-stripe#5703: that is the captured money less earlier refunds and reversals."""
    shop.bring("sent+paid")
    shop.orders.fire("1001", "cancel")
    assert refused(shop, "refund", amount="10.01") == ["beyond_bound"]
    shop.orders.fire("1001", "refund", amount="4.00", transaction_id="re_1")
    assert refused(shop, "refund", amount="6.01") == ["beyond_bound"]
    assert refused(shop, "refund", amount="0") == ["no_amount"]
    order = shop.orders.fire("1001", "refund").order
    assert sums(order) == {"captured": "10.00", "refunded": "10.00"}
    assert refused(shop, "refund") == ["no_amount"]


def test_a_refund_is_at_most_the_money_left_after_a_reversal(shop: Shop) -> None:
    shop.bring("sent+paid")
    shop.orders.fire("1001", "unpay", amount="7", comment="charged back")
    assert refused(shop, "refund", amount="3.01") == ["beyond_bound"]
    assert shop.orders.fire("1001", "refund").order.refunded == 3


def test_a_refund_after_dispatch_unticks_nothing(shop: Shop) -> None:
    """woocommerce/woocommerce#22685: the order is paid and partly refunded."""
    shop.bring("sent+paid+dispatched")
    order = shop.orders.fire("1001", "refund", amount="2.50").order
    assert order.state == "sent+paid+dispatched"
    assert sums(order) == {"captured": "10.00", "refunded": "2.50"}
    order = shop.orders.fire("1001", "refund").order
    assert order.state == "sent+paid+dispatched"
    assert order.outstanding == 0


def test_a_reversal_unticks_paid_and_needs_a_reason(shop: Shop) -> None:
    shop.bring("sent+invoiced+paid")
    assert refused(shop, "unpay") == ["reason_required"]
    assert refused(shop, "unpay", comment="  ") == ["reason_required"]
    order = shop.orders.fire("1001", "unpay", comment="it bounced").order
    assert order.state == "sent"
    assert sums(order) == {"captured": "10.00", "reversed": "10.00", "outstanding": "10.00"}


def test_a_reversal_is_at_most_the_received_money(shop: Shop) -> None:
    shop.bring("sent+paid")
    assert refused(shop, "unpay", amount="10.01", comment="x") == ["beyond_bound"]
    shop.orders.fire("1001", "unpay", amount="4", comment="x")
    assert refused(shop, "unpay", amount="6.01", comment="x") == ["beyond_bound"]
    assert shop.orders.fire("1001", "unpay", comment="x").order.reversed == 10
    assert refused(shop, "unpay", comment="x") == ["no_amount"]


@pytest.mark.parametrize("state", ["sent", "sent+paid"])
def test_a_reversal_of_zero_is_refused(shop: Shop, state: str) -> None:
    """Like a refund of zero, it would add a row of 0.00 to the ledger."""
    shop.bring(state)
    if state == "sent":
        shop.orders.fire("1001", "pay", amount="4")
    assert refused(shop, "unpay", amount=0, comment="x")


def test_a_part_reversal_unticks_paid_if_the_rest_does_not_cover(shop: Shop) -> None:
    shop.bring("sent+paid")
    assert shop.orders.fire("1001", "unpay", amount="0.01", comment="x").order.state == "sent"
    order = shop.orders.fire("1001", "pay").order
    assert order.state == "sent+paid"
    assert order.payments[-1].amount == Decimal("0.01")


def test_a_reversal_of_the_excess_keeps_paid(shop: Shop) -> None:
    shop.bring("sent+paid")
    shop.orders.fire("1001", "pay", amount="5")
    order = shop.orders.fire("1001", "unpay", amount="5", comment="paid twice").order
    assert order.state == "sent+paid"
    assert sums(order) == {"captured": "15.00", "reversed": "5.00"}


def test_a_reversal_of_a_part_payment_is_recorded(shop: Shop) -> None:
    """Paid was not ticked, so no box is unticked."""
    shop.create()
    shop.orders.fire("1001", "pay", amount="4")
    order = shop.orders.fire("1001", "unpay", comment="it bounced").order
    assert order.state == "sent"
    assert sums(order) == {"captured": "4.00", "reversed": "4.00", "outstanding": "10.00"}


def test_a_chargeback_after_a_refund_is_a_loss(shop: Shop) -> None:
    """The bank takes money that the shop already refunded. No refund is due, and the held money is below zero."""
    shop.bring("sent+paid")
    shop.orders.fire("1001", "refund", amount="6")
    order = shop.orders.fire("1001", "unpay", comment="charged back").order
    assert order.held == -6
    assert sums(order) == {"captured": "10.00", "refunded": "6.00", "reversed": "10.00", "outstanding": "10.00"}
    assert order.credited == 6


def test_a_reversal_after_dispatch_is_a_debt(shop: Shop) -> None:
    shop.bring("sent+paid+dispatched")
    shop.orders.fire("1001", "unpay", comment="charged back")
    assert [order.id for order in shop.orders.queue("debt")] == ["1001"]


def test_a_free_order_is_changed_by_the_form(shop: Shop) -> None:
    """Nothing is outstanding, so it is paid when it is placed, and the form cannot untick that."""
    shop.create(total="0")
    assert shop.orders.save("1001", {"sent", "paid"}, version=1).order.state == "sent+paid"
    with pytest.raises(Refused):
        shop.orders.save("1001", {"sent"}, version=2, comment="by mistake")
    assert shop.orders.save("1001", (), version=2).order.state == "unfinished"


def test_money_paid_for_a_free_order_is_due_back(shop: Shop) -> None:
    shop.create(total="0")
    assert sums(shop.orders.fire("1001", "pay", amount="5").order) == {
        "captured": "5.00",
        "overpaid": "5.00",
        "refund_due": "5.00",
    }


def test_a_reversal_of_zero_is_refused_on_a_free_order(shop: Shop) -> None:
    shop.create(total="0")
    shop.orders.fire("1001", "pay", amount="5")
    before = shop.dump()
    assert refused(shop, "unpay", amount="0", comment="by mistake") == ["no_amount"]
    assert shop.dump() == before
    assert shop.orders.fire("1001", "unpay", comment="bounced").order.state == "sent+paid"


def test_an_order_with_money_is_not_unplaced(shop: Shop) -> None:
    """`unplace` would hide received money."""
    shop.create()
    shop.orders.fire("1001", "pay", amount="4")
    assert refused(shop, "unplace") == ["holds_money"]


def test_reinstated_money_is_no_longer_due_back(shop: Shop) -> None:
    shop.bring("sent+paid+cancelled")
    order = shop.orders.fire("1001", "reinstate").order
    assert order.state == "sent+paid"
    assert order.refund_due == 0
    assert shop.orders.queue("refund_due") == []


def test_sums_are_exact(shop: Shop) -> None:
    """A penny counts at the largest possible total."""
    total = "999999999999999.99"
    shop.create(total=total, lines=())
    for amount in ("0.01", "999999999999999.97"):
        shop.orders.fire("1001", "pay", amount=amount)
    order = shop.orders.get("1001")
    assert (order.state, order.outstanding) == ("sent", Decimal("0.01"))
    shop.orders.fire("1001", "pay")
    assert shop.orders.totals() == {"GBP": Decimal(total)}


def test_amounts_are_distinct_under_any_precision_of_the_caller(shop: Shop) -> None:
    with localcontext() as context:
        context.prec = 3
        shop.create(total="1234.56")
        shop.orders.fire("1001", "pay", amount="1234.56", key="evt_1")
        with pytest.raises(KeyReused):
            shop.orders.fire("1001", "pay", amount="1234.55", key="evt_1")


def test_sums_are_exact_under_any_precision_of_the_caller(shop: Shop) -> None:
    """A host that rounds its decimals does not round those of the library."""
    with localcontext() as context:
        context.prec = 3
        shop.create(total="1234.56")
        shop.orders.fire("1001", "pay", amount="1234.55", reference="ch_1", key="evt_1")
        order = shop.orders.get("1001")
        assert order.state == "sent"
        assert (order.outstanding, order.captured) == (Decimal("0.01"), Decimal("1234.55"))
        assert shop.orders.totals() == {"GBP": Decimal("1234.56")}


def test_credits_are_exact_under_any_precision_of_the_host(any_shop: Shop) -> None:
    with localcontext() as context:
        context.prec = 3
        any_shop.create(total="1234.56")
        any_shop.orders.fire("1001", "pay", reference="ch_1")
        for amount in ("123.45", "1111.11"):
            any_shop.orders.fire("1001", "refund", amount=amount, reference="ch_1")
        order = any_shop.orders.get("1001")
        assert (order.credited, order.outstanding) == (Decimal(0), Decimal("1234.56"))


def test_events_without_ids_are_distinct_under_any_precision_of_the_host() -> None:
    with localcontext() as context:
        context.prec = 3
        keys = {
            key_of(PaymentEvent("refunded", order_id="1", reference="r", amount=amount, currency="GBP"), None)
            for amount in ("1234.56", "1234.50")
        }
    assert len(keys) == 2

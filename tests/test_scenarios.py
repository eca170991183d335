"""Publicly reported faults of shops and payment plug-ins, on every kind of store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import KeyReused, Receipt, Refused, StoreUnavailable
from order_fsm.payments import Outcome
from tests.gateway import Gateway, body_of
from tests.stores import interrupted

if TYPE_CHECKING:
    from tests.conftest import Shop

WORKERS = 8
DAY = timedelta(days=1)


@pytest.fixture
def gateway(any_shop: Shop) -> Gateway:
    """Return a gateway for a shop with order 1001 over 10.00 GBP."""
    any_shop.create()
    return Gateway(any_shop)


def redirect(shop: Shop, **about: Any) -> Receipt:
    """Record a payment as the redirect of a browser does."""
    facts: dict[str, Any] = {"amount": "10.00", "currency": "GBP", "reference": "ch_1", **about}
    return shop.orders.fire("1001", "pay", by="redirect", **facts)


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run calls in threads at once. Return their outcomes."""
    gate = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def assert_paid_once(shop: Shop) -> None:
    order = shop.orders.get("1001")
    assert (order.state, order.captured, order.refund_due) == ("sent+invoiced+paid", Decimal(10), Decimal(0))
    assert shop.orders.stock("TEAPOT") == 8
    assert shop.topics() == ["order.paid"]
    assert [entry.trigger for entry in shop.orders.history("1001")] == ["create", "pay"]


# Duplicates and races


def test_webhook_and_redirect_arrive_together(any_shop: Shop, gateway: Gateway) -> None:
    """Automattic/woocommerce-payments#3345, woocommerce/woocommerce-gateway-stripe#2331: all effects happened twice."""
    calls: list[Callable[[], Any]] = [gateway.send, partial(redirect, any_shop)]
    outcomes = together(calls * (WORKERS // 2))
    news = [one for one in outcomes if (one.outcome == "applied" if isinstance(one, Outcome) else not one.duplicate)]
    assert len(news) == 1
    assert_paid_once(any_shop)


@pytest.mark.parametrize("first", ["webhook", "redirect"])
def test_the_first_of_webhook_and_redirect_counts(any_shop: Shop, first: str) -> None:
    """medusajs/medusa#13301: the second came between read and commit, and a good order was refunded."""
    before_commit = interrupted(any_shop.store)
    any_shop.create()
    gateway = Gateway(any_shop)
    if first == "redirect":
        before_commit.append(partial(redirect, any_shop))
        assert gateway.send().outcome == "duplicate"
    else:
        before_commit.append(gateway.send)
        assert redirect(any_shop).duplicate
    assert_paid_once(any_shop)


def test_two_notifications_make_one_invoice(any_shop: Shop, gateway: Gateway) -> None:
    """MultiSafepay/magento2#74."""
    together([partial(gateway.send, event_id=f"evt_{n}") for n in range(WORKERS)])
    invoiced = [entry for entry in any_shop.orders.history("1001") if "invoiced" in entry.after - entry.before]
    assert len(invoiced) == 1
    assert_paid_once(any_shop)


def test_order_cancelled_twice_queues_one_message(any_shop: Shop) -> None:
    """mollie/Shopware6#286: the second cancel returns the first receipt under its key, and is refused without one."""
    any_shop.bring("sent")
    first = any_shop.orders.fire("1001", "cancel", notify=True, key="k1")
    assert any_shop.orders.fire("1001", "cancel", notify=True, key="k1").entries == first.entries
    with pytest.raises(Refused):
        any_shop.orders.fire("1001", "cancel", notify=True)
    assert any_shop.topics() == ["order.placed", "order.updated"]
    assert any_shop.orders.stock("TEAPOT") == 10


def test_writers_of_money_and_of_statuses_lose_nothing(any_shop: Shop) -> None:
    """saleor/saleor#17893: the amount of one and the status of the other are both stored."""
    any_shop.create(total="100.00")
    gateway = Gateway(any_shop)
    pay = [partial(gateway.send, event_id=f"evt_{n}", reference=f"ch_{n}", amount="5.00") for n in range(WORKERS)]
    invoice = partial(any_shop.orders.fire, "1001", "invoice")
    any_shop.orders.fire("1001", "place")
    together([*pay, invoice, partial(any_shop.orders.comment, "1001", "hello")])
    order = any_shop.orders.get("1001")
    assert (order.state, order.captured) == ("sent+invoiced", Decimal(5 * WORKERS))
    assert [entry.version for entry in any_shop.orders.history("1001")] == list(range(1, 2 + WORKERS + 3))


def test_one_payment_under_two_event_ids_is_one(any_shop: Shop, gateway: Gateway) -> None:
    outcomes = [gateway.send(event_id=event_id).outcome for event_id in ("evt_1", "evt_2", "evt_2", "evt_1")]
    assert outcomes == ["applied", "duplicate", "duplicate", "duplicate"]
    assert_paid_once(any_shop)


def test_the_same_key_with_another_amount_changes_nothing(any_shop: Shop, gateway: Gateway) -> None:
    gateway.send()
    before = any_shop.dump()
    with pytest.raises(KeyReused):
        redirect(any_shop, key="evt_1", amount="9.00")
    assert gateway.send(amount="9.00").outcome == "rejected"
    assert any_shop.dump() == before


# Order and time


def test_paid_and_then_cancelled_by_the_timer(any_shop: Shop) -> None:
    """woocommerce/woocommerce#20928: the payment comes after the timer's read, so the cancel is decided again."""
    before_commit = interrupted(any_shop.store)
    any_shop.create()
    any_shop.orders.fire("1001", "place")
    any_shop.clock.pass_by(days=2)
    before_commit.append(Gateway(any_shop).send)
    assert any_shop.orders.expire(DAY) == []
    assert any_shop.orders.get("1001").state == "sent+invoiced+paid"


def test_a_payment_after_cancel_is_refunded_once(any_shop: Shop, gateway: Gateway) -> None:
    """woocommerce/woocommerce-gateway-stripe#5703: each refund lowers the refund due, down to zero."""
    any_shop.orders.fire("1001", "cancel")
    assert gateway.send().outcome == "recorded"
    assert any_shop.orders.get("1001").refund_due == 10
    refunds = [gateway.send("refunded", event_id).outcome for event_id in ("evt_2", "evt_2", "evt_3")]
    assert refunds == ["recorded", "duplicate", "parked"]
    any_shop.clock.pass_by(days=1)
    assert gateway.send("refunded", "evt_3").outcome == "recorded"
    order = any_shop.orders.get("1001")
    assert (order.refunded, order.refund_due) == (Decimal(10), Decimal(0))
    with pytest.raises(Refused, match="no_amount"):
        any_shop.orders.fire("1001", "refund")
    assert [order.id for order in any_shop.orders.queue("refund_due")] == []


@pytest.mark.parametrize("kinds", [("failed", "captured"), ("captured", "failed")])
def test_a_success_counts_before_or_after_a_failed_attempt(
    any_shop: Shop, gateway: Gateway, kinds: tuple[str, str]
) -> None:
    """lunarphp/lunar#2204: the success after a failure was ignored. A late failure unticks no box."""
    outcomes = {kind: gateway.send(kind, f"evt_{kind}").outcome for kind in kinds}
    assert outcomes == {"failed": "recorded", "captured": "applied"}
    assert any_shop.orders.get("1001").state == "sent+invoiced+paid"


def test_a_webhook_after_dispatch_has_status_2xx(any_shop: Shop, gateway: Gateway) -> None:
    """vendurehq/vendure#2657: the status was 500, and the gateway repeated the webhook for days."""
    gateway.send()
    any_shop.orders.fire("1001", "dispatch")
    late = [
        gateway.send(event_id="evt_2"),
        gateway.send(event_id="evt_3", reference="ch_2"),
        gateway.send("failed", "evt_4"),
        gateway.send("refunded", "evt_5", amount="1.00"),
    ]
    assert [(one.outcome, one.http_status) for one in late] == [("duplicate", 200), *[("recorded", 200)] * 3]
    order = any_shop.orders.get("1001")
    assert (order.state, order.refund_due) == ("sent+invoiced+paid+dispatched", Decimal(9))


def test_one_poisoned_order_does_not_stop_the_nightly_expiry(any_shop: Shop) -> None:
    """Sylius/Sylius#11768."""

    def fails() -> None:
        raise ZeroDivisionError

    before_commit = interrupted(any_shop.store)
    for order_id in ("1001", "1002"):
        any_shop.bring("sent", order_id)
    any_shop.clock.pass_by(days=2)
    before_commit.append(fails)
    assert [receipt.order.id for receipt in any_shop.orders.expire(DAY)] == ["1002"]


def test_orders_with_money_do_not_expire(any_shop: Shop, gateway: Gateway) -> None:
    """Sylius/Sylius#13442."""
    gateway.send(amount="4.00")
    any_shop.clock.pass_by(days=1000)
    assert any_shop.orders.expire(DAY) == []
    assert any_shop.orders.get("1001").state == "sent"


# Callbacks: the order of the checks


def test_the_signature_is_checked_first(any_shop: Shop, gateway: Gateway) -> None:
    """A forged body is not decoded, so other faults of it do not change the outcome."""
    bodies = [b"{", b"\xff", body_of(order_id="unknown"), body_of(amount=-1), body_of(currency="EUR"), body_of()]
    headers = gateway.headers(b"something else")
    before = any_shop.dump()
    assert {gateway.receiver.receive(body, headers).http_status for body in bodies} == {401}
    assert any_shop.dump() == before


def test_the_time_is_checked_before_the_key(any_shop: Shop, gateway: Gateway) -> None:
    """A replay after an hour is rejected and is not a duplicate, although its event is known."""
    headers = gateway.headers(body_of())
    assert gateway.receiver.receive(body_of(), headers).outcome == "applied"
    any_shop.clock.pass_by(minutes=4)
    assert gateway.receiver.receive(body_of(), headers).outcome == "duplicate"
    any_shop.clock.pass_by(hours=1)
    assert gateway.receiver.receive(body_of(), headers).outcome == "rejected"


def test_the_key_is_stored_only_with_its_effect(any_shop: Shop) -> None:
    """A failed commit stores no key, so a redelivery is applied."""

    def fails() -> None:
        raise StoreUnavailable

    before_commit = interrupted(any_shop.store)
    any_shop.create()
    gateway = Gateway(any_shop)
    before_commit.append(fails)
    assert gateway.send().outcome == "parked"
    assert any_shop.record("gateway:evt_1") is None
    assert gateway.send().outcome == "applied"
    assert any_shop.record("gateway:evt_1") is not None


def test_the_key_is_kept_for_ever(any_shop: Shop, gateway: Gateway) -> None:
    gateway.send()
    any_shop.orders.fire("1001", "cancel")
    any_shop.clock.pass_by(days=3000)
    any_shop.orders.purge(DAY)
    assert gateway.send().outcome == "duplicate"


def test_one_reference_has_a_payment_and_its_refunds(any_shop: Shop, gateway: Gateway) -> None:
    """Reference and kind together are a second key."""
    gateway.send()
    for event_id in ("evt_2", "evt_3"):
        gateway.send("refunded", event_id, amount="2.00")
    gateway.send(event_id="evt_4")
    order = any_shop.orders.get("1001")
    assert [(one.kind, f"{one.amount}", one.reference) for one in order.payments] == [
        ("captured", "10.00", "ch_1"),
        ("refunded", "2.00", "ch_1"),
        ("refunded", "2.00", "ch_1"),
    ]


@pytest.mark.parametrize("other", [{"amount": "9.00"}, {"currency": "EUR"}])
@pytest.mark.parametrize("event_id", ["evt_1", "evt_2"])
def test_another_amount_or_currency_is_a_conflict_and_not_a_duplicate(
    any_shop: Shop, gateway: Gateway, event_id: str, other: dict[str, str]
) -> None:
    gateway.send()
    before = any_shop.dump()
    outcome = gateway.send(event_id=event_id, **other)
    assert (outcome.outcome, outcome.http_status) == ("rejected", 409)
    assert any_shop.dump() == before


def test_the_amount_is_compared_with_the_orders(any_shop: Shop, gateway: Gateway) -> None:
    """A payment that covers the order pays it. A penny less does not."""
    assert gateway.send(amount="9.99").outcome == "recorded"
    assert any_shop.orders.get("1001").state == "sent"
    assert gateway.send(event_id="evt_2", reference="ch_2", amount="0.01").outcome == "applied"


def test_the_currency_is_compared_with_the_orders(any_shop: Shop, gateway: Gateway) -> None:
    """Ten of another currency do not pay ten pounds."""
    outcome = gateway.send(currency="JPY", amount="10")
    assert (outcome.outcome, outcome.http_status) == ("recorded", 200)
    order = any_shop.orders.get("1001")
    assert (order.held, order.outstanding, order.unmatched) == (Decimal(0), Decimal(10), {"JPY": Decimal(10)})


def test_a_payment_before_its_order_is_recorded_in_the_end(any_shop: Shop) -> None:
    gateway = Gateway(any_shop)
    assert [gateway.send().http_status for _ in range(3)] == [503] * 3
    any_shop.create()
    assert [gateway.send().outcome for _ in range(2)] == ["applied", "duplicate"]
    assert_paid_once(any_shop)


def test_known_event_that_cannot_be_applied_is_recorded(any_shop: Shop, gateway: Gateway) -> None:
    """A message reports the refund due, and the status is 2xx, so that the gateway does not repeat it."""
    any_shop.orders.fire("1001", "cancel")
    outcome = gateway.send()
    assert (outcome.outcome, outcome.http_status) == ("recorded", 200)
    assert "refund.due" in any_shop.topics()


@pytest.mark.parametrize("kind", ["failed", "authorized", "expired", "dispute.opened"])
def test_only_kinds_of_money_move_money(any_shop: Shop, gateway: Gateway, kind: str) -> None:
    before = any_shop.orders.get("1001")
    assert gateway.send(kind).outcome == "recorded"
    after = any_shop.orders.get("1001")
    assert (after.state, after.payments) == (before.state, ())


def test_redirect_and_webhook_have_the_same_result(any_shop: Shop, gateway: Gateway) -> None:
    """One of them records the payment, and the other one gets its receipt."""
    receipt = redirect(any_shop)
    outcome = gateway.send()
    assert outcome.outcome == "duplicate"
    assert outcome.receipt is not None
    assert outcome.receipt.entries == receipt.entries
    assert_paid_once(any_shop)

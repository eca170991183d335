"""The outbox has the messages of a commit if and only if the commit succeeds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from order_fsm import (
    Guard,
    KeyReused,
    Line,
    Message,
    Orders,
    Refused,
    Rule,
    StoreUnavailable,
    Workflow,
    shop_workflow,
)
from order_fsm.store import Change
from order_fsm_adapters.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import Shop


def only(shop: Shop, topic: str) -> Message:
    (message,) = shop.messages(topic)
    return message


def refunds(shop: Shop) -> list[tuple[float, float]]:
    """Return the new and the total refund due of each message."""
    told = [message.payload for message in shop.messages("refund.due")]
    return [(float(payload["amount"]), float(payload["refund_due"])) for payload in told]


# order.updated


def test_change_queues_no_mail_by_default(shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "place", comment="x", visible=True)
    shop.orders.comment("1001", "x", visible=True)
    shop.orders.fire("1001", "pay")
    shop.orders.save("1001", {"sent", "paid", "dispatched"}, version=4, comment="x", visible=True)
    assert shop.topics() == ["order.placed"]


def test_a_mail_is_one_message_with_all_its_data(shop: Shop) -> None:
    shop.bring("sent+invoiced+paid")
    shop.orders.fire("1001", "dispatch", comment="AB123", visible=True, notify=True)
    message = only(shop, "order.updated")
    assert message.order_id == "1001"
    assert message.created_at == shop.clock.now
    assert message.payload == {
        "state": "sent+invoiced+paid+dispatched",
        "triggers": ["dispatch"],
        "added": ["dispatched"],
        "dropped": [],
    }


def test_a_mail_has_the_difference(shop: Shop) -> None:
    """K8: cancelling a paid order mails cancelled, not paid. Unticked boxes are included."""
    shop.bring("sent+paid")
    shop.orders.fire("1001", "invoice")
    shop.orders.fire("1001", "cancel", notify=True)
    shop.orders.save("1001", {"sent", "invoiced"}, version=4, comment="bounced", notify=True)
    told = [(one.payload["added"], one.payload["dropped"]) for one in shop.messages("order.updated")]
    assert told == [(["cancelled"], []), ([], ["cancelled", "paid"])]


def test_a_hidden_comment_is_in_no_mail(shop: Shop) -> None:
    """A comment reaches the customer only with `visible`."""
    shop.bring("sent+paid")
    shop.orders.fire("1001", "dispatch", comment="he is a nuisance", notify=True)
    shop.orders.comment("1001", "still is", notify=True)
    for message in shop.messages():
        assert "nuisance" not in str(message)
        assert "still is" not in str(message)


def test_a_comment_is_mailed_with_notify(shop: Shop) -> None:
    shop.bring("sent")
    shop.orders.comment("1001", "snow ❄", visible=True, notify=True)
    payload = only(shop, "order.updated").payload
    assert (payload["triggers"], payload["added"], payload["dropped"]) == (["comment"], [], [])
    assert shop.comment_of(only(shop, "order.updated")) == "snow ❄"


# order.paid


def test_an_online_payment_queues_a_message_by_default(shop: Shop) -> None:
    """It needs no `notify`. Its entry is visible to the customer."""
    shop.create()
    receipt = shop.orders.fire("1001", "pay", amount="10.00", reference="ch_1", key="evt_1")
    assert only(shop, "order.paid").payload == {
        "state": "sent+invoiced+paid",
        "amount": "10.00",
        "currency": "GBP",
        "reference": "ch_1",
    }
    assert shop.orders.progress("1001") == receipt.entries


@pytest.mark.parametrize("state", ["unfinished", "sent+invoiced", "sent+invoiced+dispatched"])
def test_every_online_payment_that_ticks_paid_queues_a_message(shop: Shop, state: str) -> None:
    shop.bring(state)
    shop.orders.fire("1001", "pay", reference="ch_9")
    assert len(shop.messages("order.paid")) == 1


def test_a_payment_that_ticks_nothing_queues_no_order_paid(shop: Shop) -> None:
    """Such payments are part payments, payments by hand and redeliveries."""
    shop.create()
    shop.orders.fire("1001", "pay", amount="1")
    assert shop.topics() == ["payment.received"]
    shop.orders.fire("1001", "pay")
    assert shop.topics() == ["payment.received"]
    shop.orders.fire("1001", "pay", amount="1", reference="ch_2")
    assert shop.messages("order.paid") == []


def test_an_online_payment_shows_no_hidden_comment(shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1", comment="risk score 97")
    assert all("risk" not in entry.comment for entry in shop.orders.progress("1001"))
    assert "risk" not in str(shop.messages())


def test_an_online_payment_with_a_blank_comment_is_still_shown(shop: Shop) -> None:
    """A blank comment has nothing to hide."""
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1", comment=" ")
    assert [entry.trigger for entry in shop.orders.progress("1001")] == ["pay"]


# refund.due


def test_cancelling_reports_the_refund_due(shop: Shop) -> None:
    shop.bring("sent+paid")
    shop.orders.fire("1001", "cancel")
    message = only(shop, "refund.due")
    assert message.payload == {
        "state": "sent+paid+cancelled",
        "amount": "10.00",
        "refund_due": "10.00",
        "currency": "GBP",
    }


def test_cancelling_without_money_queues_no_refund(shop: Shop) -> None:
    shop.bring("sent")
    shop.orders.fire("1001", "cancel")
    assert shop.topics() == ["order.placed"]


def test_overpayment_reports_the_excess(shop: Shop) -> None:
    shop.bring("sent")
    shop.orders.fire("1001", "pay", amount="12.50")
    shop.orders.fire("1001", "pay", amount="10.00")
    assert refunds(shop) == [(2.50, 2.50), (10, 12.50)]


def test_a_payment_on_a_cancelled_order_is_due_back_whole(shop: Shop) -> None:
    shop.bring("sent+cancelled")
    shop.orders.fire("1001", "pay", amount="4", reference="ch_1")
    shop.orders.fire("1001", "pay", amount="6", reference="ch_2")
    assert refunds(shop) == [(4, 4), (6, 10)]


def test_a_refund_is_not_announced_as_due(shop: Shop) -> None:
    """This holds for part and full refunds, due or not."""
    shop.bring("sent+paid")
    shop.orders.fire("1001", "refund", amount="1")
    shop.orders.fire("1001", "cancel")
    shop.orders.fire("1001", "refund", amount="4")
    shop.orders.fire("1001", "refund")
    assert refunds(shop) == [(9, 9)]


@pytest.mark.parametrize("trigger", ["reinstate", "unpay"])
def test_less_refund_due_queues_no_message(shop: Shop, trigger: str) -> None:
    shop.bring("sent+paid")
    shop.orders.fire("1001", "cancel")
    shop.orders.fire("1001", trigger, comment="charged back")
    assert shop.orders.get("1001").refund_due == 0
    assert refunds(shop) == [(10, 10)]


# order.placed and the money


def test_placing_queues_a_message_by_default(shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "place")
    payload = only(shop, "order.placed").payload
    assert (payload["total"], payload["currency"]) == ("10.00", "GBP")
    assert shop.orders.progress("1001") == ()


def test_placing_by_a_rule_of_the_shop_queues_a_message(new_shop: type[Shop]) -> None:
    shop = new_shop(
        shop_workflow().extend(rules=[Rule("order_by_phone", forbids={"sent", "cancelled"}, adds={"sent"})])
    )
    shop.create()
    shop.orders.fire("1001", "order_by_phone")
    assert shop.topics() == ["order.placed"]


@pytest.mark.parametrize("reference", ["ch_1", None])
def test_a_reversal_of_online_money_queues_a_message(shop: Shop, reference: str | None) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", reference=reference)
    shop.orders.fire("1001", "unpay", amount="4", comment="a reason")
    told = [(one.payload["amount"], one.payload["outstanding"]) for one in shop.messages("payment.reversed")]
    assert told == ([("4", "4.00")] if reference else [])


def test_no_money_outstanding_keeps_the_digits_of_the_currency(shop: Shop) -> None:
    shop.create(total="10.00")
    shop.orders.fire("1001", "pay", amount="10.00", reference="ch_1")
    shop.orders.fire("1001", "pay", amount="4.00", reference="ch_2")
    order = shop.orders.fire("1001", "unpay", amount="4.00", reference="ch_2", comment="a reason").order
    assert only(shop, "payment.reversed").payload["outstanding"] == str(order.outstanding) == "0.00"
    assert str(order.refund_due) == "0.00"


def test_reinstating_an_order_that_becomes_paid_queues_order_paid(shop: Shop) -> None:
    """The money came while the order was cancelled."""
    shop.bring("sent+cancelled")
    shop.orders.fire("1001", "pay", amount="10", reference="ch_1")
    assert shop.messages("order.paid") == []
    shop.orders.fire("1001", "reinstate")
    payload = only(shop, "order.paid").payload
    assert (payload["amount"], payload["reference"]) == ("10", "ch_1")


def test_order_paid_has_the_reference_of_the_money_that_was_recorded(shop: Shop) -> None:
    """Another payment of the order has another reference, and money by hand has none."""
    shop.create()
    shop.orders.fire("1001", "pay", amount="2", reference="ch_1")
    shop.orders.fire("1001", "pay", amount="3", reference="ch_2")
    shop.orders.fire("1001", "pay", amount="5")
    shop.orders.fire("1001", "unpay", reference="ch_1", transaction_id="dp_1", comment="a dispute")
    shop.orders.fire("1001", "restore_payment", transaction_id="dp_1")
    told = [(one.payload["amount"], one.payload["reference"]) for one in shop.messages("order.paid")]
    assert told == [("5", None), ("2", "ch_1")]


def test_a_form_reports_the_refund_due_once(shop: Shop) -> None:
    """The message follows from the order before and after the form, not from each step."""
    shop.bring("sent+paid+dispatched")
    shop.orders.save("1001", {"sent", "paid", "cancelled"}, version=3, comment="came back")
    assert refunds(shop) == [(10, 10)]


def test_a_dispatch_queues_no_message_about_money(shop: Shop) -> None:
    shop.bring("sent+paid")
    shop.orders.fire("1001", "pay", amount="1")
    shop.orders.fire("1001", "dispatch")
    shop.orders.comment("1001", "x")
    assert refunds(shop) == [(1, 1)]


# All of them


def test_ids_are_stable_and_unique(shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", amount="11", reference="ch_1", notify=True)
    ids = [message.id for message in shop.messages()]
    assert [message.topic for message in shop.messages()] == ["order.paid", "order.updated", "refund.due"]
    assert [one.rpartition("-")[0] for one in ids] == ["1001#2.1", "1001#2.2", "1001#2.3"]
    assert {message.version for message in shop.messages()} == {2}


def test_a_payload_is_plain_json_and_a_copy(shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", amount="12", reference="ch_1", notify=True)

    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(one) for key, one in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or isinstance(value, str | int | bool)

    for message in shop.messages():
        assert plain(message.payload)
        message.payload.clear()
        assert message.payload


def test_a_fact_of_a_shops_own_does_not_hide_the_state(new_shop: type[Shop]) -> None:
    shop = new_shop(shop_workflow().extend(rules=[Rule("weigh", facts={"state", "weight"}, announces="order.weighed")]))
    shop.create()
    shop.orders.fire("1001", "weigh", state="light", weight=3)
    assert only(shop, "order.weighed").payload == {"state": "unfinished", "weight": 3}


ACTS = st.sampled_from(
    [
        ("place", {}),
        ("pay", {"amount": "4", "reference": "ch_1"}),
        ("pay", {"reference": "ch_2"}),
        ("pay", {"amount": "3", "currency": "EUR", "reference": "ch_3"}),
        ("pay", {}),
        ("unpay", {"amount": "1", "reference": "ch_1"}),
        ("refund", {"amount": "1"}),
        *((trigger, {}) for trigger in ("invoice", "dispatch", "undispatch", "cancel", "reinstate", "unplace")),
    ]
)


@given(st.lists(ACTS, max_size=8), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_message_holds_personal_data(acts: list[tuple[str, dict[str, Any]]], visible: bool) -> None:
    """No topic has any, so a corrected or erased address is in no outbox."""
    store = MemoryStore()
    orders = Orders(store)
    orders.set_stock("TEAPOT", 1)
    lines = [Line("TEAPOT", 2)]
    orders.create("1001", total="10", currency="GBP", lines=lines, customer="secret-ann", email="secret@example.com")
    for trigger, facts in acts:
        with contextlib.suppress(Refused, KeyReused):
            orders.fire("1001", trigger, **facts, comment="secret", visible=visible, notify=True, by="secret-bob")
    orders.comment("1001", "secret", visible=visible, notify=True)
    messages = list(store.messages())
    assert messages
    for message in messages:
        assert "secret" not in repr(message)
        assert not {"customer", "email", "comment"} & message.payload.keys()


class Failing(MemoryStore):
    """A store whose first writes fail."""

    broken = False

    def commit(self, change: Change) -> None:
        if self.broken:
            raise StoreUnavailable("the disk is gone")
        super().commit(change)


def test_a_message_exists_only_with_its_commit(new_shop: type[Shop]) -> None:
    """K1: after a failed write no mail is sent. After the repeated call under the key one mail is sent."""
    store = Failing()
    shop = new_shop(store=store)
    shop.create()
    store.broken = True
    with pytest.raises(StoreUnavailable, match="the disk is gone"):
        shop.orders.fire("1001", "pay", reference="ch_1", key="evt_1")
    assert shop.topics() == []
    store.broken = False
    assert not shop.orders.fire("1001", "pay", reference="ch_1", key="evt_1").duplicate
    assert shop.topics() == ["order.paid"]


def test_refused_or_repeated_call_queues_no_message(shop: Shop) -> None:
    shop.create()
    with pytest.raises(Refused):
        shop.orders.fire("1001", "dispatch", notify=True)
    assert shop.topics() == []
    for _ in range(3):
        shop.orders.fire("1001", "pay", reference="ch_1", key="evt_1", notify=True)
    assert shop.topics() == ["order.paid", "order.updated"]


def test_rule_that_announces_the_placing_itself_queues_one_message(new_shop: type[Shop]) -> None:
    by_phone = Rule("order_by_phone", forbids={"sent", "cancelled"}, adds={"sent"}, announces="order.placed")
    shop = new_shop(shop_workflow().extend(rules=[by_phone]))
    shop.create()
    shop.orders.fire("1001", "order_by_phone")
    assert shop.topics() == ["order.placed"]


def test_placing_under_earlier_rules_is_resent(new_shop: type[Shop]) -> None:
    shop = new_shop()
    shop.create()
    shop.orders.fire("1001", "place")
    table, closing = shop_workflow(), Guard("closed", "the shop is closed", lambda order, facts: False)
    rules = [evolve(one, guards=(*one.guards, closing)) if one.trigger == "place" else one for one in table.rules]
    closed = Workflow(table.statuses, rules, holds_stock=table.holds_stock, counts=table.counts, queues=table.queues)
    Orders(shop.store, closed, shop.clock).resend("1001", "order.placed")
    assert shop.topics() == ["order.placed", "order.placed"]

"""Resent messages come from the history and the ledger, under a new id, for the same entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import InvalidInput, KeyReused, Message, OrderNotFound, Rule, Status, shop_workflow
from order_fsm.validation import GATEWAY

if TYPE_CHECKING:
    from tests.conftest import Shop

EVERYTHING = 1000


def delivered(shop: Shop) -> list[Message]:
    messages: list[Message] = []
    shop.orders.deliver(messages.append, EVERYTHING)
    return messages


def lively(shop: Shop) -> dict[str, Message]:
    """Make all changes that queue a message. Return the last message of each topic."""
    shop.create()
    steps: list[tuple[str, dict[str, Any]]] = [
        ("place", {}),
        ("pay", {"amount": "1", "reference": "ch_0"}),
        ("pay", {"amount": "3", "reference": "ch_1", "transaction_id": "t_1"}),
        ("unpay", {"amount": "1", "reference": "ch_1", "by": GATEWAY}),
        ("pay", {"amount": "5", "currency": "EUR", "reference": "ch_2"}),
        ("invoice", {"notify": True, "comment": "here it is"}),
        ("pay", {"amount": "9", "reference": "ch_3"}),
        ("dispatch", {"notify": True, "comment": "Royal Mail"}),
    ]
    for trigger, given in steps:
        shop.clock.pass_by(seconds=1)
        shop.orders.fire("1001", trigger, **given)
    shop.orders.amend("1001", version=9, total="20", comment="more")
    shop.orders.amend("1001", version=10, total="10", customer="eve")
    return {message.topic: message for message in delivered(shop)}


def test_resent_message_has_the_same_content(any_shop: Shop) -> None:
    """C3: its new id names the version of the same entry."""
    last = lively(any_shop)
    assert set(last) == {
        *("order.placed", "order.paid", "order.updated", "payment.received", "payment.reversed"),
        *("payment.unmatched", "refund.due"),
    }
    for topic, first in last.items():
        any_shop.clock.pass_by(seconds=1)
        receipt = any_shop.orders.resend("1001", topic, by="bob")
        (entry,) = receipt.entries
        assert (entry.trigger, entry.facts, entry.by) == ("resend", {"topic": topic}, "bob")
        assert (entry.before, receipt.order.version) == (entry.after, entry.version)
        (message,) = delivered(any_shop)
        assert (message.topic, message.payload, message.version) == (topic, first.payload, first.version)
        assert (message.order_id, message.created_at, message.attempts) == ("1001", any_shop.clock.now, 0)
        assert message.id != first.id
    assert any_shop.orders.audit().findings == ()


def test_message_waits_behind_those_of_its_order(any_shop: Shop) -> None:
    any_shop.bring("sent")
    any_shop.orders.resend("1001", "order.placed")
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    any_shop.orders.resend("1001", "order.paid")
    assert any_shop.orders.audit().findings == ()
    topics = [message.topic for message in delivered(any_shop)]
    assert topics == ["order.placed", "order.placed", "order.paid", "order.paid"]


def test_form_with_an_announced_step_is_resent_as_a_whole(any_shop: Shop) -> None:
    any_shop.create(lines=())
    any_shop.orders.fire("1001", "pay", amount="1", reference="ch_1")
    any_shop.clock.pass_by(seconds=1)
    any_shop.orders.save("1001", {"sent", "paid"}, version=2, notify=True)
    last = {message.topic: message for message in delivered(any_shop)}["order.updated"]
    assert last.payload["triggers"] == ["pay", "uninvoice"]
    any_shop.orders.resend("1001", "order.updated")
    (again,) = delivered(any_shop)
    assert again.payload == last.payload


def test_form_is_resent_as_a_whole(any_shop: Shop) -> None:
    any_shop.create()
    any_shop.clock.pass_by(seconds=1)
    any_shop.orders.save("1001", {"sent", "invoiced", "dispatched"}, version=1, notify=True, comment="all at once")
    first = [message for message in delivered(any_shop) if message.topic == "order.updated"]
    any_shop.clock.pass_by(seconds=1)
    any_shop.orders.resend("1001", "order.updated")
    (message,) = delivered(any_shop)
    assert message.payload == first[0].payload
    assert message.payload["triggers"] == ["place", "invoice", "dispatch"]
    assert message.version == 4


def test_resent_refund_due_has_the_current_amount(any_shop: Shop) -> None:
    any_shop.bring("sent+paid")
    any_shop.orders.fire("1001", "cancel")
    any_shop.orders.fire("1001", "refund", amount="4")
    (first,) = any_shop.messages("refund.due")
    delivered(any_shop)
    any_shop.orders.resend("1001", "refund.due")
    (message,) = delivered(any_shop)
    assert message.version == first.version
    assert (message.payload["amount"], message.payload["refund_due"]) == ("6.00", "6.00")
    any_shop.orders.fire("1001", "refund")
    with pytest.raises(InvalidInput, match=r"not 'refund\.due'"):
        any_shop.orders.resend("1001", "refund.due")


@pytest.mark.parametrize("topic", ["order.paid", "stock.short", "order.plced"])
def test_impossible_message_is_refused_with_the_possible_topics(any_shop: Shop, topic: str) -> None:
    any_shop.bring("sent")
    before = any_shop.dump()
    with pytest.raises(InvalidInput, match=r"can resend: order\.placed; not"):
        any_shop.orders.resend("1001", topic)
    assert any_shop.dump() == before


def test_order_without_messages_is_refused(shop: Shop) -> None:
    shop.create()
    with pytest.raises(InvalidInput, match=r"can resend: \(none\)"):
        shop.orders.resend("1001", "order.placed")
    with pytest.raises(OrderNotFound):
        shop.orders.resend("2", "order.placed")
    with pytest.raises(InvalidInput, match="topic must"):
        shop.orders.resend("1001", "")


def test_message_under_a_key_is_resent_once(any_shop: Shop) -> None:
    any_shop.bring("sent+paid")
    any_shop.orders.fire("1001", "cancel")
    first = any_shop.orders.resend("1001", "refund.due", key="k")
    any_shop.orders.fire("1001", "refund")
    before = any_shop.dump()
    again = any_shop.orders.resend("1001", "refund.due", key="k")
    assert (again.duplicate, again.entries) == (True, first.entries)
    with pytest.raises(KeyReused):
        any_shop.orders.resend("1001", "order.placed", key="k")
    assert any_shop.dump() == before


def test_adopted_order_has_no_message_except_the_refund_due(any_shop: Shop) -> None:
    payment = {"kind": "captured", "amount": "12", "reference": "x"}
    any_shop.orders.adopt("old", statuses={"sent", "paid"}, total="10", currency="GBP", payments=[payment])
    with pytest.raises(InvalidInput, match=r"can resend: refund\.due; not"):
        any_shop.orders.resend("old", "order.paid")
    any_shop.orders.resend("old", "refund.due")
    (message,) = delivered(any_shop)
    assert (message.payload["amount"], message.payload["state"]) == ("2", "sent+paid")
    assert any_shop.orders.history("old")[message.version - 1].after == {"sent", "paid"}
    assert any_shop.orders.audit().findings == ()


def test_topic_of_a_shop_is_resent(new_shop: type[Shop]) -> None:
    workflow = shop_workflow().extend(
        statuses=[Status("packed")],
        rules=[
            Rule("pack", needs={"sent"}, forbids={"packed"}, adds={"packed"}, facts={"box"}, announces="shop.packed")
        ],
    )
    shop = new_shop(workflow)
    shop.create()
    shop.orders.fire("1001", "place")
    shop.orders.fire("1001", "pack", box="B7")
    shop.orders.fire("1001", "pay")
    last = {message.topic: message for message in delivered(shop)}
    shop.orders.resend("1001", "shop.packed")
    (message,) = delivered(shop)
    assert (message.payload, message.version) == (last["shop.packed"].payload, 3)

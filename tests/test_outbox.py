"""Delivering messages: after their commit, at least once, in order per order, whatever a handler raises."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from order_fsm import Message
from order_fsm.orders.relay import FIRST_PAUSE, LEASE, LONGEST_PAUSE

if TYPE_CHECKING:
    from tests.conftest import Shop


def tell(shop: Shop, order_id: str, *comments: str) -> None:
    """Queue a mail for each comment on an order, which is created where it is not there."""
    if order_id not in {order.id for order in shop.all()}:
        shop.create(order_id)
    for comment in comments:
        shop.orders.comment(order_id, comment, visible=True, notify=True)


class Post:
    """A handler that keeps what it is given, and fails where it is told to."""

    def __init__(self, failing: str | None = None) -> None:
        self.failing = failing
        self.sent: list[Message] = []
        self.tried: list[Message] = []

    def __call__(self, message: Message) -> None:
        self.tried.append(message)
        if message.payload["comment"] == self.failing:
            raise ConnectionError("ann@example.com: mailbox full")
        self.sent.append(message)

    @property
    def comments(self) -> list[str]:
        return [message.payload["comment"] for message in self.sent]


def test_messages_are_delivered_once_and_in_order(shop: Shop) -> None:
    tell(shop, "1001", "a", "b")
    tell(shop, "1002", "c")
    tell(shop, "1001", "d")
    post = Post()
    assert shop.orders.deliver(post) == 4
    assert post.comments == ["a", "b", "c", "d"]
    assert shop.orders.deliver(post) == 0
    assert shop.messages() == []


def test_the_handler_reads_the_order_as_committed(shop: Shop) -> None:
    """saleor/saleor#5455: the mail never tells of an order that is not there yet."""
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    states: list[str] = []
    shop.orders.deliver(lambda message: states.append(shop.orders.get(message.order_id).state))
    assert states == ["sent+invoiced+paid"]


def test_the_limit_is_how_many_are_tried(shop: Shop) -> None:
    """Over several batches too."""
    tell(shop, "1001", *(str(n) for n in range(25)))
    post = Post()
    assert [shop.orders.deliver(post, limit=limit) for limit in (1, 12, 100)] == [1, 12, 12]
    assert post.comments == [str(n) for n in range(25)]


def test_a_hundred_are_tried_where_no_limit_is_given(shop: Shop) -> None:
    tell(shop, "1001", *(str(n) for n in range(101)))
    assert [shop.orders.deliver(Post()) for _ in range(2)] == [100, 1]


def test_a_message_of_an_id_that_comes_again_is_not_taken_for_one_that_was_claimed(any_shop: Shop) -> None:
    """An order is removed with a message that a relay has claimed, and its number is taken again."""
    for _ in range(2):
        any_shop.create()
        any_shop.orders.comment("1001", "a", visible=True, notify=True)
        claimed = any_shop.store.claim(any_shop.clock.now, any_shop.clock.now + LEASE, 10)
        assert [message.id for message in claimed] == ["1001#2.1"]
        any_shop.store.remove(any_shop.orders.get("1001"))


def test_a_message_of_an_id_that_comes_again_is_delivered_though_the_first_one_was(any_shop: Shop) -> None:
    for comment in ("of the first", "of the second"):
        any_shop.create()
        any_shop.orders.comment("1001", comment, visible=True, notify=True)
        post = Post()
        assert any_shop.orders.deliver(post) == 1
        assert post.comments == [comment]
        any_shop.store.remove(any_shop.orders.get("1001"))


def test_a_failure_is_tried_again_later_under_the_same_id(shop: Shop) -> None:
    """Nothing is lost, and the pause is kept."""
    tell(shop, "1001", "a")
    post = Post(failing="a")
    assert shop.orders.deliver(post) == 0
    assert shop.orders.deliver(post) == 0
    assert len(post.tried) == 1
    shop.clock.now += FIRST_PAUSE
    post.failing = None
    assert shop.orders.deliver(post) == 1
    assert [message.id for message in post.tried] == ["1001#2.1", "1001#2.1"]
    assert [message.attempts for message in post.tried] == [0, 1]


def test_pauses_grow_up_to_an_hour(shop: Shop) -> None:
    """10 s, 20 s, 40 s, and so on; after a thousand failures still an hour."""
    tell(shop, "1001", "a")
    post = Post(failing="a")
    pauses: list[int] = []
    shop.orders.deliver(post)
    begin = shop.clock.now
    while len(pauses) < 12:
        shop.clock.pass_by(seconds=10)
        tried = len(post.tried)
        shop.orders.deliver(post)
        if len(post.tried) > tried:
            pauses.append(int((shop.clock.now - begin).total_seconds()))
            begin = shop.clock.now
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]


def test_a_failure_holds_up_its_own_order_only(shop: Shop) -> None:
    """Sylius/Sylius#11768: one poisoned order does not stop the others; its later messages wait for it."""
    tell(shop, "1001", "a1", "a2")
    tell(shop, "1002", "b1", "b2")
    tell(shop, "1001", "a3")
    post = Post(failing="a1")
    assert shop.orders.deliver(post) == 2
    assert post.comments == ["b1", "b2"]
    tell(shop, "1001", "a4")
    assert shop.orders.deliver(post) == 0
    shop.clock.now += LONGEST_PAUSE
    post.failing = "a3"
    assert shop.orders.deliver(post) == 2
    shop.clock.now += LONGEST_PAUSE
    post.failing = None
    shop.orders.deliver(post)
    assert post.comments == ["b1", "b2", "a1", "a2", "a3", "a4"]


def test_a_failure_is_logged_without_the_customers_data(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """By the message's id and topic and the kind of error; what a handler raises may hold an address."""
    tell(shop, "1001", "secret")
    with caplog.at_level(logging.DEBUG):
        shop.orders.deliver(Post(failing="secret"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "1001#2.1" in record.getMessage()
    assert "ConnectionError" in record.getMessage()
    for private in ("ann", "secret", "mailbox"):
        assert private not in caplog.text


def test_a_handler_that_is_stopped_loses_nothing(shop: Shop) -> None:
    """What it did not finish is free for another relay once its lease has ended."""
    tell(shop, "1001", "a", "b")

    def stopped(_: Message) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.orders.deliver(stopped)
    post = Post()
    assert shop.orders.deliver(post) == 0
    shop.clock.now += LEASE
    assert shop.orders.deliver(post) == 2
    assert post.comments == ["a", "b"]


def test_a_handler_may_change_orders(shop: Shop) -> None:
    """What it queues by that is delivered too."""
    tell(shop, "1001", "a")

    def handler(message: Message) -> None:
        seen.append(message.payload["comment"])
        if len(seen) < 3:
            tell(shop, "1001", f"after {seen[-1]}")

    seen: list[str] = []
    assert shop.orders.deliver(handler) == 3
    assert seen == ["a", "after a", "after after a"]


def test_several_relays_deliver_each_message_once_and_in_order(shop: Shop) -> None:
    ids = [f"{n}" for n in range(10)]
    for order_id in ids:
        tell(shop, order_id, *"abcde")
    post = Post()
    with ThreadPoolExecutor(4) as pool:
        while shop.messages():
            list(pool.map(lambda _: shop.orders.deliver(post, limit=7), range(4)))
    assert len(post.sent) == 50
    for order_id in ids:
        assert [one.payload["comment"] for one in post.sent if one.order_id == order_id] == list("abcde")

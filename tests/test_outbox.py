"""Messages are delivered after their commit, at least once, in order per order, even if a handler raises."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import InvalidInput, Message, Undelivered
from order_fsm.orders.relay import ATTEMPTS, FIRST_PAUSE, LEASE, LONGEST_PAUSE
from tests.damaged import Damaged

if TYPE_CHECKING:
    from tests.conftest import Shop


def tell(shop: Shop, order_id: str, *comments: str) -> None:
    """Queue a mail for each comment on an order. Create the order if it is missing."""
    if order_id not in {order.id for order in shop.all()}:
        shop.create(order_id)
    for comment in comments:
        shop.orders.comment(order_id, comment, visible=True, notify=True)


class Post:
    """A handler that records messages, and fails for some."""

    def __init__(self, shop: Shop, failing: str | None = None) -> None:
        self.shop = shop
        self.failing = failing
        self.sent: list[Message] = []
        self.tried: list[Message] = []

    def __call__(self, message: Message) -> None:
        self.tried.append(message)
        if self.shop.comment_of(message) == self.failing:
            raise ConnectionError("ann@example.com: mailbox full")
        self.sent.append(message)

    @property
    def comments(self) -> list[str]:
        return [self.shop.comment_of(message) for message in self.sent]


def test_messages_are_delivered_once_and_in_order(shop: Shop) -> None:
    tell(shop, "1001", "a", "b")
    tell(shop, "1002", "c")
    tell(shop, "1001", "d")
    post = Post(shop)
    assert shop.orders.deliver(post) == 4
    assert post.comments == ["a", "c", "b", "d"]
    assert [shop.comment_of(message) for message in post.sent if message.order_id == "1001"] == ["a", "b", "d"]
    assert shop.orders.deliver(post) == 0
    assert shop.messages() == []


def test_the_handler_reads_the_order_as_committed(shop: Shop) -> None:
    """saleor/saleor#5455: a mail never precedes its order."""
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    states: list[str] = []
    shop.orders.deliver(lambda message: states.append(shop.orders.get(message.order_id).state))
    assert states == ["sent+invoiced+paid"]


def test_the_limit_counts_attempts(shop: Shop) -> None:
    """The limit may span several batches."""
    tell(shop, "1001", *(str(n) for n in range(25)))
    post = Post(shop)
    assert [shop.orders.deliver(post, limit=limit) for limit in (1, 12, 100)] == [1, 12, 12]
    assert post.comments == [str(n) for n in range(25)]


def test_a_hundred_are_tried_by_default(shop: Shop) -> None:
    tell(shop, "1001", *(str(n) for n in range(101)))
    assert [shop.orders.deliver(Post(shop)) for _ in range(2)] == [100, 1]


def test_message_of_order_created_again_survives_an_earlier_relay(any_shop: Shop) -> None:
    """A relay claimed a message of the removed order. Its result does not affect the message of the new order."""
    until = any_shop.clock.now + LEASE
    claimed: list[Message] = []
    for number in range(2):
        any_shop.create()
        any_shop.orders.comment("1001", f"{number}", visible=True, notify=True)
        claimed += any_shop.store.claim(any_shop.clock.now, until, 10)
        if not number:
            any_shop.store.remove(any_shop.orders.get("1001"))
    first, second = claimed
    assert (first.version, first.id != second.id) == (second.version, True)
    any_shop.store.delivered(first, until)
    any_shop.store.retry_later(first, until, None)
    assert any_shop.messages() == [second]
    assert any_shop.orders.dead_letters() == []


def test_message_of_order_created_again_is_delivered(any_shop: Shop) -> None:
    for comment in ("of the first", "of the second"):
        any_shop.create()
        any_shop.orders.comment("1001", comment, visible=True, notify=True)
        post = Post(any_shop)
        assert any_shop.orders.deliver(post) == 1
        assert post.comments == [comment]
        any_shop.store.remove(any_shop.orders.get("1001"))


def test_a_failure_is_retried_later_under_the_same_id(shop: Shop) -> None:
    """No message is lost, and the pause is observed."""
    tell(shop, "1001", "a")
    post = Post(shop, failing="a")
    assert shop.orders.deliver(post) == 0
    assert shop.orders.deliver(post) == 0
    assert len(post.tried) == 1
    shop.clock.now += FIRST_PAUSE
    post.failing = None
    assert shop.orders.deliver(post) == 1
    assert len({message.id for message in post.tried}) == 1
    assert [message.version for message in post.tried] == [2, 2]
    assert [message.attempts for message in post.tried] == [0, 1]


def test_pauses_grow_up_to_an_hour(shop: Shop) -> None:
    """They are 10 s, 20 s, 40 s and so on, and still an hour after a thousand failures."""
    tell(shop, "1001", "a")
    post = Post(shop, failing="a")
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


def test_a_failure_blocks_only_its_own_order(shop: Shop) -> None:
    """Sylius/Sylius#11768: one poisoned order does not stop the others. Its later messages wait."""
    tell(shop, "1001", "a1", "a2")
    tell(shop, "1002", "b1", "b2")
    tell(shop, "1001", "a3")
    post = Post(shop, failing="a1")
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
    """The log has the message's id and topic and the type of the error, because its text may have an address."""
    tell(shop, "1001", "secret")
    with caplog.at_level(logging.DEBUG):
        shop.orders.deliver(Post(shop, failing="secret"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "1001#2.1" in record.getMessage()
    assert "ConnectionError" in record.getMessage()
    for private in ("ann", "secret", "mailbox"):
        assert private not in caplog.text


def test_a_handler_that_is_stopped_loses_nothing(shop: Shop) -> None:
    """Another relay can claim its unfinished messages after the end of the lease."""
    tell(shop, "1001", "a", "b")

    def stopped(_: Message) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.orders.deliver(stopped)
    post = Post(shop)
    assert shop.orders.deliver(post) == 0
    shop.clock.now += LEASE
    assert shop.orders.deliver(post) == 2
    assert post.comments == ["a", "b"]


def test_a_handler_may_change_orders(shop: Shop) -> None:
    """The messages of these changes are delivered too."""
    tell(shop, "1001", "a")

    def handler(message: Message) -> None:
        seen.append(shop.comment_of(message))
        if len(seen) < 3:
            tell(shop, "1001", f"after {seen[-1]}")

    seen: list[str] = []
    assert shop.orders.deliver(handler) == 3
    assert seen == ["a", "after a", "after after a"]


def test_several_relays_deliver_each_message_once_and_in_order(shop: Shop) -> None:
    ids = [f"{n}" for n in range(10)]
    for order_id in ids:
        tell(shop, order_id, *"abcde")
    post = Post(shop)
    with ThreadPoolExecutor(4) as pool:
        while shop.messages():
            list(pool.map(lambda _: shop.orders.deliver(post, limit=7), range(4)))
    assert len(post.sent) == 50
    for order_id in ids:
        assert [shop.comment_of(one) for one in post.sent if one.order_id == order_id] == list("abcde")


# Two relays


class Relay:
    """A handler that runs a function during its first delivery."""

    def __init__(self, shop: Shop, during: Callable[[], object]) -> None:
        self.shop = shop
        self.sent: list[str] = []
        self._during = [during]

    def __call__(self, message: Message) -> None:
        while self._during:
            self._during.pop()()
        self.sent.append(self.shop.comment_of(message))


def test_late_relay_that_fails_leaves_the_lease_of_another(any_shop: Shop) -> None:
    """Its lease has ended, and another relay delivers the message. Nobody else claims it."""
    tell(any_shop, "1001", "a")
    post = Post(any_shop)

    def third() -> None:
        assert any_shop.orders.deliver(post) == 0

    def late() -> None:
        any_shop.clock.now += LEASE
        assert any_shop.orders.deliver(Relay(any_shop, during=lambda: failing.append(1))) == 1
        raise ConnectionError

    failing: list[int] = []
    assert any_shop.orders.deliver(Relay(any_shop, late)) == 0
    third()
    assert failing == [1]
    assert any_shop.messages() == []


def test_late_relay_does_not_postpone_a_message_that_another_has_leased(any_shop: Shop) -> None:
    tell(any_shop, "1001", "a")
    (message,) = any_shop.store.claim(any_shop.clock.now, late := any_shop.clock.now + LEASE, 10)
    any_shop.clock.now += LEASE
    (again,) = any_shop.store.claim(any_shop.clock.now, until := any_shop.clock.now + LEASE, 10)
    assert again == message
    any_shop.store.retry_later(message, late, any_shop.clock.now)
    any_shop.store.delivered(message, late)
    assert any_shop.store.claim(any_shop.clock.now, until, 10) == []
    assert [one.attempts for one in any_shop.messages()] == [0]
    any_shop.store.delivered(again, until)
    assert any_shop.messages() == []


def test_two_relays_deliver_each_order_in_sequence(any_shop: Shop) -> None:
    """While the first relay delivers the head of an order, the second one gets no message of that order."""
    tell(any_shop, "1001", "a1", "a2")
    tell(any_shop, "1002", "b1")
    second = Post(any_shop)
    first = Relay(any_shop, during=lambda: any_shop.orders.deliver(second))
    any_shop.orders.deliver(first, limit=1)
    assert (first.sent, second.comments) == (["a1"], ["b1"])
    any_shop.orders.deliver(second)
    assert second.comments == ["b1", "a2"]


def test_message_ids_are_not_used_again_after_a_purge(any_shop: Shop) -> None:
    ids: list[str] = []
    for _ in range(20):
        any_shop.create()
        any_shop.orders.comment("1001", "a", visible=True, notify=True)
        ids += [message.id for message in any_shop.messages()]
        any_shop.clock.pass_by(days=1)
        assert any_shop.orders.purge(timedelta(days=1)) == ["1001"]
    assert len(set(ids)) == 20


def test_damaged_order_stops_no_delivery(new_shop: type[Shop]) -> None:
    """The handler cannot read the order of one message. The messages of other orders are delivered."""
    store = Damaged("1001", found=True)
    shop = new_shop(store=store)
    tell(shop, "1001", "a1", "a2")
    tell(shop, "1002", "b1", "b2")
    store.begin()
    read: list[str] = []
    assert shop.orders.deliver(lambda message: read.append(shop.orders.get(message.order_id).id)) == 2
    assert read == ["1002", "1002"]


def test_remaining_recipient_is_retried_alone_and_blocks_no_message(any_shop: Shop) -> None:
    """Later messages of the order are delivered, and the next attempt has the remaining recipients."""
    tell(any_shop, "1001", "a", "b")
    seen: list[tuple[str, tuple[str, ...]]] = []

    def handler(message: Message) -> None:
        seen.append((any_shop.comment_of(message), message.remaining))
        if seen[-1] in [("a", ()), ("a", ("ann", "bob"))]:
            raise Undelivered(["bob"] if message.remaining else ["ann", "bob"], "busy")

    assert any_shop.orders.deliver(handler) == 1
    any_shop.clock.now += FIRST_PAUSE
    assert any_shop.orders.deliver(handler) == 0
    any_shop.clock.now += LONGEST_PAUSE
    assert any_shop.orders.deliver(handler) == 1
    assert seen == [("a", ()), ("b", ()), ("a", ("ann", "bob")), ("a", ("bob",))]
    assert any_shop.messages() == []


def test_recipient_that_cannot_be_reached_is_given_up_at_once(any_shop: Shop) -> None:
    """The message becomes a dead letter. A shop requeues it after correcting the address."""
    tell(any_shop, "1001", "a", "b")

    def handler(message: Message) -> None:
        if any_shop.comment_of(message) == "a" and not message.remaining:
            raise Undelivered(["ann"], "no such mailbox", permanent=True)

    assert any_shop.orders.deliver(handler) == 1
    (letter,) = any_shop.orders.dead_letters()
    assert (letter.remaining, letter.attempts) == (("ann",), 1)
    any_shop.orders.requeue(letter)
    assert any_shop.orders.deliver(handler) == 1


def test_recipients_that_stay_unreachable_end_as_a_dead_letter(shop: Shop) -> None:
    tell(shop, "1001", "a")

    def handler(_: Message) -> None:
        raise Undelivered(["ann"])

    for _ in range(ATTEMPTS):
        assert shop.orders.dead_letters() == []
        shop.orders.deliver(handler)
        shop.clock.now += LONGEST_PAUSE
    assert [letter.remaining for letter in shop.orders.dead_letters()] == [("ann",)]


@pytest.mark.parametrize("recipients", ["customer", [], (), {"customer": True}, [1], [None], [""], None, 7])
def test_undelivered_names_its_recipients(recipients: Any) -> None:
    with pytest.raises(InvalidInput, match="recipients must be a list of names"):
        Undelivered(recipients)


def test_undelivered_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(Undelivered(["ann"], "busy", permanent=True)))  # noqa: S301
    assert (again.recipients, again.reason, again.permanent) == (("ann",), "busy", True)


def test_handler_that_is_async_or_a_generator_loses_no_message(any_shop: Shop) -> None:
    """Both return before they do anything."""
    tell(any_shop, "1001", "on its way")
    sent: list[str] = []

    async def waiting(message: Message) -> None:
        sent.append(message.id)

    def yielding(message: Message) -> Any:
        sent.append(message.id)
        yield

    async def both(message: Message) -> Any:
        sent.append(message.id)
        yield

    for handler in (waiting, yielding, both):
        with pytest.raises(InvalidInput, match="handler must be a plain function"):
            any_shop.orders.deliver(handler)
        any_shop.clock.now += LEASE
    assert any_shop.orders.deliver(lambda message: sent.append(message.topic)) == 1
    assert sent == ["order.updated"]

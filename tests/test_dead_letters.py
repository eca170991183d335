"""Dead letters are kept, block no other message, and are delivered after a requeue."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from order_fsm import InvalidInput, Message
from order_fsm.orders.relay import ATTEMPTS, LEASE, LONGEST_PAUSE
from tests.stores import precede

if TYPE_CHECKING:
    from tests.conftest import Shop


class Post:
    """A handler that fails for some comments, and records the others."""

    def __init__(self, shop: Shop, *failing: str) -> None:
        self.shop = shop
        self.failing = set(failing)
        self.sent: list[str] = []

    def __call__(self, message: Message) -> None:
        if self.shop.comment_of(message) in self.failing:
            raise ConnectionError("mailbox full")
        self.sent.append(self.shop.comment_of(message))


def tell(shop: Shop, order_id: str, *comments: str) -> None:
    for comment in comments:
        shop.orders.comment(order_id, comment, visible=True, notify=True)


def try_for_days(shop: Shop, post: Post, times: int = ATTEMPTS) -> None:
    for _ in range(times):
        shop.orders.deliver(post)
        shop.clock.now += LONGEST_PAUSE


def test_a_message_is_given_up_after_the_last_attempt(any_shop: Shop) -> None:
    """It is not given up earlier. Afterwards it is not retried and not lost."""
    any_shop.create()
    tell(any_shop, "1001", "a")
    post = Post(any_shop, "a")
    try_for_days(any_shop, post, ATTEMPTS - 1)
    assert any_shop.orders.dead_letters() == []
    try_for_days(any_shop, post, 1)
    (letter,) = any_shop.orders.dead_letters()
    assert (letter.version, letter.attempts, any_shop.comment_of(letter)) == (2, ATTEMPTS, "a")
    post.failing.clear()
    try_for_days(any_shop, post)
    assert post.sent == []
    assert any_shop.orders.dead_letters() == [letter]


def test_no_message_waits_for_a_dead_letter(any_shop: Shop) -> None:
    """Later messages of its order are delivered in sequence, in the same run in which it is given up."""
    any_shop.create()
    tell(any_shop, "1001", "a", "b", "c")
    post = Post(any_shop, "a")
    try_for_days(any_shop, post, ATTEMPTS - 1)
    assert post.sent == []
    assert any_shop.orders.deliver(post) == 2
    assert post.sent == ["b", "c"]


def test_dead_letter_requeued_is_delivered(any_shop: Shop) -> None:
    """It is delivered once, under its id, with a new number of attempts."""
    any_shop.create()
    tell(any_shop, "1001", "a")
    post = Post(any_shop, "a")
    try_for_days(any_shop, post)
    (letter,) = any_shop.orders.dead_letters()
    any_shop.orders.requeue(letter)
    assert any_shop.orders.dead_letters() == []
    try_for_days(any_shop, post, ATTEMPTS - 1)
    assert any_shop.orders.dead_letters() == []
    post.failing.clear()
    assert any_shop.orders.deliver(post) == 1
    assert post.sent == ["a"]
    assert any_shop.messages() == []


def test_message_requeued_twice_is_delivered_once(any_shop: Shop) -> None:
    """`requeue` ignores a message that is no longer a dead letter, because it waits or was delivered."""
    any_shop.create()
    tell(any_shop, "1001", "a")
    try_for_days(any_shop, Post(any_shop, "a"))
    (letter,) = any_shop.orders.dead_letters()
    for _ in range(2):
        any_shop.orders.requeue(letter)
    post = Post(any_shop)
    assert any_shop.orders.deliver(post) == 1
    any_shop.orders.requeue(letter)
    assert any_shop.orders.deliver(post) == 0
    assert any_shop.messages() == []


def test_dead_letters_are_listed_oldest_first(any_shop: Shop) -> None:
    for order_id in ("1003", "1001", "1002"):
        any_shop.create(order_id)
        tell(any_shop, order_id, "a")
        any_shop.clock.pass_by(seconds=1)
    try_for_days(any_shop, Post(any_shop, "a"))
    assert [letter.order_id for letter in any_shop.orders.dead_letters()] == ["1003", "1001", "1002"]
    assert [letter.order_id for letter in any_shop.orders.dead_letters(limit=2)] == ["1003", "1001"]
    with pytest.raises(InvalidInput):
        any_shop.orders.dead_letters(limit=0)


def test_fifty_dead_letters_are_listed_by_default(shop: Shop) -> None:
    for number in range(51):
        shop.create(str(number))
        tell(shop, str(number), "a")
    try_for_days(shop, Post(shop, "a"))
    assert [len(shop.orders.dead_letters()), len(shop.orders.dead_letters(limit=51))] == [50, 51]


def test_a_dead_letter_is_purged_with_its_order(any_shop: Shop) -> None:
    """A purged order has no recipient."""
    any_shop.create()
    tell(any_shop, "1001", "a")
    try_for_days(any_shop, Post(any_shop, "a"))
    any_shop.clock.pass_by(days=1)
    assert any_shop.orders.purge(timedelta(days=1)) == ["1001"]
    assert any_shop.orders.dead_letters() == []


def test_messages_that_wait_do_not_use_up_the_limit(shop: Shop) -> None:
    """An order with many messages, the first of which fails, does not stop the messages of others."""
    shop.create("1001")
    shop.create("1002")
    tell(shop, "1001", *"abcdefgh")
    tell(shop, "1002", "x", "y")
    post = Post(shop, "a")
    assert shop.orders.deliver(post, limit=3) == 2
    assert post.sent == ["x", "y"]


def test_a_slow_handler_holds_no_message_beyond_its_lease(shop: Shop) -> None:
    """Each message is started well within its lease, or left for the next claim. No message is sent twice."""
    for comment in "abcdefgh":
        shop.create(comment)
        tell(shop, comment, comment)
    sent: list[str] = []
    begun: list[timedelta] = []
    claims: list[datetime] = []

    def slow(message: Message) -> None:
        begun.append(shop.clock.now - claims[-1])
        shop.clock.now += LEASE * 0.3
        sent.append(shop.comment_of(message))

    precede(shop.store, "claim", lambda now, *_: claims.append(now))
    while len(sent) < 8:
        shop.orders.deliver(slow)
        shop.clock.now += LEASE
    assert sent == list("abcdefgh")
    assert max(begun) < LEASE / 2

"""S9: a message is there if its commit is, and is held by one relay at a time, in order per order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from attrs import evolve

from order_fsm.errors import KeyReused, VersionConflict
from order_fsm.model import Message
from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation, moment, step, taken
from order_fsm.testing.store_contract.expected import Expected, committed, exact, refused
from order_fsm.testing.store_contract.harness import StoreHarness

NOW, UNTIL, LATER = moment(1000), moment(1600), moment(2200)
"""A relay claims at NOW until UNTIL; LATER that has ended."""

JUST_BEFORE = UNTIL - timedelta(microseconds=1)
TOPICS = ("order.updated", "order.paid", "refund.due")


def _ids(messages: Iterable[Message]) -> list[str]:
    return [message.id for message in messages]


def _queued(store: Store, *order_ids: str) -> None:
    """Three messages of one commit for each order; the first order's are the oldest."""
    for number, order_id in enumerate(order_ids):
        store.commit(creation(order_id, topics=TOPICS, at=moment(number)))


class Outbox(StoreHarness):
    """Messages are queued by commits and claimed by relays."""

    def test_s9_a_message_is_there_with_its_commit(self, store: Store) -> None:
        """The messages of a commit can be claimed once it has returned: whole, in their sequence, and not before."""
        assert store.claim(NOW, UNTIL, 10) == [], "there is no message before the first commit"
        change = creation(topics=TOPICS)
        store.commit(change)
        assert exact(store.claim(NOW, UNTIL, 10)) == exact(list(change.messages))

    def test_s9_a_commit_that_raises_leaves_no_message(self, store: Store) -> None:
        """A commit that is refused for its version, its key or its stock tells nobody anything."""
        expected = Expected()
        committed(store, expected, creation(key="key"))
        order = expected.orders["1001"]
        store.set_stock("TEAPOT", 0)
        expected.stock["TEAPOT"] = 0
        ahead = step(order).order
        refused(store, expected, step(ahead, topics=TOPICS), VersionConflict, "the order is at version 1, not 2")
        refused(store, expected, step(order, topics=TOPICS, key="key"), KeyReused, "the key was committed before")
        short = step(order, topics=TOPICS, stock=[taken("TEAPOT", 1)])
        refused(store, expected, short, VersionConflict, "there is no piece on hand")
        assert store.claim(NOW, UNTIL, 10) == []

    def test_s9_the_oldest_are_claimed_first(self, store: Store) -> None:
        """A relay is given at most `limit` messages, the oldest first, over all orders."""
        orders = {name: creation(name, at=moment(number)) for number, name in enumerate("cab")}
        for change in orders.values():
            store.commit(change)
        wanted = []
        for number, name in enumerate("bcaabc"):
            change = step(orders[name].order, topics=["order.updated"], at=moment(10 + number))
            orders[name] = change
            store.commit(change)
            wanted += _ids(change.messages)
        assert _ids(store.claim(NOW, UNTIL, 4)) == wanted[:4], "claim gives the oldest messages first"
        assert _ids(store.claim(UNTIL, LATER, 100)) == wanted, "claim gives all messages, the oldest first"

    def test_s9_messages_of_an_order_keep_the_sequence_of_their_commits(self, store: Store) -> None:
        """The tenth follows the ninth, also among eleven of one commit, or when a clock was set back."""
        change = creation(topics=["order.updated"] * 11, at=moment(100))
        store.commit(change)
        wanted = _ids(change.messages)
        for seconds in (100, 100, 99, 98, 97, 100, 100, 100, 100, 100, 100):
            change = step(change.order, topics=["order.updated"], at=moment(seconds))
            store.commit(change)
            wanted += _ids(change.messages)
        why = "the messages of one order come in the sequence of their commits, whatever their ids and times"
        assert _ids(store.claim(NOW, UNTIL, 100)) == wanted, why

    def test_s9_a_claim_keeps_others_away_until_it_ends(self, store: Store) -> None:
        """A claimed message is given to nobody else before `until`, and from then on again under the same id."""
        _queued(store, "1001")
        first = store.claim(NOW, UNTIL, 10)
        assert _ids(first) == ["1001#1.1", "1001#1.2", "1001#1.3"]
        assert store.claim(NOW, UNTIL, 10) == [], "a claimed message must not be given again"
        assert store.claim(JUST_BEFORE, LATER, 10) == [], "a claim lasts until its very end"
        again = store.claim(UNTIL, LATER, 10)
        assert exact(again) == exact(first), "a claim ends at `until`; then the message is given again, unchanged"

    def test_s9_later_messages_of_an_order_wait_for_the_first(self, store: Store) -> None:
        """While the first message of an order is claimed, nobody is given the others; other orders go on."""
        _queued(store, "1001", "1002")
        assert _ids(store.claim(NOW, UNTIL, 1)) == ["1001#1.1"]
        others = _ids(store.claim(NOW, UNTIL, 10))
        assert others == ["1002#1.1", "1002#1.2", "1002#1.3"], "1001 waits, 1002 does not"
        assert store.claim(JUST_BEFORE, LATER, 10) == []

    def test_s9_what_is_claimed_stays_claimed_when_the_one_before_is_delivered(self, store: Store) -> None:
        """A relay that holds a run of messages keeps the rest of it while it delivers one after the other."""
        _queued(store, "1001")
        held = store.claim(NOW, UNTIL, 2)
        store.delivered(held[0])
        assert store.claim(NOW, UNTIL, 10) == [], "the second is claimed, and the third waits for it"
        store.delivered(held[1])
        assert _ids(store.claim(NOW, UNTIL, 10)) == ["1001#1.3"], "with the first two delivered the third is next"

    def test_s9_messages_that_come_while_the_first_is_claimed_wait_too(self, store: Store) -> None:
        """A commit made while a relay holds an order's messages adds nothing that another relay could overtake with."""
        change = creation(topics=["order.updated"])
        store.commit(change)
        held = store.claim(NOW, UNTIL, 10)
        store.commit(step(change.order, topics=["order.paid"]))
        assert store.claim(NOW, UNTIL, 10) == [], "the new message waits for the claimed one before it"
        store.delivered(held[0])
        assert _ids(store.claim(NOW, UNTIL, 10)) == ["1001#2.1"]

    def test_s9_what_is_delivered_is_gone(self, store: Store) -> None:
        """A delivered message never comes again; delivering it twice does no harm to anything else."""
        _queued(store, "1001", "1002")
        for message in store.claim(NOW, UNTIL, 3):
            store.delivered(message)
            store.delivered(message)
        assert _ids(store.claim(UNTIL, LATER, 10)) == ["1002#1.1", "1002#1.2", "1002#1.3"]

    def test_s9_a_failed_delivery_is_tried_again_later(self, store: Store) -> None:
        """A postponed message is not given before its time, then under its id with one attempt more."""
        _queued(store, "1001", "1002")
        held = store.claim(NOW, LATER, 3)
        store.postpone(held[0], UNTIL)
        early = _ids(store.claim(JUST_BEFORE, LATER, 10))
        assert early == ["1002#1.1", "1002#1.2", "1002#1.3"], "all of 1001 waits for its first; 1002 goes on"
        again = store.claim(UNTIL, LATER, 10)
        why = "with the message postponed all claims on its order end: the whole run comes again at its time"
        assert _ids(again) == ["1001#1.1", "1001#1.2", "1001#1.3"], why
        assert [message.attempts for message in again] == [1, 0, 0], "each failure of a message adds one attempt to it"
        assert (again[0].topic, again[0].payload, again[0].created_at) == (
            held[0].topic,
            held[0].payload,
            held[0].created_at,
        )
        store.postpone(again[0], LATER)
        assert store.claim(LATER, LATER, 1)[0].attempts == 2

    def test_s9_postponing_what_was_delivered_brings_nothing_back(self, store: Store) -> None:
        """A relay whose claim has ended may postpone a message that another one has delivered meanwhile."""
        _queued(store, "1001")
        slow = store.claim(NOW, UNTIL, 1)
        quick = store.claim(UNTIL, LATER, 1)
        store.delivered(quick[0])
        store.postpone(slow[0], LATER)
        assert _ids(store.claim(LATER, LATER, 10)) == ["1001#1.2", "1001#1.3"]

    def test_s9_a_dead_letter_is_kept_and_claimed_no_more(self, store: Store) -> None:
        """A message that is given up is listed as it was, with one attempt more, until somebody revives it."""
        assert store.dead_letters(10) == [], "no delivery was given up yet"
        _queued(store, "1001")
        store.postpone(store.claim(NOW, UNTIL, 1)[0], UNTIL)
        held = store.claim(UNTIL, LATER, 1)
        store.postpone(held[0], None)
        assert exact(store.dead_letters(10)) == exact([evolve(held[0], attempts=2)])
        rest = store.claim(LATER, LATER, 10)
        assert _ids(rest) == ["1001#1.2", "1001#1.3"], "a dead letter must not be claimed"
        for message in rest:
            store.delivered(message)
        assert store.claim(LATER, LATER, 10) == []
        store.commit(step(store.load("1001")))
        why = "a dead letter is kept, whatever becomes of the other messages and of its order"
        assert _ids(store.dead_letters(10)) == ["1001#1.1"], why

    def test_s9_a_dead_letter_holds_up_nothing(self, store: Store) -> None:
        """Those behind it on its order, also new ones, can be claimed at once: claims on them end with it."""
        _queued(store, "1001", "1002")
        held = store.claim(NOW, UNTIL, 3)
        store.commit(step(store.load("1001"), topics=["order.paid"], at=moment(0)))
        store.postpone(held[0], None)
        free = _ids(store.claim(NOW, UNTIL, 10))
        assert [one for one in free if one.startswith("1001")] == ["1001#1.2", "1001#1.3", "1001#2.1"]
        assert [one for one in free if one.startswith("1002")] == ["1002#1.1", "1002#1.2", "1002#1.3"]

    def test_s9_dead_letters_are_listed_oldest_first(self, store: Store) -> None:
        """At most `limit` of them, by the time of their commits, in whatever sequence they were given up."""
        for number, name in enumerate("cab"):
            store.commit(creation(name, topics=["order.updated"], at=moment(number)))
        c, a, b = store.claim(NOW, UNTIL, 10)
        for message in (b, c, a):
            store.postpone(message, None)
        assert _ids(store.dead_letters(10)) == _ids([c, a, b])
        assert _ids(store.dead_letters(2)) == _ids([c, a])

    def test_s9_a_revived_dead_letter_is_tried_anew(self, store: Store) -> None:
        """It is given again under its id, with no attempts made, and is gone once it is delivered."""
        _queued(store, "1001")
        held = store.claim(NOW, UNTIL, 1)
        store.postpone(held[0], None)
        store.revive(store.dead_letters(1)[0])
        assert store.dead_letters(10) == [], "a revived message is no dead letter"
        again = {message.id: message for message in store.claim(NOW, UNTIL, 10)}
        assert exact(again["1001#1.1"]) == exact(held[0]), "a revived message is what it was at first"
        store.delivered(again["1001#1.1"])
        assert _ids(store.claim(UNTIL, LATER, 10)) == ["1001#1.2", "1001#1.3"]
        assert store.dead_letters(10) == []

    def test_s9_a_revived_dead_letter_waits_for_the_others_of_its_order(self, store: Store) -> None:
        """They may be claimed: so it is the last of its order, and another relay is not given it before them."""
        _queued(store, "1001")
        store.postpone(store.claim(NOW, UNTIL, 1)[0], None)
        held = store.claim(NOW, UNTIL, 10)
        assert _ids(held) == ["1001#1.2", "1001#1.3"]
        store.revive(store.dead_letters(1)[0])
        assert store.claim(NOW, UNTIL, 10) == [], "two relays must not hold messages of one order"
        store.delivered(held[0])
        assert _ids(store.claim(UNTIL, LATER, 10)) == ["1001#1.3", "1001#1.1"]

    def test_s9_what_is_gone_is_neither_given_up_nor_revived(self, store: Store) -> None:
        """A relay that is too slow, and somebody who revives what was revived, change nothing and hear no error."""
        _queued(store, "1001", "1002")
        first, second, _ = store.claim(NOW, UNTIL, 3)
        store.delivered(first)
        store.postpone(first, None)
        store.revive(first)
        assert store.dead_letters(10) == [], "what was delivered cannot be given up"
        assert _ids(store.claim(UNTIL, LATER, 2)) == ["1001#1.2", "1001#1.3"], "what was delivered cannot be revived"
        store.revive(second)
        assert _ids(store.claim(LATER, LATER, 2)) == ["1001#1.2", "1001#1.3"], "what is no dead letter stays as it is"
        for until in (None, LATER, None):
            store.postpone(second, until)
        assert [(one.id, one.attempts) for one in store.dead_letters(10)] == [("1001#1.2", 1)], "it is given up once"
        store.remove(store.load("1001"))
        for message in (first, second):
            store.delivered(message)
            store.postpone(message, UNTIL)
            store.postpone(message, None)
            store.revive(message)
        assert store.dead_letters(10) == [], "the messages of an order that was removed are gone"
        assert _ids(store.claim(LATER, LATER, 10)) == ["1002#1.1", "1002#1.2", "1002#1.3"]

"""S9: a message exists if its commit does, and one relay at a time holds it, in order per order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from msgspec.structs import replace

from order_fsm.errors import KeyReused, VersionConflict
from order_fsm.model import Message
from order_fsm.store import Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract.changes import creation, moment, order_of, step, taken
from order_fsm.testing.store_contract.expected import Expected, committed, drained, refused
from order_fsm.testing.store_contract.harness import StoreHarness

NOW, UNTIL, LATER, LAST = moment(1000), moment(1600), moment(2200), moment(2800)
"""A relay claims at NOW with a lease until UNTIL. The next lease lasts from UNTIL to LATER."""

JUST_BEFORE = UNTIL - timedelta(microseconds=1)
TOPICS = ("order.updated", "order.paid", "refund.due")


def _ids(messages: Iterable[Message]) -> list[str]:
    return [message.id for message in messages]


def _queued(store: Store, *order_ids: str) -> None:
    """Commit three messages for each order, those of the first order first."""
    for number, order_id in enumerate(order_ids):
        store.commit(creation(order_id, topics=TOPICS, at=moment(number)))


class Outbox(StoreHarness):
    """Tests of the outbox."""

    def test_s9_a_message_is_stored_with_its_commit(self, store: Store) -> None:
        """The messages of a commit are claimable after it returns: whole, in their sequence, and not before."""
        assert store.claim(NOW, UNTIL, 10) == [], "a new outbox must be empty"
        assert list(store.messages()) == []
        change = creation(topics=TOPICS)
        store.commit(change)
        assert exact(list(store.messages())) == exact(list(change.messages))
        assert exact(store.claim(NOW, UNTIL, 10)) == exact(list(change.messages[:1]))
        assert exact(drained(store)) == exact(list(change.messages))
        assert list(store.messages()) == []

    def test_s9_a_commit_that_raises_leaves_no_message(self, store: Store) -> None:
        """A commit that is refused because of its version, key or stock stores no message."""
        expected = Expected()
        committed(store, expected, creation(key="key"))
        order = expected.orders["1001"]
        store.set_stock("TEAPOT", 0)
        expected.stock["TEAPOT"] = 0
        ahead = order_of(step(order))
        refused(store, expected, step(ahead, topics=TOPICS), VersionConflict, "the order is at version 1, not 2")
        refused(store, expected, step(order, topics=TOPICS, key="key"), KeyReused, "the key was committed before")
        short = step(order, topics=TOPICS, stock=[taken("TEAPOT", 1)])
        refused(store, expected, short, VersionConflict, "no piece is available")
        assert store.claim(NOW, UNTIL, 10) == []

    def test_s9_the_oldest_messages_are_claimed_first(self, store: Store) -> None:
        """A claim returns at most `limit` messages, the oldest of each order, in the sequence of their commits."""
        orders = {name: creation(name, at=moment(number)) for number, name in enumerate("cab")}
        for change in orders.values():
            store.commit(change)
        wanted = []
        for number, name in enumerate("cbaabc"):
            change = step(order_of(orders[name]), topics=["order.updated"], at=moment(10 + number))
            orders[name] = change
            store.commit(change)
            wanted += _ids(change.messages)
        assert _ids(store.claim(NOW, UNTIL, 2)) == wanted[:2], "claim must return the oldest messages first"
        assert _ids(store.claim(NOW, LATER, 100)) == wanted[2:3], "claim must return the oldest message of each order"
        assert _ids(store.claim(UNTIL, LATER, 100)) == wanted[:2]
        assert sorted(_ids(store.messages())) == sorted(wanted), "a claim must not delete messages"

    def test_s9_new_messages_are_claimed_before_postponed_ones(self, store: Store) -> None:
        """Postponed messages that are due come after new ones, sorted by their due time."""
        for number in range(4):
            store.commit(creation(f"{number}", topics=["order.updated"]))
        for message, due in zip(store.claim(NOW, UNTIL, 3), (LATER, UNTIL, JUST_BEFORE), strict=True):
            store.retry_later(message, UNTIL, due)
        store.commit(creation("new", topics=["order.updated"]))
        assert _ids(store.claim(LATER, LAST, 100)) == ["3#1.1", "new#1.1", "2#1.1", "1#1.1", "0#1.1"]

    def test_s9_messages_of_an_order_keep_the_sequence_of_their_commits(self, store: Store) -> None:
        """The tenth message follows the ninth, even among eleven of one commit or after a clock was set back."""
        change = creation(topics=["order.updated"] * 11, at=moment(100))
        store.commit(change)
        wanted = _ids(change.messages)
        for seconds in (100, 100, 99, 98, 97, 100, 100, 100, 100, 100, 100):
            change = step(order_of(change), topics=["order.updated"], at=moment(seconds))
            store.commit(change)
            wanted += _ids(change.messages)
        why = "the messages of one order must come in the sequence of their commits, not of their ids or times"
        assert _ids(drained(store)) == wanted, why

    def test_s9_a_leased_message_is_not_claimed_before_its_lease_ends(self, store: Store) -> None:
        """A claimed message can be claimed again only from `until` on, under the same id."""
        _queued(store, "1001")
        first = store.claim(NOW, UNTIL, 10)
        assert _ids(first) == ["1001#1.1"], "claim must return only the oldest message of an order"
        assert store.claim(NOW, UNTIL, 10) == [], "a leased message must not be claimed again"
        assert store.claim(JUST_BEFORE, LATER, 10) == [], "a lease must last until `until`"
        again = store.claim(UNTIL, LATER, 10)
        assert exact(again) == exact(first), "a lease must end at `until`, and the message must be unchanged"

    def test_s9_later_messages_of_an_order_wait_for_the_first(self, store: Store) -> None:
        """A claim returns one message per order. During its lease the order's others wait. Other orders do not."""
        _queued(store, "1001", "1002")
        assert _ids(store.claim(NOW, UNTIL, 1)) == ["1001#1.1"]
        assert _ids(store.claim(NOW, UNTIL, 10)) == ["1002#1.1"], "1001 waits, 1002 does not"
        assert store.claim(JUST_BEFORE, LATER, 10) == []
        assert _ids(store.claim(UNTIL, LATER, 10)) == ["1001#1.1", "1002#1.1"]

    def test_s9_new_messages_wait_for_a_leased_one(self, store: Store) -> None:
        """No relay can claim the messages of a commit while another relay holds a message of the order."""
        change = creation(topics=["order.updated"])
        store.commit(change)
        held = store.claim(NOW, UNTIL, 10)
        store.commit(step(order_of(change), topics=["order.paid"]))
        assert store.claim(NOW, UNTIL, 10) == [], "the new message must wait for the leased one before it"
        store.delivered(held[0], UNTIL)
        assert _ids(store.claim(NOW, UNTIL, 10)) == ["1001#2.1"]

    def test_s9_a_delivered_message_is_gone(self, store: Store) -> None:
        """A delivered message is never claimed again. The next one of its order can be claimed at once."""
        _queued(store, "1001", "1002")
        for wanted in (["1001#1.1", "1002#1.1"], ["1001#1.2", "1002#1.2"], ["1001#1.3", "1002#1.3"], []):
            held = store.claim(NOW, UNTIL, 10)
            assert sorted(_ids(held)) == wanted
            for message in held:
                store.delivered(message, UNTIL)
                store.delivered(message, UNTIL)
        assert list(store.messages()) == []
        assert drained(store) == []

    def test_s9_a_failed_delivery_is_retried_later(self, store: Store) -> None:
        """A postponed message can be claimed only when it is due, under its id and with one more attempt."""
        _queued(store, "1001", "1002")
        first, other = store.claim(NOW, LATER, 3)
        store.retry_later(first, LATER, UNTIL)
        store.delivered(other, LATER)
        assert _ids(store.claim(JUST_BEFORE, LATER, 10)) == ["1002#1.2"], "all messages of 1001 must wait for its first"
        again = store.claim(UNTIL, LATER, 10)
        assert exact(again) == exact([replace(first, attempts=1)]), (
            "each failure must add one attempt and change nothing else"
        )
        store.retry_later(again[0], LATER, LATER)
        twice = {message.id: message for message in store.claim(LATER, LAST, 10)}
        assert twice["1001#1.1"].attempts == 2
        store.delivered(twice["1001#1.1"], LAST)
        assert _ids(store.claim(NOW, LATER, 10)) == ["1001#1.2"]

    def test_s9_a_returned_message_may_be_due_at_once(self, store: Store) -> None:
        """A relay that stops may return a message as due now. Another relay claims it, with the attempt counted."""
        _queued(store, "1001")
        (held,) = store.claim(NOW, UNTIL, 10)
        store.retry_later(held, UNTIL, NOW)
        assert [(one.id, one.attempts) for one in store.claim(NOW, LATER, 10)] == [("1001#1.1", 1)]

    def test_s9_a_late_relay_changes_nothing_after_another_lease(self, store: Store) -> None:
        """A relay whose lease ended cannot deliver, postpone or give up a message that another relay leased since."""
        _queued(store, "1001")
        (late,) = store.claim(NOW, UNTIL, 1)
        (held,) = store.claim(UNTIL, LATER, 1)
        store.delivered(late, UNTIL)
        store.retry_later(late, UNTIL, NOW)
        store.retry_later(late, UNTIL, None)
        assert store.dead_letters(10) == [], "the late relay must not give up a message of another lease"
        assert store.claim(UNTIL, LAST, 10) == [], "the late relay must not end the lease of another relay"
        assert exact([one for one in store.messages() if one.id == held.id]) == exact([held]), (
            "the late relay must not delete the message or count an attempt"
        )
        store.retry_later(held, LATER, LATER)
        assert [(one.id, one.attempts) for one in store.claim(LATER, LAST, 10)] == [("1001#1.1", 1)]

    def test_s9_a_late_relay_may_still_deliver_if_no_other_leased_the_message(self, store: Store) -> None:
        """The relay with the last lease may deliver the message even after the lease has ended."""
        _queued(store, "1001", "1002")
        first, second = store.claim(NOW, UNTIL, 2)
        assert store.claim(JUST_BEFORE, LATER, 10) == []
        store.delivered(first, UNTIL)
        store.retry_later(second, UNTIL, LAST)
        assert _ids(store.claim(LATER, LAST, 10)) == ["1001#1.2"]

    def test_s9_a_late_relay_does_not_change_a_new_order_of_the_same_id(self, store: Store) -> None:
        """After its order was removed and created again, the same id belongs to a new message."""
        _queued(store, "1001")
        (late,) = store.claim(NOW, UNTIL, 1)
        store.remove(store.load("1001"))
        change = creation("1001", topics=["order.updated"], customer="eve")
        store.commit(change)
        assert change.messages[0].id == late.id
        store.delivered(late, UNTIL)
        store.retry_later(late, UNTIL, LAST)
        store.retry_later(late, UNTIL, None)
        assert exact(store.claim(UNTIL, LATER, 10)) == exact(list(change.messages)), (
            "the lease of an old message must not change a new one"
        )
        assert store.dead_letters(10) == []

    def test_s9_a_dead_letter_is_kept_and_not_claimed(self, store: Store) -> None:
        """A message that is given up is kept with one more attempt until it is requeued."""
        assert store.dead_letters(10) == [], "a new outbox must have no dead letters"
        _queued(store, "1001")
        store.retry_later(store.claim(NOW, UNTIL, 1)[0], UNTIL, UNTIL)
        held = store.claim(UNTIL, LATER, 1)
        store.retry_later(held[0], LATER, None)
        assert exact(store.dead_letters(10)) == exact([replace(held[0], attempts=2)])
        assert sorted(_ids(store.messages())) == ["1001#1.2", "1001#1.3"], "a dead letter must not count as undelivered"
        assert _ids(drained(store)) == ["1001#1.2", "1001#1.3"], "a dead letter must not be claimed"
        store.commit(step(store.load("1001")))
        why = "a dead letter must be kept while other messages and its order change"
        assert _ids(store.dead_letters(10)) == ["1001#1.1"], why

    def test_s9_a_dead_letter_blocks_no_other_message(self, store: Store) -> None:
        """Later messages of its order, also new ones, can be claimed at once."""
        _queued(store, "1001", "1002")
        held = store.claim(NOW, UNTIL, 1)
        store.commit(step(store.load("1001"), topics=["order.paid"], at=moment(0)))
        store.retry_later(held[0], UNTIL, None)
        assert sorted(_ids(store.claim(NOW, UNTIL, 10))) == ["1001#1.2", "1002#1.1"]
        assert [one for one in _ids(drained(store)) if one.startswith("1001")] == ["1001#1.2", "1001#1.3", "1001#2.1"]

    def test_s9_a_message_with_remaining_recipients_blocks_no_other_message(self, store: Store) -> None:
        """It waits for no other message of its order, and no other message waits for it, leased or new."""
        _queued(store, "1001")
        (first,) = store.claim(NOW, LATER, 10)
        store.retry_later(replace(first, remaining=("ann", "bob")), LATER, UNTIL)
        following = store.claim(NOW, LATER, 10)
        assert _ids(following) == ["1001#1.2"], "the next message of the order must be claimable"
        again = store.claim(UNTIL, LATER, 10)
        assert exact(again) == exact([replace(first, attempts=1, remaining=("ann", "bob"))])
        store.retry_later(replace(again[0], remaining=("bob",)), LATER, LAST)
        store.delivered(following[0], LATER)
        store.commit(step(store.load("1001"), topics=["order.paid"], at=moment(0)))
        assert _ids(store.claim(UNTIL, LATER, 10)) == ["1001#1.3"], "1001#2.1 must wait for it"
        last = store.claim(LAST, moment(3400), 10)
        assert {message.id: message.remaining for message in last} == {"1001#1.1": ("bob",), "1001#1.3": ()}
        for message in last:
            store.delivered(message, moment(3400))
        assert _ids(drained(store)) == ["1001#2.1"]

    def test_s9_a_dead_letter_keeps_its_remaining_recipients(self, store: Store) -> None:
        """After a requeue it is claimed for these alone, even while another message of its order is leased."""
        _queued(store, "1001")
        (first,) = store.claim(NOW, UNTIL, 10)
        first = replace(first, remaining=("ann",))
        store.retry_later(first, UNTIL, None)
        assert exact(store.dead_letters(10)) == exact([replace(first, attempts=1)])
        assert _ids(store.claim(NOW, UNTIL, 10)) == ["1001#1.2"]
        store.requeue(store.dead_letters(10)[0])
        assert exact(store.claim(NOW, UNTIL, 10)) == exact([first])
        store.delivered(first, UNTIL)
        assert sorted(_ids(store.messages())) == ["1001#1.2", "1001#1.3"]

    def test_s9_a_late_relay_does_not_change_the_remaining_recipients(self, store: Store) -> None:
        """Another relay leased the message since and still has to reach all recipients."""
        _queued(store, "1001")
        (late,) = store.claim(NOW, UNTIL, 1)
        (held,) = store.claim(UNTIL, LATER, 1)
        store.retry_later(replace(late, remaining=("ann",)), UNTIL, LAST)
        assert exact([one for one in store.messages() if one.id == held.id]) == exact([held])
        assert store.claim(UNTIL, LAST, 10) == []

    def test_s9_removing_an_order_removes_messages_with_remaining_recipients(self, store: Store) -> None:
        """A new order of the same id does not have them."""
        _queued(store, "1001")
        store.retry_later(replace(store.claim(NOW, UNTIL, 1)[0], remaining=("ann",)), UNTIL, LATER)
        store.remove(store.load("1001"))
        assert list(store.messages()) == []
        change = creation("1001", topics=["order.updated"])
        store.commit(change)
        assert exact(store.claim(LAST, moment(3400), 10)) == exact(list(change.messages))

    def test_s9_dead_letters_are_listed_oldest_first(self, store: Store) -> None:
        """A listing returns at most `limit` dead letters, sorted by the time of their commits."""
        for number, name in enumerate("cab"):
            store.commit(creation(name, topics=["order.updated"], at=moment(number)))
        c, a, b = store.claim(NOW, UNTIL, 10)
        for message in (b, c, a):
            store.retry_later(message, UNTIL, None)
        assert _ids(store.dead_letters(10)) == _ids([c, a, b])
        assert _ids(store.dead_letters(2)) == _ids([c, a])

    def test_s9_a_requeued_dead_letter_starts_again(self, store: Store) -> None:
        """It is claimed under its id with no attempts, and is gone after its delivery."""
        _queued(store, "1001")
        held = store.claim(NOW, UNTIL, 1)
        store.retry_later(held[0], UNTIL, None)
        store.requeue(store.dead_letters(1)[0])
        assert store.dead_letters(10) == [], "a requeued message must not be a dead letter"
        again = {message.id: message for message in drained(store)}
        assert exact(again["1001#1.1"]) == exact(held[0]), "a requeued message must equal the first one"
        assert store.dead_letters(10) == []
        assert list(store.messages()) == []

    def test_s9_a_requeued_dead_letter_waits_for_its_order(self, store: Store) -> None:
        """It becomes the last message of its order, so two relays never hold messages of one order."""
        _queued(store, "1001")
        store.retry_later(store.claim(NOW, UNTIL, 1)[0], UNTIL, None)
        held = store.claim(NOW, UNTIL, 10)
        assert _ids(held) == ["1001#1.2"]
        store.requeue(store.dead_letters(1)[0])
        assert store.claim(NOW, UNTIL, 10) == [], "two relays must not hold messages of one order"
        store.delivered(held[0], UNTIL)
        assert _ids(drained(store)) == ["1001#1.3", "1001#1.1"]

    def test_s9_a_requeued_dead_letter_has_no_lease(self, store: Store) -> None:
        """The relay that gave it up has no lease and cannot mark it as delivered."""
        store.commit(creation("1001", topics=["order.updated"]))
        (held,) = store.claim(NOW, UNTIL, 1)
        store.retry_later(held, UNTIL, None)
        store.requeue(store.dead_letters(1)[0])
        store.delivered(held, UNTIL)
        store.retry_later(held, UNTIL, None)
        assert exact(store.claim(NOW, LATER, 10)) == exact([held])

    def test_s9_a_deleted_message_does_not_return(self, store: Store) -> None:
        """A slow relay, or a second requeue of a message, changes nothing and does not raise."""
        _queued(store, "1001", "1002")
        first, other = store.claim(NOW, UNTIL, 2)
        store.delivered(first, UNTIL)
        store.retry_later(first, UNTIL, None)
        store.retry_later(first, UNTIL, UNTIL)
        store.requeue(first)
        assert store.dead_letters(10) == [], "a delivered message must not become a dead letter"
        present = sorted(_ids(store.messages()))
        assert present == ["1001#1.2", "1001#1.3", "1002#1.1", "1002#1.2", "1002#1.3"], "no message may return"
        (second,) = store.claim(NOW, UNTIL, 2)
        store.requeue(second)
        assert store.claim(NOW, UNTIL, 2) == [], (
            "a requeue must not change a message that is not a dead letter, or its lease"
        )
        for due in (None, LATER, None):
            store.retry_later(second, UNTIL, due)
        assert [(one.id, one.attempts) for one in store.dead_letters(10)] == [("1001#1.2", 1)], (
            "a message must become a dead letter once"
        )
        store.remove(store.load("1001"))
        for message in (first, second):
            store.delivered(message, UNTIL)
            store.retry_later(message, UNTIL, UNTIL)
            store.retry_later(message, UNTIL, None)
            store.requeue(message)
        assert store.dead_letters(10) == [], "a removed order must have no messages"
        store.delivered(other, UNTIL)
        assert _ids(drained(store)) == ["1002#1.2", "1002#1.3"]

"""S9: a message is there if its commit is, and one relay holds it at a time, in order per order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from attrs import evolve

from order_fsm.errors import KeyReused, VersionConflict
from order_fsm.model import Message
from order_fsm.store import Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract.changes import creation, moment, order_of, step, taken
from order_fsm.testing.store_contract.expected import Expected, committed, drained, refused
from order_fsm.testing.store_contract.harness import StoreHarness

NOW, UNTIL, LATER, LAST = moment(1000), moment(1600), moment(2200), moment(2800)
"""A relay claims at NOW until UNTIL. At UNTIL that lease has ended, and the next one lasts until LATER."""

JUST_BEFORE = UNTIL - timedelta(microseconds=1)
TOPICS = ("order.updated", "order.paid", "refund.due")


def _ids(messages: Iterable[Message]) -> list[str]:
    return [message.id for message in messages]


def _queued(store: Store, *order_ids: str) -> None:
    """Commit three messages for each order. The first order's are the oldest."""
    for number, order_id in enumerate(order_ids):
        store.commit(creation(order_id, topics=TOPICS, at=moment(number)))


class Outbox(StoreHarness):
    """Commits queue messages, and relays claim them."""

    def test_s9_a_message_is_there_with_its_commit(self, store: Store) -> None:
        """The messages of a commit are there once it has returned: whole, in their sequence, and not before."""
        assert store.claim(NOW, UNTIL, 10) == [], "there is no message before the first commit"
        assert list(store.messages()) == []
        change = creation(topics=TOPICS)
        store.commit(change)
        assert exact(list(store.messages())) == exact(list(change.messages))
        assert exact(store.claim(NOW, UNTIL, 10)) == exact(list(change.messages[:1]))
        assert exact(drained(store)) == exact(list(change.messages))
        assert list(store.messages()) == []

    def test_s9_a_commit_that_raises_leaves_no_message(self, store: Store) -> None:
        """A commit that is refused for its version, its key or its stock leaves no message."""
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

    def test_s9_the_oldest_are_claimed_first(self, store: Store) -> None:
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
        assert _ids(store.claim(NOW, UNTIL, 2)) == wanted[:2], "claim gives the oldest messages first"
        assert _ids(store.claim(NOW, LATER, 100)) == wanted[2:3], "claim gives the oldest message of each order"
        assert _ids(store.claim(UNTIL, LATER, 100)) == wanted[:2]
        assert sorted(_ids(store.messages())) == sorted(wanted), "a claim takes no message away"

    def test_s9_new_messages_are_claimed_before_postponed_ones(self, store: Store) -> None:
        """After new ones come postponed messages that are due, by the time at which they were due."""
        for number in range(4):
            store.commit(creation(f"{number}", topics=["order.updated"]))
        for message, due in zip(store.claim(NOW, UNTIL, 3), (LATER, UNTIL, JUST_BEFORE), strict=True):
            store.retry_later(message, UNTIL, due)
        store.commit(creation("new", topics=["order.updated"]))
        assert _ids(store.claim(LATER, LAST, 100)) == ["3#1.1", "new#1.1", "2#1.1", "1#1.1", "0#1.1"]

    def test_s9_messages_of_an_order_keep_the_sequence_of_their_commits(self, store: Store) -> None:
        """The tenth follows the ninth, also among eleven of one commit, or if a clock was set back."""
        change = creation(topics=["order.updated"] * 11, at=moment(100))
        store.commit(change)
        wanted = _ids(change.messages)
        for seconds in (100, 100, 99, 98, 97, 100, 100, 100, 100, 100, 100):
            change = step(order_of(change), topics=["order.updated"], at=moment(seconds))
            store.commit(change)
            wanted += _ids(change.messages)
        why = "the messages of one order come in the sequence of their commits, whatever their ids and times"
        assert _ids(drained(store)) == wanted, why

    def test_s9_a_lease_keeps_others_away_until_it_ends(self, store: Store) -> None:
        """A claimed message is not claimed again before `until`, and from then on under the same id."""
        _queued(store, "1001")
        first = store.claim(NOW, UNTIL, 10)
        assert _ids(first) == ["1001#1.1"], "claim gives only the oldest message of an order"
        assert store.claim(NOW, UNTIL, 10) == [], "a leased message must not be claimed again"
        assert store.claim(JUST_BEFORE, LATER, 10) == [], "a lease lasts until its very end"
        again = store.claim(UNTIL, LATER, 10)
        assert exact(again) == exact(first), "a lease ends at `until`; then the message is claimed again, unchanged"

    def test_s9_later_messages_of_an_order_wait_for_the_first(self, store: Store) -> None:
        """A claim gives one message per order, and while it is leased the order's others wait. Other orders go on."""
        _queued(store, "1001", "1002")
        assert _ids(store.claim(NOW, UNTIL, 1)) == ["1001#1.1"]
        assert _ids(store.claim(NOW, UNTIL, 10)) == ["1002#1.1"], "1001 waits, 1002 does not"
        assert store.claim(JUST_BEFORE, LATER, 10) == []
        assert _ids(store.claim(UNTIL, LATER, 10)) == ["1001#1.1", "1002#1.1"]

    def test_s9_messages_that_come_while_the_first_is_leased_wait_too(self, store: Store) -> None:
        """A commit made while a relay holds an order's message adds nothing that another relay could deliver first."""
        change = creation(topics=["order.updated"])
        store.commit(change)
        held = store.claim(NOW, UNTIL, 10)
        store.commit(step(order_of(change), topics=["order.paid"]))
        assert store.claim(NOW, UNTIL, 10) == [], "the new message waits for the leased one before it"
        store.delivered(held[0], UNTIL)
        assert _ids(store.claim(NOW, UNTIL, 10)) == ["1001#2.1"]

    def test_s9_a_delivered_message_is_gone(self, store: Store) -> None:
        """A delivered message never comes again, and the next one of its order can be claimed at once."""
        _queued(store, "1001", "1002")
        for wanted in (["1001#1.1", "1002#1.1"], ["1001#1.2", "1002#1.2"], ["1001#1.3", "1002#1.3"], []):
            held = store.claim(NOW, UNTIL, 10)
            assert sorted(_ids(held)) == wanted
            for message in held:
                store.delivered(message, UNTIL)
                store.delivered(message, UNTIL)
        assert list(store.messages()) == []
        assert drained(store) == []

    def test_s9_a_failed_delivery_is_tried_again_later(self, store: Store) -> None:
        """A postponed message is not claimed before it is due, then under its id with one attempt more."""
        _queued(store, "1001", "1002")
        first, other = store.claim(NOW, LATER, 3)
        store.retry_later(first, LATER, UNTIL)
        store.delivered(other, LATER)
        assert _ids(store.claim(JUST_BEFORE, LATER, 10)) == ["1002#1.2"], "all of 1001 waits for its first"
        again = store.claim(UNTIL, LATER, 10)
        assert exact(again) == exact([evolve(first, attempts=1)]), "each failure adds one attempt, and changes no more"
        store.retry_later(again[0], LATER, LATER)
        twice = {message.id: message for message in store.claim(LATER, LAST, 10)}
        assert twice["1001#1.1"].attempts == 2
        store.delivered(twice["1001#1.1"], LAST)
        assert _ids(store.claim(NOW, LATER, 10)) == ["1001#1.2"]

    def test_s9_a_message_may_be_due_at_once(self, store: Store) -> None:
        """A relay that stops may return a message as due now, and another relay claims it with its attempt."""
        _queued(store, "1001")
        (held,) = store.claim(NOW, UNTIL, 10)
        store.retry_later(held, UNTIL, NOW)
        assert [(one.id, one.attempts) for one in store.claim(NOW, LATER, 10)] == [("1001#1.1", 1)]

    def test_s9_a_late_relay_changes_nothing_after_another_lease(self, store: Store) -> None:
        """A relay whose lease has ended neither delivers, postpones nor gives up a message that another one leased."""
        _queued(store, "1001")
        (late,) = store.claim(NOW, UNTIL, 1)
        (held,) = store.claim(UNTIL, LATER, 1)
        store.delivered(late, UNTIL)
        store.retry_later(late, UNTIL, NOW)
        store.retry_later(late, UNTIL, None)
        assert store.dead_letters(10) == [], "the late relay must not give up what another one holds"
        assert store.claim(UNTIL, LAST, 10) == [], "the late relay must not end the lease of another one"
        assert exact([one for one in store.messages() if one.id == held.id]) == exact([held]), (
            "the late relay must not delete the message, or count an attempt"
        )
        store.retry_later(held, LATER, LATER)
        assert [(one.id, one.attempts) for one in store.claim(LATER, LAST, 10)] == [("1001#1.1", 1)]

    def test_s9_a_late_relay_may_still_deliver_if_no_other_leased_the_message(self, store: Store) -> None:
        """The last lease counts, though it has ended: the relay that holds it was slow, and alone."""
        _queued(store, "1001", "1002")
        first, second = store.claim(NOW, UNTIL, 2)
        assert store.claim(JUST_BEFORE, LATER, 10) == []
        store.delivered(first, UNTIL)
        store.retry_later(second, UNTIL, LAST)
        assert _ids(store.claim(LATER, LAST, 10)) == ["1001#1.2"]

    def test_s9_a_late_relay_keeps_its_hands_off_a_new_order_of_the_same_id(self, store: Store) -> None:
        """After its order was removed and created again, the message of the same id is another one."""
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
            "a message that was never leased must not be changed by the lease of another one"
        )
        assert store.dead_letters(10) == []

    def test_s9_a_dead_letter_is_kept_and_claimed_no_more(self, store: Store) -> None:
        """A message that is given up is kept with one attempt more, until it is requeued."""
        assert store.dead_letters(10) == [], "no delivery was given up yet"
        _queued(store, "1001")
        store.retry_later(store.claim(NOW, UNTIL, 1)[0], UNTIL, UNTIL)
        held = store.claim(UNTIL, LATER, 1)
        store.retry_later(held[0], LATER, None)
        assert exact(store.dead_letters(10)) == exact([evolve(held[0], attempts=2)])
        assert sorted(_ids(store.messages())) == ["1001#1.2", "1001#1.3"], "a dead letter is no undelivered message"
        assert _ids(drained(store)) == ["1001#1.2", "1001#1.3"], "a dead letter must not be claimed"
        store.commit(step(store.load("1001")))
        why = "a dead letter is kept, whatever happens to the other messages and to its order"
        assert _ids(store.dead_letters(10)) == ["1001#1.1"], why

    def test_s9_a_dead_letter_holds_up_nothing(self, store: Store) -> None:
        """The messages behind it on its order, also new ones, are claimed at once."""
        _queued(store, "1001", "1002")
        held = store.claim(NOW, UNTIL, 1)
        store.commit(step(store.load("1001"), topics=["order.paid"], at=moment(0)))
        store.retry_later(held[0], UNTIL, None)
        assert sorted(_ids(store.claim(NOW, UNTIL, 10))) == ["1001#1.2", "1002#1.1"]
        assert [one for one in _ids(drained(store)) if one.startswith("1001")] == ["1001#1.2", "1001#1.3", "1001#2.1"]

    def test_s9_a_message_with_remaining_recipients_holds_up_nothing(self, store: Store) -> None:
        """It waits for no message of its order and none waits for it, also if one is leased or comes later."""
        _queued(store, "1001")
        (first,) = store.claim(NOW, LATER, 10)
        store.retry_later(evolve(first, remaining=("ann", "bob")), LATER, UNTIL)
        following = store.claim(NOW, LATER, 10)
        assert _ids(following) == ["1001#1.2"], "the next message of the order is its oldest now"
        again = store.claim(UNTIL, LATER, 10)
        assert exact(again) == exact([evolve(first, attempts=1, remaining=("ann", "bob"))])
        store.retry_later(evolve(again[0], remaining=("bob",)), LATER, LAST)
        store.delivered(following[0], LATER)
        store.commit(step(store.load("1001"), topics=["order.paid"], at=moment(0)))
        assert _ids(store.claim(UNTIL, LATER, 10)) == ["1001#1.3"], "1001#2.1 waits for it"
        last = store.claim(LAST, moment(3400), 10)
        assert {message.id: message.remaining for message in last} == {"1001#1.1": ("bob",), "1001#1.3": ()}
        for message in last:
            store.delivered(message, moment(3400))
        assert _ids(drained(store)) == ["1001#2.1"]

    def test_s9_a_dead_letter_keeps_its_remaining_recipients(self, store: Store) -> None:
        """Requeued, it is claimed for them alone, while another message of its order is leased."""
        _queued(store, "1001")
        (first,) = store.claim(NOW, UNTIL, 10)
        first = evolve(first, remaining=("ann",))
        store.retry_later(first, UNTIL, None)
        assert exact(store.dead_letters(10)) == exact([evolve(first, attempts=1)])
        assert _ids(store.claim(NOW, UNTIL, 10)) == ["1001#1.2"]
        store.requeue(store.dead_letters(10)[0])
        assert exact(store.claim(NOW, UNTIL, 10)) == exact([first])
        store.delivered(first, UNTIL)
        assert sorted(_ids(store.messages())) == ["1001#1.2", "1001#1.3"]

    def test_s9_a_late_relay_does_not_change_the_remaining_recipients(self, store: Store) -> None:
        """Another relay leased the message since, and still has to reach them all."""
        _queued(store, "1001")
        (late,) = store.claim(NOW, UNTIL, 1)
        (held,) = store.claim(UNTIL, LATER, 1)
        store.retry_later(evolve(late, remaining=("ann",)), UNTIL, LAST)
        assert exact([one for one in store.messages() if one.id == held.id]) == exact([held])
        assert store.claim(UNTIL, LAST, 10) == []

    def test_s9_removing_an_order_removes_messages_with_remaining_recipients(self, store: Store) -> None:
        """Nothing of them is left for a new order of the same id."""
        _queued(store, "1001")
        store.retry_later(evolve(store.claim(NOW, UNTIL, 1)[0], remaining=("ann",)), UNTIL, LATER)
        store.remove(store.load("1001"))
        assert list(store.messages()) == []
        change = creation("1001", topics=["order.updated"])
        store.commit(change)
        assert exact(store.claim(LAST, moment(3400), 10)) == exact(list(change.messages))

    def test_s9_dead_letters_are_listed_oldest_first(self, store: Store) -> None:
        """At most `limit` of them, by the time of their commits, in whatever sequence they were given up."""
        for number, name in enumerate("cab"):
            store.commit(creation(name, topics=["order.updated"], at=moment(number)))
        c, a, b = store.claim(NOW, UNTIL, 10)
        for message in (b, c, a):
            store.retry_later(message, UNTIL, None)
        assert _ids(store.dead_letters(10)) == _ids([c, a, b])
        assert _ids(store.dead_letters(2)) == _ids([c, a])

    def test_s9_a_requeued_dead_letter_starts_again(self, store: Store) -> None:
        """It is claimed under its id, with no attempts, and is gone once it is delivered."""
        _queued(store, "1001")
        held = store.claim(NOW, UNTIL, 1)
        store.retry_later(held[0], UNTIL, None)
        store.requeue(store.dead_letters(1)[0])
        assert store.dead_letters(10) == [], "a requeued message is not a dead letter"
        again = {message.id: message for message in drained(store)}
        assert exact(again["1001#1.1"]) == exact(held[0]), "a requeued message is as it was at first"
        assert store.dead_letters(10) == []
        assert list(store.messages()) == []

    def test_s9_a_requeued_dead_letter_waits_for_the_others_of_its_order(self, store: Store) -> None:
        """It is the last of its order, so that two relays never hold messages of one order."""
        _queued(store, "1001")
        store.retry_later(store.claim(NOW, UNTIL, 1)[0], UNTIL, None)
        held = store.claim(NOW, UNTIL, 10)
        assert _ids(held) == ["1001#1.2"]
        store.requeue(store.dead_letters(1)[0])
        assert store.claim(NOW, UNTIL, 10) == [], "two relays must not hold messages of one order"
        store.delivered(held[0], UNTIL)
        assert _ids(drained(store)) == ["1001#1.3", "1001#1.1"]

    def test_s9_a_requeued_dead_letter_has_no_lease(self, store: Store) -> None:
        """The relay that gave it up holds it no more, and may not deliver it behind the back of the next one."""
        store.commit(creation("1001", topics=["order.updated"]))
        (held,) = store.claim(NOW, UNTIL, 1)
        store.retry_later(held, UNTIL, None)
        store.requeue(store.dead_letters(1)[0])
        store.delivered(held, UNTIL)
        store.retry_later(held, UNTIL, None)
        assert exact(store.claim(NOW, LATER, 10)) == exact([held])

    def test_s9_a_message_that_is_gone_stays_gone(self, store: Store) -> None:
        """A slow relay, and a second requeue of one message, change nothing and raise nothing."""
        _queued(store, "1001", "1002")
        first, other = store.claim(NOW, UNTIL, 2)
        store.delivered(first, UNTIL)
        store.retry_later(first, UNTIL, None)
        store.retry_later(first, UNTIL, UNTIL)
        store.requeue(first)
        assert store.dead_letters(10) == [], "a delivered message cannot be given up"
        present = sorted(_ids(store.messages()))
        assert present == ["1001#1.2", "1001#1.3", "1002#1.1", "1002#1.2", "1002#1.3"], "nothing comes back"
        (second,) = store.claim(NOW, UNTIL, 2)
        store.requeue(second)
        assert store.claim(NOW, UNTIL, 2) == [], "a message that is no dead letter stays as it is, with its lease"
        for due in (None, LATER, None):
            store.retry_later(second, UNTIL, due)
        assert [(one.id, one.attempts) for one in store.dead_letters(10)] == [("1001#1.2", 1)], "it is given up once"
        store.remove(store.load("1001"))
        for message in (first, second):
            store.delivered(message, UNTIL)
            store.retry_later(message, UNTIL, UNTIL)
            store.retry_later(message, UNTIL, None)
            store.requeue(message)
        assert store.dead_letters(10) == [], "the messages of a removed order are gone"
        store.delivered(other, UNTIL)
        assert _ids(drained(store)) == ["1002#1.2", "1002#1.3"]

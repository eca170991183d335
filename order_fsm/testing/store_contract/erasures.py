"""S1, S2, S4, S9, S10 and S12 of erasures: an erasure blanks all personal values of the past or changes nothing."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from msgspec.structs import replace

from order_fsm.erasure import ERASE, erased_entry, erased_message
from order_fsm.errors import KeyReused, StoreError, StoreUnavailable, VersionConflict
from order_fsm.model import Entry, Fact, Message, Order, PaymentKind, When
from order_fsm.store import Change, Query, Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract.changes import creation, moment, order_of, seeded, step, told
from order_fsm.testing.store_contract.crews import Worker
from order_fsm.testing.store_contract.expected import Expected, committed, drained, record_under, refused
from order_fsm.testing.store_contract.harness import StoreHarness
from order_fsm.testing.store_contract.traffic import next_change, stocked

PERSONAL = "Ann Example"
"""A text in every personal value of these orders."""

LIVED = 5
"""The version of an order after `life`."""


def life(order_id: str) -> list[Change]:
    """Return the changes of an order with a personal value in every field that has one, and lasting values."""
    data = {"phone": f"{PERSONAL} 1", "nested": [{"name": PERSONAL}]}
    new = creation(
        order_id, customer=f"{PERSONAL} of {order_id}", email=f"{PERSONAL}@x", data=data, key=f"n {order_id}"
    )
    facts: dict[str, Fact] = {"parcel": PERSONAL, "amount": Decimal("1.50"), "reference": "ch_1", "kind": None}
    fired = step(order_of(new), by="bob", comment=f"for {PERSONAL}", facts=facts, entries=2, key=f"f {order_id}")
    payload = {"parcel": PERSONAL, "amount": "1.50", "state": "sent", "added": ["sent"]}
    topics = ("shop.parcel", "order.updated", "shop.second")
    fired = replace(fired, messages=told(order_of(fired), *topics, payload=payload))
    gateway: dict[str, Fact] = {"amount": Decimal("49.90"), "currency": "GBP", "reference": "ch_1", "kind": "captured"}
    paid: list[tuple[PaymentKind, str]] = [("captured", "49.90")]
    reported = step(order_of(fired), state="sent", by="gateway", facts=gateway, payments=paid, key=f"g {order_id}")
    noted = step(order_of(reported), comment="\0 " + f"{PERSONAL}\n" * 3000)
    return [new, fired, reported, noted]


def erasure(order: Order, *, comment: str = "") -> Change:
    """Return the commit that erases an order."""
    at = moment(1000)
    entry = Entry(order.version + 1, ERASE, order.state, order.state, at, "dpo", comment)
    blank = replace(order, customer=None, email=None, data={})
    return Change(blank.after(entry, order.payments, order.counted), order.version, (entry,), erases=True)


def _shop(store: Store) -> Expected:
    """Return the content of a store with an order to erase and others."""
    expected = stocked(store)
    committed(store, expected, *life("1001"), *life("1002"))
    for number in range(10):
        committed(store, expected, next_change(expected, number))
    return expected


def _erased(store: Store, order_id: str) -> bool:
    return any(entry.trigger == ERASE for entry in store.history(order_id))


def files_with(place: Path, text: str) -> list[str]:
    """Return the names of the files that hold a text."""
    return [file.name for file in place.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


def _erase_all(orders: list[Order], store: Store, pipe: Connection) -> None:
    """Erase one order after the other, and send each id after its commit."""
    for order in orders:
        store.commit(erasure(order))
        pipe.send(order.id)
        store.scrub()


class Erasures(StoreHarness):
    """Tests of erasures."""

    def test_s1_an_erasure_blanks_the_past_of_one_order(self, store: Store) -> None:
        """It blanks the customer, email, data, comments and all facts except the lasting ones, of this order alone."""
        expected = _shop(store)
        committed(store, expected, erasure(expected.orders["1001"]))
        assert [entry.erased for entry in store.history("1001")] == [False, True, True, False, True, False]
        assert PERSONAL not in str((store.load("1001"), store.history("1001")))
        expected.check(store)

    def test_s1_an_erasure_keeps_values_written_with_it_and_after_it(self, store: Store) -> None:
        """It blanks only earlier entries. The order may get a customer again."""
        expected = _shop(store)
        committed(store, expected, erasure(expected.orders["1001"], comment="as she asked"))
        later = step(expected.orders["1001"], comment="later", facts={"parcel": "new"}, topics=["order.updated"])
        committed(store, expected, replace(later, order=replace(order_of(later), customer="new", data={"new": 1})))
        expected.check(store)
        committed(store, expected, erasure(expected.orders["1001"]))
        expected.check(store)
        assert store.history("1001")[LIVED].comment == ""

    def test_s1_an_erasure_among_changes_committed_together(self, store: Store) -> None:
        """It blanks only the changes before it."""
        expected = _shop(store)
        before = step(expected.orders["1001"], comment=PERSONAL, facts={"parcel": PERSONAL}, topics=["order.updated"])
        erases = erasure(order_of(before))
        after = step(order_of(erases), comment="after", facts={"parcel": "after"}, key="after")
        other = step(expected.orders["1002"], comment="other")
        stale = erasure(expected.orders["1002"])
        changes = [before, erases, other, stale, after]
        errors = store.commit_all(changes)
        assert [type(error) for error in errors] == [type(None)] * 3 + [VersionConflict, type(None)]
        for change in (before, erases, other, after):
            expected.commit(change)
        expected.check(store)

    def test_s2_an_erasure_from_another_version_blanks_nothing(self, store: Store) -> None:
        """A conflict changes no value."""
        expected = _shop(store)
        stale = erasure(expected.orders["1001"])
        committed(store, expected, step(expected.orders["1001"], comment="since"))
        refused(store, expected, stale, VersionConflict, "the order has changed since")

    def test_s4_an_erasure_blanks_the_fingerprints_of_personal_requests(self, store: Store) -> None:
        """The keys stay used. The fingerprints of a gateway's facts stay, to detect a changed redelivery."""
        expected = _shop(store)
        committed(store, expected, erasure(expected.orders["1001"]))
        found = {key: record_under(store, f"{key} 1001") for key in "nfg"}
        fingerprints = {key: record and record.request_fingerprint for key, record in found.items()}
        assert fingerprints == {"n": "", "f": "", "g": "the request under g 1001"}
        for key in "nfg":
            change = step(expected.orders["1001"], key=f"{key} 1001")
            refused(store, expected, change, KeyReused, "the key was used before the erasure")

    def test_s7_an_erased_entry_is_returned_unchanged(self, store: Store) -> None:
        """This includes erased entries in the history of a creation."""
        lived, expected = life("1001"), Expected()
        entries = [entry for change in lived for entry in change.entries]
        blank = order_of(erasure(order_of(lived[-1])))
        last = Entry(blank.version, ERASE, "sent", "sent", blank.updated_at)
        committed(store, expected, Change(blank, 0, (*map(erased_entry, entries), last)))
        expected.check(store)

    def test_s9_an_erasure_blanks_messages_and_dead_letters(self, store: Store) -> None:
        """It keeps their places, leases, attempts and remaining recipients. A relay with a lease can continue."""
        for change in (*life("1001"), *life("1002")):
            store.commit(change)
        first = _claimed(store, 10)
        store.retry_later(first, moment(10), None)
        second = _claimed(store, 20)
        store.retry_later(replace(second, remaining=("merchant",)), moment(20), moment(30))
        third = _claimed(store, 25)
        store.commit(erasure(store.load("1001")))
        gone = replace(erased_message(first), attempts=1)
        apart = replace(erased_message(second), attempts=1, remaining=("merchant",))
        assert [exact(one) for one in store.dead_letters(9) if one.order_id == "1001"] == [exact(gone)]
        waiting = sorted((one for one in store.messages() if one.order_id == "1001"), key=lambda one: one.id)
        assert exact(waiting) == exact([apart, erased_message(third)])
        assert any(PERSONAL in str(one) for one in store.messages() if one.order_id == "1002")
        store.retry_later(replace(third, remaining=("customer",)), moment(25), moment(40))
        assert exact(_claimed(store, 35)) == exact(apart)
        store.delivered(apart, moment(35))
        again = _claimed(store, 45)
        assert exact(again) == exact(replace(erased_message(third), attempts=1, remaining=("customer",)))
        store.delivered(again, moment(45))
        store.requeue(gone)
        left = [one for one in drained(store) if one.order_id == "1001"]
        assert exact(left) == exact([replace(gone, attempts=0)])
        assert store.faults() == []

    def test_s10_an_erased_customer_is_not_found(self, store: Store) -> None:
        """`find` and `tally` return nothing for the customer. The order counts as before."""
        expected = _shop(store)
        customer = f"{PERSONAL} of 1001"
        committed(store, expected, erasure(expected.orders["1001"]))
        assert store.find(Query(When(), customer)) == []
        assert store.tally(customer) == []
        assert set(store.tally(None)) == expected.tally(None)
        committed(store, expected, creation("1003", customer=customer))
        assert [order.id for order in store.find(Query(When(), customer))] == ["1003"]

    def test_s12_a_scrub_changes_no_content(self, store: Store) -> None:
        """A scrub may run at any time, and repeatedly."""
        expected = _shop(store)
        for message in store.claim(moment(10), moment(20), 1):
            store.retry_later(message, moment(20), None)
            expected.messages = [one for one in expected.messages if one.id != message.id]
        store.scrub()
        committed(store, expected, erasure(expected.orders["1001"]))
        dead = store.dead_letters(9)
        assert len(dead) == 1
        for _ in range(2):
            store.scrub()
            assert store.dead_letters(9) == dead
        expected.check(store)

    def test_s3_an_erasure_outlives_the_store(self, durable_place: Path) -> None:
        """A reopened store has the same content, with and without a scrub."""
        with self.opened(durable_place) as store:
            expected = _shop(store)
            committed(store, expected, erasure(expected.orders["1001"]))
        with self.opened(durable_place) as store:
            expected.check(store)
            store.scrub()
        with self.opened(durable_place) as store:
            expected.check(store)

    def test_s12_no_byte_of_an_erased_value_is_left(self, local_place: Path) -> None:
        """This holds if the store was closed, or another one was open, between the erasure and the scrub."""
        self._skip_unless_it_scrubs()
        with self.opened(local_place) as store, self.opened(local_place) as another:
            expected = _shop(store)
            another.load("1001")
            for order_id in ("1001", "1002"):
                assert files_with(local_place, PERSONAL)
                committed(store, expected, erasure(expected.orders[order_id]))
                store.commit(step(store.load(order_id)))
            store.scrub()
            assert files_with(local_place, PERSONAL) == [], "erased values are left in these files"
            assert PERSONAL not in str(another.history("1001"))
            for change in life("1003"):
                store.commit(change)
            store.commit(erasure(store.load("1003")))
        with self.opened(local_place) as store:
            store.scrub()
            assert files_with(local_place, PERSONAL) == [], "a store opened later must complete the scrub"

    def test_s1_a_killed_process_leaves_an_order_whole_or_erased(self, durable_place: Path) -> None:
        """After kill -9 the orders with an acknowledged erasure are blank, and the others are unchanged."""
        for era, rounds in self.eras(durable_place, share=8):
            opened = partial(self.opened, era)
            with opened() as store:
                expected = stocked(store)
            for turn in rounds:
                dice = seeded(f"kill an erasure {turn}")
                ids = [f"{turn}-{number}" for number in range(8)]
                with opened() as store:
                    for order_id in ids:
                        committed(store, expected, *life(order_id))
                worker = Worker(opened, partial(_erase_all, [expected.orders[one] for one in ids]))
                try:
                    acknowledged = [worker.receive(), *worker.kill(dice.uniform(0.0, 0.03))]
                finally:
                    worker.end()
                for order_id in acknowledged:
                    expected.commit(erasure(expected.orders[order_id]))
                with opened() as store:
                    under_way = next((one for one in ids if one not in acknowledged), None)
                    if under_way is not None:
                        if not self.local_disk:
                            _settled(store, expected.orders[under_way])
                        if _erased(store, under_way):
                            expected.commit(erasure(expected.orders[under_way]))
                    expected.check(store, after_kill=True)
                    for order_id in ids:
                        if not _erased(store, order_id):
                            committed(store, expected, erasure(expected.orders[order_id]))
                    store.scrub()
                    expected.check(store, after_kill=True)
                if self.local_disk and self.scrubs:
                    assert files_with(era, PERSONAL) == [], "a scrub after a kill must leave no erased value"

    def _skip_unless_it_scrubs(self) -> None:
        if not self.scrubs:
            pytest.skip("this store does not scrub the files under place (scrubs = False)")


def _claimed(store: Store, seconds: float) -> Message:
    """Claim all messages until a time, and return that of order 1001."""
    found = store.claim(moment(seconds), moment(seconds), 99)
    (mine,) = [one for one in found if one.order_id == "1001"]
    return mine


def _settled(store: Store, order: Order) -> None:
    """Erase an order if its erasure was in progress when its process died and is not done."""
    try:
        store.commit(erasure(order))
    except VersionConflict:
        return
    except StoreUnavailable as error:
        raise StoreError("the server has not ended the erasure") from error

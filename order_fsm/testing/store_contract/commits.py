"""S1, S2, S4 and S5: commits are whole or absent, one per version wins, keys commit once."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from order_fsm.errors import KeyReused, OrderExists, OrderNotFound, VersionConflict
from order_fsm.store import IdempotencyRecord, Store
from order_fsm.testing.store_contract.changes import creation, given_back, order_of, step, stock_change, taken, told
from order_fsm.testing.store_contract.expected import Expected, committed, consistent, record_under, refused
from order_fsm.testing.store_contract.harness import StoreHarness
from order_fsm.testing.store_contract.traffic import two_orders


class Commits(StoreHarness):
    """Tests of atomic commits, versions and keys."""

    def test_s1_a_commit_is_stored_whole(self, store: Store) -> None:
        """After a commit the store has its order, entries, payments, stock, messages and key."""
        expected = two_orders(store)
        change = step(
            expected.orders["1001"],
            state="sent+paid",
            entries=3,
            payments=[("captured", "40.00"), ("captured", "9.90"), ("reversed", "0.01")],
            stock=[taken("TEAPOT", 1), given_back("CUP", 4)],
            topics=["order.updated", "order.paid", "refund.due"],
            key="all at once",
        )
        committed(store, expected, change)
        expected.check(store)

    def test_s1_a_version_conflict_leaves_nothing(self, store: Store) -> None:
        """A commit from a stale version stores no order, entry, payment, stock, message or key."""
        expected = two_orders(store)
        stale = order_of(creation("1001"))
        change = step(
            stale,
            state="sent+cancelled",
            payments=[("captured", "1.00")],
            stock=[taken("TEAPOT", 1), given_back("NOT TRACKED", 1)],
            topics=["order.updated"],
            key="of the stale commit",
        )
        refused(store, expected, change, VersionConflict, "the order is at version 2, the change was decided on 1")

    def test_s1_a_reused_key_leaves_nothing(self, store: Store) -> None:
        """A commit under a used key, of this order or another, stores nothing."""
        expected = two_orders(store)
        for key in ("key of 1001", "key of 1002", "second of 1001"):
            change = step(
                expected.orders["1001"],
                state="sent+paid",
                payments=[("captured", "49.90")],
                stock=[taken("CUP", 1)],
                topics=["order.paid"],
                key=key,
            )
            refused(store, expected, change, KeyReused, f"the key {key!r} was committed before")
        new = creation("1003", stock=[taken("CUP", 1)], topics=["order.updated"], key="key of 1001")
        refused(store, expected, new, KeyReused, "the key of another order was committed before")

    def test_s1_a_shortage_on_the_second_move_leaves_nothing(self, store: Store) -> None:
        """If the second of two strict moves finds too few pieces, the whole commit is rolled back."""
        expected = two_orders(store)
        moves = [taken("TEAPOT", 1), taken("CUP", 4)]
        change = step(
            expected.orders["1002"],
            state="sent",
            payments=[("captured", "1.00")],
            stock=moves,
            topics=["order.updated"],
            key="of the short commit",
        )
        refused(store, expected, change, VersionConflict, "a strict move takes 4 of 3 pieces")
        new = creation("1003", stock=moves, topics=["order.updated"], key="of the short order")
        refused(store, expected, new, VersionConflict, "a strict move takes 4 of 3 pieces")

    def test_s1_an_existing_order_is_not_created_again(self, store: Store) -> None:
        """A creation under a used id raises OrderExists and does not change the old order."""
        expected = two_orders(store)
        again = creation(
            "1001", total="1.00", customer="eve", stock=[taken("CUP", 1)], topics=["order.updated"], key="of the second"
        )
        refused(store, expected, again, OrderExists, "there is an order 1001")

    def test_s1_a_change_of_a_missing_order_creates_nothing(self, store: Store) -> None:
        """A change of a missing order raises OrderNotFound and stores nothing."""
        expected = two_orders(store)
        change = step(order_of(creation("1003")), stock=[taken("CUP", 1)], topics=["order.updated"], key="of nobody")
        refused(store, expected, change, OrderNotFound, "there is no order 1003")
        with pytest.raises(OrderNotFound):
            store.history("1003")

    def test_s1_an_unwritable_value_leaves_nothing(self, store: Store) -> None:
        """If a write fails halfway with any exception, nothing is stored and the store still works."""
        expected = two_orders(store)
        change = step(expected.orders["1001"], state="sent+paid", stock=[taken("CUP", 1)], key="unwritable")
        broken = replace(change, messages=told(order_of(change), "order.updated", payload={"not JSON": object()}))
        try:
            store.commit(broken)
        except Exception:
            expected.refused.append(broken)
            committed(store, expected, step(expected.orders["1001"], state="sent+paid"))
            expected.check(store)
        else:
            assert store.load("1001") == change.order, "the commit returned, so all of it must be stored"

    def test_s2_one_of_two_commits_from_a_version_wins(self, store: Store) -> None:
        """The second commit from a version raises VersionConflict. A commit from the new version succeeds."""
        expected = Expected()
        committed(store, expected, creation())
        seen = expected.orders["1001"]
        committed(store, expected, step(seen, state="sent", by="the first"))
        second = step(seen, state="cancelled", by="the second")
        refused(store, expected, second, VersionConflict, "another commit from that version succeeded")
        committed(store, expected, step(expected.orders["1001"], state="sent+cancelled", by="the second"))
        expected.check(store)

    def test_s2_a_version_ahead_of_the_order_is_a_conflict(self, store: Store) -> None:
        """A commit that expects a version ahead of the order's raises VersionConflict."""
        expected = Expected()
        committed(store, expected, creation())
        ahead = order_of(step(expected.orders["1001"], entries=4))
        refused(store, expected, step(ahead), VersionConflict, "the order is at version 1, the change expects 5")

    def test_s4_a_key_has_the_record_of_its_commit(self, store: Store) -> None:
        """Before the commit the key has no record. After it the record names the order, its entries and the request."""
        assert record_under(store, "key") is None, "no commit had this key before"
        change = creation()
        store.commit(change)
        assert record_under(store, "key") is None, "the commit had no key"
        change = step(order_of(change), entries=3, key="key")
        store.commit(change)
        wanted = IdempotencyRecord("1001", 2, 4, change.request_fingerprint or "")
        assert record_under(store, "key") == wanted, "the record must name order, first and last entry, and request"
        store.commit(step(order_of(change)))
        assert record_under(store, "key") == wanted, "later commits without the key do not change its record"

    def test_s4_a_key_commits_once(self, store: Store) -> None:
        """A second commit under a key raises KeyReused, for any order and request."""
        expected = Expected()
        committed(store, expected, creation("1001", key="key"), creation("1002"))
        here = step(expected.orders["1001"], state="sent", key="key")
        there = step(expected.orders["1002"], state="sent", key="key")
        for change in (here, there, creation("1003", key="key")):
            refused(store, expected, change, KeyReused, "the key was committed before")

    def test_s4_a_key_without_an_order_commits_once(self, store: Store) -> None:
        """A key of a stock move has a record without an order. Orders and stock moves share all keys."""
        expected = two_orders(store)
        change = stock_change(given_back("CUP", 5), key="delivery")
        committed(store, expected, change)
        record = IdempotencyRecord(None, 0, 0, change.request_fingerprint or "")
        assert record_under(store, "delivery") == record, "the record names no order, and the request"
        reusing = [
            stock_change(given_back("CUP", 5), key="delivery"),
            stock_change(taken("CUP", 1), key="key of 1001"),
            step(expected.orders["1001"], topics=["order.updated"], key="delivery"),
            creation("1003", topics=["order.updated"], key="delivery"),
        ]
        for change in reusing:
            refused(store, expected, change, KeyReused, "the key was committed before, with or without an order")
        short = stock_change(taken("CUP", 1), taken("TEAPOT", 99), key="of the short move")
        refused(store, expected, short, VersionConflict, "a strict move takes 99 pieces of fewer")
        committed(store, expected, stock_change(taken("CUP", 1)), stock_change(taken("CUP", 1)))
        expected.check(store)

    def test_s4_a_key_without_an_order_survives_removals(self, store: Store) -> None:
        """The removal of all orders keeps the keys without an order."""
        expected = two_orders(store)
        committed(store, expected, stock_change(given_back("CUP", 5), key="delivery"))
        for order_id in list(expected.orders):
            store.remove(expected.orders[order_id])
            expected.remove(order_id)
        expected.check(store)

    def test_s4_similar_keys_are_different(self, store: Store) -> None:
        """Keys that differ in case, blanks or the encoding of one letter commit separately."""
        keys = ("evt_1", "EVT_1", "evt_1 ", " evt_1", "evt-1", "evt%1", "1", "01", "1.0", "\u00e9", "e\u0301", "\u00c9")
        expected = Expected()
        for number, key in enumerate(keys):
            committed(store, expected, creation(f"order {number}", key=key))
        expected.check(store)

    def test_s5_versions_are_dense_from_one(self, store: Store) -> None:
        """After commits of one or more entries the versions are 1, 2, 3 …, and the history leads to the state."""
        change = creation()
        store.commit(change)
        for entries, state in ((1, "sent"), (3, "sent+paid"), (2, "sent"), (12, "sent+dispatched")):
            change = step(order_of(change), entries=entries, state=state)
            store.commit(change)
        assert len(consistent(store, "1001")) == 19

    def test_s5_an_order_may_be_created_with_many_entries(self, store: Store) -> None:
        """A creation with many entries stores them all, numbered from 1. Later commits append to them."""
        expected = two_orders(store)
        change = creation("old", entries=40, state="sent", topics=["order.updated"], key="import", customer="ann")
        committed(store, expected, change)
        assert [entry.version for entry in store.history("old")] == list(range(1, 41))
        assert record_under(store, "import") == IdempotencyRecord("old", 1, 40, change.request_fingerprint or "")
        again = creation("old", entries=2, topics=["order.updated"], key="second import", stock=[taken("CUP", 1)])
        refused(store, expected, again, OrderExists, "there is an order 'old'")
        stale = step(order_of(creation("old", entries=39)), key="stale")
        refused(store, expected, stale, VersionConflict, "the order is at version 40, the change was decided on 39")
        committed(store, expected, step(order_of(change), entries=2, state="sent+paid"))
        expected.check(store)
        assert len(consistent(store, "old")) == 42

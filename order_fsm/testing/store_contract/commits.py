"""S1, S2, S4 and S5: a commit is whole or absent, from one version one wins, and a key commits once."""

from __future__ import annotations

import pytest
from attrs import evolve

from order_fsm.errors import KeyReused, OrderExists, OrderFsmError, OrderNotFound, VersionConflict
from order_fsm.model import Line
from order_fsm.store import Change, Keyed, Store
from order_fsm.testing.store_contract.changes import creation, given_back, step, taken, told
from order_fsm.testing.store_contract.expected import Expected, committed, consistent, refused
from order_fsm.testing.store_contract.harness import StoreHarness


def _prepared(store: Store) -> Expected:
    """Two orders with payments, stock, messages and keys."""
    expected = Expected()
    for sku, on_hand in (("TEAPOT", 10), ("CUP", 3)):
        store.set_stock(sku, on_hand)
        expected.stock[sku] = on_hand
    first = creation(
        "1001", lines=[Line("TEAPOT", 2)], topics=["order.updated"], key="key of 1001", data={"gift": True}
    )
    second = creation("1002", customer="ann", key="key of 1002")
    committed(store, expected, first, second)
    committed(
        store,
        expected,
        step(first.order, state="sent", stock=[taken("TEAPOT", 2)], topics=["order.updated"], key="second of 1001"),
        step(second.order, state="sent+paid", payments=[("captured", "49.90")], topics=["order.paid"]),
    )
    return expected


class Commits(StoreHarness):
    """A commit is whole or absent; versions; keys."""

    def test_s1_a_commit_is_there_whole(self, store: Store) -> None:
        """Order, entries, payments, stock, messages and key of one commit are there once it has returned."""
        expected = _prepared(store)
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

    def test_s1_of_changes_that_are_committed_together_each_is_whole_or_absent(self, store: Store) -> None:
        """One that is refused leaves nothing and undoes no other; a later one of an order finds the earlier one."""
        expected = _prepared(store)
        first = step(expected.orders["1001"], stock=[taken("CUP", 2)], topics=["order.updated"], key="first")
        other = expected.orders["1002"]
        wanted: list[tuple[Change, type[OrderFsmError] | None]] = [
            (first, None),
            (creation("1002", topics=["order.updated"], key="again"), OrderExists),
            (step(first.order, payments=[("captured", "1.00")], topics=["order.paid"]), None),
            (step(creation("1001").order, topics=["order.updated"], key="stale"), VersionConflict),
            (
                step(expected.orders["1002"], stock=[taken("CUP", 2)], topics=["order.paid"], key="short"),
                VersionConflict,
            ),
            (step(other, stock=[taken("TEAPOT", 1)], key="first"), KeyReused),
            (step(creation("1009").order, key="missing"), OrderNotFound),
            (creation("1003", topics=["order.paid"], key="last"), None),
        ]
        errors = store.commit_all([change for change, _ in wanted])
        assert [error if error is None else type(error) for error in errors] == [error for _, error in wanted]
        for change, error in wanted:
            if error is None:
                expected.commit(change)
            else:
                expected.refused.append(change)
        expected.check(store)
        assert store.commit_all([]) == []

    def test_s1_a_version_conflict_leaves_nothing(self, store: Store) -> None:
        """A commit from a stale version leaves no order, entry, payment, stock, message or key behind."""
        expected = _prepared(store)
        stale = creation("1001").order
        change = step(
            stale,
            state="sent+cancelled",
            payments=[("captured", "1.00")],
            stock=[taken("TEAPOT", 1), taken("NOT TRACKED", 1)],
            topics=["order.updated"],
            key="of the stale commit",
        )
        refused(store, expected, change, VersionConflict, "the order is at version 2, the change was decided on 1")

    def test_s1_a_reused_key_leaves_nothing(self, store: Store) -> None:
        """A commit under a key that was used before, on this order or another, leaves nothing behind."""
        expected = _prepared(store)
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

    def test_s1_stock_that_is_short_on_the_second_move_leaves_nothing(self, store: Store) -> None:
        """Where the second of two strict moves falls short, the first is undone with all the rest."""
        expected = _prepared(store)
        moves = [taken("TEAPOT", 1), taken("CUP", 4)]
        change = step(
            expected.orders["1002"],
            state="sent",
            payments=[("captured", "1.00")],
            stock=moves,
            topics=["order.updated"],
            key="of the short commit",
        )
        refused(store, expected, change, VersionConflict, "a strict move takes 4 pieces where there are 3")
        new = creation("1003", stock=moves, topics=["order.updated"], key="of the short order")
        refused(store, expected, new, VersionConflict, "a strict move takes 4 pieces where there are 3")

    def test_s1_an_order_that_exists_is_not_created_again(self, store: Store) -> None:
        """Creating an order whose id is taken raises OrderExists and leaves the old order as it was."""
        expected = _prepared(store)
        again = creation(
            "1001", total="1.00", customer="eve", stock=[taken("CUP", 1)], topics=["order.updated"], key="of the second"
        )
        refused(store, expected, again, OrderExists, "there is an order 1001")

    def test_s1_a_change_of_a_missing_order_makes_none(self, store: Store) -> None:
        """A change of an order that is not there raises OrderNotFound and makes no part of it."""
        expected = _prepared(store)
        change = step(creation("1003").order, stock=[taken("CUP", 1)], topics=["order.updated"], key="of nobody")
        refused(store, expected, change, OrderNotFound, "there is no order 1003")
        with pytest.raises(OrderNotFound):
            store.history("1003")

    def test_s1_a_value_that_cannot_be_written_leaves_nothing(self, store: Store) -> None:
        """Where writing fails halfway, whatever raises, nothing is left and the store works on."""
        expected = _prepared(store)
        change = step(expected.orders["1001"], state="sent+paid", stock=[taken("CUP", 1)], key="unwritable")
        broken = evolve(change, messages=told(change.order, "order.updated", payload={"not JSON": object()}))
        try:
            store.commit(broken)
        except Exception:
            expected.refused.append(broken)
            committed(store, expected, step(expected.orders["1001"], state="sent+paid"))
            expected.check(store)
        else:
            assert store.load("1001") == change.order, "the commit returned, so it must be there whole"

    def test_s2_of_two_commits_from_one_version_one_wins(self, store: Store) -> None:
        """The second commit from a version raises VersionConflict, and the next one from the new version is taken."""
        expected = Expected()
        committed(store, expected, creation())
        seen = expected.orders["1001"]
        committed(store, expected, step(seen, state="sent", by="the first"))
        second = step(seen, state="cancelled", by="the second")
        refused(store, expected, second, VersionConflict, "somebody else committed from that version")
        committed(store, expected, step(expected.orders["1001"], state="sent+cancelled", by="the second"))
        expected.check(store)

    def test_s2_a_version_that_never_was_is_a_conflict(self, store: Store) -> None:
        """A commit that expects a version ahead of the order's raises VersionConflict."""
        expected = Expected()
        committed(store, expected, creation())
        ahead = step(expected.orders["1001"], entries=4).order
        refused(store, expected, step(ahead), VersionConflict, "the order is at version 1, the change expects 5")

    def test_s4_a_key_stands_for_what_was_committed_under_it(self, store: Store) -> None:
        """`keyed` gives None before, and the order, its entries and the content of the commit after."""
        assert store.keyed("key") is None, "no commit had this key yet"
        change = creation()
        store.commit(change)
        assert store.keyed("key") is None, "the commit had no key"
        change = step(change.order, entries=3, key="key")
        store.commit(change)
        wanted = Keyed("1001", 2, 4, change.content or "")
        assert store.keyed("key") == wanted, "keyed must name the order, the first and last entry, and the content"
        store.commit(step(change.order))
        assert store.keyed("key") == wanted, "later commits without the key do not change what it stands for"

    def test_s4_a_key_commits_once(self, store: Store) -> None:
        """A second commit under a key raises KeyReused, whatever its order and content."""
        expected = Expected()
        committed(store, expected, creation("1001", key="key"), creation("1002"))
        here = step(expected.orders["1001"], state="sent", key="key")
        there = step(expected.orders["1002"], state="sent", key="key")
        for change in (here, there, creation("1003", key="key")):
            refused(store, expected, change, KeyReused, "the key was committed before, on whatever order")

    def test_s4_keys_that_only_look_alike_are_different(self, store: Store) -> None:
        """Keys that differ by case, by blanks or by the spelling of one letter each commit."""
        keys = ("evt_1", "EVT_1", "evt_1 ", " evt_1", "evt-1", "evt%1", "1", "01", "1.0", "\u00e9", "e\u0301", "\u00c9")
        expected = Expected()
        for number, key in enumerate(keys):
            committed(store, expected, creation(f"order {number}", key=key))
        expected.check(store)

    def test_s5_versions_are_dense_from_one(self, store: Store) -> None:
        """Commits of one or more entries leave a history numbered 1, 2, 3 … that leads to the order's state."""
        change = creation()
        store.commit(change)
        for entries, state in ((1, "sent"), (3, "sent+paid"), (2, "sent"), (12, "sent+dispatched")):
            change = step(change.order, entries=entries, state=state)
            store.commit(change)
        assert len(consistent(store, "1001")) == 19

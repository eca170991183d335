"""S1, S4 and S8 of `commit_all`: each change is whole or absent, and builds on those before it."""

from __future__ import annotations

from order_fsm.errors import KeyReused, OrderExists, OrderFsmError, OrderNotFound, VersionConflict
from order_fsm.store import Change, Store
from order_fsm.testing.store_contract.changes import creation, given_back, order_of, step, stock_change, taken
from order_fsm.testing.store_contract.expected import Expected, consistent
from order_fsm.testing.store_contract.harness import StoreHarness
from order_fsm.testing.store_contract.traffic import two_orders


class Groups(StoreHarness):
    """Tests of several changes in one `commit_all`."""

    def test_s1_each_change_of_a_group_is_whole_or_absent(self, store: Store) -> None:
        """A refused change stores nothing and rolls back no other. A later change of an order sees the earlier one."""
        expected = two_orders(store)
        first = step(expected.orders["1001"], stock=[taken("CUP", 2)], topics=["order.updated"], key="first")
        other = expected.orders["1002"]
        wanted: list[tuple[Change, type[OrderFsmError] | None]] = [
            (first, None),
            (creation("1002", topics=["order.updated"], key="again"), OrderExists),
            (step(order_of(first), payments=[("captured", "1.00")], topics=["order.paid"]), None),
            (step(order_of(creation("1001")), topics=["order.updated"], key="stale"), VersionConflict),
            (
                step(expected.orders["1002"], stock=[taken("CUP", 2)], topics=["order.paid"], key="short"),
                VersionConflict,
            ),
            (step(other, stock=[taken("TEAPOT", 1)], key="first"), KeyReused),
            (step(order_of(creation("1009")), key="missing"), OrderNotFound),
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

    def test_s1_changes_of_one_order_in_a_group_build_on_each_other(self, store: Store) -> None:
        """All changes of one order in one `commit_all` are stored, except the refused one between them."""
        expected = two_orders(store)
        first = step(expected.orders["1001"], topics=["order.updated"], key="first", payments=[("captured", "1.00")])
        stale = step(expected.orders["1001"], topics=["order.paid"], key="stale", stock=[taken("CUP", 1)])
        second = step(order_of(first), entries=2, topics=["order.paid"], key="second")
        third = step(order_of(second), state="sent+cancelled", stock=[given_back("TEAPOT", 2)], key="third")
        errors = store.commit_all([first, stale, second, third])
        assert [type(error) for error in errors] == [type(None), VersionConflict, type(None), type(None)]
        expected.refused.append(stale)
        for change in (first, second, third):
            expected.commit(change)
        expected.check(store)
        consistent(store, "1001")

    def test_s2_changes_that_build_on_a_refused_one_are_conflicts(self, store: Store) -> None:
        """They expect a version that another change has led to. To store them would overwrite it."""
        expected = two_orders(store)
        order = expected.orders["1001"]
        first = step(order, payments=[("captured", "1.00")])
        second = step(order_of(first), topics=["order.paid"], key="second")
        third = step(order_of(second), key="third")
        other = step(order, payments=[("captured", "2.00")])
        store.commit(other)
        expected.commit(other)
        errors = store.commit_all([first, second, third])
        assert [type(error) for error in errors] == [VersionConflict] * 3
        expected.refused += [first, second, third]
        expected.check(store)

    def test_s8_a_strict_move_counts_earlier_moves_of_its_group(self, store: Store) -> None:
        """Each change of a group takes from the stock that earlier changes left. A refused change takes nothing."""
        expected = Expected()
        store.set_stock("CUP", 3)
        expected.stock["CUP"] = 3
        quantities = (2, 2, 1, 1)
        changes = [
            creation(f"{number}", stock=[taken("CUP", quantity)], topics=["order.updated"], key=f"key {number}")
            for number, quantity in enumerate(quantities)
        ]
        changes.append(stock_change(given_back("CUP", 1), key="delivery"))
        changes.append(creation("last", stock=[taken("CUP", 1)]))
        errors = store.commit_all(changes)
        kinds = [type(error) for error in errors]
        wanted = [type(None), VersionConflict, type(None), VersionConflict, type(None), type(None)]
        assert kinds == wanted, "a strict move must be checked against the stock after the changes before it"
        for change, error in zip(changes, errors, strict=True):
            if error is None:
                expected.commit(change)
            else:
                expected.refused.append(change)
        expected.check(store)
        assert store.stock(["CUP"]) == {"CUP": 0}

    def test_s4_a_key_used_twice_in_one_group_commits_once(self, store: Store) -> None:
        """If several changes of a group have one key, the first is stored and the others are refused."""
        expected = two_orders(store)
        first = step(expected.orders["1001"], key="key", topics=["order.updated"])
        others = [
            step(expected.orders["1002"], key="key", topics=["order.updated"], stock=[taken("CUP", 1)]),
            stock_change(taken("CUP", 1), key="key"),
        ]
        errors = store.commit_all([first, *others])
        assert [type(error) for error in errors] == [type(None), KeyReused, KeyReused]
        expected.commit(first)
        expected.refused += others
        expected.check(store)

"""S8: available + held + out + lost pieces are constant, and a strict move never leaves less than zero."""

from __future__ import annotations

import pytest

from order_fsm.errors import VersionConflict
from order_fsm.model import Line
from order_fsm.store import Need, StockLevel, StockMove, Store
from order_fsm.testing.store_contract.changes import creation, given_back, order_of, seeded, step, stock_change, taken
from order_fsm.testing.store_contract.expected import Expected, committed, refused
from order_fsm.testing.store_contract.harness import StoreHarness

LARGEST = 2**63 - 1


class Stock(StoreHarness):
    """Tests of stock, which only commits and stock settings change."""

    def test_s8_an_item_is_tracked_after_it_is_set(self, store: Store) -> None:
        """`stock` returns the items that were set, and no others. Another setting replaces the number."""
        assert store.stock(["TEAPOT"]) == {}, "an item that was never set must be untracked, not zero"
        store.set_stock("TEAPOT", 10)
        store.set_stock("CUP", 0)
        assert store.stock(["TEAPOT", "CUP", "SPOON"]) == {"TEAPOT": 10, "CUP": 0}
        store.set_stock("TEAPOT", 7)
        assert store.stock(iter(["TEAPOT"])) == {"TEAPOT": 7}, "another setting must replace the number on hand"
        assert store.stock([]) == {}

    def test_s8_a_move_that_takes_from_an_untracked_item_conflicts(self, store: Store) -> None:
        """The engine takes only from tracked items, so the item was tracked at the decision. Nothing is written."""
        expected = Expected()
        store.set_stock("TEAPOT", 2)
        expected.stock["TEAPOT"] = 2
        for strict in (True, False):
            stock = [taken("TEAPOT", 1), taken("SPOON", 1, strict=strict)]
            change = creation(f"{strict}", stock=stock, topics=["order.updated"], key=f"key {strict}")
            refused(store, expected, change, VersionConflict, "SPOON is not tracked")
            alone = stock_change(taken("SPOON", 1, strict=strict), key=f"alone {strict}")
            refused(store, expected, alone, VersionConflict, "SPOON is not tracked")
        assert store.stock(["TEAPOT", "SPOON"]) == {"TEAPOT": 2}

    def test_s8_returning_an_untracked_item_adds_no_available_piece(self, store: Store) -> None:
        """The commit succeeds, and the item stays untracked."""
        store.set_stock("TEAPOT", 2)
        store.commit(creation(stock=[given_back("SPOON", 5), taken("TEAPOT", 2)]))
        store.commit(stock_change(given_back("SPOON", 1)))
        assert store.stock(["TEAPOT", "SPOON"]) == {"TEAPOT": 0}

    def test_s8_a_strict_move_stops_at_zero(self, store: Store) -> None:
        """A strict move may take the last piece and not one more."""
        expected = Expected()
        store.set_stock("TEAPOT", 2)
        expected.stock["TEAPOT"] = 2
        more = creation("1001", stock=[taken("TEAPOT", 3)])
        refused(store, expected, more, VersionConflict, "a strict move takes 3 of 2 pieces")
        committed(store, expected, creation("1001", stock=[taken("TEAPOT", 2)]))
        one_more = creation("1002", stock=[taken("TEAPOT", 1)])
        refused(store, expected, one_more, VersionConflict, "a strict move takes 1 of 0 pieces")

    def test_s8_a_move_that_is_not_strict_may_go_below_zero(self, store: Store) -> None:
        """A payment takes its pieces even if they are missing. Returned pieces fill the gap first."""
        expected = Expected()
        store.set_stock("TEAPOT", 2)
        expected.stock["TEAPOT"] = 2
        change = creation("1001", stock=[taken("TEAPOT", 5, strict=False)])
        committed(store, expected, change)
        assert store.stock(["TEAPOT"]) == {"TEAPOT": -3}
        refused(
            store,
            expected,
            creation("1002", stock=[taken("TEAPOT", 1)]),
            VersionConflict,
            "a strict move takes pieces of -3",
        )
        committed(store, expected, step(order_of(change), stock=[given_back("TEAPOT", 1)]))
        expected.check(store)

    def test_s8_large_numbers_stay_exact(self, store: Store) -> None:
        """Numbers of pieces up to 2**63 - 1 are exact."""
        store.set_stock("SAND", LARGEST)
        store.set_stock("AIR", 0)
        change = creation(stock=[taken("SAND", 1), taken("AIR", LARGEST, strict=False)])
        store.commit(change)
        assert store.stock(["SAND", "AIR"]) == {"SAND": LARGEST - 1, "AIR": -LARGEST}
        store.commit(step(order_of(change), stock=[taken("SAND", LARGEST - 1), given_back("AIR", LARGEST - 1)]))
        assert store.stock(["SAND", "AIR"]) == {"SAND": 0, "AIR": -1}

    def test_s8_similar_skus_are_different(self, store: Store) -> None:
        """SKUs that differ in case, blanks or the encoding of one letter are counted separately."""
        wanted = {
            sku: number
            for number, sku in enumerate(("cup", "Cup", "CUP", "cup ", "c_p", "c%p", "1", "01", "\u00e9", "e\u0301"))
        }
        for sku, number in wanted.items():
            store.set_stock(sku, number)
        assert store.stock(wanted) == wanted
        store.commit(creation(stock=[taken("Cup", 1)]))
        assert store.stock(wanted) == wanted | {"Cup": 0}

    def test_s8_a_commit_moves_every_number_of_an_item(self, store: Store) -> None:
        """Pieces are taken, shipped, recalled, returned, lost and released. Each number is the sum of its moves."""
        expected = Expected()
        store.set_stock("TEAPOT", 10)
        expected.stock["TEAPOT"] = 10
        change = creation(stock=[taken("TEAPOT", 6)])
        committed(store, expected, change)
        for moves, wanted in (
            ([StockMove("TEAPOT", held=-4, out=4)], StockLevel(4, held=2, out=4)),
            ([StockMove("TEAPOT", out=-1, held=1)], StockLevel(4, held=3, out=3)),
            ([StockMove("TEAPOT", 1, out=-1)], StockLevel(5, held=3, out=2)),
            ([StockMove("TEAPOT", out=-1, lost=1), given_back("TEAPOT", 1)], StockLevel(6, held=2, out=1, lost=1)),
            ([given_back("TEAPOT", 2)], StockLevel(8, held=0, out=1, lost=1)),
        ):
            change = step(order_of(change), stock=moves)
            committed(store, expected, change)
            assert store.stock_levels(["TEAPOT", "CUP"]) == {"TEAPOT": wanted}
        expected.check(store)

    def test_s8_the_moves_of_a_commit_are_applied_in_sequence(self, store: Store) -> None:
        """Two moves may be about one item. The second one starts from the result of the first."""
        expected = Expected()
        store.set_stock("TEAPOT", 0)
        expected.stock["TEAPOT"] = 0
        first = creation("1001", stock=[StockMove("TEAPOT", 2), taken("TEAPOT", 2)])
        committed(store, expected, first)
        late = creation("1002", stock=[taken("TEAPOT", 2), StockMove("TEAPOT", 2)])
        refused(store, expected, late, VersionConflict, "the first move takes pieces that only the second one adds")

    def test_s8_an_item_keeps_its_other_numbers_while_untracked(self, store: Store) -> None:
        """Moves still change them. When the item is tracked again, they are the sums of the commits."""
        expected = Expected()
        store.set_stock("TEAPOT", 10)
        expected.stock["TEAPOT"] = 10
        change = creation(stock=[taken("TEAPOT", 5)])
        committed(store, expected, change)
        store.set_stock("TEAPOT", None)
        del expected.stock["TEAPOT"]
        assert store.stock(["TEAPOT"]) == {}, "an untracked item must have no available pieces"
        assert store.stock_levels(["TEAPOT"]) == {"TEAPOT": StockLevel(None, held=5)}
        refused(
            store, expected, creation("1002", stock=[taken("TEAPOT", 1)]), VersionConflict, "the item is not tracked"
        )
        moves = [given_back("TEAPOT", 1), StockMove("TEAPOT", held=-3, out=3), StockMove("TEAPOT", out=-1, lost=1)]
        committed(store, expected, step(order_of(change), stock=moves))
        assert store.stock_levels(["TEAPOT"]) == {"TEAPOT": StockLevel(None, held=1, out=2, lost=1)}
        store.set_stock("TEAPOT", 4)
        expected.stock["TEAPOT"] = 4
        assert store.stock_levels(["TEAPOT"]) == {"TEAPOT": StockLevel(4, held=1, out=2, lost=1)}
        expected.check(store)

    def test_s8_an_unexpected_stock_number_is_not_replaced(self, store: Store) -> None:
        """Two forms show the same number. The second one to save raises VersionConflict and changes nothing."""
        store.set_stock("TEAPOT", 10)
        store.commit(creation(stock=[taken("TEAPOT", 2)]))
        store.set_stock("TEAPOT", 20, expected=8)
        for available in (30, None):
            with pytest.raises(VersionConflict):
                store.set_stock("TEAPOT", available, expected=8, backorder=True)
        with pytest.raises(VersionConflict):
            store.set_stock("CUP", 1, expected=0)
        levels = {"TEAPOT": StockLevel(20, held=2)}
        assert store.stock_levels(["TEAPOT", "CUP"]) == levels, "the refused settings must change nothing"
        store.set_stock("TEAPOT", 0, expected=20)
        store.set_stock("TEAPOT", 5, expected=0)
        store.set_stock("TEAPOT", None, expected=5)
        assert store.stock_levels(["TEAPOT"]) == {"TEAPOT": StockLevel(None, held=2)}

    def test_s8_a_snapshot_names_the_items_that_may_be_back_ordered(self, store: Store) -> None:
        """The last setting with a `backorder` value counts. Other settings and moves keep it."""
        lines = [Line("TEAPOT", 1), Line("CUP", 1), Line("SPOON", 1)]
        store.set_stock("TEAPOT", 1, backorder=True)
        store.set_stock("CUP", 1, backorder=True)
        store.set_stock("FORK", 1, backorder=True)
        store.set_stock("CUP", 1, backorder=False)
        store.set_stock("TEAPOT", 0)
        change = creation(lines=lines, stock=[taken("TEAPOT", 2, strict=False)])
        store.commit(change)
        levels = {"TEAPOT": StockLevel(-2, held=2, backorder=True), "CUP": StockLevel(1)}
        assert store.stock_levels(["TEAPOT", "CUP", "SPOON"]) == levels
        of_order, of_items, of_none = store.prepare_many([Need("1001"), Need(None, None, ("FORK", "CUP")), Need(None)])
        assert of_order.backorder == {"TEAPOT"}, "the snapshot must have the order's item that may be back-ordered"
        assert of_items.backorder == {"FORK"}, "the snapshot must have the items of Need.skus too"
        assert of_none.backorder == frozenset()

    def test_s8_every_item_is_listed_once(self, store: Store) -> None:
        """`stock_items` returns the items that were set or moved, tracked or not."""
        assert list(store.stock_items()) == []
        items = [f"item {number}" for number in range(600)]
        for sku in items:
            store.set_stock(sku, 1)
        for sku in items[::2]:
            store.set_stock(sku, None)
        store.commit(creation(stock=[StockMove("moved", held=1)]))
        assert sorted(store.stock_items()) == sorted([*items, "moved"])

    def test_s8_the_pieces_of_an_item_are_constant(self, store: Store) -> None:
        """Over a long run of orders, including refused ones and shipments, no piece appears or vanishes."""
        dice = seeded("stock")
        pieces = {"TEAPOT": 20, "CUP": 12, "SPOON": 5}
        expected = Expected()
        for sku, available in pieces.items():
            store.set_stock(sku, available)
            expected.stock[sku] = available
        held: dict[str, dict[str, int]] = {f"order {number}": {} for number in range(8)}
        for order_id in held:
            committed(store, expected, creation(order_id))
        short = 0
        for number in range(80):
            order_id = dice.choice(list(held))
            order = expected.orders[order_id]
            if held[order_id]:
                moves = [given_back(sku, quantity) for sku, quantity in held[order_id].items()]
                if number % 10 == 0:
                    shipped = dice.choice(moves)
                    moves.append(StockMove(shipped.sku, -1, held=1))
                    moves.append(StockMove(shipped.sku, held=-1, out=1 - number % 20 // 10, lost=number % 20 // 10))
                committed(store, expected, step(order, state="unfinished", stock=moves))
                held[order_id] = {}
            else:
                wanted = {sku: dice.randint(1, 6) for sku in dice.sample(list(pieces), dice.randint(1, 3))}
                change = step(order, state="sent", stock=[taken(sku, wanted[sku]) for sku in wanted])
                if all(expected.stock[sku] >= wanted[sku] for sku in wanted):
                    committed(store, expected, change)
                    held[order_id] = wanted
                else:
                    short += 1
                    refused(
                        store, expected, change, VersionConflict, "a strict move takes more than the available pieces"
                    )
            levels = store.stock_levels(pieces)
            assert {sku: sum(pieces for pieces in level[:4] if pieces) for sku, level in levels.items()} == pieces, (
                "available + held + out + lost must be constant"
            )
            for sku, level in levels.items():
                assert level.held == sum(of_order.get(sku, 0) for of_order in held.values())
        assert 0 < short < 80, "the run must have refused orders and accepted ones"
        assert any(level.out for level in store.stock_levels(pieces).values()), "the run must ship pieces"

"""S8: pieces on hand and pieces held by orders are constant together; a strict move never leaves less than zero."""

from __future__ import annotations

from order_fsm.errors import VersionConflict
from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation, given_back, order_of, seeded, step, stock_change, taken
from order_fsm.testing.store_contract.expected import Expected, committed, refused
from order_fsm.testing.store_contract.harness import StoreHarness

LARGEST = 2**63 - 1


class Stock(StoreHarness):
    """Stock is moved by commits, and by nothing else."""

    def test_s8_an_item_is_counted_once_it_is_set(self, store: Store) -> None:
        """`stock` gives the items that were set, and is silent about others; setting again replaces the number."""
        assert store.stock(["TEAPOT"]) == {}, "an item that was never set is not tracked, not zero"
        store.set_stock("TEAPOT", 10)
        store.set_stock("CUP", 0)
        assert store.stock(["TEAPOT", "CUP", "SPOON"]) == {"TEAPOT": 10, "CUP": 0}
        store.set_stock("TEAPOT", 7)
        assert store.stock(iter(["TEAPOT"])) == {"TEAPOT": 7}, "setting an item again replaces the number on hand"
        assert store.stock([]) == {}

    def test_s8_a_move_that_takes_from_an_untracked_item_conflicts(self, store: Store) -> None:
        """The engine takes from tracked items only, so the item was tracked when it decided: nothing is written."""
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

    def test_s8_a_move_that_gives_back_to_an_untracked_item_is_ignored(self, store: Store) -> None:
        """It does not prevent the commit, and does not track the item from then on."""
        store.set_stock("TEAPOT", 2)
        store.commit(creation(stock=[given_back("SPOON", 5), taken("TEAPOT", 2)]))
        store.commit(stock_change(given_back("SPOON", 1)))
        assert store.stock(["TEAPOT", "SPOON"]) == {"TEAPOT": 0}

    def test_s8_a_strict_move_stops_at_zero(self, store: Store) -> None:
        """A strict move may take the last piece, and not one more."""
        expected = Expected()
        store.set_stock("TEAPOT", 2)
        expected.stock["TEAPOT"] = 2
        more = creation("1001", stock=[taken("TEAPOT", 3)])
        refused(store, expected, more, VersionConflict, "a strict move takes 3 pieces where there are 2")
        committed(store, expected, creation("1001", stock=[taken("TEAPOT", 2)]))
        one_more = creation("1002", stock=[taken("TEAPOT", 1)])
        refused(store, expected, one_more, VersionConflict, "a strict move takes a piece where there is none")

    def test_s8_a_move_that_is_not_strict_may_go_below_zero(self, store: Store) -> None:
        """What a payment takes is taken, be it there or not; what comes back fills the gap first."""
        expected = Expected()
        store.set_stock("TEAPOT", 2)
        expected.stock["TEAPOT"] = 2
        change = creation("1001", stock=[taken("TEAPOT", 5, strict=False)])
        committed(store, expected, change)
        assert store.stock(["TEAPOT"]) == {"TEAPOT": -3}
        refused(store, expected, creation("1002", stock=[taken("TEAPOT", 1)]), VersionConflict, "there are -3 pieces")
        committed(store, expected, step(order_of(change), stock=[given_back("TEAPOT", 1)]))
        expected.check(store)

    def test_s8_large_numbers_stay_exact(self, store: Store) -> None:
        """Numbers of pieces up to 2**63 - 1 are counted to the piece."""
        store.set_stock("SAND", LARGEST)
        store.set_stock("AIR", 0)
        change = creation(stock=[taken("SAND", 1), taken("AIR", LARGEST, strict=False)])
        store.commit(change)
        assert store.stock(["SAND", "AIR"]) == {"SAND": LARGEST - 1, "AIR": -LARGEST}
        store.commit(step(order_of(change), stock=[taken("SAND", LARGEST - 1), given_back("AIR", LARGEST - 1)]))
        assert store.stock(["SAND", "AIR"]) == {"SAND": 0, "AIR": -1}

    def test_s8_items_that_only_look_alike_are_different(self, store: Store) -> None:
        """SKUs that differ by case, by blanks or by the spelling of one letter are counted apart."""
        wanted = {
            sku: number
            for number, sku in enumerate(("cup", "Cup", "CUP", "cup ", "c_p", "c%p", "1", "01", "\u00e9", "e\u0301"))
        }
        for sku, number in wanted.items():
            store.set_stock(sku, number)
        assert store.stock(wanted) == wanted
        store.commit(creation(stock=[taken("Cup", 1)]))
        assert store.stock(wanted) == wanted | {"Cup": 0}

    def test_s8_on_hand_and_held_are_constant(self, store: Store) -> None:
        """Over a long run of orders that take and give back, refused ones included, no piece appears or is lost."""
        dice = seeded("stock")
        pieces = {"TEAPOT": 20, "CUP": 12, "SPOON": 5}
        expected = Expected()
        for sku, on_hand in pieces.items():
            store.set_stock(sku, on_hand)
            expected.stock[sku] = on_hand
        held: dict[str, dict[str, int]] = {f"order {number}": {} for number in range(8)}
        for order_id in held:
            committed(store, expected, creation(order_id))
        short = 0
        for _ in range(80):
            order_id = dice.choice(list(held))
            order = expected.orders[order_id]
            if held[order_id]:
                back = [given_back(sku, quantity) for sku, quantity in held[order_id].items()]
                committed(store, expected, step(order, state="unfinished", stock=back))
                held[order_id] = {}
            else:
                wanted = {sku: dice.randint(1, 6) for sku in dice.sample(list(pieces), dice.randint(1, 3))}
                change = step(order, state="sent", stock=[taken(sku, wanted[sku]) for sku in wanted])
                if all(expected.stock[sku] >= wanted[sku] for sku in wanted):
                    committed(store, expected, change)
                    held[order_id] = wanted
                else:
                    short += 1
                    refused(store, expected, change, VersionConflict, "a strict move takes more than there is")
            together = {
                sku: on_hand + sum(of_order.get(sku, 0) for of_order in held.values())
                for sku, on_hand in store.stock(pieces).items()
            }
            assert together == pieces, "on hand + held must stay what it was at first"
        assert 0 < short < 80, "the run must have orders that are refused and orders that are not"

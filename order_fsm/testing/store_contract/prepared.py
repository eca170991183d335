"""S2 and S7 of `prepare_many`: a decision reads the current content of the store."""

from __future__ import annotations

from order_fsm.model import Line
from order_fsm.store import Need, Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract.changes import creation, step, taken
from order_fsm.testing.store_contract.expected import committed
from order_fsm.testing.store_contract.harness import StoreHarness
from order_fsm.testing.store_contract.traffic import two_orders


class Prepared(StoreHarness):
    """Tests of snapshots."""

    def test_s7_prepare_many_returns_a_snapshot_for_every_need(self, store: Store) -> None:
        """One call returns orders, records and stock. Several needs may share an order, or name missing ones."""
        expected = two_orders(store)
        committed(store, expected, creation("1003", lines=[Line("CUP", 1), Line("CUP", 2), Line("NOT TRACKED", 1)]))
        needs = [
            Need("1003"),
            Need("1001", "key of 1001"),
            Need("1001", "key of 1002", ("CUP", "NOT TRACKED")),
            Need("missing", "no such key", ("TEAPOT",)),
            Need(None, "second of 1001"),
            Need(None, None, ("CUP", "TEAPOT", "CUP")),
            Need("1003", None, ("TEAPOT",)),
            Need(None),
        ]
        snapshots = store.prepare_many(needs)
        assert len(snapshots) == len(needs), "each need must have one snapshot"
        for need, snapshot in zip(needs, snapshots, strict=True):
            order = None if need.order_id is None else expected.orders.get(need.order_id)
            assert exact(snapshot.order) == exact(order), f"the order is wrong for {need}"
            record = None if need.key is None else expected.records.get(need.key)
            assert snapshot.record == record, f"the record is wrong for {need}"
            lines = set() if order is None or order.reserved is not None else {line.sku for line in order.lines}
            wanted = {sku: expected.stock[sku] for sku in lines | set(need.skus) if sku in expected.stock}
            assert {sku: snapshot.stock.get(sku) for sku in wanted} == wanted, f"the stock is wrong for {need}"
            right = expected.stock.items() >= dict(snapshot.stock).items()
            assert right, f"the stock of {need} has a wrong number or an untracked item"
            assert snapshot.fault is None
        assert store.prepare_many([]) == []

    def test_s2_prepare_many_shows_the_last_commit(self, store: Store) -> None:
        """After each commit, stock setting and removal the snapshots have the new content."""
        expected = two_orders(store)
        for number in range(5):
            change = step(expected.orders["1001"], stock=[taken("TEAPOT", 1)], key=f"key {number}")
            committed(store, expected, change)
            (snapshot,) = store.prepare_many([Need("1001", f"key {number}", ("TEAPOT",))])
            assert (snapshot.order, snapshot.stock, snapshot.fault) == (change.order, {"TEAPOT": 7 - number}, None)
            assert snapshot.record == expected.records[f"key {number}"]
        store.set_stock("TEAPOT", 30)
        store.remove(expected.orders["1001"])
        (snapshot,) = store.prepare_many([Need("1001", "key 0", ("TEAPOT",))])
        assert (snapshot.order, snapshot.record, dict(snapshot.stock)) == (None, None, {"TEAPOT": 30})

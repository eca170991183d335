"""A store in memory with one damaged order."""

from __future__ import annotations

from collections.abc import Sequence

from order_fsm.errors import OrderFsmError, StoreCorrupt
from order_fsm.model import Entry, Order
from order_fsm.store import Change, Need, Query, Snapshot, one_by_one
from order_fsm_adapters.memory import MemoryStore


class Damaged(MemoryStore):
    """A store with one damaged order, which raises StoreCorrupt and affects no other order."""

    def __init__(self, order_id: str, found: bool = False) -> None:
        """Create an undamaged store.

        Args:
            order_id: the id of the order to damage.
            found: whether `find` still returns it. A store may notice the damage only when it reads the history.
        """
        super().__init__()
        self._damaged = order_id
        self._found = found
        self._begun = False

    def begin(self) -> None:
        """Damage the order."""
        self._begun = True

    def load(self, order_id: str) -> Order:
        self._check(order_id)
        return super().load(order_id)

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        self._check(order_id)
        return super().history(order_id, after, limit)

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        snapshots = super().prepare_many(needs)
        return [
            Snapshot(None, None, {}, self._fault()) if self._is_damaged(need.order_id) else snapshot
            for need, snapshot in zip(needs, snapshots, strict=True)
        ]

    def commit(self, change: Change) -> None:
        self._check(None if change.order is None else change.order.id)
        super().commit(change)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return one_by_one(self.commit, changes)

    def find(self, query: Query) -> list[Order]:
        orders = super().find(query._replace(limit=query.limit + 1))
        return [order for order in orders if self._found or not self._is_damaged(order.id)][: query.limit]

    def remove(self, order: Order) -> None:
        self._check(order.id)
        super().remove(order)

    def _is_damaged(self, order_id: str | None) -> bool:
        return self._begun and order_id == self._damaged

    def _check(self, order_id: str | None) -> None:
        if self._is_damaged(order_id):
            raise self._fault()

    def _fault(self) -> StoreCorrupt:
        return StoreCorrupt(f"order {self._damaged!r} is damaged")

"""Stores with one deliberate fault each in stock, as controls for the store contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from order_fsm.store import Change, Need, Snapshot, StockMove
from order_fsm_adapters.memory import MemoryStore

from .weak_commits import let_others_go_on


class CountsAvailablePiecesAlone(MemoryStore):
    def commit(self, change: Change) -> None:
        moves = tuple(StockMove(move.sku, move.available, move.strict) for move in change.stock)
        super().commit(replace(change, stock=moves))


class AddsMovesUp(MemoryStore):
    """Checks the sum of all moves of an item."""

    def commit(self, change: Change) -> None:
        moves: dict[str, StockMove] = {}
        for move in change.stock:
            one = moves.get(move.sku, StockMove(move.sku))
            moves[move.sku] = StockMove(
                move.sku,
                one.available + move.available,
                one.strict or move.strict,
                one.held + move.held,
                one.out + move.out,
                one.lost + move.lost,
            )
        super().commit(replace(change, stock=tuple(moves.values())))


class ForgetsUntrackedItems(MemoryStore):
    """Deletes an item that becomes untracked."""

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        super().set_stock(sku, available, expected=expected, backorder=backorder)
        if available is None:
            del self._content.levels[sku]


class ReplacesAnyNumber(MemoryStore):
    def set_stock(
        self,
        sku: str,
        available: int | None,
        *,
        expected: int | None = None,  # noqa: ARG002
        backorder: bool | None = None,
    ) -> None:
        super().set_stock(sku, available, backorder=backorder)


class TakesZeroForNotGiven(MemoryStore):
    """Does not check an expected number of zero."""

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        super().set_stock(sku, available, expected=expected or None, backorder=backorder)


class ComparesNumbersOutsideTheLock(MemoryStore):
    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        if expected is not None:
            self._content.level_set(sku, available, expected, backorder)
            let_others_go_on()
        super().set_stock(sku, available, backorder=backorder)


class NamesNoBackorders(MemoryStore):
    """Returns in a snapshot only the numbers."""

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return [replace(snapshot, backorder=frozenset()) for snapshot in super().prepare_many(needs)]


class ForgetsBackordersWhenSet(MemoryStore):
    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        super().set_stock(sku, available, expected=expected, backorder=bool(backorder))


class ListsTrackedItemsAlone(MemoryStore):
    def stock_items(self) -> Iterator[str]:
        return (sku for sku, level in self._content.levels.items() if level.available is not None)

"""Stock in a table of the shop: each commit calls the shop's `StockKeeper`.

The store's own table then counts held, shipped and lost pieces, and no available ones.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

from msgspec.structs import replace

from order_fsm.errors import InvalidInput, OrderFsmError
from order_fsm.store import Change, Need, Snapshot, StockLevel, StockMove
from order_fsm_adapters.sql import orders, stock
from order_fsm_adapters.sql.database import Database, Transaction
from order_fsm_adapters.sql.dialect import commit_each

Kind = Literal["reserve", "release", "ship", "return"]


class ShopMove(NamedTuple):
    """A move of pieces of one item.

    Attributes:
        kind: `reserve` takes available pieces for the order. `release` gives them back. `ship` sends reserved pieces.
            `return` takes shipped pieces back.
        sku: the item.
        quantity: the number of pieces, 1 or more.
        strict: for `reserve`, whether all pieces must be available. If not, the number may fall below zero.
        restock: for `return`, whether the pieces are available again. If not, they are lost.
    """

    kind: Kind
    sku: str
    quantity: int
    strict: bool = False
    restock: bool = True


class StockKeeper(Protocol):
    """The shop's stock in one transaction. The store creates it with the connection as the only argument."""

    def available(self, skus: Sequence[str]) -> Mapping[str, int]:
        """Return the available pieces of these items. Leave out items that the shop does not track.

        Inside a transaction of the shop, lock the rows in a fixed sequence, for example by SKU.
        """
        ...

    def move(self, order_id: str, moves: Sequence[ShopMove]) -> None:
        """Move pieces in the transaction of the commit. Any exception undoes the commit.

        Raises:
            VersionConflict: if fewer pieces are available than a strict move takes. Outside of a transaction of the
                shop, the engine then decides again.
        """
        ...


Write = Callable[[Transaction, Change], None]

MakeKeeper = Callable[[Any], StockKeeper]
"""Creates the shop's keeper from the connection of the store's driver."""


_AVAILABLE = "available of the stock keeper must return a dict of whole numbers such as {'TEAPOT': 10}"


def shop_moves(moves: Iterable[StockMove]) -> Iterator[ShopMove]:
    """Translate the stock moves of a commit for the shop's keeper."""
    for sku, available, strict, _, out, lost in moves:
        back = max(-out, 0)
        if out > 0:
            yield ShopMove("ship", sku, out)
        if lost:
            yield ShopMove("return", sku, lost, restock=False)
        if back > lost:
            yield ShopMove("return", sku, back - lost)
        # Shipped pieces were reserved earlier, or the same commit reserves them.
        taken = max(back - lost, 0) - available
        if taken > 0:
            yield ShopMove("reserve", sku, taken, strict)
        elif taken < 0:
            yield ShopMove("release", sku, -taken)


class KeptStock:
    """Prepares and commits changes, and moves the shop's stock with them."""

    counts_stock = False

    def __init__(self, write: Write, make_keeper: MakeKeeper) -> None:
        """Use the shop's keeper.

        Args:
            write: a function that writes a change with several statements.
            make_keeper: creates the keeper for a connection.
        """
        self._write_change = write
        self._make_keeper = make_keeper

    def prepare_many(self, database: Database, needs: Sequence[Need]) -> list[Snapshot]:
        def prepare(transaction: Transaction) -> list[Snapshot]:
            lock = transaction.for_update if database.joined else ""
            found = orders.snapshots(transaction, needs, lock)
            wanted = [_wanted(need, snapshot) for need, snapshot in zip(needs, found, strict=True)]
            kept = self._available(transaction, {sku for skus in wanted for sku in skus})
            return [
                replace(snapshot, stock={sku: kept[sku] for sku in skus if sku in kept}, backorder=frozenset())
                for snapshot, skus in zip(found, wanted, strict=True)
            ]

        # A transaction that only reads could not lock rows for the keeper.
        return database.write(prepare)

    def commit(self, database: Database, change: Change) -> None:
        database.write(partial(self._write, change=change))

    def commit_all(self, database: Database, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return commit_each(database, changes, self._write)

    def levels(self, transaction: Transaction, skus: Iterable[str]) -> dict[str, StockLevel]:
        wanted = set(skus)
        own, kept = stock.levels(transaction, wanted), self._available(transaction, wanted)
        return {
            sku: own.get(sku, StockLevel())._replace(available=kept.get(sku))
            for sku in sorted(own.keys() | kept.keys())
        }

    def _write(self, transaction: Transaction, change: Change) -> None:
        if change.order is None and change.stock:
            raise InvalidInput("the shop counts the stock in its own table: change it there")
        self._write_change(
            transaction, replace(change, stock=tuple([_without_available(move) for move in change.stock]))
        )
        moves = tuple(shop_moves(change.stock))
        if moves and change.order is not None:
            answer: object = self._keeper(transaction).move(change.order.id, moves)  # type: ignore[func-returns-value]
            if isinstance(answer, Coroutine):
                answer.close()  # Otherwise Python warns that it was never awaited.
                raise InvalidInput("move of the stock keeper must be a plain function, not async: no piece was moved")

    def _available(self, transaction: Transaction, skus: set[str]) -> Mapping[str, int]:
        if not skus:
            return {}
        answer: object = self._keeper(transaction).available(sorted(skus))
        if isinstance(answer, Coroutine):
            answer.close()
        if not isinstance(answer, Mapping):
            raise InvalidInput(f"{_AVAILABLE}, not {type(answer).__name__}")
        found = {sku: answer[sku] for sku in skus if sku in answer}
        for sku, pieces in found.items():
            if not isinstance(pieces, int):
                raise InvalidInput(f"{_AVAILABLE}, and the pieces of {sku!r} are of the type {type(pieces).__name__}")
        return found

    def _keeper(self, transaction: Transaction) -> StockKeeper:
        keeper = self._make_keeper(transaction.connection)
        for method in ("available", "move"):
            if not callable(getattr(keeper, method, None)):
                raise InvalidInput(
                    f"the stock keeper must have a method {method}, and {type(keeper).__name__} has none"
                )
        return keeper


def _wanted(need: Need, snapshot: Snapshot) -> tuple[str, ...]:
    order = snapshot.order
    if order is None or order.reserved is not None:
        return need.skus
    return (*need.skus, *[line.sku for line in order.lines])


def _without_available(move: StockMove) -> StockMove:
    return move._replace(available=0, strict=False)

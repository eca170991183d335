"""The read calls of stores that keep their content in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Generic, Self

from order_fsm.errors import StoreUnavailable
from order_fsm.model import Message, Order, Sales
from order_fsm.store import Need, Query, Snapshot, StockLevel, Tally
from order_fsm_adapters.memory.projection import E, Projection, T


class ProjectionReader(ABC, Generic[E]):
    """Reads from a projection. Subclasses add the calls that write."""

    joined = False
    _closed = False

    @abstractmethod
    def _read(self, ask: Callable[[Projection[E]], T]) -> T:
        """Read the content while no other thread changes it.

        Raises:
            StoreUnavailable: if the store is closed.
        """

    def load(self, order_id: str) -> Order:
        return self._read(lambda content: content.order(order_id))

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return self._read(lambda content: list(map(content.snapshot, needs)))

    def find(self, query: Query) -> list[Order]:
        return self._read(lambda content: content.find(query))

    def tally(self, customer: str | None) -> list[Tally]:
        return self._read(lambda content: content.tally(customer))

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        return self._read(lambda content: content.totals(since, until, customer))

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        return self._read(lambda content: content.report(since, until))

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return self._read(lambda content: content.available(skus))

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        return self._read(lambda content: content.stock_levels(skus))

    def stock_items(self) -> Iterator[str]:
        return iter(self._read(lambda content: list(content.levels)))

    def dead_letters(self, limit: int) -> list[Message]:
        return self._read(lambda content: content.outbox.dead_letters(limit))

    def order_ids(self) -> Iterator[str]:
        return iter(self._read(lambda content: list(content.orders)))

    def messages(self) -> Iterator[Message]:
        return self._read(lambda content: iter(content.outbox))

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store is closed: make a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

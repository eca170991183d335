"""The store over a SQL database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Self

from order_fsm.errors import InvalidInput, OrderFsmError
from order_fsm.model import Entry, Message, Order, Sales
from order_fsm.store import Change, Need, Query, Snapshot, StockLevel, Tally
from order_fsm_adapters.sql import audit, commits, orders, outbox, reports, search, stock
from order_fsm_adapters.sql.database import Database, Transaction
from order_fsm_adapters.sql.dialect import Dialect


class SqlStore:
    """A store in a SQL database. Each call is one transaction, or part of the host's."""

    def __init__(self, database: Database, dialect: Dialect) -> None:
        """Use a database that has the tables, in the way of its dialect."""
        self._database = database
        self._dialect = dialect

    def _guest(self, database: Database) -> Self:
        """Return the same store over a connection of the host."""
        guest = copy(self)
        guest._database = database
        return guest

    @property
    def joined(self) -> bool:
        return self._database.joined

    def load(self, order_id: str) -> Order:
        return self._database.read(lambda transaction: orders.load(transaction, order_id))

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return self._database.read(lambda transaction: orders.history(transaction, order_id, after, limit))

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return self._dialect.prepare_many(self._database, needs)

    def commit(self, change: Change) -> None:
        self._dialect.commit(self._database, change)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return self._dialect.commit_all(self._database, changes)

    def find(self, query: Query) -> list[Order]:
        return self._database.read(lambda transaction: search.find(transaction, query))

    def tally(self, customer: str | None) -> list[Tally]:
        return self._database.read(lambda transaction: search.tally(transaction, customer))

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        return self._database.read(lambda transaction: reports.totals(transaction, since, until, customer))

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        return self._database.read(lambda transaction: reports.report(transaction, since, until))

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return self._database.read(lambda transaction: stock.available(transaction, skus))

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        return self._database.read(lambda transaction: stock.levels(transaction, skus))

    def stock_items(self) -> Iterator[str]:
        return audit.stock_items(self._database.rows)

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        self._database.write(lambda transaction: stock.set_available(transaction, sku, available, expected, backorder))

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        if self._database.joined:
            # Its write lock would be held while mail is sent.
            way = "use a store of its own" if self._database.is_always_joined else "commit first"
            raise InvalidInput(f"deliver messages with no transaction open: {way}")

        def claim(transaction: Transaction) -> list[Message]:
            self._dialect.fold(transaction)
            return outbox.claim(transaction, now, until, limit)

        return self._database.write_at_once(claim)

    def delivered(self, message: Message, until: datetime) -> None:
        self._database.write_at_once(lambda transaction: outbox.delivered(transaction, message, until))

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        self._database.write_at_once(lambda transaction: outbox.retry_later(transaction, message, until, due))

    def dead_letters(self, limit: int) -> list[Message]:
        return self._database.read(lambda transaction: outbox.dead_letters(transaction, limit))

    def requeue(self, message: Message) -> None:
        self._database.write_at_once(lambda transaction: outbox.requeue(transaction, message))

    def remove(self, order: Order) -> None:
        self._database.write(lambda transaction: commits.remove(transaction, order))

    def scrub(self) -> None:
        self._dialect.scrub(self._database)

    def order_ids(self) -> Iterator[str]:
        return audit.order_ids(self._database.rows)

    def messages(self) -> Iterator[Message]:
        return audit.messages(self._database.rows)

    def faults(self) -> list[str]:
        return self._database.read(audit.faults)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

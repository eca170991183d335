"""The store in a SQL database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Self

from order_fsm.errors import InvalidInput, OrderFsmError
from order_fsm.model import Entry, Message, Order, Sales
from order_fsm.store import Change, Need, Query, Snapshot, StockLevel, Tally, available_of
from order_fsm_adapters.sql import audit, commits, orders, outbox, reports, search, stock
from order_fsm_adapters.sql.database import Database, Transaction
from order_fsm_adapters.sql.dialect import Changes, Dialect
from order_fsm_adapters.sql.keeper import KeptStock, MakeKeeper


class SqlStore:
    """A store in a SQL database. Each call is one transaction, or part of the host's."""

    def __init__(self, database: Database, dialect: Dialect, make_keeper: MakeKeeper | None = None) -> None:
        """Use a database that has the tables.

        Args:
            database: the access to the database.
            dialect: the dialect of the database.
            make_keeper: creates the shop's `StockKeeper` for a connection, if the shop counts the stock.
        """
        if make_keeper is not None and not callable(make_keeper):
            raise InvalidInput(f"stock_keeper must be a class or function, not {type(make_keeper).__name__}")
        self._database = database
        self._dialect = dialect
        self._changes: Changes = dialect if make_keeper is None else KeptStock(dialect.write, make_keeper)

    def _guest(self, database: Database) -> Self:
        """Return the same store on a connection of the host."""
        guest = copy(self)
        guest._database = database
        return guest

    @property
    def joined(self) -> bool:
        return self._database.joined

    def load(self, order_id: str) -> Order:
        return self._database.read(lambda transaction: orders.load(transaction, order_id))

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return self._dialect.history(self._database, order_id, after, limit)

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return self._changes.prepare_many(self._database, needs)

    def commit(self, change: Change) -> None:
        self._changes.commit(self._database, change)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return self._changes.commit_all(self._database, changes)

    def find(self, query: Query) -> list[Order]:
        return self._database.read(lambda transaction: search.find(transaction, query))

    def tally(self, customer: str | None) -> list[Tally]:
        return self._database.read(lambda transaction: search.tally(transaction, customer))

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        return self._database.read(lambda transaction: reports.totals(transaction, since, until, customer))

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        return self._database.read(lambda transaction: reports.report(transaction, since, until))

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return available_of(self.stock_levels(skus))

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        return self._database.read(lambda transaction: self._changes.levels(transaction, skus))

    def stock_items(self) -> Iterator[str]:
        return audit.stock_items(self._database.read_rows)

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        if not self._changes.counts_stock:
            raise InvalidInput(f"the shop counts the stock of {sku!r} in its own table: change it there")
        self._database.write(lambda transaction: stock.set_available(transaction, sku, available, expected, backorder))

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        if self._database.joined:
            # The host's transaction would hold its locks while handlers send mail.
            way = "use another store" if self._database.is_always_joined else "commit first"
            raise InvalidInput(f"messages cannot be delivered inside a transaction: {way}")

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
        return audit.order_ids(self._database.read_rows)

    def messages(self) -> Iterator[Message]:
        return audit.messages(self._database.read_rows)

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

"""The dialect of MariaDB. A change is several statements in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from order_fsm.errors import InvalidInput, StoreCorrupt, StoreError
from order_fsm.model import Entry
from order_fsm.store import Change, Need, Snapshot
from order_fsm_adapters.mariadb import schema, tally
from order_fsm_adapters.mariadb.errors import store_error
from order_fsm_adapters.mariadb.host import MariaDbHost
from order_fsm_adapters.sql.database import Database, Transaction
from order_fsm_adapters.sql.dialect import Dialect
from order_fsm_adapters.sql.order_rows import OrderRow, order_of
from order_fsm_adapters.sql.rows import RECORD_COLUMNS, record_of


def _of(table: str, columns: Sequence[str]) -> str:
    return ", ".join(f'{table}."{column}"' for column in columns)


STATE_LENGTH = 500
"""The longest state, in characters. MariaDB limits the length of index keys."""


class MariaDbDialect(Dialect):
    """Commit a change with several statements. In a Galera cluster, locks are local to a server."""

    name = "MariaDB"
    quote = "`"
    for_update = " FOR UPDATE"
    # Galera does not share row locks. An UPDATE makes two servers that lock the same order conflict at their commits.
    lock_order = "UPDATE order_fsm_order SET relayed = relayed + 1 WHERE id = ?"
    skip_locked = " FOR UPDATE SKIP LOCKED"
    latest = " LOCK IN SHARE MODE"
    begin_reading = (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )
    # Each statement sees the latest commits, and no gap lock blocks the inserts of others.
    begin_writing = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION READ WRITE")

    def failure(self, error: Exception, where: str, *, joined: bool) -> StoreError:
        number, text = (*error.args, None, "")[:2]
        # The other lines of the message may quote values.
        said = str(text).strip().partition("\n")[0]
        return store_error(number if isinstance(number, int) else None, said, where, joined=joined)

    def check_tables(self, transaction: Transaction) -> None:
        schema.check(transaction)

    def history(self, database: Database, order_id: str, after: int, limit: int | None) -> tuple[Entry, ...]:
        if isinstance(database, MariaDbHost):
            return database.history(order_id, after, limit)
        return super().history(database, order_id, after, limit)

    def prepare_many(self, database: Database, needs: Sequence[Need]) -> list[Snapshot]:
        if isinstance(database, MariaDbHost) and database.joined:
            return database.prepare(needs)
        if len(needs) == 1 and not needs[0].skus:
            snapshot = _prepared(database, needs[0])
            if snapshot is not None:
                return [snapshot]
        return super().prepare_many(database, needs)

    def write(self, transaction: Transaction, change: Change) -> None:
        if change.order is not None and len(change.order.state) > STATE_LENGTH:
            # A server without strict mode would truncate it.
            raise InvalidInput(
                f"order {change.order.id!r}: a state may have at most {STATE_LENGTH} characters in MariaDB, not"
                f" {len(change.order.state)}: give shorter names to the statuses"
            )
        super().write(transaction, change)

    def scrub(self, database: Database) -> None:
        # The tally's steps and counters contain customers.
        database.write_at_once(tally.fold_all)

    def fold(self, transaction: Transaction) -> None:
        tally.fold(transaction)


_PREPARE = f"""
    SELECT {_of("one", OrderRow._fields)}, {_of("known", RECORD_COLUMNS)} FROM order_fsm_order AS one
    LEFT JOIN order_fsm_key AS known ON known."key" = ? WHERE one.id = ?
"""  # noqa: S608


def _prepared(database: Database, need: Need) -> Snapshot | None:
    """Read a snapshot with one statement. Return None if stock is needed too, or if the order does not exist."""
    for row in database.read_rows(_PREPARE, (need.key, need.order_id)):
        columns, known = row[: len(OrderRow._fields)], row[len(OrderRow._fields) :]
        try:
            order = order_of(OrderRow._make(columns))
            if order.reserved is None and order.lines:
                return None
            return Snapshot(order, None if known[0] is None else record_of(known), {})
        except StoreCorrupt as fault:
            return Snapshot(None, None, {}, fault)
    return None

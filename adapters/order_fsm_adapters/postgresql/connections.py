"""Connect to PostgreSQL with psycopg: over the store's own pool, or over the host's connection."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from order_fsm.errors import InvalidInput, StoreUnavailable
from order_fsm_adapters.sql.database import Row
from order_fsm_adapters.sql.statements import translated

TIMEOUT = 10.0
"""How many seconds a call waits for a free connection."""

_WAITS_FOR_STANDBY = "SyncRepWaitForLSN"
"""The server function that warns if a commit stopped waiting for its standby. The text of the warning is localized."""


class PsycopgLink:
    """A psycopg connection without prepared statements: a pooler may run each statement in another server process."""

    failures = (psycopg.Error,)

    def __init__(self, connection: Connection[Any]) -> None:
        """Use a connection."""
        self.connection = connection

    @property
    def in_transaction(self) -> bool:
        return self.connection.info.transaction_status != TransactionStatus.IDLE

    @property
    def begins_itself(self) -> bool:
        return not self.connection.autocommit

    def rows(self, statement: str, values: Row, quote: str) -> list[Row]:
        cursor = self._run(statement, values, quote)
        return cursor.fetchall() if cursor.description else []

    def run(self, statement: str, values: Row, quote: str) -> None:
        self._run(statement, values, quote)

    def _run(self, statement: str, values: Row, quote: str) -> psycopg.Cursor[Row]:
        connection = self.connection
        if connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise InvalidInput("the connection is in pipeline mode: leave it first, because each call needs its result")
        # Not connection.cursor(): the host's cursor class may use other placeholders.
        cursor = psycopg.Cursor(connection, row_factory=tuple_row)
        warnings: list[str] = []

        def warned(notice: psycopg.errors.Diagnostic) -> None:
            if notice.source_function == _WAITS_FOR_STANDBY:
                warnings.append(f"{notice.message_primary}")

        connection.add_notice_handler(warned)
        try:
            if values:
                cursor.execute(translated(statement, "format", quote).encode(), values, prepare=False)
            else:
                cursor.execute(statement.encode(), prepare=False)
        finally:
            connection.remove_notice_handler(warned)
        if warnings:
            # The primary has committed, but a failover may lose the commit.
            raise psycopg.errors.TransactionResolutionUnknown(warnings[0])
        return cursor


class _Connection(Connection[Row]):
    """A connection with the time at which it was opened."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.opened_at = monotonic()


class PsycopgPool:
    """The store's own connections, opened on demand. A forked process opens its own."""

    def __init__(self, conninfo: str, size: int) -> None:
        """Store the connection settings.

        Args:
            conninfo: a URL or another libpq connection string.
            size: the largest number of connections.
        """
        self.where = "PostgreSQL"
        self._conninfo = conninfo
        self._size = size
        self._pools: dict[int, ConnectionPool[_Connection]] = {}
        self._lost_at = 0.0
        self._closed = False

    @contextmanager
    def lent(self) -> Iterator[PsycopgLink]:
        pool = self._pool()
        connection = self._borrowed(pool)
        try:
            yield PsycopgLink(connection)
        finally:
            if connection.closed:
                self._lost_at = monotonic()
            pool.putconn(connection)

    def close(self) -> None:
        self._closed = True
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def _pool(self) -> ConnectionPool[_Connection]:
        if self._closed:
            raise StoreUnavailable(f"{self.where}: this store is closed: make a new one")
        pid = os.getpid()
        pool = self._pools.get(pid)
        if pool is None:
            mine = self._opened()
            pool = self._pools.setdefault(pid, mine)
            if pool is not mine:  # Another thread was faster.
                mine.close()
        return pool

    def _borrowed(self, pool: ConnectionPool[_Connection]) -> _Connection:
        """Return a connection opened after the last loss: a server restart ends all older ones."""
        try:
            while (connection := pool.getconn(TIMEOUT)).opened_at < self._lost_at:
                connection.close()
                pool.putconn(connection)
        except (PoolTimeout, PoolClosed) as error:
            raise StoreUnavailable(f"{self.where}: no connection within {TIMEOUT:.0f} s: {error}") from error
        return connection

    def _opened(self) -> ConnectionPool[_Connection]:
        try:
            # The pool would retry a wrong address until the timeout. A direct attempt fails at once, with the reason.
            psycopg.connect(self._conninfo).close()
        except psycopg.Error as error:
            raise StoreUnavailable(f"{self.where} cannot be reached: {str(error).strip()}") from error
        return ConnectionPool(
            self._conninfo,
            connection_class=_Connection,
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=0,
            max_size=self._size,
            # The pool doubles the delay after each attempt. The next call starts again with the shortest one.
            reconnect_timeout=TIMEOUT,
            open=True,
        )

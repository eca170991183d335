"""Connections to PostgreSQL by psycopg: a pool of the store's own, and one connection of the host."""

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
"""For how many seconds a call waits for a free connection."""

_WAITS_FOR_STANDBY = "SyncRepWaitForLSN"
"""The function of the server that warns, in the server's language, if a commit has stopped waiting for its standby."""


class PsycopgLink:
    """One connection by psycopg. It prepares no statement: a pooler may give each one to another server process."""

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
            raise InvalidInput("leave the pipeline of the connection first: each call needs its answer")
        # Not connection.cursor(): the class of the host's cursors may want other placeholders.
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
            # It is committed here, and may not be there after a failover.
            raise psycopg.errors.TransactionResolutionUnknown(warnings[0])
        return cursor


class _Connection(Connection[Row]):
    """Knows when it was opened."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.opened_at = monotonic()


class PsycopgPool:
    """The store's own connections, opened when they are needed. A forked process opens its own."""

    def __init__(self, conninfo: str, size: int) -> None:
        """Remember how to connect.

        Args:
            conninfo: a URL, or settings as libpq takes them.
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
        """Return a connection that was opened after the last one was lost: a restart of the server ends all."""
        try:
            while (connection := pool.getconn(TIMEOUT)).opened_at < self._lost_at:
                connection.close()
                pool.putconn(connection)
        except (PoolTimeout, PoolClosed) as error:
            raise StoreUnavailable(f"{self.where}: no connection within {TIMEOUT:.0f} s: {error}") from error
        return connection

    def _opened(self) -> ConnectionPool[_Connection]:
        try:
            # A pool keeps on trying. This way, a wrong address fails at once, and the error gives the reason.
            psycopg.connect(self._conninfo).close()
        except psycopg.Error as error:
            raise StoreUnavailable(f"{self.where} cannot be reached: {str(error).strip()}") from error
        return ConnectionPool(
            self._conninfo,
            connection_class=_Connection,
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=0,
            max_size=self._size,
            # Its pauses between attempts double. It begins again with the next call.
            reconnect_timeout=TIMEOUT,
            open=True,
        )

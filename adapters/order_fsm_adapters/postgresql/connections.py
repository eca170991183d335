"""Connections to PostgreSQL by psycopg: a pool of the store's own, and one connection of the host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from order_fsm.errors import StoreUnavailable
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
        cursor = self.connection.cursor(row_factory=tuple_row)
        if values:
            return cursor.execute(translated(statement, "format", quote).encode(), values, prepare=False)
        return cursor.execute(statement.encode(), prepare=False)


class _Connection(Connection[Row]):
    """Collects the warnings that a commit is not certain to outlast the server."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.warnings: list[str] = []
        self.add_notice_handler(self._collect)

    def _collect(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.source_function == _WAITS_FOR_STANDBY and notice.message_primary is not None:
            self.warnings.append(notice.message_primary)


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
        self._closed = False

    @contextmanager
    def lent(self) -> Iterator[PsycopgLink]:
        pool = self._pool()
        try:
            connection = pool.getconn(TIMEOUT)
        except (PoolTimeout, PoolClosed) as error:
            raise StoreUnavailable(f"{self.where}: no connection within {TIMEOUT:.0f} s: {error}") from error
        try:
            yield PsycopgLink(connection)
            if connection.warnings:
                raise StoreUnavailable(
                    f"{self.where}: {connection.warnings.pop()}: it is unknown whether it is written"
                )
        finally:
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
            pool = self._pools.setdefault(pid, self._opened())
        return pool

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
            open=True,
        )

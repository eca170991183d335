"""The store over SQLAlchemy keeps the contract of stores, in PostgreSQL, MariaDB and SQLite."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from order_fsm.testing import StoreContract
from order_fsm_adapters.sqlalchemy import SqlAlchemyStore

from . import servers


class StoreWithEngine(SqlAlchemyStore):
    """Ends its engine, which belongs to no shop here."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._dispose = engine.dispose

    def close(self) -> None:
        super().close()
        self._dispose()


class TestInPostgresql(StoreContract):
    """A schema of a database on the server, by psycopg."""

    local_disk = False
    scrubs = False
    # Durability is the server's, and tested at full size on PostgresStore.
    kill_rounds = 40

    @pytest.fixture(autouse=True)
    def _schemas(self, postgresql: servers.PostgresServer) -> None:
        self.server = postgresql

    def make_store(self, place: Path) -> SqlAlchemyStore:
        self.server.store(str(place)).close()
        return StoreWithEngine(create_engine(servers.sqlalchemy_url(self.server.address(str(place)))))


class TestInMariaDb(StoreContract):
    """A database on the server, by PyMySQL."""

    local_disk = False
    scrubs = False
    # Durability is the server's, and tested at full size on MariaDbStore.
    kill_rounds = 20

    @pytest.fixture(autouse=True)
    def _databases(self, mariadb: servers.MariaDbServer) -> None:
        self.server = mariadb

    def make_store(self, place: Path) -> SqlAlchemyStore:
        return StoreWithEngine(servers.mariadb_engine(self.server.address(str(place))))


class TestInSqlite(StoreContract):
    """A file, by an engine with SQLAlchemy's recipe."""

    # The files and connections are the shop's, and so are forks and full disks.
    local_disk = False
    scrubs = False
    kill_rounds = 40

    def make_store(self, place: Path) -> SqlAlchemyStore:
        store = StoreWithEngine(servers.sqlite_engine(place / "shop.db"))
        store.install()
        return store

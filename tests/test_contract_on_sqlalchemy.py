"""The store over SQLAlchemy keeps the contract of stores, in PostgreSQL, MariaDB and SQLite."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from order_fsm.testing import StoreContract
from order_fsm.testing.store_contract.contention import Contention
from order_fsm.testing.store_contract.crash import Crash
from order_fsm.testing.store_contract.harness import stressed
from order_fsm.testing.store_contract.kills import Kills
from order_fsm.testing.store_contract.races import Races
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


class _OverSqlAlchemy(StoreContract):
    """Leaves races and kills to a stressed run. The own store of the database always runs them, with the same SQL."""

    # The files and connections are the shop's, and so are forks and full disks.
    local_disk = False
    scrubs = False

    @pytest.fixture(autouse=True)
    def _is_short(self, request: pytest.FixtureRequest) -> None:
        name = request.function.__name__
        if not stressed() and any(hasattr(part, name) for part in (Races, Contention, Crash, Kills)):
            pytest.skip("ORDER_FSM_STRESS=1 runs the races and kills of this store")


class TestInPostgresql(_OverSqlAlchemy):
    """A schema of a database on the server, by psycopg."""

    # Durability is the server's, and tested at full size on PostgresStore.
    kill_rounds = 40

    @pytest.fixture(autouse=True)
    def _schemas(self, postgresql: servers.PostgresServer) -> None:
        self.server = postgresql

    def make_store(self, place: Path) -> SqlAlchemyStore:
        self.server.store(str(place)).close()
        return StoreWithEngine(create_engine(servers.sqlalchemy_url(self.server.address(str(place)))))


class TestInMariaDb(_OverSqlAlchemy):
    """A database on the server, by PyMySQL."""

    # Durability is the server's, and tested at full size on MariaDbStore.
    kill_rounds = 20

    @pytest.fixture(autouse=True)
    def _databases(self, mariadb: servers.MariaDbServer) -> None:
        self.server = mariadb

    def make_store(self, place: Path) -> SqlAlchemyStore:
        return StoreWithEngine(servers.mariadb_engine(self.server.address(str(place))))


class TestInSqlite(_OverSqlAlchemy):
    """A file, by an engine with SQLAlchemy's recipe."""

    kill_rounds = 40

    def make_store(self, place: Path) -> SqlAlchemyStore:
        store = StoreWithEngine(servers.sqlite_engine(place / "shop.db"))
        store.install()
        return store

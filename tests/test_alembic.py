"""A shop's Alembic migrations create the tables from the metadata, or with install()."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine

from order_fsm import Orders, StoreUnavailable
from order_fsm_adapters.postgresql import PostgresStore, schema
from order_fsm_adapters.sqlalchemy import SqlAlchemyStore, metadata

from . import servers

ENVIRONMENT = """
from alembic import context
from order_fsm_adapters.sqlalchemy import metadata

engine = context.config.attributes["engine"]
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=[metadata])
    with context.begin_transaction():
        context.run_migrations()
"""
TEMPLATE = """
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}

def upgrade():
    ${upgrades if upgrades else "pass"}
"""
PROGRAMS = """
    from order_fsm_adapters.sqlalchemy import programs
    for program in programs():
        op.execute(program)
"""
INSTALL = """
    from order_fsm_adapters.sqlalchemy import SqlAlchemyStore
    connection = op.get_bind()
    SqlAlchemyStore(connection.engine).within(connection).install()
"""
VERSION_2 = (
    "ALTER TABLE order_fsm_order ADD COLUMN invented text; ALTER TABLE order_fsm_entry ADD COLUMN invented text;"
)


@pytest.fixture
def url(postgresql: servers.PostgresServer, tmp_path: Path) -> str:
    """An empty schema."""
    return postgresql.empty(str(tmp_path))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(servers.sqlalchemy_url(url))
    yield engine
    engine.dispose()


def migrations(folder: Path, engine: Engine) -> Config:
    """Return Alembic's settings for a new folder of migrations."""
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT, encoding="utf-8")
    (folder / "script.py.mako").write_text(TEMPLATE, encoding="utf-8")
    config = Config(attributes={"engine": engine})
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    return config


def differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        found: list[Any] = compare_metadata(MigrationContext.configure(connection), metadata)
        # The metadata does not contain Alembic's own table.
        return [one for one in found if "alembic_version" not in str(one)]


def revise(config: Config, more: str, *, autogenerate: bool) -> None:
    """Write a migration and run it."""
    revision: Any = command.revision(config, autogenerate=autogenerate)
    path = Path(revision.path)
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    command.upgrade(config, "head")


def works(store: SqlAlchemyStore) -> bool:
    orders = Orders(store)
    orders.create("1001", total="20.00", currency="EUR", customer="ann")
    orders.fire("1001", "pay", amount="20.00", currency="EUR", reference="ch_1")
    assert orders.counts()["to_dispatch"] == 1
    assert orders.deliver(lambda message: None) == 1
    return orders.audit().ok


@pytest.mark.parametrize(("more", "autogenerate"), [(PROGRAMS, True), (INSTALL, False)])
def test_migration_creates_a_working_database(more: str, autogenerate: bool, engine: Engine, tmp_path: Path) -> None:
    config = migrations(tmp_path / "migrations", engine)
    revise(config, more, autogenerate=autogenerate)
    assert differences(engine) == []
    store = SqlAlchemyStore(engine)
    store.install()
    assert works(store)


def test_autogenerate_finds_nothing_to_do_after_install(engine: Engine) -> None:
    SqlAlchemyStore(engine).install()
    assert differences(engine) == []


def test_autogenerate_finds_each_missing_column_and_index(engine: Engine) -> None:
    SqlAlchemyStore(engine).install()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX order_fsm_message_claimable")
        connection.exec_driver_sql("ALTER TABLE order_fsm_key DROP COLUMN last")
    assert len(differences(engine)) == 2


def test_migration_installs_in_sqlite(tmp_path: Path) -> None:
    engine = servers.sqlite_engine(tmp_path / "shop.db")
    revise(migrations(tmp_path / "migrations", engine), INSTALL, autogenerate=False)
    assert works(SqlAlchemyStore(engine))
    engine.dispose()


# Versions


def test_newer_schema_is_refused(engine: Engine) -> None:
    SqlAlchemyStore(engine).install()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE order_fsm_schema SET version = version + 1")
    store = SqlAlchemyStore(engine)
    for call in (lambda: store.load("1001"), store.install):
        with pytest.raises(StoreUnavailable, match="newer version of order_fsm"):
            call()


def test_older_schema_is_refused_until_install_upgrades_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    SqlAlchemyStore(engine).install()
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, VERSION_2))
    store = SqlAlchemyStore(engine)
    with pytest.raises(StoreUnavailable, match=r"needs 2: call install\(\)"):
        store.load("1001")
    store.install()
    assert works(store)


def test_install_upgrades_the_schema_under_concurrent_writes(
    url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqlAlchemyStore(engine).install()
    done: list[str] = []
    failed: list[Exception] = []
    is_installed = threading.Event()
    busy = threading.Semaphore(0)

    def write(number: int) -> None:
        try:
            with PostgresStore(url) as store:
                orders = Orders(store)
                left = 20
                for place in count():
                    order_id = f"{number}-{place}"
                    orders.create(order_id, total="20.00", currency="EUR")
                    orders.fire(order_id, "place")
                    done.append(order_id)
                    busy.release()
                    # Twenty more after the installation.
                    left -= is_installed.is_set()
                    if not left:
                        break
        except Exception as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for _ in range(40):
        assert busy.acquire(timeout=60)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, VERSION_2))
    newer = SqlAlchemyStore(engine)
    newer.install()
    is_installed.set()
    for writer in writers:
        writer.join()
    assert failed == []
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version FROM order_fsm_schema").fetchall() == [(2,)]
        connection.execute("SELECT invented FROM order_fsm_order LIMIT 1")
    orders = Orders(newer)
    assert {orders.get(order_id).state for order_id in done} == {"sent"}
    assert orders.audit().ok

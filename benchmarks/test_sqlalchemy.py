"""What a change in a session of SQLAlchemy costs in PostgreSQL, as a ratio to the bare rows by hand in a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from order_fsm import Orders
from paired_times import Compare, Work

psycopg = pytest.importorskip("psycopg")
pytest.importorskip("pymysql")
pytest.importorskip("sqlalchemy")

from sqlalchemy import Engine, create_engine  # noqa: E402
from sqlalchemy.orm import Session  # noqa: E402

import servers_by_hand as by_hand  # noqa: E402
from order_fsm_adapters.sqlalchemy import SqlAlchemyStore  # noqa: E402

CHANGES = 100


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        psycopg.connect(by_hand.POSTGRESQL).close()
    except psycopg.OperationalError as error:
        pytest.skip(f"PostgreSQL cannot be reached: {error}")
    with by_hand.database() as url:
        engine = create_engine(
            url.replace("postgresql://", "postgresql+psycopg://"), connect_args={"prepare_threshold": None}
        )
        SqlAlchemyStore(engine).install()
        yield engine
        engine.dispose()


_numbers = count()


def test_a_change_in_a_session_against_the_same_rows_by_hand(compare: Compare, engine: Engine) -> None:
    """By hand the statements are run on the session's connection, which is cheaper than by the session."""
    store = SqlAlchemyStore(engine)
    orders = Orders(store)

    def new_orders() -> list[str]:
        ids = [f"o{next(_numbers)}" for _ in range(CHANGES)]
        by_hand.created(store, ids)
        return ids

    def joined(ids: Sequence[str]) -> Work:
        def work() -> None:
            for order_id in ids:
                with Session(engine) as session, session.begin():
                    orders.within(session).fire(order_id, "place")

        return work

    def in_sessions_by_hand(ids: Sequence[str]) -> Work:
        def work() -> None:
            for order_id in ids:
                with Session(engine) as session, session.begin():
                    by_hand.place(_by_session(session), order_id)

        return work

    compare(
        lambda: joined(new_orders()),
        lambda: in_sessions_by_hand(new_orders()),
        limit=2.0,
        rounds=9,
        changes=CHANGES,
    )


def _by_session(session: Session) -> by_hand.Execute:
    connection = session.connection()

    def execute(statement: str, values: Sequence[Any]) -> int:
        return connection.exec_driver_sql(statement, tuple(values)).rowcount

    return execute

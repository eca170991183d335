"""What a change in a session of SQLAlchemy costs in PostgreSQL, as a ratio to the bare rows by hand in a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from order_fsm import Orders
from paired_times import Compare, Work

pytest.importorskip("psycopg")
pytest.importorskip("pymysql")
pytest.importorskip("sqlalchemy")

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

import servers_by_hand as by_hand
from order_fsm_adapters.sqlalchemy import SqlAlchemyStore
from server_changes import CHANGES, new_orders


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with by_hand.database() as url:
        engine = create_engine(
            url.replace("postgresql://", "postgresql+psycopg://"), connect_args={"prepare_threshold": None}
        )
        SqlAlchemyStore(engine).install()
        yield engine
        engine.dispose()


def test_a_change_in_a_session_against_the_same_rows_by_hand(compare: Compare, engine: Engine) -> None:
    """By hand the statements are run on the session's connection, which is cheaper than by the session."""
    store = SqlAlchemyStore(engine)
    orders = Orders(store)

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
        lambda: joined(new_orders(store)),
        lambda: in_sessions_by_hand(new_orders(store)),
        limit=2.0,
        rounds=9,
        changes=CHANGES,
    )


def _by_session(session: Session) -> by_hand.Execute:
    connection = session.connection()

    def execute(statement: str, values: Sequence[Any]) -> int:
        return connection.exec_driver_sql(statement, tuple(values)).rowcount

    return execute

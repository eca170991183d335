"""The dialect of PostgreSQL. Database functions prepare and commit a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from order_fsm.errors import OrderFsmError, StoreError
from order_fsm.store import Change, Need, Snapshot
from order_fsm_adapters.postgresql import forms, schema
from order_fsm_adapters.postgresql.errors import store_error
from order_fsm_adapters.postgresql.text import escaped, unescaped
from order_fsm_adapters.sql.codec import json_text
from order_fsm_adapters.sql.database import Database, Row, Transaction
from order_fsm_adapters.sql.dialect import Dialect

_PREPARE = "SELECT order_fsm_prepare_1(CAST(? AS jsonb), ?)"
_COMMIT = "SELECT order_fsm_commit_1(CAST(? AS jsonb))"
_COMMIT_ALL = "SELECT order_fsm_commit_all_1(CAST(? AS jsonb))"
_FOLD = "SELECT order_fsm_fold_1(?)"
_ENOUGH = 200
"""A relay folds the tally once it has this many steps, so a read adds up only a few hundred."""

_answer = msgspec.json.Decoder(tuple[Any, ...]).decode


class PostgresDialect(Dialect):
    """Prepare or commit a change with one function call."""

    name = "PostgreSQL"
    # NO KEY: the shop's foreign keys lock the key of an order, and neither lock may wait for the other.
    for_update = " FOR NO KEY UPDATE"
    skip_locked = " FOR NO KEY UPDATE SKIP LOCKED"
    lock_order = "SELECT id FROM order_fsm_order WHERE id = ? FOR NO KEY UPDATE"
    begin_reading = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)
    # Limit the wait for rows that other transactions have locked.
    begin_writing = ("BEGIN ISOLATION LEVEL READ COMMITTED", "SET LOCAL lock_timeout = '10s'")

    def sent(self, values: Row) -> Row:
        return tuple([escaped(value) if isinstance(value, str) else value for value in values])

    def received(self, rows: list[Row]) -> list[Row]:
        return [tuple([unescaped(value) if isinstance(value, str) else value for value in row]) for row in rows]

    def failure(self, error: Exception, where: str, *, joined: bool) -> StoreError:
        # psycopg2 calls it `pgcode`.
        sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        # The other lines of the message may quote values.
        said = str(error).strip().partition("\n")[0]
        return store_error(sqlstate, said, where, joined=joined)

    def check_tables(self, transaction: Transaction) -> None:
        schema.check(transaction)

    def prepare_many(self, database: Database, needs: Sequence[Need]) -> list[Snapshot]:
        answers = database.read_rows(_PREPARE, (forms.need_forms(needs), database.joined))
        return [forms.snapshot_of(need, _answer(text)) for need, (text,) in zip(needs, answers, strict=True)]

    def commit(self, database: Database, change: Change) -> None:
        if change.erases:
            super().commit(database, change)
            return
        ((answer,),) = database.write_rows(_COMMIT, (json_text(forms.change_form(change)),))
        refusal = forms.refusal_of(change, answer)
        if refusal is not None:
            raise refusal

    def commit_all(self, database: Database, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        if any(change.erases for change in changes):
            return super().commit_all(database, changes)
        answers = database.write_rows(_COMMIT_ALL, (forms.change_forms(changes),))
        return [forms.refusal_of(change, answer) for change, (answer,) in zip(changes, answers, strict=True)]

    def scrub(self, database: Database) -> None:
        # The tally's steps and counters contain customers.
        database.write_rows(_FOLD, (0,))

    def fold(self, transaction: Transaction) -> None:
        transaction.rows(_FOLD, (_ENOUGH,))

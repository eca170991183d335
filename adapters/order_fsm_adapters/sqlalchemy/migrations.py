"""Describe the tables in PostgreSQL for Alembic's autogenerate.

The tables are those of `postgresql/schema.sql`. In other databases, a migration calls `SqlAlchemyStore.install`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TextClause,
    text,
)
from sqlalchemy.types import TypeEngine

from order_fsm_adapters.postgresql import schema
from order_fsm_adapters.sql.statements import parts_of

metadata = MetaData()
"""The tables and indexes of order_fsm in PostgreSQL."""

_TYPES: dict[str, TypeEngine[Any]] = {
    # Sorts by code points, as in all other stores.
    "word": Text(collation="C"),
    "text": Text(),
    "bytes": LargeBinary(),
    "flag": SmallInteger(),
    "int": Integer(),
    "bigint": BigInteger(),
}


def programs() -> tuple[TextClause, ...]:
    """Return the statements that install the views, functions and schema version.

    A migration runs them with `op.execute` after it has created or altered the tables.
    """
    parts = [part for step in schema.STEPS for part in parts_of(step) if "CREATE VIEW" in part]
    views = [part.replace("CREATE VIEW", "CREATE OR REPLACE VIEW") for part in parts]
    version = ["DELETE FROM order_fsm_schema", f"INSERT INTO order_fsm_schema VALUES ({len(schema.STEPS)})"]  # noqa: S608
    # SQLAlchemy 2.0 has no table option for this.
    fill = "ALTER TABLE order_fsm_stock SET (fillfactor = 50)"
    # Unescaped, a colon would start the name of a parameter.
    return tuple([text(part.replace(":", "\\:")) for part in (*views, *parts_of(schema.FUNCTIONS), fill, *version)])


def _table(name: str, columns: str, key: str = "") -> Table:
    """Return a table.

    Args:
        name: without the prefix.
        columns: pairs `name:type`. After a type, `?` allows NULL and `!` makes the column unique.
        key: the columns of the primary key. The database generates the values of a key `number`.
    """
    found = [_column(pair, key.split()) for pair in columns.split()]
    return Table(f"order_fsm_{name}", metadata, *found)


def _column(pair: str, key: list[str]) -> Column[Any]:
    name, kind = pair.split(":")
    return Column(
        name,
        _TYPES[kind.rstrip("?!")],
        *([Identity(always=False)] if key == ["number"] == [name] else []),
        primary_key=name in key,
        nullable=kind.endswith("?"),
        unique=kind.endswith("!") or None,
    )


def _index(table: Table, name: str, columns: str, where: str | None = None) -> None:
    condition = None if where is None else text(where)
    Index(f"{table.name}_{name}", *[table.c[column] for column in columns.split()], postgresql_where=condition)


_ORDER = _table(
    "order",
    "id:word state:word invoiced_by_payment:flag version:int reserved:text? payments:text shipments:text"
    " updated_at:word refund_is_due:flag is_unmatched:flag is_part_dispatched:flag last_seal:bytes seal:bytes"
    " counted:flag placed_at:word? total:text currency:word lines:text unit:word units:bigint customer:word?"
    " email:word? data:text salt:bytes? personal:bytes? created_at:word",
    "id",
)
_index(_ORDER, "by_state", "state created_at id")
_index(_ORDER, "by_customer", "customer state created_at id", "customer IS NOT NULL")
_index(_ORDER, "refund_due", "created_at id", "refund_is_due = 1")
_index(_ORDER, "refund_due_by_customer", "customer created_at id", "refund_is_due = 1 AND customer IS NOT NULL")
_index(_ORDER, "unmatched", "created_at id", "is_unmatched = 1")
_index(_ORDER, "part_dispatched", "created_at id", "is_part_dispatched = 1")
_index(_ORDER, "placed", "placed_at id counted currency unit units", "placed_at IS NOT NULL")
_index(
    _ORDER,
    "placed_by_customer",
    "customer placed_at id counted currency unit units",
    "placed_at IS NOT NULL AND customer IS NOT NULL",
)
_table(
    "entry",
    "order_id:word version:int trigger:word state_before:word state_after:word at:word by:word? comment:text"
    " visible:flag notify:flag key:word? override:flag facts:text rules_fingerprint:word? personal_facts:text"
    " salt:bytes? personal:bytes? seal:bytes",
    "order_id version",
)
_table("key", "key:word order_id:word? first:int last:int request_fingerprint:word seal:bytes", "key")
_table("reference", "reference:word order_id:word", "reference order_id")
_table(
    "payment",
    "at:word order_id:word number:int kind:word currency:word unit:word units:bigint",
    "at order_id number kind",
)
_table("unscrubbed", "order_id:word", "order_id")
_table("stock", "sku:word available:bigint? held:bigint shipped:bigint lost:bigint backorder:flag seal:bytes", "sku")
_QUEUED = "number:bigint id:word! order_id:word topic:word payload:text created_at:word remaining:text seal:bytes"
_MESSAGE_COLUMNS = f"{_QUEUED} attempts:int"
_MESSAGE = _table("message", f"{_MESSAGE_COLUMNS} due:word head:flag", "number")
_index(_MESSAGE, "by_order", "order_id number")
_index(_MESSAGE, "claimable", "due number", "head = 1")
_DEAD_LETTER = _table("dead_letter", _MESSAGE_COLUMNS, "number")
_index(_DEAD_LETTER, "by_age", "created_at number")
_index(_DEAD_LETTER, "by_order", "order_id")
_GROUP = "state:word currency:word refund_is_due:flag is_unmatched:flag is_part_dispatched:flag unit:word"
_BASE = _table(
    "tally_base",
    f"customer:word {_GROUP} orders:bigint units:bigint",
    "customer state currency refund_is_due is_unmatched is_part_dispatched unit",
)
_index(_BASE, "empty", "customer", "orders = 0")
_table("tally_step", f"number:bigint customer:word? {_GROUP} orders:bigint units:bigint", "number")
_table("schema", "version:int")

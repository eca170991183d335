"""The tables of the SQLite store, and the steps that lead to them from any older version of them."""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Cursor

from order_fsm.errors import StoreCorrupt, StoreUnavailable
from order_fsm_adapters.sqlite import upgrade

Step = tuple[str | Callable[[Cursor], None], ...]
"""What leads from one version of the schema to the next: statements, and what they cannot say."""

_TABLES = (
    # `refund_is_due` only serves to find orders: whether order.refund_due is more than nothing.
    """
    CREATE TABLE order_fsm_order (
        id TEXT NOT NULL PRIMARY KEY,
        state TEXT NOT NULL,
        counted INTEGER NOT NULL,
        version INTEGER NOT NULL,
        total TEXT NOT NULL,
        currency TEXT NOT NULL,
        customer TEXT,
        email TEXT,
        lines TEXT NOT NULL,
        data TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        refund_is_due INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE order_fsm_entry (
        order_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        trigger TEXT NOT NULL,
        state_before TEXT NOT NULL,
        state_after TEXT NOT NULL,
        at TEXT NOT NULL,
        by TEXT,
        comment TEXT NOT NULL,
        visible INTEGER NOT NULL,
        notify INTEGER NOT NULL,
        key TEXT,
        override INTEGER NOT NULL,
        facts TEXT NOT NULL,
        PRIMARY KEY (order_id, version)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE order_fsm_payment (
        order_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        kind TEXT NOT NULL,
        amount TEXT NOT NULL,
        reference TEXT,
        at TEXT NOT NULL,
        version INTEGER NOT NULL,
        PRIMARY KEY (order_id, number)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE order_fsm_key (
        key TEXT NOT NULL PRIMARY KEY,
        order_id TEXT NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        content TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE order_fsm_stock (sku TEXT NOT NULL PRIMARY KEY, on_hand INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    # A new number is higher than those there, and so tells the order of the commits. `not_before` is the end of a
    # claim or of a pause.
    """
    CREATE TABLE order_fsm_message (
        number INTEGER NOT NULL PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        order_id TEXT NOT NULL,
        topic TEXT NOT NULL,
        payload TEXT NOT NULL,
        created_at TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        not_before TEXT
    ) STRICT
    """,
    "CREATE TABLE order_fsm_schema (version INTEGER NOT NULL) STRICT",
    "INSERT INTO order_fsm_schema VALUES (1)",
)

_INDEXES = (
    # The last three columns are what a tally reads: it need not open the orders.
    """
    CREATE INDEX order_fsm_order_by_state
    ON order_fsm_order (state, created_at, id, currency, refund_is_due, total)
    """,
    "CREATE INDEX order_fsm_order_by_customer ON order_fsm_order (customer, created_at, id)",
    "CREATE INDEX order_fsm_order_refund_due ON order_fsm_order (created_at, id) WHERE refund_is_due = 1",
    "CREATE INDEX order_fsm_message_by_order ON order_fsm_message (order_id, number)",
    "UPDATE order_fsm_schema SET version = 2",
)

_DEAD_LETTERS = (
    # A table of their own, so that a claim does not step over them.
    """
    CREATE TABLE order_fsm_dead_letter (
        order_id TEXT NOT NULL,
        id TEXT NOT NULL,
        topic TEXT NOT NULL,
        payload TEXT NOT NULL,
        created_at TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        PRIMARY KEY (order_id, id)
    ) STRICT, WITHOUT ROWID
    """,
    "UPDATE order_fsm_schema SET version = 3",
)

_COUNT_IN = """
    INSERT INTO order_fsm_tally VALUES (new.state, new.currency, new.refund_is_due, new.unit, 1, new.units)
    ON CONFLICT DO UPDATE SET orders = orders + 1, units = units + excluded.units;
"""
_COUNT_OUT = """
    UPDATE order_fsm_tally SET orders = orders - 1, units = units - old.units
    WHERE (state, currency, refund_is_due, unit) = (old.state, old.currency, old.refund_is_due, old.unit);
"""

_SEALS = (
    "ALTER TABLE order_fsm_order ADD COLUMN payments TEXT NOT NULL DEFAULT '[]'",
    # The total as a whole number of units: see `rows.in_units`.
    "ALTER TABLE order_fsm_order ADD COLUMN unit TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE order_fsm_order ADD COLUMN units INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE order_fsm_order ADD COLUMN last_seal BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE order_fsm_order ADD COLUMN seal BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE order_fsm_entry ADD COLUMN seal BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE order_fsm_key ADD COLUMN seal BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE order_fsm_stock ADD COLUMN seal BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE order_fsm_message ADD COLUMN seal BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE order_fsm_dead_letter ADD COLUMN seal BLOB NOT NULL DEFAULT x''",
    upgrade.to_seals,
    "DROP TABLE order_fsm_payment",
    # Without what a tally used to read from it.
    "DROP INDEX order_fsm_order_by_state",
    "CREATE INDEX order_fsm_order_by_state ON order_fsm_order (state, created_at, id)",
    # How many orders stand in each state, and what they come to. The triggers keep it, whoever changes an order.
    """
    CREATE TABLE order_fsm_tally (
        state TEXT NOT NULL,
        currency TEXT NOT NULL,
        refund_is_due INTEGER NOT NULL,
        unit TEXT NOT NULL,
        orders INTEGER NOT NULL,
        units INTEGER NOT NULL,
        PRIMARY KEY (state, currency, refund_is_due, unit)
    ) STRICT, WITHOUT ROWID
    """,
    """
    INSERT INTO order_fsm_tally SELECT state, currency, refund_is_due, unit, count(*), sum(units)
    FROM order_fsm_order GROUP BY 1, 2, 3, 4
    """,
    f"CREATE TRIGGER order_fsm_order_comes AFTER INSERT ON order_fsm_order BEGIN {_COUNT_IN} END",
    f"CREATE TRIGGER order_fsm_order_goes AFTER DELETE ON order_fsm_order BEGIN {_COUNT_OUT} END",
    f"""
    CREATE TRIGGER order_fsm_order_moves
    AFTER UPDATE OF state, currency, refund_is_due, unit, units ON order_fsm_order
    WHEN (old.state, old.currency, old.refund_is_due, old.unit, old.units)
        IS NOT (new.state, new.currency, new.refund_is_due, new.unit, new.units)
    BEGIN {_COUNT_OUT} {_COUNT_IN} END
    """,
    "UPDATE order_fsm_schema SET version = 4",
)

STEPS: tuple[Step, ...] = (_TABLES, _INDEXES, _DEAD_LETTERS, _SEALS)
"""What leads from each version of the schema to the next, from none at all on; each ends by stating its version."""

_HAS_TABLES = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'order_fsm_schema'"


def is_current(cursor: Cursor) -> bool:
    """Whether the database has the tables as they are now.

    Raises:
        StoreUnavailable: a newer version of order_fsm wrote it.
        StoreCorrupt: it does not say which version it has.
    """
    return _version(cursor) == len(STEPS)


def migrate(cursor: Cursor) -> None:
    """Bring the tables, if any, up to the present version. The caller holds a write transaction.

    Raises:
        StoreUnavailable, StoreCorrupt: as in `is_current`.
    """
    for step in STEPS[_version(cursor) :]:
        for part in step:
            if isinstance(part, str):
                cursor.execute(part)
            else:
                part(cursor)


def _version(cursor: Cursor) -> int:
    if cursor.execute(_HAS_TABLES).fetchall() == [(0,)]:
        return 0
    rows = cursor.execute("SELECT version FROM order_fsm_schema").fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], int) or rows[0][0] < 1:
        raise StoreCorrupt("the table order_fsm_schema must hold one version of 1 or more: restore it from a backup")
    version: int = rows[0][0]
    if version > len(STEPS):
        raise StoreUnavailable(
            f"the database was written by a newer version of order_fsm: schema {version}, this one knows up to"
            f" {len(STEPS)}; update order_fsm"
        )
    return version

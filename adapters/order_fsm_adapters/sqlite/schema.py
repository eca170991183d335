"""The tables in SQLite, and their migrations."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from order_fsm.errors import InvalidInput, StoreUnavailable
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.tallies import GROUP
from order_fsm_adapters.sql.versions import SET_VERSION, version_of

_OLDEST_SQLITE = (3, 37, 0)
"""The first version with STRICT tables."""

Step = tuple[str | Callable[[Transaction], None], ...]
"""Statements, and functions if a statement is not enough."""

_ORDERS = """
    CREATE TABLE order_fsm_order (
        id TEXT NOT NULL PRIMARY KEY,
        state TEXT NOT NULL,
        invoiced_by_payment INTEGER NOT NULL,
        version INTEGER NOT NULL,
        reserved TEXT,
        payments TEXT NOT NULL,
        shipments TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        refund_is_due INTEGER NOT NULL,
        is_unmatched INTEGER NOT NULL,
        is_part_dispatched INTEGER NOT NULL,
        last_seal BLOB NOT NULL,
        seal BLOB NOT NULL,
        counted INTEGER NOT NULL,
        placed_at TEXT,
        total TEXT NOT NULL,
        currency TEXT NOT NULL,
        lines TEXT NOT NULL,
        unit TEXT NOT NULL,
        units INTEGER NOT NULL,
        customer TEXT,
        email TEXT,
        data TEXT NOT NULL,
        salt BLOB,
        personal BLOB,
        created_at TEXT NOT NULL
    ) STRICT
"""
_ENTRIES = """
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
        rules_fingerprint TEXT,
        personal_facts TEXT NOT NULL,
        salt BLOB,
        personal BLOB,
        seal BLOB NOT NULL,
        PRIMARY KEY (order_id, version)
    ) STRICT, WITHOUT ROWID
"""
_KEYS = """
    CREATE TABLE order_fsm_key (
        key TEXT NOT NULL PRIMARY KEY,
        order_id TEXT,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        request_fingerprint TEXT NOT NULL,
        seal BLOB NOT NULL
    ) STRICT, WITHOUT ROWID
"""
_REFERENCES = """
    CREATE TABLE order_fsm_reference (
        reference TEXT NOT NULL,
        order_id TEXT NOT NULL,
        PRIMARY KEY (reference, order_id)
    ) STRICT, WITHOUT ROWID
"""
# The primary key begins with the time, so sums over an interval read one range, and new rows come last.
_PAYMENTS = """
    CREATE TABLE order_fsm_payment (
        at TEXT NOT NULL,
        order_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        kind TEXT NOT NULL,
        currency TEXT NOT NULL,
        unit TEXT NOT NULL,
        units INTEGER NOT NULL,
        PRIMARY KEY (at, order_id, number, kind)
    ) STRICT, WITHOUT ROWID
"""
# The orders whose erased values may still be in the files.
_UNSCRUBBED = """
    CREATE TABLE order_fsm_unscrubbed (
        order_id TEXT NOT NULL PRIMARY KEY
    ) STRICT, WITHOUT ROWID
"""
_STOCK = """
    CREATE TABLE order_fsm_stock (
        sku TEXT NOT NULL PRIMARY KEY,
        available INTEGER,
        held INTEGER NOT NULL,
        shipped INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        backorder INTEGER NOT NULL,
        seal BLOB NOT NULL
    ) STRICT, WITHOUT ROWID
"""
# SQLite numbers new rows above the existing ones, so numbers follow the sequence of commits.
_MESSAGES = """
    CREATE TABLE order_fsm_message (
        number INTEGER NOT NULL PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        order_id TEXT NOT NULL,
        topic TEXT NOT NULL,
        payload TEXT NOT NULL,
        created_at TEXT NOT NULL,
        remaining TEXT NOT NULL,
        seal BLOB NOT NULL,
        attempts INTEGER NOT NULL,
        due TEXT NOT NULL,
        head INTEGER NOT NULL
    ) STRICT
"""
_DEAD_LETTERS = """
    CREATE TABLE order_fsm_dead_letter (
        number INTEGER NOT NULL PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        order_id TEXT NOT NULL,
        topic TEXT NOT NULL,
        payload TEXT NOT NULL,
        created_at TEXT NOT NULL,
        remaining TEXT NOT NULL,
        seal BLOB NOT NULL,
        attempts INTEGER NOT NULL
    ) STRICT
"""


def _columns(group: str, row: str) -> str:
    return ", ".join(f"{row}.{column}" for column in group.split(", "))


def _count_in(tally: str, group: str) -> str:
    return f"""
        INSERT INTO {tally} SELECT {_columns(group, "new")}, 1, new.units WHERE {_is_counted(group, "new")}
        ON CONFLICT DO UPDATE SET orders = orders + 1, units = units + excluded.units;
    """


def _count_out(tally: str, group: str) -> str:
    statements = f"""
        UPDATE {tally} SET orders = orders - 1, units = units - old.units
        WHERE ({group}) = ({_columns(group, "old")});
    """  # noqa: S608
    if _is_of_customer(group):
        # A row with 0 orders would keep the customer's name.
        statements += f"DELETE FROM {tally} WHERE ({group}) = ({_columns(group, 'old')}) AND orders = 0;"  # noqa: S608
    return statements


def _is_of_customer(group: str) -> bool:
    return group.startswith("customer")


def _is_counted(group: str, row: str) -> str:
    """Return the condition on which a tally counts an order."""
    return f"{row}.customer IS NOT NULL" if _is_of_customer(group) else "true"


def _tally(tally: str, group: str) -> Step:
    """Return the statements that create a tally of orders and its triggers."""
    columns = ", ".join(f"{column} {'INTEGER' if 'is_' in column else 'TEXT'} NOT NULL" for column in group.split(", "))
    observed = f"{group}, units"
    return (
        f"""
        CREATE TABLE {tally} ({columns}, orders INTEGER NOT NULL, units INTEGER NOT NULL, PRIMARY KEY ({group}))
        STRICT, WITHOUT ROWID
        """,
        f"""
        CREATE TRIGGER {tally}_comes AFTER INSERT ON order_fsm_order WHEN {_is_counted(group, "new")}
        BEGIN {_count_in(tally, group)} END
        """,
        f"""
        CREATE TRIGGER {tally}_goes AFTER DELETE ON order_fsm_order WHEN {_is_counted(group, "old")}
        BEGIN {_count_out(tally, group)} END
        """,
        f"""
        CREATE TRIGGER {tally}_moves AFTER UPDATE OF {observed} ON order_fsm_order
        WHEN ({_columns(observed, "old")}) IS NOT ({_columns(observed, "new")})
            AND ({_is_counted(group, "old")} OR {_is_counted(group, "new")})
        BEGIN {_count_out(tally, group)} {_count_in(tally, group)} END
        """,
    )


_VERSION_1: Step = (
    _ORDERS,
    "CREATE INDEX order_fsm_order_by_state ON order_fsm_order (state, created_at, id)",
    """
    CREATE INDEX order_fsm_order_by_customer ON order_fsm_order (customer, state, created_at, id)
    WHERE customer IS NOT NULL
    """,
    "CREATE INDEX order_fsm_order_refund_due ON order_fsm_order (created_at, id) WHERE refund_is_due = 1",
    """
    CREATE INDEX order_fsm_order_refund_due_by_customer ON order_fsm_order (customer, created_at, id)
    WHERE refund_is_due = 1 AND customer IS NOT NULL
    """,
    "CREATE INDEX order_fsm_order_unmatched ON order_fsm_order (created_at, id) WHERE is_unmatched = 1",
    "CREATE INDEX order_fsm_order_part_dispatched ON order_fsm_order (created_at, id) WHERE is_part_dispatched = 1",
    # Covering indexes for the sums over orders placed in an interval.
    """
    CREATE INDEX order_fsm_order_placed ON order_fsm_order (placed_at, id, counted, currency, unit, units)
    WHERE placed_at IS NOT NULL
    """,
    """
    CREATE INDEX order_fsm_order_placed_by_customer
    ON order_fsm_order (customer, placed_at, id, counted, currency, unit, units)
    WHERE placed_at IS NOT NULL AND customer IS NOT NULL
    """,
    _ENTRIES,
    _KEYS,
    _REFERENCES,
    _PAYMENTS,
    _UNSCRUBBED,
    _STOCK,
    _MESSAGES,
    "CREATE INDEX order_fsm_message_by_order ON order_fsm_message (order_id, number)",
    "CREATE INDEX order_fsm_message_claimable ON order_fsm_message (due, number) WHERE head = 1",
    _DEAD_LETTERS,
    "CREATE INDEX order_fsm_dead_letter_by_age ON order_fsm_dead_letter (created_at, number)",
    "CREATE INDEX order_fsm_dead_letter_by_order ON order_fsm_dead_letter (order_id)",
    *_tally("order_fsm_tally", GROUP),
    *_tally("order_fsm_customer_tally", f"customer, {GROUP}"),
    "CREATE TABLE order_fsm_schema (version INTEGER NOT NULL) STRICT",
    "INSERT INTO order_fsm_schema VALUES (1)",
)

STEPS: tuple[Step, ...] = (_VERSION_1,)
"""The migrations from each schema version to the next, beginning with an empty database."""

_HAS_TABLES = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'order_fsm_schema'"


def is_current(transaction: Transaction) -> bool:
    """Return whether the database has the tables of this version.

    Raises:
        StoreUnavailable: if a newer version of order_fsm made the tables.
        StoreCorrupt: if the tables have no valid version.
    """
    return _version(transaction) == len(STEPS)


def check(transaction: Transaction) -> None:
    """Check that the database has the tables of this version.

    Raises:
        StoreUnavailable: if there are no tables, or tables of another version.
        StoreCorrupt: if the tables have no valid version.
    """
    if not is_current(transaction):
        raise StoreUnavailable("the database has no tables of this version of order_fsm: call install()")


def install(transaction: Transaction) -> None:
    """Create or upgrade the tables in a database of the shop.

    Args:
        transaction: a write transaction.

    Raises:
        InvalidInput: if the database is not encoded in UTF-8.
        StoreUnavailable, StoreCorrupt: as in `is_current`, or if this SQLite is too old.
    """
    check_sqlite()
    check_encoding(transaction)
    migrate(transaction)


def check_encoding(transaction: Transaction) -> None:
    """Check that the database of the shop is encoded in UTF-8.

    Raises:
        InvalidInput: if the encoding is not UTF-8.
    """
    ((encoding,),) = transaction.rows("PRAGMA encoding")
    if encoding != "UTF-8":
        # SQLite sorts UTF-16 by bytes, which would break the sequence of pages.
        raise InvalidInput(f"the shop's database must have the encoding UTF-8, not {encoding}")


def check_sqlite() -> None:
    """Check that SQLite is new enough.

    Raises:
        StoreUnavailable: if SQLite is too old.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        wanted = ".".join(map(str, _OLDEST_SQLITE))
        raise StoreUnavailable(f"SQLite must be {wanted} or newer, this one is {sqlite3.sqlite_version}: update it")


def migrate(transaction: Transaction) -> None:
    """Create or upgrade the tables.

    Args:
        transaction: a write transaction.

    Raises:
        StoreUnavailable, StoreCorrupt: as in `is_current`.
    """
    present = _version(transaction)
    for version, step in enumerate(STEPS[present:], present + 1):
        for part in step:
            if isinstance(part, str):
                transaction.run(part, ())
            else:
                part(transaction)
        transaction.run(SET_VERSION, (version,))


def _version(transaction: Transaction) -> int:
    if transaction.rows(_HAS_TABLES) == [(0,)]:
        return 0
    return version_of(transaction, len(STEPS))

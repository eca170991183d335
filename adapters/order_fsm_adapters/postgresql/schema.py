"""Install the tables and functions in PostgreSQL."""

from __future__ import annotations

from importlib.resources import files

from order_fsm.errors import InvalidInput
from order_fsm_adapters.sql import versions
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.versions import SET_VERSION, version_of

_FOLDER = files("order_fsm_adapters.postgresql")

STEPS: tuple[str, ...] = (_FOLDER.joinpath("schema.sql").read_text(encoding="utf-8"),)
"""The script that upgrades the tables from each version to the next. Version 0 is an empty database."""

FUNCTIONS = _FOLDER.joinpath("functions.sql").read_text(encoding="utf-8")
"""The script that creates or replaces the functions."""

_DATABASE = """
    SELECT to_regclass('order_fsm_schema') IS NOT NULL, getdatabaseencoding() = 'UTF8' AND pg_client_encoding() = 'UTF8'
"""
# The number is arbitrary, but all releases must use the same one.
_ALONE = "SELECT pg_advisory_xact_lock(7203482610957)"


def version(transaction: Transaction) -> int:
    """Return the version of the tables, or 0 if there are no tables.

    Raises:
        InvalidInput: if the database or the connection is not encoded in UTF-8.
        StoreUnavailable: if a newer version of order_fsm made the tables.
        StoreCorrupt: if the stored version is not valid.
    """
    ((has_tables, is_utf8),) = transaction.rows(_DATABASE)
    if not is_utf8:
        raise InvalidInput("the database and the connections to PostgreSQL must have the encoding UTF8")
    if not has_tables:
        return 0
    return version_of(transaction, len(STEPS))


def check(transaction: Transaction) -> None:
    """Check that the database has the tables of this version.

    Raises:
        StoreUnavailable: if the database has no tables, or tables of another version.
    """
    versions.check(version(transaction), len(STEPS))


def install(transaction: Transaction) -> None:
    """Create the tables and functions, or upgrade them to this version.

    Args:
        transaction: a transaction that may write.
    """
    transaction.rows(_ALONE)
    present = version(transaction)
    if 0 < present < len(STEPS):
        # Functions for changes use this table first, so none of them runs during the upgrade.
        transaction.run("LOCK TABLE order_fsm_order IN ACCESS EXCLUSIVE MODE", ())
    for number, step in enumerate(STEPS[present:], present + 1):
        transaction.run(step, ())
        transaction.run(SET_VERSION, (number,))
    transaction.run(FUNCTIONS, ())

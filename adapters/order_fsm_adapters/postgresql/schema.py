"""The tables and functions in PostgreSQL: SQL text, and its installation."""

from __future__ import annotations

from importlib.resources import files

from order_fsm_adapters.sql import versions
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.versions import SET_VERSION, version_of

_FOLDER = files("order_fsm_adapters.postgresql")

STEPS: tuple[str, ...] = (_FOLDER.joinpath("schema.sql").read_text(encoding="utf-8"),)
"""The steps from each version of the tables to the next, beginning with an empty database."""

FUNCTIONS = _FOLDER.joinpath("functions.sql").read_text(encoding="utf-8")
"""The functions. They may be installed again at any time."""

_HAS_TABLES = "SELECT 1 WHERE to_regclass('order_fsm_schema') IS NOT NULL"
# The number is arbitrary. All installations must take the same one.
_ALONE = "SELECT pg_advisory_xact_lock(7203482610957)"


def version(transaction: Transaction) -> int:
    """Return the version of the tables. 0 without tables.

    Raises:
        StoreUnavailable: if a newer version of order_fsm made them.
        StoreCorrupt: if they have no valid version.
    """
    if not transaction.rows(_HAS_TABLES):
        return 0
    return version_of(transaction, len(STEPS))


def check(transaction: Transaction) -> None:
    """Check that the tables are those of this version.

    Raises:
        StoreUnavailable: if there are no tables, or tables of another version.
    """
    versions.check(version(transaction), len(STEPS))


def install(transaction: Transaction) -> None:
    """Create the tables and functions, or upgrade them to the present version.

    Args:
        transaction: one that writes.
    """
    transaction.rows(_ALONE)
    present = version(transaction)
    if 0 < present < len(STEPS):
        # The functions touch this table first, so none is at work while others change.
        transaction.run("LOCK TABLE order_fsm_order IN ACCESS EXCLUSIVE MODE", ())
    for number, step in enumerate(STEPS[present:], present + 1):
        transaction.run(step, ())
        transaction.run(SET_VERSION, (number,))
    transaction.run(FUNCTIONS, ())

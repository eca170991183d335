"""The tables and functions in PostgreSQL: SQL text, and its installation."""

from __future__ import annotations

from importlib.resources import files

from order_fsm.errors import StoreCorrupt, StoreUnavailable
from order_fsm_adapters.sql.database import Transaction

_FOLDER = files("order_fsm_adapters.postgresql")

STEPS: tuple[str, ...] = (_FOLDER.joinpath("schema.sql").read_text(encoding="utf-8"),)
"""The steps from each version of the tables to the next, beginning with an empty database."""

FUNCTIONS = _FOLDER.joinpath("functions.sql").read_text(encoding="utf-8")
"""The functions. They may be installed again at any time."""

_HAS_TABLES = "SELECT 1 WHERE to_regclass('order_fsm_schema') IS NOT NULL"
_VERSION = "SELECT version FROM order_fsm_schema"
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
    found = transaction.rows(_VERSION)
    if len(found) != 1 or found[0][0] < 1:
        raise StoreCorrupt("the table order_fsm_schema must hold one version of 1 or more: restore it from a backup")
    present: int = found[0][0]
    if present > len(STEPS):
        raise StoreUnavailable(
            f"a newer version of order_fsm made the tables: schema {present}, this one knows {len(STEPS)}: update"
            " order_fsm"
        )
    return present


def check(transaction: Transaction) -> None:
    """Check that the tables are those of this version.

    Raises:
        StoreUnavailable: if there are no tables, or tables of another version.
    """
    present = version(transaction)
    if not present:
        raise StoreUnavailable("the database has no tables of order_fsm: call install() once, with the right to CREATE")
    if present < len(STEPS):
        raise StoreUnavailable(
            f"the tables have schema {present}, this version of order_fsm needs {len(STEPS)}: call install()"
        )


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
        transaction.run("UPDATE order_fsm_schema SET version = ?", (number,))
    transaction.run(FUNCTIONS, ())

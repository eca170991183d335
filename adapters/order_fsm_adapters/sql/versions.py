"""The schema version of a database."""

from __future__ import annotations

from order_fsm.errors import StoreCorrupt, StoreUnavailable
from order_fsm_adapters.sql.database import Transaction

_VERSION = "SELECT version FROM order_fsm_schema"
SET_VERSION = "UPDATE order_fsm_schema SET version = ?"


def version_of(transaction: Transaction, known: int) -> int:
    """Return the version of the tables, which must exist.

    Args:
        transaction: an open transaction.
        known: the newest version that this release knows.

    Raises:
        StoreUnavailable: if a newer version of order_fsm made the tables.
        StoreCorrupt: if the tables have no valid version.
    """
    found = transaction.rows(_VERSION)
    # A damaged file of SQLite may hold another type.
    if len(found) != 1 or not isinstance(found[0][0], int) or found[0][0] < 1:
        raise StoreCorrupt("the table order_fsm_schema must hold one version of 1 or more: restore it from a backup")
    present: int = found[0][0]
    if present > known:
        raise StoreUnavailable(
            f"a newer version of order_fsm made the tables: schema {present}, this version supports {known}: update"
            " order_fsm"
        )
    return present


def check(present: int, known: int) -> None:
    """Check that the tables have the version that this release needs.

    Args:
        present: the version of the tables, 0 if there are no tables.
        known: the version that this release needs.

    Raises:
        StoreUnavailable: if there are no tables, or tables of another version.
    """
    if not present:
        raise StoreUnavailable("the database has no tables of order_fsm: call install() once, with the right to CREATE")
    if present < known:
        raise StoreUnavailable(
            f"the tables have schema {present}, and this version of order_fsm needs {known}: call install()"
        )

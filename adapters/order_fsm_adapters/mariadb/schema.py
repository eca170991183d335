"""Install the tables in MariaDB."""

from __future__ import annotations

import re
from importlib.resources import files

from order_fsm.errors import InvalidInput, StoreUnavailable
from order_fsm_adapters.sql import versions
from order_fsm_adapters.sql.database import Transaction
from order_fsm_adapters.sql.versions import SET_VERSION, version_of

OLDEST = (10, 6)
"""The first version with SKIP LOCKED and JSON_TABLE."""


def _statements(name: str) -> tuple[str, ...]:
    text = files("order_fsm_adapters.mariadb").joinpath(name).read_text(encoding="utf-8")
    return tuple([statement for statement in text.split(";\n") if statement.strip()])


STEPS: tuple[tuple[str, ...], ...] = (_statements("schema.sql"),)
"""The statements that upgrade the tables from each version to the next. All of them can run again."""

_SERVER = "SELECT VERSION(), @@character_set_client"
_HAS_TABLES = """
    SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'order_fsm_schema'
"""
# A wait of 60 seconds is enough: an installation takes a few.
_LOCK = "SELECT GET_LOCK(CONCAT('order_fsm ', DATABASE()), 60)"
_UNLOCK = "SELECT RELEASE_LOCK(CONCAT('order_fsm ', DATABASE()))"


def check_server(version: str) -> None:
    """Check that the server is MariaDB 10.6 or newer.

    Args:
        version: the result of `SELECT VERSION()`.

    Raises:
        StoreUnavailable: if the server is MySQL or an older MariaDB.
    """
    if "mariadb" not in version.lower():
        raise StoreUnavailable(
            f"the server is not MariaDB, but has the version {version!r:.80}: MySQL is not supported"
        )
    # Some proxies prepend 5.5.5- for old clients.
    found = re.search(r"([0-9]+)\.([0-9]+)(?:\.[0-9]+)*-mariadb", version.lower())
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        raise StoreUnavailable(f"the server has the version {version!r:.80}: MariaDB 10.6 or newer is needed")


def version(transaction: Transaction) -> int:
    """Return the version of the tables, or 0 if there are no tables.

    Raises:
        InvalidInput: if the connection's charset is not utf8mb4.
        StoreUnavailable: if the server is not supported, or a newer version of order_fsm made the tables.
        StoreCorrupt: if the stored version is not valid.
    """
    ((server, charset),) = transaction.rows(_SERVER)
    check_server(server)
    if charset != "utf8mb4":
        raise InvalidInput(f"the connections to MariaDB must have the charset utf8mb4, not {charset!r}")
    if not transaction.rows(_HAS_TABLES):
        return 0
    return version_of(transaction, len(STEPS))


def check(transaction: Transaction) -> None:
    """Check that the database has the tables of this version.

    Raises:
        StoreUnavailable: if there are no tables, or tables of another version, or the server is not supported.
    """
    versions.check(version(transaction), len(STEPS))


def install(transaction: Transaction) -> None:
    """Create the tables, or upgrade them to this version. Each statement commits.

    Args:
        transaction: a transaction that may write.

    Raises:
        StoreUnavailable: if another installation does not end within a minute, or as in `version`.
    """
    if transaction.rows(_LOCK) != [(1,)]:
        raise StoreUnavailable("another installation of order_fsm in this database is still running: retry later")
    try:
        present = version(transaction)
        for number, step in enumerate(STEPS[present:], present + 1):
            for statement in step:
                transaction.run(statement, ())
            transaction.run(SET_VERSION, (number,))
    finally:
        transaction.rows(_UNLOCK)

"""The connections of the MariaDB store: connections that the server closes."""

from __future__ import annotations

from pathlib import Path

from order_fsm.testing.store_contract.changes import creation

from . import servers


def kill_others(server: servers.MariaDbServer) -> None:
    """End all connections to the databases of this run, except the present one."""
    with server.connect(None) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db LIKE %s", (f"{server.prefix}%",))
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")


def test_killed_connection_is_not_used_again(mariadb: servers.MariaDbServer, tmp_path: Path) -> None:
    with mariadb.store(str(tmp_path)) as store:
        store.commit(creation("1"))
        kill_others(mariadb)
        store.commit(creation("2"))
        assert [store.load(order_id).version for order_id in ("1", "2")] == [1, 1]

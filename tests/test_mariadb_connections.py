"""The connections of the MariaDB store: several servers in a URL, and connections that the server closes."""

from __future__ import annotations

from pathlib import Path

import pytest

from order_fsm.errors import InvalidInput, StoreUnavailable
from order_fsm.testing.store_contract.changes import creation
from order_fsm_adapters.mariadb import MariaDbStore

from . import servers


def with_hosts(url: str, *, before: str = "", after: str = "") -> str:
    """Return a URL with further servers before and after its own."""
    scheme, _, rest = url.partition("://")
    user, _, place = rest.rpartition("@")
    host, _, database = place.partition("/")
    return f"{scheme}://{user}@{before}{host}{after}/{database}"


def kill_others(server: servers.MariaDbServer) -> None:
    """End all connections to the databases of this run, except the present one."""
    with server.connect(None) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db LIKE %s", (f"{server.prefix}%",))
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")


def test_server_that_cannot_be_reached_is_passed_over(mariadb: servers.MariaDbServer, tmp_path: Path) -> None:
    url = with_hosts(mariadb.address(str(tmp_path)), before="127.0.0.1:1,")
    with MariaDbStore(url) as store:
        store.commit(creation("1"))
        assert store.load("1").version == 1


def test_servers_that_all_cannot_be_reached_are_unavailable() -> None:
    with MariaDbStore("mariadb://root@127.0.0.1:1,127.0.0.1:2/shop") as store, pytest.raises(StoreUnavailable):
        store.load("1")


@pytest.mark.parametrize("hosts", ["", "host,", ",host", "host:port,host", "host,host:99999"])
def test_url_with_an_empty_or_invalid_server_is_refused(hosts: str) -> None:
    with pytest.raises(InvalidInput, match="mariadb://user:password@host/shop") as raised:
        MariaDbStore(f"mariadb://root:secret@{hosts}/shop")
    assert "secret" not in str(raised.value)


def test_killed_connection_is_not_used_again(mariadb: servers.MariaDbServer, tmp_path: Path) -> None:
    with mariadb.store(str(tmp_path)) as store:
        store.commit(creation("1"))
        kill_others(mariadb)
        store.commit(creation("2"))
        assert [store.load(order_id).version for order_id in ("1", "2")] == [1, 1]


def test_each_statement_waits_for_the_commits_of_a_cluster(mariadb: servers.MariaDbServer, tmp_path: Path) -> None:
    with mariadb.store(str(tmp_path)) as store:
        assert store._database.read_rows("SELECT @@wsrep_sync_wait", ()) == [(7,)]

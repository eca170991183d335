"""Connections of MariaDbStore: several servers in a URL, closed connections, and missing results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from order_fsm import Orders
from order_fsm.errors import InvalidInput, StoreUnavailable
from order_fsm.testing.store_contract.changes import creation
from order_fsm_adapters.mariadb import MariaDbStore, connections

from . import servers
from .backends import until
from .proxies import Proxy, proxy


def with_hosts(url: str, *, before: str = "", after: str = "") -> str:
    """Return the URL with further servers before and after its own."""
    scheme, _, rest = url.partition("://")
    user, _, place = rest.rpartition("@")
    host, _, database = place.partition("/")
    return f"{scheme}://{user}@{before}{host}{after}/{database}"


def kill_others(server: servers.MariaDbServer) -> None:
    """Kill all other connections to this run's databases."""
    with server.connect(None) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db LIKE %s", (f"{server.prefix}%",))
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")


def test_unreachable_server_is_skipped(mariadb: servers.MariaDbServer, tmp_path: Path) -> None:
    url = with_hosts(mariadb.address(str(tmp_path)), before="127.0.0.1:1,")
    with MariaDbStore(url) as store:
        store.commit(creation("1"))
        assert store.load("1").version == 1


def test_store_is_unavailable_if_no_server_can_be_reached() -> None:
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


# A server that does not answer


@pytest.fixture
def cable(mariadb: servers.MariaDbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy to a database with an order 1001. Its clients wait only briefly for a result."""
    with mariadb.store(str(tmp_path)) as store:
        Orders(store).create("1001", total="20.00", currency="EUR")
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT", 2)
    with proxy(mariadb.address(str(tmp_path))) as cable:
        yield cable


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
def test_request_whose_commit_gets_no_result_is_done_once_when_repeated(
    cable: Proxy, mariadb: servers.MariaDbServer, tmp_path: Path, before: bool
) -> None:
    with MariaDbStore(cable.url) as store, mariadb.store(str(tmp_path)) as other:
        orders = Orders(store)
        cable.silence(b";COMMIT", before=before)  # Not the COMMIT of a read.
        with pytest.raises(StoreUnavailable, match="the server did not answer: the outcome is unknown"):
            orders.fire("1001", "place", key="place")
        assert cable.silences == 1
        if before:
            assert other.load("1001").version == 1
        else:
            until(lambda: other.load("1001").version == 2)
        orders.fire("1001", "place", key="place")
        assert [entry.trigger for entry in other.history("1001")] == ["create", "place"]


@pytest.mark.parametrize("statement", ["SELECT", "START TRANSACTION READ WRITE"])
def test_statement_without_a_result_is_not_retried(cable: Proxy, statement: str) -> None:
    """Each retry would wait as long."""
    with MariaDbStore(cable.url) as store:
        orders = Orders(store)
        assert orders.get("1001").version == 1
        cable.silence(statement.encode(), before=True)
        with pytest.raises(StoreUnavailable, match="the server did not answer"):
            orders.fire("1001", "place")
        assert (cable.silences, cable.connections) == (1, 1)
        assert orders.fire("1001", "place").order.state == "sent"
        assert cable.connections == 2


def test_server_that_does_not_accept_a_login_raises_store_unavailable(cable: Proxy) -> None:
    with MariaDbStore(cable.url) as store:
        cable.silence(b"order_fsm_test", before=True)
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.load("1001")
        assert store.load("1001").version == 1

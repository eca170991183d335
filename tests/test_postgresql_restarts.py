"""PostgresStore while the server restarts, waits for a standby, or runs behind pgbouncer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

import psycopg
import pytest

from order_fsm import KeyReused, Line, OrderExists, Orders, StoreUnavailable, VersionConflict
from order_fsm.testing.store_contract.changes import creation, step
from order_fsm.testing.store_contract.expected import ALL, consistent
from order_fsm_adapters.postgresql import PostgresStore, connections

from . import clusters
from .backends import Backends, backends, until
from .servers import skip_unless_wanted


@pytest.fixture(scope="module")
def cluster() -> Iterator[clusters.Cluster]:
    skip_unless_wanted()
    with clusters.cluster() as started:
        yield started


@pytest.fixture(scope="module")
def pooled(cluster: clusters.Cluster) -> Iterator[str]:
    with clusters.pooler(cluster.url) as url:
        yield url


def _new_database(url: str, name: str) -> str:
    """Create a database with the tables. Return its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    own = f"{url.rpartition('/')[0]}/{name}"
    with PostgresStore(own) as store:
        store.install()
    return own


def test_writers_lose_nothing_while_the_server_restarts(cluster: clusters.Cluster) -> None:
    """Each acknowledged change is stored once. Repeating a call settles an unknown outcome."""
    url = _new_database(cluster.url, "restarted")
    stopped = Event()
    done: list[list[str]] = [[] for _ in range(3)]

    def write(place: int, store: PostgresStore) -> None:
        number = 0
        while not stopped.is_set():
            key = f"{place}.{number}"
            while True:
                try:
                    store.commit(step(store.load(f"{place}"), comment=key, topics=["order.updated"], key=key))
                except StoreUnavailable:
                    continue
                except KeyReused:
                    pass  # An attempt with an unknown outcome was written.
                except VersionConflict:
                    pytest.fail("the store contains a change that it did not acknowledge")
                break
            done[place].append(key)
            number += 1

    with PostgresStore(url) as store, ThreadPoolExecutor(3) as threads:
        for place in range(3):
            store.commit(creation(f"{place}"))
        writers = [threads.submit(write, place, store) for place in range(3)]
        try:
            for _ in range(3):
                reach = [len(keys) + 5 for keys in done]
                until(lambda: all(len(keys) >= enough for keys, enough in zip(done, reach, strict=True)))  # noqa: B023
                cluster.control("restart", "-m", "immediate")
        finally:
            reach = [len(keys) + 5 for keys in done]
            until(lambda: all(len(keys) >= enough for keys, enough in zip(done, reach, strict=True)))
            stopped.set()
        for writer in writers:
            writer.result()
        for place, keys in enumerate(done):
            assert [entry.comment for entry in consistent(store, f"{place}")[1:]] == keys
        assert len(list(store.messages())) == sum(map(len, done))
        assert store.faults() == []


def test_store_connects_at_once_after_a_long_outage(cluster: clusters.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls during the outage raise StoreUnavailable. The pool's growing delays do not outlast it."""
    url = _new_database(cluster.url, "away")
    monkeypatch.setattr(connections, "TIMEOUT", 0.3)
    with PostgresStore(url) as store:
        store.commit(creation("1001"))
        cluster.control("stop", "-m", "fast")
        for _ in range(12):
            with pytest.raises(StoreUnavailable):
                store.load("1001")
        cluster.control("start")

        def answers() -> bool:
            try:
                return store.load("1001").version == 1
            except StoreUnavailable:
                return False

        assert any(answers() for _ in range(5)), "the calls after the outage must succeed"


@pytest.fixture
def without_standby(cluster: clusters.Cluster) -> Iterator[str]:
    """A database whose commits wait for a standby that does not exist."""
    url = _new_database(cluster.url, "waiting")
    with PostgresStore(url) as store:
        store.commit(creation("1001"))
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        connection.execute("SELECT pg_reload_conf()")
        until(lambda: connection.execute("SHOW synchronous_standby_names").fetchone() == ("nobody",))
        try:
            yield url
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
            until(lambda: connection.execute("SHOW synchronous_standby_names").fetchone() == ("",))
            connection.execute("DROP DATABASE waiting WITH (FORCE)")


_WAITS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'"


@pytest.mark.parametrize("ending", ["cancelled", "terminated"])
@pytest.mark.parametrize("guest", [False, True], ids=["own", "the shop's connection in autocommit"])
@pytest.mark.parametrize("is_several", [False, True], ids=["one statement", "several statements"])
def test_commit_that_stops_waiting_for_its_standby_has_an_unknown_outcome(
    without_standby: str, ending: str, guest: bool, is_several: bool
) -> None:
    """The primary has the commit, but a failover would lose it. The server only warns, so the store raises."""
    end = Backends.cancel if ending == "cancelled" else Backends.terminate
    with (
        PostgresStore(without_standby) as own,
        psycopg.connect(without_standby, autocommit=True) as host,
        backends(without_standby) as server,
        ThreadPoolExecutor() as threads,
    ):
        store = own.within(host) if guest else own
        change = step(own.load("1001"), key="k")
        several = partial(store.set_stock, "TEAPOT", 3)
        commit = threads.submit(several if is_several else partial(store.commit, change))
        ((pid,),) = until(lambda: server.connection.execute(_WAITS).fetchall())
        end(server, pid)
        with pytest.raises(StoreUnavailable, match="unknown"):
            commit.result()
        if is_several:
            assert own.stock(["TEAPOT"]) == {"TEAPOT": 3}
        else:
            # A repeated request would wait for the standby.
            assert server.connection.execute("SELECT count(*) FROM order_fsm_key WHERE key = 'k'").fetchone() == (1,)


def test_threads_can_share_pgbouncer_in_transaction_mode(cluster: clusters.Cluster, pooled: str) -> None:
    """Twelve threads share three server connections. Each transaction takes any free one."""
    _new_database(cluster.url, "pooled")
    url = f"{pooled.rpartition('/')[0]}/pooled"

    with PostgresStore(url, size=12) as store:
        orders = Orders(store)
        store.set_stock("TEAPOT", 1000)
        store.commit(creation("shared"))

        def work(place: int) -> None:
            for number in range(5):
                order_id = f"{place}.{number}"
                store.commit(creation(order_id, lines=[Line("TEAPOT", 1)]))
                orders.fire(order_id, "pay", amount="49.90", key=f"pay {order_id}")
                orders.erase_order(order_id)
                orders.deliver(lambda _: None)
                with pytest.raises(OrderExists):
                    store.commit(creation(order_id))
                while True:
                    try:
                        store.commit(step(store.load("shared"), comment=order_id, key=order_id))
                    except VersionConflict:
                        continue
                    break

        with ThreadPoolExecutor(12) as threads:
            list(threads.map(work, range(12)))
        orders.deliver(lambda _: None)
        made = {f"{place}.{number}" for place in range(12) for number in range(5)}
        assert {entry.comment for entry in consistent(store, "shared")[1:]} == made
        assert {order.id for order in store.find(ALL)} == made | {"shared"}
        assert store.stock(["TEAPOT"]) == {"TEAPOT": 1000 - len(made)}
        assert list(store.messages()) == []
        assert store.faults() == []
        with psycopg.connect(url) as host:
            orders.within(host).comment("shared", "by the shop")
        assert store.load("shared").version == len(made) + 2

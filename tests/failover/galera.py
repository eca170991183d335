"""Kill servers of a Galera cluster, and check for losses: python -m tests.failover.galera --rounds 20.

The cluster of three servers needs mariadbd, Galera's library and rsync: apt-get install mariadb-server galera-4 rsync.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pymysql
from attrs import define, field

from order_fsm import Message, Orders

from .clusters import Failed, Process, free_ports, opened, owner, run_tool, wait_until
from .rounds import end_on_sigterm, run

USER = "mysql"
NODES = 3
MESSAGES = 400
RELAYED = 6
"""The number of orders that the relays and the writer share."""
PROVIDER = "/usr/lib/galera/libgalera_smm.so"


class Node:
    """One MariaDB server of a cluster."""

    def __init__(self, folder: Path) -> None:
        """Create the server's system tables in a new folder."""
        self.folder = folder
        self.port, self.group_port, self._increments, self._copies = free_ports(4)
        self._process: Process | None = None
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={folder}", "--skip-test-db"]
        # The server's user may have no write access to this user's temporary folder.
        command += ["--auth-root-authentication-method=normal", f"--tmpdir={folder.parent}"]
        run_tool(command, USER)

    def start(self, members: str) -> None:
        """Start the server, and wait until it is synced with the cluster.

        Args:
            members: the addresses of the cluster, or an empty text for a new cluster.
        """
        group = f"gmcast.listen_addr=tcp://127.0.0.1:{self.group_port};ist.recv_addr=127.0.0.1:{self._increments}"
        settings = {
            "datadir": self.folder,
            "tmpdir": self.folder.parent,
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "innodb-buffer-pool-size": "64M",
            "binlog-format": "ROW",
            "innodb-autoinc-lock-mode": 2,
            "wsrep-on": "ON",
            "wsrep-provider": PROVIDER,
            "wsrep-cluster-name": "order_fsm",
            "wsrep-cluster-address": f"gcomm://{members}",
            "wsrep-node-address": f"127.0.0.1:{self.group_port}",
            "wsrep-provider-options": group,
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"127.0.0.1:{self._copies}",
        }
        command = ["mariadbd", "--no-defaults", *[f"--{name}={value}" for name, value in settings.items()]]
        self._process = Process(command, self.folder.with_suffix(".log"), USER)
        wait_until(self.is_synced, f"a synced server on port {self.port}")

    def is_synced(self) -> bool:
        """Return whether the server is synced with the cluster."""
        self.process.check()
        try:
            return self.status("wsrep_local_state_comment") == "Synced"
        except pymysql.Error:
            return False

    def status(self, name: str) -> str:
        """Return a status variable of the server."""
        ((_, value),) = self.rows(f"SHOW STATUS LIKE '{name}'")
        return str(value)

    @property
    def process(self) -> Process:
        if self._process is None:
            raise Failed(f"the server on port {self.port} was not started")
        return self._process

    def end(self) -> None:
        """End the server at once if it is running."""
        if self._process is not None:
            self._process.end(signal.SIGKILL)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a single statement."""
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall())
        finally:
            connection.close()


class Trio:
    """Three servers that all accept writes."""

    def __init__(self, folder: Path) -> None:
        """Create and start the servers in an empty folder."""
        if owner(USER):
            shutil.chown(folder, USER, USER)
        self.nodes = [Node(folder / f"node{number}") for number in range(NODES)]
        self._members = ",".join(f"127.0.0.1:{node.group_port}" for node in self.nodes)
        self._killed = self.nodes[0]
        for node in self.nodes:
            node.start(self._members if node is not self.nodes[0] else "")
        self.nodes[0].rows("CREATE DATABASE shop")

    def url(self, number: int = 0) -> str:
        # The writers start with different servers.
        first = number % NODES
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[first:] + self.nodes[:first])
        return f"mariadb://root@{hosts}/shop"

    def fail(self, round_number: int, acknowledged: Callable[[], int]) -> float:  # noqa: ARG002 - all rounds are the same
        self._killed = self.nodes[round_number % NODES]
        self._killed.process.kill()
        return time.monotonic()

    def heal(self) -> None:
        self._killed.start(self._members)
        wait_until(lambda: self._killed.status("wsrep_cluster_size") == str(NODES), "a cluster of all servers")

    def end(self) -> None:
        """End all servers."""
        for node in self.nodes:
            node.end()


@define
class Relayed:
    """The result of relays on two servers during writes on a third one.

    Attributes:
        delivered: how often each message was delivered.
        stuck: the messages that no relay delivers.
    """

    delivered: Counter[str] = field(factory=Counter)
    stuck: list[str] = field(factory=list)

    @property
    def ok(self) -> bool:
        """Whether each message was delivered exactly once. No server fails here, so no delivery may be repeated."""
        return not self.stuck and set(self.delivered.values()) == {1} and len(self.delivered) == MESSAGES

    def __str__(self) -> str:
        again = sum(number > 1 for number in self.delivered.values())
        return (
            f"{len(self.delivered)} messages delivered by two relays, {again} more than once, {len(self.stuck)} never"
        )


def relayed(cluster: Trio) -> Relayed:
    """Write messages on one server, and relay them on the two others at the same time."""
    result = Relayed()
    lock, is_written = Lock(), Event()

    def deliver(number: int) -> None:
        with opened(cluster.url(number)) as store:
            while not is_written.is_set():
                Orders(store).deliver(add, limit=5)

    def add(message: Message) -> None:
        with lock:
            result.delivered[message.id] += 1

    with opened(cluster.url(0)) as store, ThreadPoolExecutor() as relays:
        store.install()
        orders = Orders(store)
        for number in range(RELAYED):
            orders.create(f"relayed-{number}", "20.00", "GBP", email="ann@example.com")
        running = [relays.submit(deliver, number) for number in (1, 2)]
        try:
            for number in range(MESSAGES):
                orders.comment(f"relayed-{number % RELAYED}", "a comment", visible=True, notify=True)
        finally:
            is_written.set()
        for relay in running:
            relay.result()
        while orders.deliver(add, limit=1000):
            pass
        result.stuck = [message.id for message in store.messages()]
    return result


@contextmanager
def trio() -> Iterator[tuple[Trio, Path]]:
    """Run a cluster in a temporary folder for a block. Yields it with another folder for the reports."""
    with tempfile.TemporaryDirectory() as servers, tempfile.TemporaryDirectory() as reports:
        started = Trio(Path(servers))
        try:
            yield started, Path(reports)
        finally:
            started.end()


def main() -> int:
    """Run the relays and all rounds. Return 0 if nothing was lost and each message was delivered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds: int = parser.parse_args().rounds
    end_on_sigterm()
    with trio() as (cluster, reports):
        messages = relayed(cluster)
        print(messages)
        outcome = run(cluster, rounds, reports)
    print(outcome)
    for finding in (*outcome.findings, *outcome.stuck):
        print(finding)
    return 0 if messages.ok and outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main())

"""Kill a primary with a synchronous standby, and check for losses: python -m tests.failover.postgresql --rounds 50.

Three kinds of rounds alternate: a plain kill, a kill while the standby lags behind, and a kill after the primary has
stopped responding, so that commits on the standby have an unknown outcome. Rounds without synchronous replication
follow. They must lose acknowledged changes, to show that the comparison detects losses.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import chown
from typing import Any

import psycopg

from order_fsm import Orders
from order_fsm.errors import StoreUnavailable
from order_fsm.model import Receipt

from .clusters import Failed, Process, free_ports, opened, owner, run_tool, wait_until
from .rounds import end_on_sigterm, run

USER = "postgres"
CONTROLS = 4
"""The number of rounds without synchronous replication."""
LAG = 0.3
"""How many seconds a standby lags behind at most. A primary that waits for it acknowledges nothing in that time."""

_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
# A killed server would leave other kinds of shared memory behind.
dynamic_shared_memory_type = mmap
# pg_rewind needs the WAL since the checkpoint before the failover, on both servers.
wal_keep_size = '128MB'
"""

_BIN = Path(subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip())  # noqa: S607


class Server:
    """One PostgreSQL server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: Process | None = None

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        command = [str(_BIN / "postgres"), "-D", str(self.folder), "-p", str(self.port)]
        self._process = Process(command, self.folder.with_suffix(".log"), USER)
        wait_until(self._is_up, f"a server on port {self.port}")

    def _is_up(self) -> bool:
        self.process.check()
        try:
            self.rows("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @property
    def process(self) -> Process:
        if self._process is None:
            raise Failed(f"the server on port {self.port} was not started")
        return self._process

    def end(self) -> None:
        """End the server at once if it is running."""
        if self._process is not None:
            self._process.end(signal.SIGQUIT)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a single statement. With synchronous replication, its commit waits for the standby."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname=postgres"


class Pair:
    """A primary and its standby."""

    def __init__(self, folder: Path, *, synchronous: bool) -> None:
        """Create and start both servers.

        Args:
            folder: an empty folder.
            synchronous: whether a commit waits for the standby.
        """
        if owner(USER):
            chown(folder, USER, USER)
        first, second = free_ports(2)
        self.primary = Server(folder / "first", first)
        self.standby = Server(folder / "second", second)
        self._ports = (first, second)
        self._names = "*" if synchronous else ""
        # pg_rewind needs the checksums.
        self._tool(
            "initdb", "-D", str(self.primary.folder), "-U", USER, "-A", "trust", "-E", "UTF8", "--data-checksums"
        )
        with (self.primary.folder / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(_SETTINGS)
        self.primary.start()
        self._tool("pg_basebackup", "-D", str(self.standby.folder), "-d", self.primary.address, "-R", "-c", "fast")
        self._join()

    def url(self, number: int = 0) -> str:  # noqa: ARG002 - all writers use the primary
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"postgresql://{USER}@{hosts}/postgres?target_session_attrs=read-write&connect_timeout=3"

    def fail(self, round_number: int, acknowledged: Callable[[], int]) -> float:
        kind = round_number % 3
        if kind == 1:
            self.stop("walsender")
            self._wait(acknowledged)
        elif kind == 2:
            self.stop("client backend")
            self._wait(acknowledged)
        self.primary.process.kill()
        killed_at = time.monotonic()
        self.standby.rows("SELECT pg_promote()")
        self.primary, self.standby = self.standby, self.primary
        return killed_at

    def heal(self) -> None:
        # pg_rewind reads the new timeline from the last checkpoint.
        self.primary.rows("CHECKPOINT")
        self._tool("pg_rewind", "-D", str(self.standby.folder), "--source-server", self.primary.address, "-R")
        self._join()

    def end(self) -> None:
        """End both servers."""
        self.standby.end()
        self.primary.end()

    def _join(self) -> None:
        """Start the standby. From now on commits wait for it, if replication is synchronous."""
        with (self.standby.folder / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            # After a promotion the server is alone, and its commits would wait for ever.
            settings.write("synchronous_standby_names = ''\n")
        self.standby.start()
        wait_until(lambda: self._senders("state = 'streaming'") != [], "a standby that streams")
        self.primary.rows(f"ALTER SYSTEM SET synchronous_standby_names = '{self._names}'")
        self.primary.rows("SELECT pg_reload_conf()")
        state = "sync" if self._names else "async"
        wait_until(lambda: self._senders(f"sync_state = '{state}'") != [], f"a standby that is {state}")
        # Commits wait once the checkpointer has read the settings, at the latest before a checkpoint.
        self.primary.rows("CHECKPOINT")
        # Once this commit is on the standby, every earlier one is too.
        self.primary.rows("SELECT pg_logical_emit_message(true, 'probe', '')")

    def stop(self, kind: str) -> None:
        """Freeze the primary's processes of a kind."""
        statement = f"SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}' AND pid <> pg_backend_pid()"  # noqa: S608
        for (pid,) in self.primary.rows(statement):
            os.kill(pid, signal.SIGSTOP)

    def _wait(self, acknowledged: Callable[[], int]) -> None:
        """Wait until many more changes are acknowledged, for at most `LAG` seconds."""
        until, enough = time.monotonic() + LAG, acknowledged() + 50
        while time.monotonic() < until and acknowledged() < enough:
            time.sleep(0.01)

    def waiting(self) -> list[int]:
        """Return the primary's processes that wait for the standby."""
        return [pid for (pid,) in self.primary.rows("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")]

    def _senders(self, condition: str) -> list[int]:
        """Return the processes that send to a standby."""
        return [pid for (pid,) in self.primary.rows(f"SELECT pid FROM pg_stat_replication WHERE {condition}")]  # noqa: S608

    def _tool(self, name: str, *arguments: str) -> None:
        run_tool([str(_BIN / name), *arguments], USER)


def cancelled_wait(cluster: Pair) -> None:
    """Cancel a commit's wait for the standby, then kill the primary.

    Raises:
        Failed: if an acknowledged call is lost.
    """
    with opened(cluster.url()) as store, ThreadPoolExecutor() as caller:
        orders = Orders(store)
        orders.create("cancelled", "20.00", "GBP")

        def comment() -> Future[Receipt]:
            return caller.submit(orders.comment, "cancelled", "a comment", key="cancelled")

        cluster.stop("walsender")
        first = comment()
        wait_until(lambda: cluster.waiting() != [], "a commit that waits for the standby")
        for pid in cluster.waiting():
            cluster.primary.rows(f"SELECT pg_cancel_backend({pid})")
        if not isinstance(first.exception(), StoreUnavailable):
            raise Failed(f"a cancelled wait for the standby must raise StoreUnavailable: {first}")
        repeated = comment()
        wait_until(lambda: repeated.done() or cluster.waiting() != [], "the repeated call")
        cluster.fail(0, int)
        if not isinstance(repeated.exception(), StoreUnavailable):
            repeated.result()
            present = [entry.key for entry in orders.history("cancelled")]
            if "cancelled" not in present:
                raise Failed("a change was acknowledged before it was on the standby, and was lost")
    cluster.heal()


@contextmanager
def pair(*, synchronous: bool) -> Iterator[tuple[Pair, Path]]:
    """Run a pair of servers in a temporary folder for a block. Yields it with another folder for the reports."""
    with tempfile.TemporaryDirectory() as servers, tempfile.TemporaryDirectory() as reports:
        started = Pair(Path(servers), synchronous=synchronous)
        try:
            yield started, Path(reports)
        finally:
            started.end()


def main() -> int:
    """Run all rounds. Return 0 if synchronous replication lost nothing and asynchronous replication did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds: int = parser.parse_args().rounds
    end_on_sigterm()
    with pair(synchronous=True) as (cluster, reports):
        kept = run(cluster, rounds, reports)
        cancelled_wait(cluster)
    print(f"synchronous: {kept}")
    for finding in kept.findings:
        print(finding)
    with pair(synchronous=False) as (cluster, reports):
        control = run(cluster, CONTROLS, reports)
    print(f"asynchronous: {control}")
    return 0 if kept.ok and control.lost else 1


if __name__ == "__main__":
    sys.exit(main())

"""The parts that both clusters share: server processes, free ports, and waiting."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from order_fsm_adapters.mariadb import MariaDbStore
from order_fsm_adapters.postgresql import PostgresStore

SKU = "CUP"
SHARED = tuple(f"shared-{number}" for number in range(10))
"""The orders that all writers change."""

_PATIENCE = 120.0
"""How many seconds a run waits for an event before it fails."""


class Cluster(Protocol):
    """Servers with one database."""

    def url(self, number: int = 0) -> str:
        """Return the URL of the database for a writer. The URL lists all servers."""
        ...

    def fail(self, round_number: int, acknowledged: Callable[[], int]) -> float:
        """Kill a server, and promote another one if necessary.

        Args:
            round_number: the number of the round, from 0.
            acknowledged: returns the number of changes acknowledged so far.

        Returns:
            The time of the kill, by the monotonic clock.
        """
        ...

    def heal(self) -> None:
        """Restart the killed server, and wait until it has every commit."""
        ...


class Failed(Exception):
    """A cluster does not behave as expected."""


def opened(url: str) -> PostgresStore | MariaDbStore:
    """Open the store for a URL. Two connections are enough for a writer."""
    kind = PostgresStore if url.startswith("postgresql:") else MariaDbStore
    return kind(url, size=2)


def wait_until(event: Callable[[], bool], about: str) -> None:
    """Wait for an event.

    Raises:
        Failed: if the event does not happen in time.
    """
    deadline = time.monotonic() + _PATIENCE
    while not event():
        if time.monotonic() > deadline:
            raise Failed(f"waited {_PATIENCE:.0f} s in vain for {about}")
        time.sleep(0.02)


def free_ports(number: int) -> list[int]:
    """Return unused ports below the range that the system assigns to clients."""
    found: list[int] = []
    while len(found) < number:
        port = random.randrange(20000, 32000)  # noqa: S311
        with socket.socket() as one:
            if port not in found and one.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found


class Process:
    """A server process with its children."""

    def __init__(self, command: Sequence[str], log: Path, user: str) -> None:
        """Start the process."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=owner(user),
                group=owner(user),
            )
        self._log = log

    def check(self) -> None:
        """Raise Failed if the process has ended."""
        if self._process.poll() is not None:
            raise Failed(f"the server ended: {self._log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """Kill the process and its children with SIGKILL."""
        pid = self._process.pid
        os.kill(pid, signal.SIGSTOP)  # It must not start another child.
        children = _children(pid)
        for one in (pid, *children):
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()

    def end(self, number: signal.Signals) -> None:
        """End the process with a signal if it is still running."""
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait()


def owner(user: str) -> str | None:
    """Return the user that runs a server, or None for the current user. Servers refuse to run as root."""
    return user if os.geteuid() == 0 else None


def run_tool(command: Sequence[str], user: str) -> None:
    """Run a server's tool.

    Raises:
        Failed: if the tool fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, user=owner(user), group=owner(user))
    if done.returncode:
        raise Failed(f"{command[0]}: {done.stdout}{done.stderr}")


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]

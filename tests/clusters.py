"""Start a PostgreSQL server and a pgbouncer for a test, on free ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from urllib.parse import urlsplit

import psycopg

from .backends import until

USER = "postgres"
"""The user that runs both servers, because they refuse to run as root."""

_PLACES = (Path("/usr/lib/postgresql"), Path("/usr/sbin"), Path("/usr/local/bin"))


class ProgramMissing(OSError):
    """A program of the test is not installed."""


def program(name: str) -> str:
    """Return the path of a program, in its newest version if there are several."""
    if found := shutil.which(name):
        return found
    places = sorted(place for folder in _PLACES for place in folder.glob(f"**/{name}"))
    if not places:
        raise ProgramMissing(f"{name} is not installed")
    return str(places[-1])


def free_port() -> int:
    """Return an unused port below the range that the system assigns to clients."""
    while True:
        port = SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@contextmanager
def folder() -> Iterator[Path]:
    """Create a folder that belongs to the user, for a block."""
    place = Path(tempfile.mkdtemp(prefix="order_fsm_"))
    try:
        if os.getuid() == 0:
            shutil.chown(place, USER)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(*command: str) -> None:
    user = USER if os.getuid() == 0 else None
    done = subprocess.run(command, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise OSError(f"{command[0]} failed: {done.stderr.decode(errors='replace')}")


class Cluster:
    """A PostgreSQL server."""

    def __init__(self, place: Path) -> None:
        self._place = place
        port = free_port()
        self.url = f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        _run(program("initdb"), "-D", str(place), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C")
        with (place / "postgresql.conf").open("a") as settings:
            settings.write(f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n")
            settings.write("fsync = on\nsynchronous_commit = on\nshared_buffers = 16MB\nautovacuum = off\n")

    def control(self, action: str, *options: str) -> None:
        """Start, stop or restart the server with pg_ctl, and wait until that is done."""
        place = str(self._place)
        _run(program("pg_ctl"), action, "-w", "-D", place, "-l", f"{place}/log", *options)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a server for a block."""
    with folder() as place:
        found = Cluster(place / "data")
        found.control("start")
        try:
            yield found
        finally:
            found.control("stop", "-m", "immediate")


_POOLER = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
"""


@contextmanager
def pooler(url: str) -> Iterator[str]:
    """Run a pgbouncer in transaction mode for a block. Yields its URL."""
    parts = urlsplit(url)
    binary, own = program("pgbouncer"), free_port()
    with folder() as place:
        settings = place / "pgbouncer.ini"
        settings.write_text(_POOLER.format(host=parts.hostname, port=parts.port, user=parts.username, own=own))
        settings.chmod(0o644)
        with subprocess.Popen(
            [binary, "-q", str(settings)],
            user=USER if os.getuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                found = f"postgresql://{parts.username}@127.0.0.1:{own}{parts.path}"
                until(lambda: process.poll() is not None or _answers(found))
                yield found
            finally:
                process.terminate()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True

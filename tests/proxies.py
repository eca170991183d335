"""A proxy on loopback between a client and a server, which cuts or silences a connection at a chosen moment."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

_READY = b"Z\x00\x00\x00\x05"
"""The last message of PostgreSQL in answer to a statement, without its last byte."""


class Proxy:
    """Passes bytes on, and cuts or silences a connection on which a chosen statement is sent.

    Attributes:
        cuts: how many connections were cut.
        silences: how many were silenced: they stay open, and nothing is passed on any more.
        connections: how many were opened.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._marker: bytes | None = None
        self._before = False
        self._silently = False
        self.cuts = self.silences = self.connections = 0
        Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the database by way of the proxy."""
        host, port = self._listener.getsockname()
        return urlunsplit(self._url._replace(netloc=f"{self._url.username}@{host}:{port}"))

    def cut(self, marker: bytes, *, before: bool) -> None:
        """Cut the next connection on which a statement like this one is sent.

        Args:
            marker: a part of the statement.
            before: whether the server does not get it. Otherwise it does, and the client does not get its answer.
        """
        self._silently = False
        self._before = before
        self._marker = marker

    def silence(self, marker: bytes, *, before: bool) -> None:
        """Silence the next connection on which a statement like this one is sent. See `cut`."""
        self._silently = True
        self._before = before
        self._marker = marker

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection((self._url.hostname or "127.0.0.1", self._url.port or 5432))
                Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        is_silent = False
        with client, server, suppress(OSError):
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for one in readable:
                    sent = one.recv(65536)
                    if not sent:
                        return
                    if is_silent:
                        continue
                    if one is client and self._marker is not None and self._marker in sent:
                        self._marker = None
                        if self._silently:
                            self.silences += 1
                            is_silent = True
                            if not self._before:
                                server.sendall(sent)
                            continue
                        self.cuts += 1
                        if not self._before:
                            server.sendall(sent)
                            answer = b""
                            while _READY not in answer:
                                answer += server.recv(65536)
                        return
                    (server if one is client else client).sendall(sent)


@contextmanager
def proxy(url: str) -> Iterator[Proxy]:
    """Run a proxy to a server for a block."""
    found = Proxy(url)
    try:
        yield found
    finally:
        found.close()

"""Where undelivered messages are: an empty file for each commit that had some, named after the time and the order.

So the oldest are found from a list of names, without reading the orders. The messages themselves are in the files of
their orders. A mark is durable before the commit that it is for; one that leads to no message does no harm.
"""

from __future__ import annotations

import os
from contextlib import suppress

from order_fsm_adapters.json_files.durable_files import disk_errors, exists, listed, mark
from order_fsm_adapters.json_files.order_file import OrderFile, digits

_TIME_LENGTH = len("20260105090000000000")


class OutboxFiles:
    """The marks in a folder. Those of an order change under the lock of the order alone."""

    def __init__(self, path: str) -> None:
        """Name the folder."""
        self._path = path
        self._prefix = os.path.join(path, "")

    def marks(self) -> list[tuple[str, str]]:
        """The times and file names of the orders that may have messages, oldest first."""
        return [(mark[:_TIME_LENGTH], mark[_TIME_LENGTH + 1 :]) for mark in sorted(listed(self._path))]

    def leads_to(self, name: str, time: str) -> bool:
        """Whether a mark leads to the messages of an order of that time."""
        return os.path.exists(self._mark(time, name))

    def lead_to(self, name: str, before: OrderFile | None, after: OrderFile) -> None:
        """Make the marks of a document's messages durable, before it is written.

        A mark that is there may be left by a process that was killed before it was durable: so it is made again, but
        where it leads to a message already. Those are missing only where a backup of the order was restored.
        """
        if after.messages:
            known = set() if before is None else {message.created_at for message in before.messages}
            for at in {message.created_at for message in after.messages}:
                path = self._mark(digits(at), name)
                if at not in known or not exists(path):
                    mark(path)

    def forget(self, name: str, times: set[str]) -> None:
        """Remove marks of an order, as it has no messages of these times any more."""
        for time in times:
            path = self._mark(time, name)
            with disk_errors(path), suppress(FileNotFoundError):
                os.unlink(path)

    def _mark(self, time: str, name: str) -> str:
        return f"{self._prefix}{time}~{name}"

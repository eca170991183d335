"""The notes of the orders that were, or were to be, written since they were indexed: names of files, a line each."""

from __future__ import annotations

import os
import re

from order_fsm_adapters.json_files.durable_files import disk_error, disk_errors

_NAME = re.compile(rb"[a-z0-9_%+~-]+")
"""What the name of an order's file looks like, without the ending."""


class ChangeNotes:
    """A file of notes. It is not flushed to the disk: what a power loss takes of it is noticed otherwise."""

    def __init__(self, path: str) -> None:
        """Name the file; nothing is noted before it is made."""
        self._path = path

    def add(self, name: str) -> None:
        """Say that a file will be written or removed now. To be called under its lock.

        Raises:
            StoreFull, StoreUnavailable: it cannot be noted, so it should not be written.
        """
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                # A line before it, too, as a full disk may have cut the last note short.
                os.write(descriptor, f"\n{name}\n".encode())
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk_error(error, self._path) from error

    def make(self) -> None:
        """Make the file; from then on all is noted."""
        with disk_errors(self._path):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666))

    def size(self) -> int:
        """How much has been noted, in bytes; -1 where nothing is noted yet."""
        with disk_errors(self._path):
            try:
                return os.stat(self._path).st_size
            except FileNotFoundError:
                return -1

    def since(self, seen: int) -> tuple[set[str], int]:
        """The names that were noted from a place on, and the place up to which there are whole lines."""
        with disk_errors(self._path), open(self._path, "rb") as notes:
            size = notes.seek(0, os.SEEK_END)
            notes.seek(min(seen, size))
            noted = notes.read(size - min(seen, size))
        whole = noted[: noted.rfind(b"\n") + 1]
        # Beside names there may be a part of one, where the disk was full, and anything, where the power was lost.
        names = {line.decode("ascii") for line in whole.split(b"\n") if _NAME.fullmatch(line)}
        return names, min(seen, size) + len(whole)

    def clear(self) -> None:
        """Throw all notes away. To be called where nobody adds one."""
        with disk_errors(self._path):
            os.truncate(self._path, 0)

"""Locks between processes, on files that exist for nothing else, and between the threads of one process.

The system wakes the waiters one after the other, and frees the lock of a process that dies. Never delete a lock file: a
waiter would lock a different inode.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from threading import Lock
from typing import TypeVar

from order_fsm_adapters.files import take_owner

T = TypeVar("T")

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        while True:
            # It gives up after ten seconds.
            with suppress(PermissionError, InterruptedError):
                os.lseek(descriptor, 0, os.SEEK_SET)
                return msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        with suppress(PermissionError):
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class LockFile(FileIO):
    """An open lock file. Open one for each `with` block:

        with LockFile(path) as lock:
            lock.acquire()
            ...

    Leaving the block closes the file, and that frees the lock. `FileIO` opens and closes it in C, so an exception that
    a signal handler raises cannot come between. A child that is forked within the block holds the lock too, until it
    closes the file or runs another program.
    """

    # An exception that a signal handler raises before the block closes the file without a warning.
    __del__ = FileIO.close

    def __init__(self, path: str, like: str | None = None) -> None:
        """Open the file, or create it.

        Args:
            path: of the lock file.
            like: a file or folder. A new lock file takes its owner, and its permissions to read and write.

        Raises:
            OSError: if the file cannot be opened.
        """
        try:
            super().__init__(path, "rb+")
        except FileNotFoundError:
            with suppress(FileExistsError), FileIO(path, "xb") as created:
                if like is not None:
                    take_owner(created.fileno(), like)
            super().__init__(path, "rb+")

    def acquire(self) -> None:
        """Wait until nobody else holds the lock, and take it.

        Raises:
            OSError: if the file system has no locks.
        """
        _lock(self.fileno())

    def try_acquire(self) -> bool:
        """Take the lock if nobody else holds it. Return whether it is taken."""
        try:
            _try_lock(self.fileno())
        except (BlockingIOError, PermissionError):
            return False
        return True

    def hold(self, work: Callable[[], object], *, wait: bool = True) -> None:
        """Work under the lock.

        Args:
            work: what to do.
            wait: whether to wait for the lock. Otherwise nothing is done if somebody else holds it.
        """
        try:
            if wait:
                self.acquire()
            if wait or self.try_acquire():
                work()
        finally:
            self.release()

    def release(self) -> None:
        """Free the lock before the file is closed: a child that was forked since has the file open, too.

        Nothing happens if the lock is not held.
        """
        _unlock(self.fileno())


class ThreadLock:
    """A lock between the threads of a process. A forked child has one of its own, as that of its parent may be held."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._locks: dict[int, Lock] = {}

    def hold(self, work: Callable[[], T]) -> T:
        """Work under the lock."""
        process = os.getpid()
        lock = self._locks.get(process) or self._locks.setdefault(process, Lock())
        # `with` enters and leaves it in C, and on one line nothing is traced in between: no exception leaves it held.
        with lock: return work()  # fmt: skip # noqa: E701

    @property
    def is_held(self) -> bool:
        """Whether a thread of this process holds it."""
        return any(lock.locked() for lock in self._locks.values())

"""Locks between processes, on lock files, and between the threads of one process.

The system wakes the waiters one after the other and releases the lock of a process that dies. Never delete a lock file:
a waiter would lock a different inode.
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
            # The call gives up after ten seconds.
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

    The end of the block closes the file, which releases the lock. `FileIO` opens and closes it in C, so an exception of
    a signal handler cannot interrupt that. A child that is forked within the block holds the lock too, until it closes
    the file or runs another program.
    """

    # If a signal handler raises before the block, the file closes without a warning.
    __del__ = FileIO.close

    def __init__(self, path: str, like: str | None = None) -> None:
        """Open the file, or create it.

        Args:
            path: the path of the lock file.
            like: a file or folder. A new lock file gets its owner and its read and write permissions.

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
        """Wait for the lock and take it.

        Raises:
            OSError: if the file system has no locks.
        """
        _lock(self.fileno())

    def try_acquire(self) -> bool:
        """Take the lock if it is free. Return whether it is taken."""
        try:
            _try_lock(self.fileno())
        except (BlockingIOError, PermissionError):
            return False
        return True

    def hold(self, work: Callable[[], object], *, wait: bool = True) -> None:
        """Run a function under the lock.

        Args:
            work: the function.
            wait: whether to wait for the lock. If False and the lock is held, the function does not run.
        """
        try:
            if wait:
                self.acquire()
            if wait or self.try_acquire():
                work()
        finally:
            self.release()

    def release(self) -> None:
        """Release the lock before the file is closed, because a child that was forked since has the file open too.

        If the lock is not held, nothing happens.
        """
        _unlock(self.fileno())


class ThreadLock:
    """A lock between the threads of a process. A forked child gets a new one, because its parent may hold it."""

    def __init__(self) -> None:
        """Create a free lock."""
        self._locks: dict[int, Lock] = {}

    def hold(self, work: Callable[[], T]) -> T:
        """Run a function under the lock."""
        process = os.getpid()
        lock = self._locks.get(process) or self._locks.setdefault(process, Lock())
        # `with` takes and releases the lock in C, and one line has no trace event, so no exception leaves it held.
        with lock: return work()  # fmt: skip # noqa: E701

    @property
    def is_held(self) -> bool:
        """Whether a thread of this process holds it."""
        return any(lock.locked() for lock in self._locks.values())

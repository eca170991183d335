"""A lock between processes and threads: exclusive, blocking, on a file that is there for nothing else.

The system wakes those who wait one after the other, so each gets its share, and frees the lock of a process that dies.
A lock file is never removed: who waits on a removed one would hold another lock than who comes after.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from weakref import ref

if sys.platform == "win32":
    import filelock

    class LockFile:
        """A lock file, kept open; a `with` block by one thread excludes whoever else has it open."""

        def __init__(self, path: str) -> None:
            self._lock = filelock.FileLock(path)
            self.is_usable = True

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

        def close(self) -> None:
            """Release the lock, if it is held, and close the file."""
            self.is_usable = False
            self._lock.release(force=True)

else:
    import fcntl

    _CLOSED = -1

    class LockFile:
        """A lock file, kept open; a `with` block by one thread excludes whoever else has it open.

        A forked child has it closed, and opens its own.
        """

        _descriptor = _CLOSED

        def __init__(self, path: str) -> None:
            """Open the file; make it where it is not there.

            Raises:
                OSError: it cannot be opened.
            """
            self._path = path
            with _between_forks:
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                _open_files[self._descriptor] = ref(self)

        @property
        def is_usable(self) -> bool:
            """Whether it is open, and still what its path leads to: another file excludes nobody who comes later."""
            if self._descriptor == _CLOSED:
                return False
            try:
                return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
            except OSError:
                return False

        def __enter__(self) -> None:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

        def __exit__(self, *_: object) -> None:
            if self._descriptor != _CLOSED:  # In a child that was forked in the block it is, and the lock its parent's.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

        def close(self) -> None:
            """Release the lock, if it is held, and close the file."""
            if self._descriptor != _CLOSED:
                try:
                    # Closing alone does not release it while a child that is just being forked has the file open too.
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                finally:
                    self.forget()

        def forget(self) -> None:
            """Close the file, and leave the lock to the process that it was inherited from."""
            if self._descriptor != _CLOSED:
                with _between_forks:
                    # Whatever closing answers, the descriptor is not ours afterwards.
                    descriptor, self._descriptor = self._descriptor, _CLOSED
                    _open_files.pop(descriptor, None)
                    os.close(descriptor)

        def __del__(self) -> None:
            # Not `close`: in a child those of other threads end before it can forget them, and the lock is theirs.
            if self._descriptor != _CLOSED:
                with suppress(OSError):  # There is nobody left to tell.
                    self.forget()

    _open_files: dict[int, ref[LockFile]] = {}
    """Those that are open, by their descriptors. Written while `_between_forks` is held."""

    def _forget_inherited() -> None:
        """Let a forked child go of its parent's locks: they end with the last process that has them open."""
        for file in [open_file() for open_file in _open_files.values()]:
            if file is not None:
                file.forget()
        _between_forks.release()

    _between_forks = threading.RLock()
    """Held while a file is opened or closed, and across a fork: a child must not have one open that no object knows of,
    as it would keep the lock for a holder that is killed. Reentrant, as a signal's handler may fork amid an opening."""

    os.register_at_fork(
        before=_between_forks.acquire,
        after_in_parent=_between_forks.release,
        after_in_child=_forget_inherited,
    )


class FileLock:
    """A lock on a file, held in a `with` block. One object serves all threads; none may take it twice at a time.

    The file stays open after the block, for the next one; `close` closes it, until it is needed again. Entering raises
    OSError where it cannot be opened or made.
    """

    def __init__(self, path: str) -> None:
        """Name the lock file; it is made when the lock is first taken."""
        self._path = path
        self._mine = threading.local()
        self._free: list[LockFile] = []

    def __enter__(self) -> None:
        file = self._opened()
        try:
            file.__enter__()
        except BaseException:
            file.close()
            raise
        self._mine.file = file

    def __exit__(self, *_: object) -> None:
        file = self._mine.file
        del self._mine.file
        if self._free:  # One is enough, but where threads want it at the same time.
            file.close()
            return
        try:
            file.__exit__()
        except BaseException:
            file.close()
            raise
        self._free.append(file)

    def close(self) -> None:
        """Close what stays open for the next block; who is in one goes on."""
        with suppress(IndexError):
            while True:
                self._free.pop().close()

    def _opened(self) -> LockFile:
        try:
            file = self._free.pop()
        except IndexError:
            return LockFile(self._path)
        return file if file.is_usable else LockFile(self._path)

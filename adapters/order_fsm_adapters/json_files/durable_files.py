"""Files that are whole and there to stay once they are written, and the errors of the disk as those of a store.

A file is written beside its place, flushed to the disk, renamed into its place, and the folder flushed: without the
first flush a power loss may leave the new name with torn content, without the second one the old file. A file beside
its place that a killed process left has a fixed name, so the next one who writes the file uses it up.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from order_fsm.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable

UNFINISHED = ".tmp"
"""The ending of what is being written."""

_BINARY = getattr(os, "O_BINARY", 0)
"""Without it Windows would change the ends of lines."""

_PART = 1 << 16
"""How much is read at a time, in bytes."""

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT} if os.name != "nt" else {errno.ENOSPC, errno.EFBIG}
_BROKEN = {errno.EISDIR, errno.EIO, errno.ELOOP}
"""What is wrong with one file, not with the store."""


def disk_error(error: OSError, path: str) -> StoreError:
    """What the disk refuses, as an error of the store.

    Args:
        error: what the system said.
        path: what was read or written, for the message.

    Returns:
        StoreFull where there is no room, otherwise StoreUnavailable; to be raised.
    """
    why = error.strerror or str(error)
    if error.errno in _FULL:
        return StoreFull(f"there is no room to write {path} ({why}): make room, then retry")
    return StoreUnavailable(
        f"{path} cannot be read or written ({why}): see that the folder is there, that its disk is well and"
        " that this process may write to it, then retry"
    )


class disk_errors:  # noqa: N801 - it is used as `contextlib.suppress` is.
    """Raise what the disk refuses in a `with` block as a `disk_error`.

    What every change goes through asks for that itself: a block costs three calls, and the processor's caches are cold
    after each flush.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        """Say what is read or written, for the message."""
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise disk_error(error, self._path) from error


def read(path: str) -> bytes | None:
    """What a file holds; None where there is no such file in a folder that is there.

    Raises:
        StoreCorrupt: the disk cannot give it back, or it is a folder.
        StoreUnavailable: it cannot be read now, or the folder is gone.
    """
    try:
        return _content(path)
    except FileNotFoundError:
        with disk_errors(path):
            os.stat(os.path.dirname(path))
        return None
    except OSError as error:
        if error.errno in _BROKEN:
            raise StoreCorrupt(f"{path} cannot be read ({error.strerror}): restore the file from a backup") from error
        raise disk_error(error, path) from error


def _content(path: str) -> bytes:
    # Not with `open`, whose file object costs more than reading: a change does it twice.
    descriptor = os.open(path, os.O_RDONLY | _BINARY)
    try:
        parts = []
        while part := os.read(descriptor, _PART):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def exists(path: str) -> bool:
    """Whether there is a file or folder of this name. Unlike `os.path.exists` it knows "no" from "cannot tell".

    Raises:
        StoreUnavailable: it cannot be told now.
    """
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        with disk_errors(path):
            raise
    return True


def listed(path: str) -> list[str]:
    """The names in a folder.

    Raises:
        StoreUnavailable: it cannot be read now.
    """
    with disk_errors(path):
        return os.listdir(path)


def put(path: str, content: bytes) -> None:
    """Write a file that nobody looks at yet, and flush it to the disk; its name is durable with the folder's flush.

    Raises:
        StoreFull, StoreUnavailable: it is not written; what there is of it is removed.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o666)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except Exception as error:
        # It frees room where there is none. Where it cannot be removed either, the next writer uses it up.
        with suppress(OSError):
            os.unlink(path)
        if isinstance(error, OSError):
            raise disk_error(error, path) from error
        raise


def write(path: str, content: bytes) -> None:
    """Write or replace a file, durably. The rename is the commit: readers see all of it or what was there before.

    To be called under a lock that no other writer of this file is without.

    Raises:
        StoreFull: nothing has changed.
        StoreUnavailable: nothing has changed, or it is not known whether the change would outlast a power loss.
    """
    put(path + UNFINISHED, content)
    try:
        os.replace(path + UNFINISHED, path)
    except OSError as error:
        raise disk_error(error, path) from error
    flush_folder(os.path.dirname(path))


def mark(path: str) -> None:
    """Make an empty file, durably; one that is there stays.

    Raises:
        StoreFull, StoreUnavailable: it is not certain to be there.
    """
    with disk_errors(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
    flush_folder(os.path.dirname(path))


def remove(path: str) -> None:
    """Remove a file, durably, with what a killed writer may have left of another one in its place.

    To be called under a lock that no writer of this file is without.

    Raises:
        StoreUnavailable: it is there; or it is not known whether its removal would outlast a power loss.
    """
    with disk_errors(path):
        with suppress(FileNotFoundError):
            os.unlink(path + UNFINISHED)
        os.unlink(path)
    flush_folder(os.path.dirname(path))


def flush_folder(path: str) -> None:
    """Make the names in a folder durable; Windows does so itself.

    Raises:
        StoreUnavailable: they may be or not.
    """
    if os.name == "nt":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Never StoreFull: what has been renamed is in place, so it would not be true that nothing has changed.
        raise StoreUnavailable(
            f"the folder {path} cannot be flushed to the disk ({error.strerror}): the change is there, but a power loss"
            " might undo it; repeat the call with the same key"
        ) from error

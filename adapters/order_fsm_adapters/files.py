"""Files on the disk: reading and writing at an offset, flushing, owners, and the errors of the disk."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import FileIO
from threading import Lock
from types import TracebackType

from order_fsm.errors import InvalidInput, StoreError, StoreFull, StoreUnavailable

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_BLOCK = 1 << 20

_seeking = Lock()
"""Protects the offset of a file on Windows, which has no call with an offset."""


class DiskFile(FileIO):
    """An open file that closes with its last reference, without a warning."""

    __del__ = FileIO.close

    @classmethod
    def create(cls, path: str, like: str) -> DiskFile:
        """Create or truncate a file, with the owner and permissions of another file or a folder."""
        file = cls(path, "w+")
        take_owner(file.fileno(), like)
        return file

    def read_at(self, offset: int, length: int) -> bytes:
        """Return the bytes from an offset, fewer if the file ends earlier."""
        data = self._read(offset, length)
        while len(data) < length and (part := self._read(offset + len(data), length - len(data))):
            data += part
        return data

    def lines(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the whole lines between two offsets, without their ends."""
        rest = b""
        while start < stop and (block := self.read_at(start, min(stop - start, _BLOCK))):
            start += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from lines

    def write_at(self, offset: int, data: bytes | bytearray) -> None:
        """Write all data at an offset, in one system call unless the write is partial."""
        written = self._write(offset, data)
        while written < len(data):
            written += self._write(offset + written, data[written:])

    def write_all(self, offset: int, parts: Iterable[bytes]) -> int:
        """Write parts one after the other from an offset, in large blocks. Return the offset after them."""
        block = bytearray()
        for part in parts:
            block += part
            if len(block) >= _BLOCK:
                self.write_at(offset, block)
                offset, block = offset + len(block), bytearray()
        self.write_at(offset, block)
        return offset + len(block)

    def append(self, end: int, data: bytes) -> None:
        """Write data at the end of the file, and flush it. If it cannot be written whole, the file is as before.

        Raises:
            StoreFull, StoreUnavailable: if nothing is written.
            StoreUnavailable: if the data cannot be flushed or removed again.
        """
        unknown = False
        try:
            self.write_at(end, data)
            unknown = True
            self.sync()
        except OSError as error:
            try:
                self.cut(end)
            except OSError:
                unknown = True
            if not unknown:
                raise disk_error(error, str(self.name)) from error
            raise StoreUnavailable(
                f"{self.name} cannot be flushed ({error.strerror}), so it is unknown whether the change is written:"
                " repeat the call with the same key"
            ) from error

    if sys.platform == "win32":

        def _read(self, offset: int, length: int) -> bytes:
            with _seeking:
                os.lseek(self.fileno(), offset, os.SEEK_SET)
                return os.read(self.fileno(), length)

        def _write(self, offset: int, data: bytes | bytearray) -> int:
            with _seeking:
                os.lseek(self.fileno(), offset, os.SEEK_SET)
                return os.write(self.fileno(), data)

    else:

        def _read(self, offset: int, length: int) -> bytes:
            return os.pread(self.fileno(), length, offset)

        def _write(self, offset: int, data: bytes | bytearray) -> int:
            return os.pwrite(self.fileno(), data, offset)

    def cut(self, length: int) -> None:
        """Truncate the file durably. Never extend it, because that would append zeros."""
        if self.status().st_size > length:
            os.ftruncate(self.fileno(), length)
            self.sync()

    def sync(self) -> None:
        """Flush the content to the disk."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(self.fileno(), fcntl.F_FULLFSYNC)
        else:
            os.fsync(self.fileno())

    def status(self) -> os.stat_result:
        """Return the result of `fstat`."""
        return os.fstat(self.fileno())


def write_file(path: str, parts: Iterable[bytes], like: str, *, durable: bool) -> None:
    """Write a new file with the owner and permissions of another file or a folder."""
    with DiskFile.create(path, like) as file:
        file.write_all(0, parts)
        if durable:
            file.sync()


def take_owner(file: int | str, like: str) -> None:
    """Copy the owner and permissions of a file or folder to another one, as far as allowed.

    Args:
        file: its path, or the descriptor of an open file.
        like: the path of the source. A file gets only the read and write permissions.
    """
    if sys.platform == "win32":
        return
    wanted, present = os.stat(like), os.stat(file)
    if (wanted.st_uid, wanted.st_gid) != (present.st_uid, present.st_gid):
        with suppress(PermissionError):
            os.chown(file, wanted.st_uid, wanted.st_gid)
    mode = stat.S_IMODE(wanted.st_mode) & (0o777 if stat.S_ISDIR(present.st_mode) else 0o666)
    if mode != stat.S_IMODE(present.st_mode):
        with suppress(PermissionError):
            os.chmod(file, mode)


def replace(source: str, target: str) -> None:
    """Rename a file. On Windows a reader may have the target open for a moment."""
    attempts = 100 if sys.platform == "win32" else 1
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            attempts -= 1
            if not attempts:
                raise
            time.sleep(0.01)


def flush_folder(path: str) -> None:
    """Make the names in a folder durable. Windows needs no call for that."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def path_of(value: object, what: str) -> str:
    """Return a path as text.

    Args:
        value: the input.
        what: the start of the message, such as `path must name a file`.

    Raises:
        InvalidInput: if the value is not a path.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise InvalidInput(f"{what}, not {value!r:.80}")
    return path


def folder_of(value: object) -> str:
    """Return the absolute path of a folder.

    Raises:
        InvalidInput: if the value is not a path.
    """
    return os.path.abspath(path_of(value, "folder must be the path of a folder, such as 'shop-orders'"))


def disk_error(
    error: OSError, where: str, advice: str = "check the folder, its disk and its permissions"
) -> StoreError:
    """Return StoreFull for an error of a full disk, else StoreUnavailable.

    Args:
        error: the error of a system call.
        where: the name of the file in the message.
        advice: the advice if the disk is not full.
    """
    why = error.strerror or str(error)
    if error.errno in _FULL:
        return StoreFull(f"{where}: {why}: make room, then retry")
    return StoreUnavailable(f"{where}: {why}: {advice}")


class DiskErrors:
    """Raises errors of the disk in a `with` block as errors of the store.

    A class, because a generator would cost each call of a store a few microseconds.
    """

    def __init__(self, where: str) -> None:
        """Name the file or folder for the messages."""
        self._where = where

    def __enter__(self) -> None:
        """Nothing is needed."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise disk_error(error, self._where) from error

"""Stores in a log file with one deliberate fault each, for full or read-only disks, missing descriptors and forks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, TypeVar, cast

from order_fsm.errors import StoreFull
from order_fsm_adapters.memory import MemoryStore

from .log_store import LogStore, take_time

T = TypeVar("T")


class SwallowsErrors(LogStore):
    """Treats failed writes as successful."""

    def _write(self, file: BinaryIO, method: str, arguments: tuple[Any, ...]) -> None:
        with suppress(OSError):
            super()._write(file, method, arguments)


class LeavesHalfARecord(LogStore):
    """Appends records after a torn one."""

    def _cut(self, file: BinaryIO) -> None:
        pass


class RemembersWhatWasRefused(LogStore):
    """Keeps failed writes in memory."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreFull(str(error)) from error


class GivesRawErrors(LogStore):
    """Raises errors of the disk."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        yield


class OpensWithRawErrors(LogStore):
    """Creates another file when it opens, and raises errors of the disk."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        (place / "lock").touch()


class NotesItsReaders(LogStore):
    """Writes on each read."""

    def _asked(self, call: Callable[[MemoryStore], T]) -> T:
        self._done("stock", [])
        return super()._asked(call)


class WritesNothingWhereItMayNot(LogStore):
    """Keeps writes in memory if the file cannot be opened for writing."""

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        if os.access(self._path.parent, os.W_OK):
            with super()._locked() as file:
                yield file
        else:
            with self._path.open("rb", buffering=0) as file:
                yield cast(BinaryIO, file)

    def _cut(self, file: BinaryIO) -> None:
        if file.writable():
            super()._cut(file)

    def _write(self, file: BinaryIO, method: str, arguments: tuple[Any, ...]) -> None:
        if file.writable():
            super()._write(file, method, arguments)


class LeavesFilesOpen(LogStore):
    """Leaves a file open if a call fails."""

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with self._errors():
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT)
        with super()._locked() as file:
            yield file
        os.close(descriptor)


class SharesItsFile(LogStore):
    """Opens the file once, so that parent and children share a lock and an offset. No fork waits."""

    def begin(self) -> None:
        super().begin()
        self._threads = Lock()

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._file = self._path.open("ab+", buffering=0)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with self._threads, self._errors():
            fcntl.flock(self._file, fcntl.LOCK_EX)
            yield cast(BinaryIO, self._file)
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _write(self, file: BinaryIO, method: str, arguments: tuple[Any, ...]) -> None:
        take_time()
        super()._write(file, method, arguments)

    def close(self) -> None:
        super().close()
        self._file.close()


class CleansUpAsItCloses(LogStore):
    """Removes the log when a child closes the store."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._process = os.getpid()

    def close(self) -> None:
        super().close()
        if os.getpid() != self._process:
            self._path.unlink()

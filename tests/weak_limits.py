"""Stores in a log file with one deliberate fault each, that shows where a disk is full or read-only, where descriptors
run out, or in a host that forks."""

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
    """What could not be written is taken for written."""

    def _write(self, file: BinaryIO, method: str, arguments: tuple[Any, ...]) -> None:
        with suppress(OSError):
            super()._write(file, method, arguments)


class LeavesHalfARecord(LogStore):
    """What comes after a record that is torn off is written behind it."""

    def _cut(self, file: BinaryIO) -> None:
        pass


class RemembersWhatWasRefused(LogStore):
    """What could not be written is kept in memory all the same."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreFull(str(error)) from error


class GivesRawErrors(LogStore):
    """Its errors are those of the disk."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        yield


class OpensWithRawErrors(LogStore):
    """It makes another file as it is opened, whose errors are those of the disk."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        (place / "lock").touch()


class NotesItsReaders(LogStore):
    """Who reads is written down."""

    def _asked(self, call: Callable[[MemoryStore], T]) -> T:
        self._done("stock", [])
        return super()._asked(call)


class WritesNothingWhereItMayNot(LogStore):
    """Where the file cannot be opened to write, what is to be written is kept in memory."""

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
    """A call that fails leaves a file open."""

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with self._errors():
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT)
        with super()._locked() as file:
            yield file
        os.close(descriptor)


class SharesItsFile(LogStore):
    """The file is opened once: parent and children have one lock, and one place to read on from. No fork waits."""

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
    """A child that closes it removes the log, as if nobody else had it."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._process = os.getpid()

    def close(self) -> None:
        super().close()
        if os.getpid() != self._process:
            self._path.unlink()

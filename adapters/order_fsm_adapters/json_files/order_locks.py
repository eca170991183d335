"""The locks of the writers of orders: each order and key falls into a shard, and each shard has a lock."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from order_fsm_adapters.file_locks import FileLock
from order_fsm_adapters.json_files.durable_files import disk_error
from order_fsm_adapters.json_files.file_journal import FileJournal

_SHARDS = 64
"""How many orders can be written at a time."""


class OrderLocks:
    """The locks in a folder, and that of the journal, which is taken after them."""

    def __init__(self, folder: str, journal: FileJournal) -> None:
        """Name the parts; a lock file is made when the lock is first taken."""
        self._folder = folder
        self._journal = journal
        self._shards = [FileLock(os.path.join(folder, f"{number:02d}.lock")) for number in range(_SHARDS)]

    def held(self, *names: str) -> AbstractContextManager[None]:
        """Hold the locks of the shards that some file names fall into."""
        return self._held(sorted(set(map(_shard, names))))

    @contextmanager
    def all_held(self) -> Iterator[None]:
        """Let nobody write."""
        with self._held(range(_SHARDS)), self._journal.locked():
            yield

    def close(self) -> None:
        """Close the lock files that nobody holds; they are opened again when they are needed."""
        for shard in self._shards:
            shard.close()
        self._journal.close()

    def _held(self, shards: Iterable[int]) -> _Held:
        return _Held(self._folder, list(map(self._shards.__getitem__, shards)))


def _shard(name: str) -> int:
    return zlib.crc32(name.encode()) % _SHARDS


class _Held:
    """Some locks in a `with` block, taken in the sequence in which all take them. What the disk refuses to them, or in
    the block, is raised as a `disk_error`."""

    __slots__ = ("_folder", "_locks", "_taken")

    def __init__(self, folder: str, locks: list[FileLock]) -> None:
        self._folder = folder
        self._locks = locks
        self._taken: list[FileLock] = []

    def __enter__(self) -> None:
        try:
            for lock in self._locks:
                lock.__enter__()
                self._taken.append(lock)
        except BaseException as error:
            self.__exit__(None, error, None)
            raise

    def __exit__(self, _: object, raised: BaseException | None, __: object) -> None:
        try:
            self._release()
        except OSError as error:
            raise disk_error(error, self._folder) from error
        if isinstance(raised, OSError):
            raise disk_error(raised, self._folder) from raised

    def _release(self) -> None:
        """Release them all, also where one cannot be."""
        while self._taken:
            lock = self._taken.pop()
            try:
                lock.__exit__()
            except BaseException:
                self._release()
                raise

"""The locks of the writers of orders: each order and key falls into a shard, and each shard has a lock."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from order_fsm_adapters.file_locks import FileLock
from order_fsm_adapters.json_files.durable_files import disk_errors
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
        return self._held({zlib.crc32(name.encode()) % _SHARDS for name in names})

    @contextmanager
    def all_held(self) -> Iterator[None]:
        """Let nobody write."""
        with self._held(range(_SHARDS)), self._journal.locked():
            yield

    @contextmanager
    def _held(self, shards: Iterable[int]) -> Iterator[None]:
        """Hold the locks of shards, taken in one order by all."""
        with disk_errors(self._folder), ExitStack() as held:
            for shard in sorted(shards):
                held.enter_context(self._shards[shard])
            yield

"""Changing several files as one: whole or not at all, whatever kills the process or the power.

The new files are written into a folder of their own, `journal.tmp`. Its rename to `journal` is the commit. Then they
are moved to their places, and the folder goes. An owner who dies in between leaves the folder; whoever finds it moves
what is left. That can be done any number of times, as a file that was moved is no longer there to be moved again.

A folder and no list of new contents, because then all that needs room on the disk is done before the commit: after it
there are only renames. And because one that an ill-timed power loss brings back is empty, where such a list would bring
back old contents.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from order_fsm.errors import StoreCorrupt, StoreError, StoreUnavailable
from order_fsm_adapters.file_locks import FileLock
from order_fsm_adapters.json_files.durable_files import UNFINISHED, disk_errors, exists, flush_folder, put

_Place = tuple[str, str]
"""A folder of the store and the name of a file in it."""


class FileJournal:
    """The journal of a folder of files, and the lock that goes with it."""

    def __init__(self, root: str, folders: tuple[str, ...], lock: FileLock) -> None:
        """Name the parts.

        Args:
            root: the folder that has the others in it.
            folders: the names of those that hold the files.
            lock: for this journal alone.
        """
        self._root = root
        self._folders = folders
        self._lock = lock
        self._path = os.path.join(root, "journal")
        self._prefix = os.path.join(self._path, "")
        self._draft = self._path + UNFINISHED

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, with nothing left to finish.

        Who holds it needs no other lock to move what a dead owner left: nobody writes a file that stands in the
        journal without having called `settle` first, so nobody writes it now.
        """
        with disk_errors(self._path), self._lock:
            self._finish()
            yield

    def close(self) -> None:
        """Close the lock file, if nobody holds the lock; it is opened again when it is needed."""
        self._lock.close()

    def settle(self, folder: str, name: str) -> None:
        """See to it that a file is as last committed: finish the journal if the file stands in it.

        To readers, who hold no lock, its owner may be alive: then they wait for him, as the lock is his.
        """
        if exists(f"{self._prefix}{folder}.{name}"):
            self.settle_all()

    def settle_all(self) -> None:
        """See to it that all files are as last committed."""
        if exists(self._path):
            with self.locked():
                pass

    def commit(self, files: Mapping[_Place, bytes]) -> None:
        """Write these files, all or none. To be called with the lock held.

        Raises:
            StoreFull: nothing has changed.
            StoreUnavailable: nothing has changed; or all has, and is put into its place by the next one who uses the
                store.
        """
        try:
            self._write_draft(files)
        except StoreError:
            # It frees room where there is none. Where it cannot be removed either, the next owner does it.
            with suppress(OSError):
                self._remove_draft()
            raise
        with disk_errors(self._draft):
            os.rename(self._draft, self._path)
        try:
            self._finish()
        except StoreError as error:
            raise StoreUnavailable(f"the change is written but not yet in its place: {error}") from error

    def _write_draft(self, files: Mapping[_Place, bytes]) -> None:
        with disk_errors(self._draft):
            self._remove_draft()
            os.mkdir(self._draft)
        for (folder, name), content in files.items():
            put(os.path.join(self._draft, f"{folder}.{name}"), content)
        flush_folder(self._draft)

    def _remove_draft(self) -> None:
        with suppress(FileNotFoundError):
            for name in os.listdir(self._draft):
                os.unlink(os.path.join(self._draft, name))
            os.rmdir(self._draft)

    def _finish(self) -> None:
        """Move what stands in the journal to its places. Each flush keeps a power loss from undoing half of it:
        the journal must be there to stay before the first file moves, and all moves before it goes."""
        with disk_errors(self._path):
            try:
                waiting = sorted(os.listdir(self._path))
            except FileNotFoundError:
                return
            flush_folder(self._root)
            for entry in waiting:
                folder, _, name = entry.partition(".")
                if folder not in self._folders:
                    raise StoreCorrupt(
                        f"{self._path} holds {entry!r}, which was not written by order_fsm: move it elsewhere"
                    )
                os.replace(os.path.join(self._path, entry), os.path.join(self._root, folder, name))
            for folder in self._folders:
                flush_folder(os.path.join(self._root, folder))
            flush_folder(self._path)
            os.rmdir(self._path)

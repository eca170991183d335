"""The files of the orders in their folder, as documents."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress

from order_fsm.errors import OrderNotFound, StoreCorrupt
from order_fsm_adapters.json_files.durable_files import disk_errors, listed, read, remove, write
from order_fsm_adapters.json_files.file_journal import FileJournal
from order_fsm_adapters.json_files.file_names import file_name, named
from order_fsm_adapters.json_files.inspection import strays
from order_fsm_adapters.json_files.order_file import OrderFile

ENDING = ".json"
"""Of the files of orders."""

_KEPT = 500
"""So many documents are kept with their files, as they were last read or written: those that came to be kept last."""

_LARGE = 16_384
"""From this size on, in bytes, the others are forgotten for one."""

_log = logging.getLogger(__name__)


class OrderFiles:
    """The files of a folder. That of an order changes under the lock of the order alone.

    Each goes by its name without the ending, which `file_name` gives.
    """

    def __init__(self, root: str, folder: str, journal: FileJournal) -> None:
        """Name the parts.

        Args:
            root: the folder of the store.
            folder: the name of the one in it that holds the files.
            journal: which changes them together with stock.
        """
        self.folder = os.path.join(root, folder)
        self._name = folder
        self._prefix = os.path.join(self.folder, "")
        self._journal = journal
        self._kept: OrderedDict[str, tuple[bytes, OrderFile]] = OrderedDict()

    def kept(self, name: str) -> OrderFile | None:
        """The document of a file as it was last read or written here, if that is known."""
        kept = self._kept.get(name)
        return None if kept is None else kept[1]

    def _keep(self, name: str, content: bytes, document: OrderFile) -> None:
        if len(content) >= _LARGE:
            self._kept.clear()
        self._kept[name] = content, document
        if len(self._kept) > _KEPT:
            with suppress(KeyError):  # Another thread may have forgotten all of them meanwhile.
                self._kept.popitem(last=False)

    def present(self, order_id: str) -> OrderFile:
        """The document of an order.

        Raises:
            OrderNotFound: there is none of this id.
        """
        document = self.read(file_name(order_id))
        if document is None:
            raise OrderNotFound(f"there is no order {order_id!r}")
        return document

    def read(self, name: str) -> OrderFile | None:
        """The document of a file; None where there is none.

        Raises:
            StoreCorrupt: it is not what was written, or is of another order.
        """
        self._journal.settle(self._name, name + ENDING)
        path = self._path(name)
        content = read(path)
        if content is None:
            self._kept.pop(name, None)
            return None
        kept = self._kept.get(name)
        if kept is not None and content == kept[0]:
            return kept[1]  # It is not checked and decoded once more.
        document = OrderFile.decode(content, path)
        if file_name(document.order.id) != name:
            raise StoreCorrupt(f"{path} is of another order, {document.order.id!r}: restore the file from a backup")
        self._keep(name, content, document)
        return document

    def read_unless_broken(self, name: str) -> OrderFile | None:
        """The document of a file; None where there is none, or it is broken, which is logged: it stops itself and not
        the shop."""
        try:
            return self.read(name)
        except StoreCorrupt as error:
            _log.error("an order is left out, as its file is broken: %s", error)
            return None

    def every(self) -> Iterator[OrderFile]:
        """The documents of all orders but the broken ones."""
        return filter(None, map(self.read_unless_broken, self.names()))

    def names(self) -> list[str]:
        """The names of all files."""
        self._journal.settle_all()
        # Some file systems list a file twice that is replaced meanwhile.
        files = map(os.path.splitext, set(listed(self.folder)))
        return sorted(name for name, ending in files if ending == ENDING)

    def stamps(self) -> dict[str, str]:
        """By the name of each file what changes whenever it is replaced or written."""
        stamps = {}
        with disk_errors(self.folder), os.scandir(self.folder) as files:
            for file in files:
                if file.name.endswith(ENDING):
                    name = file.name.removesuffix(ENDING)
                    stamp = self.stamp(name)
                    if stamp is not None:
                        stamps[name] = stamp
        return stamps

    def stamp(self, name: str) -> str | None:
        """What changes whenever a file is replaced or written; None where there is none."""
        with disk_errors(self.folder):
            try:
                status = os.stat(self._path(name))
            except FileNotFoundError:
                return None
        return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"

    def write(self, name: str, document: OrderFile) -> None:
        """Write or replace a file, durably. To be called under its lock; raises as `durable_files.write` does."""
        content = document.encode()
        write(self._path(name), content)
        self._keep(name, content, document)

    def write_with(self, name: str, document: OrderFile, others: dict[tuple[str, str], bytes]) -> None:
        """Write or replace a file and those of other folders, all or none. To be called under its lock, and with the
        journal's held; raises as `FileJournal.commit` does."""
        content = document.encode()
        self._journal.commit({(self._name, name + ENDING): content, **others})
        self._keep(name, content, document)

    def remove(self, name: str) -> None:
        """Remove a file, durably. To be called under its lock; raises as `durable_files.remove` does."""
        remove(self._path(name))
        self._kept.pop(name, None)

    # What an audit asks for

    def order_ids(self) -> Iterator[str]:
        """The ids of all orders, those of broken files too where their names tell them."""
        for name in self.names():
            order_id = named(name)
            if order_id is None:
                document = self.read_unless_broken(name)
                order_id = None if document is None else document.order.id
            if order_id is not None:
                yield order_id

    def faults(self) -> Iterator[str]:
        """What no order is, and the broken files whose names do not tell the order."""
        yield from strays(self.folder)
        for name in self.names():
            if named(name) is None:
                try:
                    self.read(name)
                except StoreCorrupt as error:
                    yield str(error)

    def _path(self, name: str) -> str:
        return f"{self._prefix}{name}{ENDING}"

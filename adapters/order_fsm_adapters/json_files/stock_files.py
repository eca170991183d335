"""The numbers on hand, one file for each item that is tracked."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from order_fsm.errors import StoreCorrupt, VersionConflict
from order_fsm.store import StockMove
from order_fsm_adapters.json_files import sealed_json
from order_fsm_adapters.json_files.durable_files import exists, read, write
from order_fsm_adapters.json_files.file_journal import FileJournal
from order_fsm_adapters.json_files.file_names import file_name
from order_fsm_adapters.json_files.inspection import broken_files


class _OnHand(sealed_json.Document, frozen=True, kw_only=True):
    sku: str
    on_hand: int


_decoder = msgspec.json.Decoder(_OnHand)


class StockFiles:
    """The files of a folder, which change under the lock of the journal alone."""

    def __init__(self, root: str, folder: str, journal: FileJournal) -> None:
        """Name the parts.

        Args:
            root: the folder of the store.
            folder: the name of the one in it that holds the files.
            journal: which changes them together with orders.
        """
        self._folder = folder
        self._path = os.path.join(root, folder)
        self._journal = journal

    def on_hand(self, skus: Iterable[str]) -> dict[str, int]:
        """The numbers of those that are tracked, all of one moment."""
        tracked = [sku for sku in skus if self._tracked(sku)]
        if not tracked:
            return {}
        # Between two reads a commit could move both items: the lock keeps it out.
        with self._journal.locked():
            return {sku: self._read(sku) for sku in tracked}

    def set(self, sku: str, on_hand: int) -> None:
        """Track an item, with so many on hand."""
        with self._journal.locked():
            write(self._file(sku), sealed_json.encode(_OnHand(sku=sku, on_hand=on_hand)))

    def tracked(self, moves: Iterable[StockMove]) -> list[StockMove]:
        """Those of tracked items."""
        return [move for move in moves if self._tracked(move.sku)]

    def moved(self, moves: Iterable[StockMove]) -> dict[tuple[str, str], bytes]:
        """What the files hold after some moves of tracked items. To be called with the journal locked.

        Returns:
            New contents, by folder and name.

        Raises:
            VersionConflict: a strict move would leave less than zero.
        """
        on_hand: dict[str, int] = {}
        for move in moves:
            if move.sku not in on_hand:
                on_hand[move.sku] = self._read(move.sku)
            on_hand[move.sku] += move.quantity
            if move.strict and on_hand[move.sku] < 0:
                raise VersionConflict(f"the stock of {move.sku!r} has changed: load the order again")
        return {
            (self._folder, os.path.basename(self._file(sku))): sealed_json.encode(_OnHand(sku=sku, on_hand=number))
            for sku, number in on_hand.items()
        }

    def faults(self) -> list[str]:
        """What is wrong with the files: a sentence for each that is broken."""
        return broken_files(self._path, _decoder, lambda document: document.sku)

    def _file(self, sku: str) -> str:
        return os.path.join(self._path, f"{file_name(sku)}.json")

    def _tracked(self, sku: str) -> bool:
        # A file is never removed, and there before its first number counts. So no lock.
        return exists(self._file(sku))

    def _read(self, sku: str) -> int:
        path = self._file(sku)
        content = read(path)
        found = None if content is None else sealed_json.decode(content, _decoder, path)
        if found is None or found.sku != sku:
            raise StoreCorrupt(f"{path} is gone or of another item: restore the file from a backup")
        return found.on_hand

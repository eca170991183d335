"""Orders in a folder of JSON files: one readable file for each order, with everything of the order in it.

    store.json            makes the folder a store, and says which format it has
    orders/1001.json      an order: the order, its history, what its keys stand for, its messages and dead letters
    stock/+t+e+a.json     the number on hand of an item
    keys/evt_1.json       which order a key was, or was to be, committed on
    outbox/2026…~1001     an empty file: the order has, or was to have, undelivered messages of that time
    journal/              a change of several files that is committed and not yet in its place
    locks/                files to lock; never removed
    index/                what finding and counting ask; only a cache

The order's file is the truth; its rename is the commit. What stands in `keys` and `outbox` is made durable before it
and only says where to look, so what a commit that never happened left there is harmless, and so is what is left of
an order that was removed. A commit that moves stock
changes several files, through `FileJournal`. One file for each item, so that a commit writes the items that it moves,
and not the 50,000 others of a shop. One folder for all orders: file systems of today find a name among a million at
once, and who looks for an order finds it.

Readers take no lock: a rename makes every read whole, and one that meets a journal with its file waits for it. Writers
hold the lock of the order's shard and of the key's; then that of the journal. No disk of another machine: file systems
of networks keep neither the locks nor the order of the flushes.

`find`, `tally` and `dead_letters` ask `OrderSearch`: that is `OrderIndex`, a cache in the folder `index`, or, where it
cannot be kept, as on a disk that is read-only or full, every order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from order_fsm.errors import KeyReused, OrderExists, OrderFsmError, OrderNotFound, VersionConflict
from order_fsm.model import Entry, Message, Order
from order_fsm.store import Change, Keyed, Query, Tally, one_by_one
from order_fsm_adapters.file_locks import FileLock
from order_fsm_adapters.json_files import backup
from order_fsm_adapters.json_files.durable_files import flush_folder
from order_fsm_adapters.json_files.file_journal import FileJournal
from order_fsm_adapters.json_files.file_names import file_name
from order_fsm_adapters.json_files.json_folder import (
    INDEX,
    KEYS,
    LOCKS,
    ORDERS,
    OUTBOX,
    STOCK,
    checked,
    open_folder,
)
from order_fsm_adapters.json_files.key_files import KeyFiles
from order_fsm_adapters.json_files.order_file import OrderFile
from order_fsm_adapters.json_files.order_files import OrderFiles
from order_fsm_adapters.json_files.order_index import OrderIndex
from order_fsm_adapters.json_files.order_locks import OrderLocks
from order_fsm_adapters.json_files.order_search import OrderSearch
from order_fsm_adapters.json_files.outbox import Outbox
from order_fsm_adapters.json_files.outbox_files import OutboxFiles
from order_fsm_adapters.json_files.stock_files import StockFiles


class JsonStore:
    """A store in a folder of JSON files, for any number of threads and processes of one machine.

    Until it is closed it keeps the lock files open that it has used, 66 at the most while one thread uses it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open the folder, or make it; finish what a killed process left.

        Args:
            folder: for this store alone; the folder that it is in must be there.

        Raises:
            InvalidInput: no path, or a folder that holds other things.
        """
        self._root = open_folder(folder)
        locks = os.path.join(self._root, LOCKS)
        self._journal = FileJournal(self._root, (ORDERS, STOCK), FileLock(os.path.join(locks, "journal.lock")))
        self._locks = OrderLocks(locks, self._journal)
        self._files = OrderFiles(self._root, ORDERS, self._journal)
        self._stock = StockFiles(self._root, STOCK, self._journal)
        self._keys = KeyFiles(os.path.join(self._root, KEYS))
        self._marks = OutboxFiles(os.path.join(self._root, OUTBOX))
        self._index = OrderIndex(os.path.join(self._root, INDEX), self._files, self._locks)
        self._search = OrderSearch(self._files, self._journal, self._index)
        self._outbox = Outbox(self._files, self._locks, self._marks, self._index)
        self._journal.settle_all()

    def close(self) -> None:
        """Close the files that are kept open, those of the index and the locks; they are opened again when needed."""
        self._index.close()
        self._locks.close()

    def backup(self, folder: str | os.PathLike[str]) -> None:
        """Copy the store to a new folder, while others go on working with it.

        The copy is of one moment: all that was committed before the call is in it, and nothing by half. Readers do not
        wait for it, but who asks for stock does. So do writers: while each file gets a link, which takes a second or
        two for 100,000 files; where the copy is on another file system, until all are copied. To restore it, put the
        copy in the place of the store's folder, while no process uses the store.

        Args:
            folder: of the copy; the folder that it is in must be there, and it must not. It appears when it is whole.

        Raises:
            InvalidInput: no path, or there is something at it.
            StoreFull, StoreUnavailable: the copy cannot be made.
        """
        backup.copy(self._root, os.path.abspath(checked(folder)), self._locks.all_held())

    # Reading

    def load(self, order_id: str) -> Order:
        return self._files.present(order_id).to_order()

    def recall(self, order_id: str) -> Order | None:
        kept = self._files.kept(file_name(order_id))
        return None if kept is None else kept.to_order()

    def history(self, order_id: str) -> tuple[Entry, ...]:
        return self._files.present(order_id).to_entries()

    def keyed(self, key: str) -> Keyed | None:
        order_id = self._keys.order_of(key)
        document = None if order_id is None else self._files.read(file_name(order_id))
        keyed = None if document is None else document.keyed(key)
        if keyed is not None:
            # Its caller will say that it is done. Who did it may be about to flush it, or be dead.
            flush_folder(self._files.folder)
        return keyed

    def find(self, query: Query) -> list[Order]:
        return self._search.find(query)

    def tally(self, customer: str | None) -> list[Tally]:
        return self._search.tally(customer)

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return self._stock.on_hand(skus)

    def dead_letters(self, limit: int) -> list[Message]:
        return self._search.dead_letters(limit)

    # Writing

    def commit(self, change: Change) -> None:
        name = file_name(change.order.id)
        with self._locks.held(name, *(() if change.key is None else (file_name(change.key),))):
            before = self._files.read(name)
            self._check(change, before)
            after = OrderFile.of(before, change)
            moves = self._stock.tracked(change.stock) if change.stock else []
            self._index.note(name)
            if not moves:
                self._lead_to(name, before, after, change.key)
                self._files.write(name, after)
                return
            with self._journal.locked():
                stock = self._stock.moved(moves)
                self._lead_to(name, before, after, change.key)
                self._files.write_with(name, after, stock)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return one_by_one(self.commit, changes)

    def _check(self, change: Change, before: OrderFile | None) -> None:
        order_id = change.order.id
        if change.key is not None and self.keyed(change.key) is not None:
            raise KeyReused(f"the key {change.key!r} was committed before")
        if before is None and change.expected:
            raise OrderNotFound(f"there is no order {order_id!r}")
        if before is not None and not change.expected:
            raise OrderExists(f"there is an order {order_id!r} already")
        if before is not None:
            _expect(before.order.version, change.expected, order_id)
            if change.recalled is not None and not before.holds(change.recalled):
                raise VersionConflict(f"order {order_id!r} is not the one that was recalled: load it again")

    def _lead_to(self, name: str, before: OrderFile | None, after: OrderFile, key: str | None) -> None:
        """Make durable what leads to the order, before the commit: to its key, and to its new messages."""
        if key is not None:
            self._keys.lead_to(after.order.id, key)
        self._marks.lead_to(name, before, after)

    def remove(self, order: Order) -> None:
        name = file_name(order.id)
        with self._locks.held(name):
            present = self._files.present(order.id)
            _expect(present.order.version, order.version, order.id)
            self._index.note(name)
            self._files.remove(name)
            self._marks.forget(name, present.message_times())

    def set_stock(self, sku: str, on_hand: int) -> None:
        self._stock.set(sku, on_hand)

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return self._outbox.claim(now, until, limit)

    def delivered(self, message: Message) -> None:
        self._outbox.delivered(message)

    def postpone(self, message: Message, until: datetime | None) -> None:
        self._outbox.postpone(message, until)

    def revive(self, message: Message) -> None:
        self._outbox.revive(message)

    # What an audit asks for

    def order_ids(self) -> Iterator[str]:
        return self._files.order_ids()

    def messages(self) -> Iterator[Message]:
        return self._outbox.messages()

    def faults(self) -> list[str]:
        return [
            *self._files.faults(),
            *self._keys.faults(),
            *self._stock.faults(),
            *self._outbox.faults(),
            *self._index.faults(),
        ]


def _expect(version: int, expected: int, order_id: str) -> None:
    if version != expected:
        raise VersionConflict(f"order {order_id!r} is at version {version}, not {expected}: load it again")

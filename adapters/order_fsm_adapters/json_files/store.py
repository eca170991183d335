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

`find`, `tally` and `dead_letters` ask `OrderIndex`, a cache in the folder `index`. Where it cannot be kept, as on a
disk that is read-only or full, they read every order.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from heapq import nsmallest
from itertools import islice, takewhile
from typing import TypeVar

from order_fsm.errors import (
    KeyReused,
    OrderExists,
    OrderFsmError,
    OrderNotFound,
    StoreCorrupt,
    StoreError,
    VersionConflict,
)
from order_fsm.model import ZERO, Change, Entry, Keyed, Message, Order, Query, Tally, plus
from order_fsm.store import one_by_one
from order_fsm_adapters.file_locks import FileLock
from order_fsm_adapters.json_files import backup
from order_fsm_adapters.json_files.durable_files import disk_errors, flush_folder, listed, read, remove, write
from order_fsm_adapters.json_files.file_journal import FileJournal
from order_fsm_adapters.json_files.file_names import file_name, named
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
from order_fsm_adapters.json_files.order_file import OrderFile, digits
from order_fsm_adapters.json_files.order_index import ENDING, OrderIndex
from order_fsm_adapters.json_files.outbox_files import OutboxFiles
from order_fsm_adapters.json_files.stock_files import StockFiles
from order_fsm_adapters.sqlite.rows import time_text
from order_fsm_adapters.sqlite.search import START, Place

T = TypeVar("T")

_SHARDS = 64
"""How many orders can be written at a time."""

_log = logging.getLogger(__name__)


class JsonStore:
    """A store in a folder of JSON files, for any number of threads and processes of one machine."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open the folder, or make it; finish what a killed process left.

        Args:
            folder: for this store alone; the folder that it is in must be there.

        Raises:
            InvalidInput: no path, or a folder that holds other things.
        """
        self._root = open_folder(folder)
        self._shards = [FileLock(self._path(LOCKS, f"{number:02d}.lock")) for number in range(_SHARDS)]
        self._journal = FileJournal(self._root, (ORDERS, STOCK), FileLock(self._path(LOCKS, "journal.lock")))
        self._stock = StockFiles(self._root, STOCK, self._journal)
        self._keys = KeyFiles(self._path(KEYS))
        self._outbox = OutboxFiles(self._path(OUTBOX))
        self._index = OrderIndex(
            self._path(INDEX), self._path(ORDERS), self._read_unless_broken, self._locked, self._all_locked
        )
        self._journal.settle_all()

    def close(self) -> None:
        """Close the files that are kept open, those of the index; the next question opens them again."""
        self._index.close()

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
        backup.copy(self._root, os.path.abspath(checked(folder)), self._all_locked())

    # Reading

    def load(self, order_id: str) -> Order:
        return self._present(order_id).to_order()

    def history(self, order_id: str) -> tuple[Entry, ...]:
        return self._present(order_id).to_entries()

    def keyed(self, key: str) -> Keyed | None:
        order_id = self._keys.order_of(key)
        document = None if order_id is None else self._read(file_name(order_id))
        keyed = None if document is None else document.keyed(key)
        if keyed is not None:
            # Its caller will say that it is done. Who did it may be about to flush it, or be dead.
            flush_folder(self._path(ORDERS))
        return keyed

    def find(self, query: Query) -> list[Order]:
        after = START if query.after is None else _place(self.load(query.after))
        found: list[Order] = []
        while len(found) < query.limit:
            missing = query.limit - len(found)
            wanted = query._replace(limit=missing)
            places = self._from_index(partial(OrderIndex.found, self._index, wanted, after))
            if places is None:
                return found + self._found_without_index(wanted, after)
            for _, order_id in places:
                document = self._read_unless_broken(file_name(order_id))
                order = None if document is None else document.to_order()
                if order is not None and _matches(query, order):
                    found.append(order)
                else:
                    # Changed since it was indexed; if not by a store, the index does not know yet.
                    self._index.note(file_name(order_id))
            if len(places) < missing:
                break
            after = places[-1]
        return found

    def _from_index(self, ask: Callable[[], T]) -> T | None:
        """What the index answers; None where it cannot be kept."""
        self._journal.settle_all()
        try:
            return ask()
        except StoreError as error:
            _log.warning("every order is read, as the index cannot be used: %s", error)
            return None

    def _found_without_index(self, query: Query, after: Place) -> list[Order]:
        every = map(OrderFile.to_order, self._every())
        return nsmallest(
            query.limit, (order for order in every if _matches(query, order) and _place(order) > after), key=_place
        )

    def tally(self, customer: str | None) -> list[Tally]:
        answer = self._from_index(partial(OrderIndex.tally, self._index, customer))
        if answer is not None:
            return answer
        groups: dict[tuple[str, str, bool], tuple[int, Decimal]] = {}
        for order in map(OrderFile.to_order, self._every()):
            if customer is None or order.customer == customer:
                group = (order.state, order.currency, order.refund_due > 0)
                orders, total = groups.get(group, (0, ZERO))
                groups[group] = (orders + 1, plus(total, order.total))
        return [Tally(*group, *sums) for group, sums in groups.items()]

    def _every(self) -> Iterator[OrderFile]:
        """The documents of all orders but the broken ones, which are logged: each stops itself and not the shop."""
        for name in self._names():
            document = self._read_unless_broken(name)
            if document is not None:
                yield document

    def _names(self) -> list[str]:
        """The names of the files of all orders."""
        self._journal.settle_all()
        # Some file systems list a file twice that is replaced meanwhile.
        files = map(os.path.splitext, set(listed(self._path(ORDERS))))
        return sorted(name for name, ending in files if ending == ENDING)

    def _present(self, order_id: str) -> OrderFile:
        document = self._read(file_name(order_id))
        if document is None:
            raise OrderNotFound(f"there is no order {order_id!r}")
        return document

    def _read(self, name: str) -> OrderFile | None:
        """The document of an order, by the name of its file; None where there is none."""
        self._journal.settle(ORDERS, name + ENDING)
        path = self._order_path(name)
        content = read(path)
        if content is None:
            return None
        document = OrderFile.decode(content, path)
        if file_name(document.order.id) != name:
            raise StoreCorrupt(f"{path} is of another order, {document.order.id!r}: restore the file from a backup")
        return document

    def _read_unless_broken(self, name: str) -> OrderFile | None:
        try:
            return self._read(name)
        except StoreCorrupt as error:
            _log.error("an order is left out, as its file is broken: %s", error)
            return None

    # Writing

    def commit(self, change: Change) -> None:
        order = change.order
        name = file_name(order.id)
        with self._locked(name, *(() if change.key is None else (file_name(change.key),))):
            before = self._read(name)
            self._check(change, before)
            after = OrderFile.of(before, change)
            moves = self._stock.tracked(change.stock)
            self._index.note(name)
            if not moves:
                self._lead_to(name, before, after, change.key)
                write(self._order_path(name), after.encode())
                return
            with self._journal.locked():
                stock = self._stock.moved(moves)
                self._lead_to(name, before, after, change.key)
                self._journal.commit({(ORDERS, name + ENDING): after.encode(), **stock})

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

    def _lead_to(self, name: str, before: OrderFile | None, after: OrderFile, key: str | None) -> None:
        """Make durable what leads to the order, before the commit: to its key, and to its new messages."""
        if key is not None:
            self._keys.lead_to(after.order.id, key)
        self._outbox.lead_to(name, before, after)

    def remove(self, order: Order) -> None:
        name = file_name(order.id)
        with self._locked(name):
            present = self._present(order.id)
            _expect(present.order.version, order.version, order.id)
            self._index.note(name)
            remove(self._order_path(name))
            self._outbox.forget(name, present.message_times())

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return self._stock.on_hand(skus)

    def set_stock(self, sku: str, on_hand: int) -> None:
        self._stock.set(sku, on_hand)

    # Messages

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        claimed: list[Message] = []
        places: dict[str, int] = {}
        waiting = self._waiting(now)
        # Others may be faster with some of these; then later ones make up for them.
        while wanted := list(islice(waiting, limit - len(claimed))):
            ids: dict[str, set[str]] = {}
            for message in wanted:
                places[message.id] = len(places)
                ids.setdefault(message.order_id, set()).add(message.id)
            for order_id in ids:
                claimed += self._claim_of(order_id, ids[order_id], now, until)
        return sorted(claimed, key=lambda message: places[message.id])

    def _waiting(self, now: datetime) -> Iterator[Message]:
        """The messages that may be claimed, oldest first, and never one before an older one of its order."""
        free: dict[str, deque[Message]] = {}
        for time, name in self._outbox.marks():
            if name not in free:
                document = self._read_unless_broken(name)
                free[name] = deque() if document is None else deque(document.free(now))
                if document is not None and time not in document.message_times():
                    self._rewrite(name, lambda unchanged: unchanged, frozenset({time}))
            while free[name] and digits(free[name][0].created_at) <= time:
                yield free[name].popleft()

    def _claim_of(self, order_id: str, ids: set[str], now: datetime, until: datetime) -> list[Message]:
        claimed: list[Message] = []

        def claim(document: OrderFile) -> OrderFile:
            claimed.extend(takewhile(lambda message: message.id in ids, document.free(now)))
            return document.claimed({message.id for message in claimed}, until)

        self._rewrite(file_name(order_id), claim)
        return claimed

    def delivered(self, message: Message) -> None:
        self._rewrite(file_name(message.order_id), lambda document: document.without(message.id))

    def postpone(self, message: Message, until: datetime | None) -> None:
        def postpone(document: OrderFile) -> OrderFile:
            return document.given_up(message.id) if until is None else document.postponed(message.id, until)

        self._rewrite(file_name(message.order_id), postpone)

    def dead_letters(self, limit: int) -> list[Message]:
        names = self._from_index(self._index.with_dead_letters)
        documents = self._every() if names is None else filter(None, map(self._read_unless_broken, names))
        dead = (message for document in documents for message in document.to_dead_letters())
        return nsmallest(limit, dead, key=lambda message: message.created_at)

    def revive(self, message: Message) -> None:
        self._rewrite(file_name(message.order_id), lambda document: document.revived(message.id))

    def _rewrite(
        self, name: str, change: Callable[[OrderFile], OrderFile], marked: frozenset[str] = frozenset()
    ) -> None:
        """Change the messages of an order, if it is there; then remove the marks that lead to none.

        Args:
            name: of its file.
            change: gives the document after it.
            marked: times of marks beside those of the order's messages.
        """
        with self._locked(name):
            before = self._read(name)
            if before is not None:
                after = change(before)
                if after != before:
                    self._index.note(name)
                    self._outbox.lead_to(name, before, after)
                    write(self._order_path(name), after.encode())
                self._outbox.forget(name, (before.message_times() | marked) - after.message_times())

    # What an audit asks for

    def order_ids(self) -> Iterator[str]:
        for name in self._names():
            order_id = named(name)
            if order_id is None:
                document = self._read_unless_broken(name)
                order_id = None if document is None else document.order.id
            if order_id is not None:
                yield order_id

    def messages(self) -> Iterator[Message]:
        return (message for document in self._every() for message in document.to_messages())

    def faults(self) -> list[str]:
        return [*self._unnamed_faults(), *self._keys.faults(), *self._stock.faults(), *self._mark_faults()]

    def _unnamed_faults(self) -> Iterator[str]:
        """The broken files whose names do not tell the order."""
        for name in self._names():
            if named(name) is None:
                try:
                    self._read(name)
                except StoreCorrupt as error:
                    yield str(error)

    def _mark_faults(self) -> Iterator[str]:
        """The orders with messages to which nothing leads; a mark is there before its message."""
        for document in self._every():
            name = file_name(document.order.id)
            for time in document.message_times():
                if not self._outbox.leads_to(name, time) and self._still_waits(name, time):
                    yield f"order {document.order.id!r} has messages to which no mark leads: they are not delivered"

    def _still_waits(self, name: str, time: str) -> bool:
        document = self._read_unless_broken(name)
        return document is not None and time in document.message_times()

    # Places and locks

    def _path(self, *parts: str) -> str:
        return os.path.join(self._root, *parts)

    def _order_path(self, name: str) -> str:
        return self._path(ORDERS, name + ENDING)

    def _locked(self, *names: str) -> AbstractContextManager[None]:
        """Hold the locks of the shards that these file names fall into."""
        return self._shards_locked({zlib.crc32(name.encode()) % _SHARDS for name in names})

    @contextmanager
    def _all_locked(self) -> Iterator[None]:
        """Let nobody write."""
        with self._shards_locked(range(_SHARDS)), self._journal.locked():
            yield

    @contextmanager
    def _shards_locked(self, shards: Iterable[int]) -> Iterator[None]:
        """Hold the locks of shards, taken in one order by all."""
        with disk_errors(self._path(LOCKS)), ExitStack() as held:
            for shard in sorted(shards):
                held.enter_context(self._shards[shard])
            yield


def _expect(version: int, expected: int, order_id: str) -> None:
    if version != expected:
        raise VersionConflict(f"order {order_id!r} is at version {version}, not {expected}: load it again")


def _place(order: Order) -> Place:
    return time_text(order.created_at), order.id


def _matches(query: Query, order: Order) -> bool:
    return (
        query.when.matches(order.statuses)
        and (query.customer is None or order.customer == query.customer)
        and (not query.refund_due or order.refund_due > 0)
    )

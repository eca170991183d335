"""A store in a folder: the log, its content in memory, and the locks of both."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec import Raw

from order_fsm.errors import InvalidInput, OrderFsmError, StoreFull, StoreUnavailable
from order_fsm.model import Entry, Message, Order
from order_fsm.store import Change
from order_fsm_adapters import copies
from order_fsm_adapters.file_locks import LockFile, ThreadLock
from order_fsm_adapters.files import DiskErrors, flush_folder, folder_of
from order_fsm_adapters.json_files.acts import Act, Content, Wait, of_change
from order_fsm_adapters.json_files.log import HEAD, LOG, Log
from order_fsm_adapters.memory.projection import T
from order_fsm_adapters.memory.reading import ProjectionReader
from order_fsm_adapters.wire import documents, encode, to_entries

Acts = list[Act | Raw]
"""The acts of one line of the log."""


class JsonStore(ProjectionReader[bytes]):
    """A store in a folder, safe for threads and processes, with all guarantees.

    The folder holds `orders.jsonl` (the log), `orders.head` (the flushed length of the log) and `orders.lock`. The
    store moves a torn end of the log, from an unacknowledged change, to a file `orders.jsonl.torn-...`. `faults`
    reports such files, and `scrub` deletes them after an erasure.

    Limits:
        - Every process reads the log when it opens the store, and keeps the orders in memory. Use it for up to 25,000
          orders, and SQLite for more.
        - One machine: network file systems do not guarantee the locks or the sequence of the flushes.
        - A process that is suspended during a write blocks the writers of all processes.
        - Restore a backup only while no process has the store open.
        - Two faults are not detected. One is damage to the last lines while the head is missing or older than these
          lines, as it may be after a power loss. The other is an older log that was restored together with its head.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open or create the store, and repair the end of the log.

        Args:
            folder: a folder for this store alone. Its parent folder must exist.

        Raises:
            InvalidInput: if `folder` is not a path, or holds other files.
            StoreCorrupt: if the log is damaged.
        """
        self._folder = folder_of(folder)
        self._log = Log(self._folder)
        self._lock, self._appending = ThreadLock(), ThreadLock()
        try:
            with DiskErrors(self._folder):
                with suppress(FileExistsError):
                    os.mkdir(self._folder)
                names = os.listdir(self._folder)
                if LOG not in names and (others := [name for name in names if not name.startswith("orders.")]):
                    raise InvalidInput(f"{self._folder} is not a store and holds other files, such as {min(others)!r}")
                self._like = self._log.path if LOG in names else self._folder
                flush_folder(os.path.dirname(self._folder))
                self._locked(lambda: self._settled(lambda _: self._log.compact_if_large()))
        except BaseException:
            self._log.close()
            raise

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return to_entries(self._read(lambda content: content.history(order_id)))[after:][:limit]

    def commit(self, change: Change) -> None:
        self._write(lambda content: [of_change(change, content.check(change))])

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        answers: list[OrderFsmError | None] = []

        def decide(content: Content) -> Acts:
            acts, answers[:] = content.accepted(changes, of_change)
            return list(acts)

        self._write(decide)
        return answers

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        self._write(lambda content: [Act(stock={sku: content.level_set(sku, available, expected, backorder)})])

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        found = self._read(lambda content: self._log.claimable(now, 1))

        def decide(_: Content) -> Acts:
            found[:] = self._log.claimable(now, limit)
            return [Act(waits={one.id: Wait(until, one.attempts) for one in found})] if found else []

        if found:
            self._write(decide)
        return found

    def delivered(self, message: Message, until: datetime) -> None:
        self._write(lambda content: [Act(gone=[message.id])] if content.outbox.is_leased(message, until) else [])

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        def decide(content: Content) -> Acts:
            if not content.outbox.is_leased(message, until):
                return []
            attempts = content.outbox.attempts(message.id) + 1
            remaining = {message.id: message.remaining} if message.remaining else {}
            waits = {} if due is None else {message.id: Wait(due, attempts)}
            return [Act(remaining=remaining, waits=waits, dead={message.id: attempts} if due is None else {})]

        self._write(decide)

    def requeue(self, message: Message) -> None:
        self._write(lambda content: [Act(requeued=[message.id])] if content.outbox.is_dead(message) else [])

    def remove(self, order: Order) -> None:
        def decide(content: Content) -> Acts:
            content.check_removal(order)
            return [Act(removed=order.id)]

        self._write(decide)

    def faults(self) -> list[str]:
        with DiskErrors(self._folder):
            return list(self._log.faults(*self._read(lambda content: self._log.flushed())))

    def compact(self) -> None:
        """Rewrite the log without obsolete acts, such as those of removed orders."""
        self._locked(lambda: self._settled(lambda _: self._log.compact()))

    def scrub(self) -> None:
        """Remove erased values: rewrite the log and delete torn ends, which may hold some."""
        self._locked(lambda: self._settled(lambda _: self._log.scrub()))

    def export(self, folder: str | os.PathLike[str]) -> None:
        """Write one readable JSON file per order into a new folder. The store never reads them.

        Raises:
            InvalidInput: if `folder` exists.
        """
        exported = self._read(lambda content: list(documents(content)))
        files = ((copies.file_name(order_id), [document]) for order_id, document in exported)
        copies.publish_folder(folder_of(folder), files, self._log.path, durable=False)

    def backup(self, folder: str | os.PathLike[str]) -> None:
        """Copy the store to a new folder. It appears when it is complete. Other calls continue.

        To restore the copy, replace the store's folder with it while no process has the store open.

        Raises:
            InvalidInput: if `folder` exists.
            StoreCorrupt: if the log is damaged.
        """
        file, place = self._read(lambda content: self._log.flushed())
        files = [(LOG, self._log.verified(file, place)), (HEAD, [place.head])]
        copies.publish_folder(folder_of(folder), files, self._log.path, durable=True)

    def close(self) -> None:
        super().close()
        self._close_files()

    def _close_files(self) -> None:
        self._lock.hold(lambda: self._appending.hold(self._log.close))

    def _read(self, ask: Callable[[Content], T]) -> T:
        """Query the content up to the head. Wait for the file lock only if the log was replaced."""
        answers: list[T] = []

        def at_head() -> None:
            self._check_open()
            is_all = self._log.refresh()
            if is_all is False:
                # A writer is active or was killed. If this fails, the content up to the head is still right.
                with suppress(StoreFull, StoreUnavailable):
                    self._locked(self._log.settle, wait=False)
            if is_all is not None:
                answers.append(ask(self._log.content))

        with DiskErrors(self._folder):
            self._lock.hold(at_head)
        if not answers:
            self._locked(lambda: answers.append(self._settled(ask)))
        return answers[0]

    def _write(self, decide: Callable[[Content], Acts]) -> None:
        """Decide, append, then apply. Other threads can read during the disk write."""

        def write() -> None:
            acts, place = self._settled(lambda content: (decide(content), self._log.place))
            if acts:
                line = self._appending.hold(lambda: self._log.append(encode(acts), place))
                self._lock.hold(lambda: self._log.apply(line, place))

        self._locked(write)

    def _settled(self, work: Callable[[Content], T]) -> T:
        """Run a block on the whole content. The caller holds the file lock."""

        def settled() -> T:
            self._check_open()
            self._log.settle()
            return work(self._log.content)

        return self._lock.hold(settled)

    def _locked(self, work: Callable[[], object], *, wait: bool = True) -> None:
        """Run a block under the file lock. Take it before the thread lock, unless `wait` is False."""
        try:
            with DiskErrors(self._folder), LockFile(self._log.lock_path, self._like) as file:
                file.hold(work, wait=wait)
        finally:
            if sys.platform == "win32" and wait:
                # Windows cannot rename an open log.
                self._close_files()

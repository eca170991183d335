"""A simple store in a log file, and durable stores derived from it with one deliberate fault each."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, cast
from weakref import WeakSet

from msgspec.structs import replace

from order_fsm.errors import OrderFsmError, StoreFull, StoreUnavailable
from order_fsm.model import Entry, Message, Order, Sales
from order_fsm.store import Change, Need, Query, Snapshot, StockLevel, Tally, levels_after, one_by_one
from order_fsm_adapters.memory import MemoryStore

T = TypeVar("T")

_stores: WeakSet[LogStore] = WeakSet()
_forks = Lock()
_held: list[LogStore] = []


def _before_fork() -> None:
    """Wait until no thread has a file open, because a child would inherit its lock and then wait for it.

    Do not wait for a store that keeps its lock between calls.
    """
    _forks.acquire()
    _held[:] = [store for store in list(_stores) if store.turn.acquire(timeout=1)]


def _after_fork_in_parent() -> None:
    while _held:  # Keep no reference: stores that live from fork to fork would slow down every fork.
        _held.pop().turn.release()
    _forks.release()


def _after_fork_in_child() -> None:
    _held.clear()
    for store in list(_stores):
        store.begin()
    _forks.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


class _Memory(MemoryStore):
    """The content of the log."""

    def set_stock_now(self, sku: str, available: int | None, expected: int | None, backorder: bool | None) -> None:
        self.set_stock(sku, available, expected=expected, backorder=backorder)


class LogStore:
    """A store whose file has a record for each change. Every call first reads new records."""

    joined = False

    def __init__(self, place: Path) -> None:
        self._path = place / "log"
        self._open: BinaryIO | None = None
        self._closed = False
        self.begin()
        _stores.add(self)

    def begin(self) -> None:
        """Reset, as a forked child must, because a thread of its parent may hold the lock in the middle of a change.

        The file that this thread has open has the parent's lock, which would outlive a killed parent.
        """
        if self._open is not None:
            self._open.close()
            self._open = None
        self.turn = Lock()
        self._forget()

    def _forget(self) -> None:
        """Read the whole file at the next call."""
        self._read = 0
        self._memory = _Memory()

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        if self._closed:
            raise StoreUnavailable("this store is closed: make a new one")
        with self.turn, self._errors(), self._path.open("ab+", buffering=0) as file:
            self._open = cast(BinaryIO, file)
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield self._open
            finally:
                self._open = None
                # Closing does not release the lock if a forked child has the file open too.
                fcntl.flock(file, fcntl.LOCK_UN)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Drop changes that were not written.
            self._forget()
            if error.errno in {errno.ENOSPC, errno.EFBIG}:
                raise StoreFull(str(error)) from error
            raise StoreUnavailable(str(error)) from error

    def _catch_up(self, file: BinaryIO) -> None:
        file.seek(self._read)
        while True:
            try:
                method, arguments = pickle.load(file)  # noqa: S301 - the file is the test's own
            except (EOFError, pickle.UnpicklingError):
                break
            getattr(self._memory, method)(*arguments)
            self._read = file.tell()
        self._cut(file)

    def _cut(self, file: BinaryIO) -> None:
        """Truncate an incomplete record of a full disk or a killed process."""
        file.truncate(self._read)

    def _write(self, file: BinaryIO, method: str, arguments: tuple[Any, ...]) -> None:
        record = memoryview(pickle.dumps((method, arguments)))
        while record:
            record = record[file.write(record) :]
        self._read = file.tell()

    def _asked(self, call: Callable[[MemoryStore], T]) -> T:
        with self._locked() as file:
            self._catch_up(file)
            return call(self._memory)

    def _done(self, method: str, *arguments: Any) -> Any:
        with self._locked() as file:
            self._catch_up(file)
            answer = getattr(self._memory, method)(*arguments)
            self._write(file, method, arguments)
            return answer

    def load(self, order_id: str) -> Order:
        return self._asked(lambda memory: memory.load(order_id))

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return self._asked(lambda memory: memory.history(order_id, after, limit))

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return self._asked(lambda memory: memory.prepare_many(needs))

    def find(self, query: Query) -> list[Order]:
        return self._asked(lambda memory: memory.find(query))

    def tally(self, customer: str | None) -> list[Tally]:
        return self._asked(lambda memory: memory.tally(customer))

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        return self._asked(lambda memory: memory.totals(since, until, customer))

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        return self._asked(lambda memory: memory.report(since, until))

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return self._asked(lambda memory: memory.stock(skus))

    def commit(self, change: Change) -> None:
        self._done("commit", change)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return one_by_one(self.commit, changes)

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        return self._asked(lambda memory: memory.stock_levels(skus))

    def stock_items(self) -> Iterator[str]:
        return self._asked(lambda memory: memory.stock_items())

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        self._done("set_stock_now", sku, available, expected, backorder)

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return list(self._done("claim", now, until, limit))

    def delivered(self, message: Message, until: datetime) -> None:
        self._done("delivered", message, until)

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        self._done("retry_later", message, until, due)

    def dead_letters(self, limit: int) -> list[Message]:
        return self._asked(lambda memory: memory.dead_letters(limit))

    def requeue(self, message: Message) -> None:
        self._done("requeue", message)

    def remove(self, order: Order) -> None:
        self._done("remove", order)

    def order_ids(self) -> Iterator[str]:
        return self._asked(lambda memory: memory.order_ids())

    def messages(self) -> Iterator[Message]:
        return self._asked(lambda memory: memory.messages())

    def scrub(self) -> None:
        """Leave the erased values in the file."""
        self._asked(lambda memory: memory.scrub())

    def faults(self) -> list[str]:
        return self._asked(lambda memory: memory.faults())

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AnswersBeforeWriting(LogStore):
    """Writes commits three at a time."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._pending: list[tuple[str, tuple[Any, ...]]] = []

    def _write(self, file: BinaryIO, method: str, arguments: tuple[Any, ...]) -> None:
        self._pending.append((method, arguments))
        if method != "commit" or len(self._pending) == 3:
            for one in self._pending:
                super()._write(file, *one)
            self._pending.clear()


def take_time() -> None:
    """Take almost all of the time of a commit, so that a kill rarely misses it."""
    sha256(bytes(4_000_000)).digest()


class WritesInTwoSteps(LogStore):
    """Writes the order first, and its stock and messages later."""

    def commit(self, change: Change) -> None:
        with self._locked() as file:
            self._catch_up(file)
            self._memory.commit(change)
            self._write(file, "commit", (replace(change, stock=(), messages=()),))
            take_time()
            self._write(file, "finish", (change,))

    def _catch_up(self, file: BinaryIO) -> None:
        vars(self._memory)["finish"] = self._finish
        super()._catch_up(file)

    def _finish(self, change: Change) -> None:
        for move in change.stock:
            self._memory._content.levels.update(levels_after(self._memory._content.levels, [move]))
        for message in change.messages:
            self._memory._content.outbox.add(message)


class ReadsOnce(LogStore):
    """Never sees later writes of others."""

    def _catch_up(self, file: BinaryIO) -> None:
        if not self._read:
            super()._catch_up(file)


class LocksNothing(LogStore):
    """Locks out threads and not processes."""

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with self.turn, self._path.open("ab+", buffering=0) as file:
            yield cast(BinaryIO, file)

    def _write(self, file: BinaryIO, method: str, arguments: tuple[Any, ...]) -> None:
        os.sched_yield()
        super()._write(file, method, arguments)


class KeepsTheLock(LogStore):
    """Keeps the lock of a process until the store is closed."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._kept = ExitStack()
        self._file: BinaryIO | None = None

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        if self._file is None:
            self._file = self._kept.enter_context(super()._locked())
        yield self._file

    def close(self) -> None:
        super().close()
        self._kept.close()


class GivesUpAtALock(LogStore):
    """Raises if another process has the lock."""

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with self.turn, self._path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.001)  # On a busy machine, other processes would rarely run while it has the lock.
            yield file


class ForgetsClaims(LogStore):
    """Loses leases when the process ends."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        return self._asked(lambda memory: memory.claim(now, until, limit))


class ForgetsDeadLetters(LogStore):
    """Loses dead letters when the process ends, so the next process delivers them again."""

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        if due is None:
            self._asked(lambda memory: memory.retry_later(message, until, due))
        else:
            super().retry_later(message, until, due)


class RemovesInTwoSteps(LogStore):
    """Removes the messages of an order first, and the rest later."""

    def remove(self, order: Order) -> None:
        with self._locked() as file:
            self._catch_up(file)
            self._forget_messages(order.id)
            self._write(file, "forget", (order.id,))
            take_time()
            self._memory.remove(order)
            self._write(file, "remove", (order,))

    def _catch_up(self, file: BinaryIO) -> None:
        vars(self._memory)["forget"] = self._forget_messages
        super()._catch_up(file)

    def _forget_messages(self, order_id: str) -> None:
        self._memory._content.outbox.forget(order_id)


class ForgetsDeliveries(LogStore):
    """Shows a delivery only to its own process."""

    def delivered(self, message: Message, until: datetime) -> None:
        self._asked(lambda memory: memory.delivered(message, until))


class StaysOpen(LogStore):
    """Still works after `close`."""

    def close(self) -> None:
        pass


class RewritesTheLogAsItOpens(LogStore):
    """Empties the log when it opens, and writes the content again later."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        with self._locked() as file:
            file.seek(0)
            content = file.read()
            file.truncate(0)
            take_time()
            file.write(content)

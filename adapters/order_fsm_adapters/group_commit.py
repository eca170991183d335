"""Commits of many threads in one, for hosts that serve each request in a thread of its own.

A durable commit waits for the disk, and while one waits no other can be written. Here those that come meanwhile are
written together next, in one wait for all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from threading import Lock
from weakref import WeakSet

from order_fsm.errors import OrderFsmError, StoreUnavailable
from order_fsm.model import Change
from order_fsm.store import Store, refusal


class _Waiting:
    """A change that a thread wants committed."""

    __slots__ = ("change", "done", "error", "turn")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.turn = Lock()
        self.turn.acquire()
        self.done = False
        self.error: BaseException | None = None

    def answer(self, error: BaseException | None) -> None:
        self.error = error
        self.done = True
        self.turn.release()


class GroupCommit:
    """A store in front of another one, whose commits from several threads become one.

    It keeps all guarantees of the other. It pays where many threads share one store that waits for a disk, such as
    `GroupCommit(SqliteStore("shop.db"))`; a single thread gains nothing. The other store stays yours to close.
    """

    def __init__(self, store: Store) -> None:
        """Stand in front of a store."""
        self.load = store.load
        self.history = store.history
        self.keyed = store.keyed
        self.commit_all = store.commit_all
        self.find = store.find
        self.tally = store.tally
        self.stock = store.stock
        self.set_stock = store.set_stock
        self.claim = store.claim
        self.delivered = store.delivered
        self.postpone = store.postpone
        self.dead_letters = store.dead_letters
        self.revive = store.revive
        self.remove = store.remove
        self._store = store
        self.begin()
        _groups.add(self)

    def begin(self) -> None:
        """Start with nobody waiting, as a forked child must: the threads that waited are not in it."""
        self._lock = Lock()
        self._queue: list[_Waiting] = []
        self._led = False
        self._size = 1

    def commit(self, change: Change) -> None:
        mine = _Waiting(change)
        with self._lock:
            self._queue.append(mine)
            follows, self._led = self._led, True
        if follows:
            mine.turn.acquire()
        if not mine.done:
            self._lead()
        if mine.error is not None:
            raise mine.error

    def _lead(self) -> None:
        """Commit what waits, this thread's own change among it, and let the first who came meanwhile lead next."""
        # Who was answered a moment ago tends to come back at once. So others have a turn before the next group is
        # closed, as long as it is smaller than the last one.
        for _ in range(self._size):
            if len(self._queue) >= self._size:
                break
            time.sleep(0)
        with self._lock:
            group, self._queue = self._queue, []
        self._size = len(group)
        # Told where this thread is interrupted. Each raises an error of its own: a traceback belongs to one thread.
        why = "the commit was interrupted: repeat the call with the same key"
        errors: Sequence[OrderFsmError | None] = [StoreUnavailable(why) for _ in group]
        try:
            errors = self._written([waiting.change for waiting in group])
        except OrderFsmError as failure:
            errors = [type(failure)(*failure.args) for _ in group]
        finally:
            for waiting, error in zip(group, errors, strict=True):
                waiting.answer(error)
            with self._lock:
                if self._queue:
                    self._queue[0].turn.release()
                else:
                    self._led = False

    def _written(self, changes: Sequence[Change]) -> Sequence[OrderFsmError | None]:
        if len(changes) == 1:
            return [refusal(partial(self._store.commit, changes[0]))]
        return self._store.commit_all(changes)


_groups: WeakSet[GroupCommit] = WeakSet()


def _after_fork() -> None:
    for group in list(_groups):
        group.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""Changes that several threads make at a time, in one commit: for hosts that serve each request in a thread of its own.

A durable commit waits for the disk, and while one waits no other can be written. Here those that come meanwhile are
decided and written together next, by one of their threads, in one wait for all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from threading import Lock, get_ident
from weakref import WeakSet

from order_fsm.errors import OrderFsmError, StoreUnavailable
from order_fsm.model import Receipt
from order_fsm.orders.executor import Call, Commits


class _Waiting:
    """A call that a thread wants done."""

    __slots__ = ("answer", "call", "turn")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.turn = Lock()
        self.turn.acquire()
        self.answer: Receipt | Exception | None = None


class GroupCommit:
    """Does calls as `Commits.change` does, those of several threads together."""

    def __init__(self, commits: Commits) -> None:
        """Begin with nobody waiting."""
        self._commits = commits
        self.begin()
        _groups.add(self)

    def begin(self) -> None:
        """Start with nobody waiting, as a forked child must: the threads that waited are not in it."""
        self._lock = Lock()
        self._queue: list[_Waiting] = []
        self._head: _Waiting | None = None
        self._size = 1
        self._leader: int | None = None

    def change(self, call: Call) -> Receipt:
        """Do a call: the receipt, or what `Commits.change` raises.

        Raises:
            StoreUnavailable: also where the thread that led the group was interrupted; the call may have been done.
        """
        if self._leader == get_ident():  # A change from inside of a group, as by a guard: it cannot wait for the next.
            return self._commits.change(call)
        mine = _Waiting(call)
        try:
            with self._lock:
                self._queue.append(mine)
                if self._head is None:
                    self._head = mine
                    mine.turn.release()
            mine.turn.acquire()
            if mine.answer is None:
                self._lead()
        except BaseException:
            self._leave(mine)
            raise
        if isinstance(mine.answer, Receipt):
            return mine.answer
        raise mine.answer or AssertionError("who leads has an answer, or is interrupted")

    def _lead(self) -> None:
        """Do what waits, this thread's own call among it, and let the first who came meanwhile lead next."""
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
        answers: Sequence[Receipt | Exception] = [StoreUnavailable(why) for _ in group]
        self._leader = get_ident()
        try:
            answers = self._commits.change_all([waiting.call for waiting in group])
        except OrderFsmError as failure:
            answers = [type(failure)(*failure.args) for _ in group]
        finally:
            self._leader = None
            for waiting, answer in zip(group, answers, strict=True):
                waiting.answer = answer
                waiting.turn.release()
            with self._lock:
                if self._head in group:  # Not so in a child that was forked in the group, where others may lead.
                    self._pass_on()

    def _pass_on(self) -> None:
        """Let the first who waits lead, if anybody does."""
        self._head = self._queue[0] if self._queue else None
        if self._head is not None:
            self._head.turn.release()

    def _leave(self, interrupted: _Waiting) -> None:
        """Take a thread out that will not wait, or lead, any more."""
        with self._lock:
            if interrupted in self._queue:
                self._queue.remove(interrupted)
            if self._head is interrupted:
                self._pass_on()


_groups: WeakSet[GroupCommit] = WeakSet()


def _after_fork() -> None:
    for group in list(_groups):
        group.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""Commit the changes of several threads together.

Use it in a host that serves each request in its own thread.

A durable commit waits for the disk, and blocks other commits during the wait. One leader thread then writes all changes
that arrived in that time, with a single wait. Every thread has decided its own change already. The leader only writes.

A signal handler may raise an exception at any line. So the step that clears the leader and wakes the next one is
idempotent. Each thread waits on its own lock. `Condition.wait` would be unsafe: after an interrupt during its release,
the owner of the lock is unknown.
"""

from __future__ import annotations

import os
import time
from threading import Lock

from order_fsm.errors import OrderFsmError, StoreUnavailable
from order_fsm.store import Change, Store


class _Ticket:
    """A change that a thread wants committed.

    Attributes:
        turn: a lock that is released when the change is done, or when the thread becomes the leader.
        is_done: whether the change is written or refused.
        error: the error if the change is refused, or if its result is unknown. None if it is written.
    """

    __slots__ = ("change", "error", "is_done", "is_woken", "turn")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.turn = Lock()
        self.turn.acquire()
        self.is_done = False
        self.is_woken = False
        self.error: OrderFsmError | None = None

    def wake(self) -> None:
        if not self.is_woken and self.turn.locked():
            self.turn.release()
        self.is_woken = True


class _Group:
    """The changes that wait in one process.

    Attributes:
        pid: the process.
        queue: tickets that are not in a commit yet.
        members: tickets that the leader is committing.
        leader: the ticket of the leader thread. None if there is no leader.
        last_size: the number of changes in the last commit.
    """

    __slots__ = ("last_size", "leader", "lock", "members", "pid", "queue")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.lock = Lock()
        self.queue: list[_Ticket] = []
        self.members: list[_Ticket] = []
        self.leader: _Ticket | None = None
        self.last_size = 1


class GroupCommit:
    """Commits the changes of several threads together."""

    def __init__(self, store: Store) -> None:
        """Start without waiting changes.

        Args:
            store: the store to write to.
        """
        self._store = store
        # By process: in a forked child, the waiting threads do not exist. `setdefault` gives all threads of a process
        # one group.
        self._groups: dict[int, _Group] = {}

    def commit(self, change: Change) -> None:
        """Commit a change, as `Store.commit` does.

        Raises:
            StoreUnavailable: if the store raises it, or the leader was interrupted. Then the change may be written:
                repeat the call with the same key.
        """
        pid = os.getpid()
        group = self._groups.get(pid) or self._groups.setdefault(pid, _Group(pid))
        mine = _Ticket(change)
        try:
            try:
                self._commit(group, mine)
            finally:
                _leave(group, mine)
        except BaseException:
            _leave(group, mine)  # Repeat it: an interrupt may have come before the first call began.
            raise
        if mine.error is not None:
            raise mine.error

    def _commit(self, group: _Group, mine: _Ticket) -> None:
        with group.lock:
            group.queue.append(mine)
            if group.leader is None:
                group.leader = mine
        if group.leader is not mine:
            mine.turn.acquire()
        if not mine.is_done:
            self._lead(group)

    def _lead(self, group: _Group) -> None:
        # Threads of the last commit tend to return at once. Yield to them while the group is smaller than the last one.
        for _ in range(group.last_size):
            if len(group.queue) >= group.last_size:
                break
            time.sleep(0)
        with group.lock:
            members = group.members = group.queue
            group.queue = []
        group.last_size = len(members)
        try:
            errors = self._store.commit_all([ticket.change for ticket in members])
        except OrderFsmError as failure:
            # Create one error per thread, because a traceback belongs to one thread.
            errors = [type(failure)(*failure.args) for _ in members]
        for ticket, error in zip(members, errors, strict=True):
            ticket.error = error
            ticket.is_done = True


def _leave(group: _Group, mine: _Ticket) -> None:
    """Withdraw a ticket, and wake the next leader if it leads.

    Interrupts are raised after this is done.
    """
    interrupt: BaseException | None = None
    while group.pid == os.getpid():  # In a child that was forked during a commit, no thread can release the lock.
        try:
            with group.lock:
                _step_down(group, mine)
            break
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _step_down(group: _Group, mine: _Ticket) -> None:
    """Withdraw a ticket. Idempotent, so that an interrupt cannot break it."""
    if mine in group.queue:
        group.queue.remove(mine)
    if group.leader is mine:
        for ticket in group.members:
            if not ticket.is_done:
                ticket.error = StoreUnavailable("the commit was interrupted: repeat the call with the same key")
                ticket.is_done = True
            ticket.wake()
        group.members = []
        group.leader = group.queue[0] if group.queue else None
    if group.leader is not None:
        group.leader.wake()

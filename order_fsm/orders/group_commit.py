"""One commit for the changes of several threads: for hosts that serve each request in a thread of its own.

A durable commit waits for the disk, and no other can be written while it does. The changes that arrive in that time
are written together next, by one of their threads, with one wait for all of them. Every thread has decided its own
change before. The leader only writes.

An exception raised by a signal handler may end any line. So the leader's flag is cleared, and the next leader woken, by
a step that may be repeated. Threads wait on a lock of their own: while `Condition.wait` hands its lock back, an
interrupt would leave it in doubt who holds it.
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
        turn: is released when the change is done, or when its thread is to lead.
        is_done: whether the change is written or refused.
        error: why it is refused or its fate unknown, None if it is written.
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
        leader: the ticket of the thread that leads, None if nobody does.
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
        """Start with no change waiting.

        Args:
            store: the store to write to.
        """
        self._store = store
        # By process: in a forked child, the threads that waited are gone. `setdefault` gives all its threads one group.
        self._groups: dict[int, _Group] = {}

    def commit(self, change: Change) -> None:
        """Commit a change, as `Store.commit` does.

        Raises:
            StoreUnavailable: also if the leader was interrupted. Then it is unknown whether the change is written:
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
            _leave(group, mine)  # Again: an interrupt may have come before the first one began.
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
        # Threads that were answered a moment ago tend to return at once. Let them, as long as the group is smaller
        # than the last one.
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
            # One error each: a traceback belongs to one thread.
            errors = [type(failure)(*failure.args) for _ in members]
        for ticket, error in zip(members, errors, strict=True):
            ticket.error = error
            ticket.is_done = True


def _leave(group: _Group, mine: _Ticket) -> None:
    """Withdraw a ticket, and pass the lead on if it leads. Interrupts wait until this is done."""
    interrupt: BaseException | None = None
    while group.pid == os.getpid():  # In a child that was forked in a commit, nobody is left to release the lock.
        try:
            with group.lock:
                _step_down(group, mine)
            break
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _step_down(group: _Group, mine: _Ticket) -> None:
    """May be repeated from the start, after an interrupt at any line."""
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

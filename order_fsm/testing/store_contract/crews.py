"""Who works on one store at once: threads that share an instance, or processes that each open their own."""

from __future__ import annotations

import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext
from threading import Barrier, Thread
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

import pytest

from order_fsm.store import Store

T = TypeVar("T")
Opened = Callable[[], AbstractContextManager[Store]]
"""Opens the store of a test, and closes it."""

PATIENCE = 120.0
"""Seconds after which somebody who does not answer counts as stuck."""

STUCK = "a worker does not come back: look for a lock that is never given back, or taken in two different sequences"


def _seconds(patience: float | None) -> float:
    return PATIENCE if patience is None else patience


class Crew(Protocol):
    """Workers on one store.

    Attributes:
        size: how many there are.
    """

    size: int

    def opened(self) -> AbstractContextManager[Store]:
        """The store, to prepare it and to look what became of it."""
        ...

    def gate(self, size: int) -> Barrier:
        """Where so many wait until all of them have come, whatever workers they are in.

        Args:
            size: how many.
        """
        ...

    def run(self, jobs: Sequence[Callable[[Store], T]], patience: float | None = None) -> list[T]:
        """Do all jobs at once, each by a worker of its own.

        Args:
            jobs: what to do.
            patience: seconds after which a worker that does not answer counts as stuck. `PATIENCE` by default.

        Returns:
            What the jobs returned, in the sequence of the jobs.

        Raises:
            pytest.fail.Exception: a job raised, or does not come back.
        """
        ...


class Threads:
    """Threads that share one instance of a store."""

    size = 8

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """The instance that they share."""
        yield self._store

    def gate(self, size: int) -> Barrier:
        """A barrier of threads."""
        return Barrier(size, timeout=PATIENCE)

    def run(self, jobs: Sequence[Callable[[Store], T]], patience: float | None = None) -> list[T]:
        """Do all jobs at once; the interpreter changes between them as often as it can."""
        start = Barrier(len(jobs))
        done: dict[int, T] = {}
        failed: list[str] = []

        def work(number: int, job: Callable[[Store], T]) -> None:
            try:
                start.wait()
                done[number] = job(self._store)
            except (Exception, pytest.fail.Exception):
                failed.append(traceback.format_exc())

        threads = [Thread(target=work, args=one, daemon=True) for one in enumerate(jobs)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(_seconds(patience))
        finally:
            sys.setswitchinterval(interval)
        if failed:
            pytest.fail(f"a thread failed:\n{failed[0]}")
        if len(done) < len(jobs):
            pytest.fail(STUCK)
        return [done[number] for number in range(len(jobs))]


class Processes:
    """Processes that each open the store for themselves."""

    size = 4

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    def gate(self, size: int) -> Barrier:
        """A barrier of processes: those that are forked after it was made."""
        return _forking().Barrier(size, timeout=PATIENCE)

    def run(self, jobs: Sequence[Callable[[Store], T]], patience: float | None = None) -> list[T]:
        """Do all jobs at once: every process opens its store first, then all are let loose."""
        workers = [Worker(self.opened, _after_the_start(job)) for job in jobs]
        try:
            for worker in workers:
                worker.receive()
            for worker in workers:
                worker.pipe.send("go")
            return [worker.receive(patience) for worker in workers]
        finally:
            for worker in workers:
                worker.end()


class Worker(Generic[T]):
    """A process with a store of its own, or whatever else it works on, at the other end of a pipe.

    It is forked, so that a job may be any function of a test. No store of the same place should be open here at that
    moment, as its files would be open in both; unless it is just that which is tried.

    Attributes:
        pipe: this end.
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[T]], job: Callable[[T, Connection], object]) -> None:
        """Start it.

        Args:
            opened: opens its store.
            job: is given the store and the other end of the pipe.
        """
        context = _forking()
        self.pipe, theirs = context.Pipe()
        self._ahead: list[Any] = []
        self._process = context.Process(target=_work, args=(opened, job, theirs, self.pipe), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self, patience: float | None = None) -> Any:
        """The next thing that it sends.

        Args:
            patience: seconds after which it counts as stuck. `PATIENCE` by default.

        Raises:
            pytest.fail.Exception: it failed, or sends nothing.
        """
        if not self._ahead:
            if not self.pipe.poll(_seconds(patience)):
                pytest.fail(STUCK)
            if not self._sent_within(0.0):
                pytest.fail("a process ended before it had done its job")
        sent = self._ahead.pop()
        if isinstance(sent, _Failed):
            pytest.fail(f"a process failed:\n{sent.trace}")
        return sent

    def kill(self, after: float = 0.0) -> list[Any]:
        """Kill it (SIGKILL).

        Args:
            after: let it work on for so many seconds.

        Returns:
            What it had sent by then and nobody had received.

        Raises:
            pytest.fail.Exception: it failed before.
        """
        end = monotonic() + after
        sent = []
        while (left := end - monotonic()) > 0 and self._sent_within(left):
            sent.append(self.receive())
        self._process.kill()
        self._process.join()
        while self._sent_within(0.0):
            sent.append(self.receive())
        return sent

    def _sent_within(self, seconds: float) -> bool:
        """Whether there is something to receive, or soon will be; a process that has ended sends no more."""
        if not self.pipe.poll(seconds):
            return False
        try:
            self._ahead.append(self.pipe.recv())
        except EOFError:
            return False
        return True

    def end(self) -> None:
        """Wait for its end; kill it where it does not come."""
        self.pipe.close()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _forking() -> ForkContext:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork processes, and this test needs several")
    return multiprocessing.get_context("fork")


class _Failed:
    """What a process sends where its job raised."""

    def __init__(self, trace: str) -> None:
        self.trace = trace


def _work(
    opened: Callable[[], AbstractContextManager[T]],
    job: Callable[[T, Connection], object],
    pipe: Connection,
    other_end: Connection,
) -> None:
    other_end.close()
    try:
        with opened() as opened_here:
            job(opened_here, pipe)
    except (Exception, pytest.fail.Exception):
        pipe.send(_Failed(traceback.format_exc()))


def _after_the_start(job: Callable[[Store], object]) -> Callable[[Store, Connection], None]:
    def started(store: Store, pipe: Connection) -> None:
        pipe.send("ready")
        pipe.recv()
        pipe.send(job(store))

    return started

"""Workers on one store: threads that share an instance, or processes that each open their own."""

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
"""Opens the store of a test for a `with` block."""

PATIENCE = 120.0
"""Seconds after which a worker without an answer counts as stuck."""

STUCK = "a worker is stuck: look for a lock that is never released, or locks taken in two different orders"


def _seconds(patience: float | None) -> float:
    return PATIENCE if patience is None else patience


class Crew(Protocol):
    """Workers on one store.

    Attributes:
        size: the number of workers.
    """

    size: int

    def opened(self) -> AbstractContextManager[Store]:
        """Open the store, to prepare it or to check its content."""
        ...

    def gate(self, size: int) -> Barrier:
        """Return a barrier for jobs in any workers.

        Args:
            size: the number of jobs that wait for each other.
        """
        ...

    def run(self, jobs: Sequence[Callable[[Store], T]], patience: float | None = None) -> list[T]:
        """Run all jobs at once, each in its own worker.

        Args:
            jobs: the jobs.
            patience: seconds after which a worker without an answer counts as stuck. `PATIENCE` by default.

        Returns:
            The results, in the sequence of the jobs.

        Raises:
            pytest.fail.Exception: if a job raises or gets stuck.
        """
        ...


class Threads:
    """Threads that share one instance of a store."""

    size = 8

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Return the shared instance."""
        yield self._store

    def gate(self, size: int) -> Barrier:
        """Return a barrier of threads."""
        return Barrier(size, timeout=PATIENCE)

    def run(self, jobs: Sequence[Callable[[Store], T]], patience: float | None = None) -> list[T]:
        """Run all jobs at once, with the shortest switch interval of the interpreter."""
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
    """Processes that each open their own instance of a store."""

    size = 4

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    def gate(self, size: int) -> Barrier:
        """Return a barrier of processes that are forked later."""
        return _forking().Barrier(size, timeout=PATIENCE)

    def run(self, jobs: Sequence[Callable[[Store], T]], patience: float | None = None) -> list[T]:
        """Run all jobs at once, after every process has opened its store."""
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
    """A process with its own store, or another resource, at the other end of a pipe.

    The process is forked, so that a job may be any function of a test. No store of the same place should be open in the
    parent at that time, because both processes would share its files, unless the test is about that.

    Attributes:
        pipe: the parent's end of the pipe.
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[T]], job: Callable[[T, Connection], object]) -> None:
        """Start the process.

        Args:
            opened: opens the store.
            job: gets the store and the other end of the pipe.
        """
        context = _forking()
        self.pipe, theirs = context.Pipe()
        self._ahead: list[Any] = []
        self._process = context.Process(target=_work, args=(opened, job, theirs, self.pipe), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self, patience: float | None = None) -> Any:
        """Return the next value that the process sends.

        Args:
            patience: seconds after which the process counts as stuck. `PATIENCE` by default.

        Raises:
            pytest.fail.Exception: if the process failed or sends nothing.
        """
        if not self._ahead:
            if not self.pipe.poll(_seconds(patience)):
                pytest.fail(STUCK)
            if not self._sent_within(0.0):
                pytest.fail("a process ended before its job was done")
        sent = self._ahead.pop()
        if isinstance(sent, _Failed):
            pytest.fail(f"a process failed:\n{sent.trace}")
        return sent

    def kill(self, after: float = 0.0) -> list[Any]:
        """Kill the process (SIGKILL).

        Args:
            after: seconds to wait before the kill.

        Returns:
            The values that the process had sent and nobody had received.

        Raises:
            pytest.fail.Exception: if the process failed before the kill.
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
        """Return whether a value arrives within some seconds. An ended process sends no more."""
        if not self.pipe.poll(seconds):
            return False
        try:
            self._ahead.append(self.pipe.recv())
        except EOFError:
            return False
        return True

    def end(self) -> None:
        """Wait until the process ends. Kill it if it does not."""
        self.pipe.close()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _forking() -> ForkContext:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this test needs several processes, and this system cannot fork")
    return multiprocessing.get_context("fork")


class _Failed:
    """The value that a process sends if its job raised."""

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

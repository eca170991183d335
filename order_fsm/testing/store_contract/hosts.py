"""S3 in hosts that fork and have threads: a store opened before a fork works in parent and children."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event

import pytest

from order_fsm.errors import VersionConflict
from order_fsm.model import Line
from order_fsm.store import StockLevel, Store
from order_fsm.testing.store_contract import crews
from order_fsm.testing.store_contract.changes import creation, seeded, step, taken
from order_fsm.testing.store_contract.crews import Threads, Worker
from order_fsm.testing.store_contract.expected import ALL, consistent, record_under
from order_fsm.testing.store_contract.harness import StoreHarness

SHARED = ("shared 0", "shared 1")
"""The orders that all workers change."""

PIECES = 10_000
"""The first stock of the item. Every created order takes one piece."""

CHILDREN = 4
THREADS = 3
TURNS = 2
"""The number of children that end, one after the other."""

KILLED = (0.001, 0.012)
"""The range of seconds after its first answer in which a child is killed."""

_Job = Callable[[str, Store, Connection], object]
"""The job of a child. It gets a name."""

forks_with_threads = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Hosts(StoreHarness):
    """Tests of stores opened before a fork. Skipped if `durable` or `local_disk` is False."""

    @forks_with_threads
    def test_s3_a_store_opened_before_a_fork_works_in_every_child(self, local_place: Path) -> None:
        """Children with threads, forked while threads write, change the same orders as their parent."""
        with self.opened(local_place) as store:
            _prepare(store)
            answered = Event()

            def fork(store: Store) -> list[str]:
                served = [partial(_serve_with_threads, f"child {number}") for number in range(CHILDREN)]
                children = [_forked(store, job) for job in served]
                try:
                    return list(chain(*(child.receive() for child in children)))
                finally:
                    answered.set()
                    for child in children:
                        child.end()

            def write(name: str, store: Store) -> list[str]:
                done: list[str] = []
                while not answered.is_set():
                    done += _serve(name, store, len(done), 1)
                return done

            crew = Threads(store)
            # The threads have written before, so that the store has opened its resources for several threads.
            done = list(chain(*crew.run([partial(_serve, f"thread {number}") for number in range(THREADS)])))
            jobs: list[Callable[[Store], list[str]]] = [fork]
            jobs += [partial(write, f"parent {number}") for number in range(THREADS - 1)]
            done += chain(*crew.run(jobs))
            _check(store, done)
        with self.opened(local_place) as another:
            _check(another, done)

    @forks_with_threads
    @pytest.mark.parametrize("ending", ["leaves", "closes", "forks", "is killed"])
    def test_s3_a_child_that_ends_disturbs_no_other_process(self, local_place: Path, ending: str) -> None:
        """A child may close its inherited store, exit or be killed. Parent and siblings continue."""
        ways: dict[str, _Job] = {"leaves": _leave, "closes": self._close, "forks": _fork_again, "is killed": _go_on}
        done: list[str] = []
        under_way: set[str] = set()
        with ExitStack() as stack:
            with self.opened(local_place) as store:
                _prepare(store)
                sibling = _forked(store, _serve_when_asked)
                stack.callback(sibling.end)

                def fork(name: str, store: Store) -> list[str]:
                    child = _forked(store, partial(ways[ending], name))
                    try:
                        said = [child.receive()]
                        if ending == "is killed":
                            said += child.kill(seeded(name).uniform(*KILLED))
                            under_way.add(f"{name}, {len(said)}")
                    finally:
                        child.end()
                    return list(chain(*said))

                for turn in range(TURNS):
                    writers = [partial(_serve, f"parent {turn}.{number}") for number in range(THREADS - 1)]
                    done += chain(*Threads(store).run([partial(fork, f"child {turn}"), *writers]))
                    sibling.pipe.send(f"sibling {turn}")
                    done += sibling.receive()
                _check(store, done, under_way)
            # The parent has closed the store, its child has not.
            sibling.pipe.send("sibling alone")
            done += sibling.receive()
        with self.opened(local_place) as another:
            _check(another, done, under_way)

    def _close(self, name: str, store: Store, pipe: Connection) -> None:
        """Serve, close the store, and end normally."""
        done = _serve(name, store)
        store.close()
        pipe.send(done)


def _forked(store: Store, job: Callable[[Store, Connection], object]) -> Worker[Store]:
    """Fork a child that works on the inherited store."""
    return Worker(lambda: nullcontext(store), job)


def _prepare(store: Store) -> None:
    store.set_stock("TEAPOT", PIECES)
    for order_id in SHARED:
        store.commit(creation(order_id))


def _serve(name: str, store: Store, first: int = 0, pieces: int = 2) -> list[str]:
    """Change a shared order and create one, several times. Return the comments and ids."""
    done = [f"{name}, {number}" for number in range(first, first + pieces)]
    for number, what in enumerate(done, first):
        _comment(store, SHARED[number % len(SHARED)], what)
        store.commit(creation(what, lines=[Line("TEAPOT", 1)], stock=[taken("TEAPOT", 1)], topics=["order.paid"]))
    return done


def _comment(store: Store, order_id: str, what: str) -> None:
    """Add an entry to an order. Retry after each conflict."""
    while True:
        try:
            store.commit(step(store.load(order_id), comment=what, key=what))
        except VersionConflict:
            continue
        return


def _serve_with_threads(name: str, store: Store, pipe: Connection) -> None:
    """Serve several requests at a time, as a worker of a web server does."""
    jobs = [partial(_serve, f"{name}.{number}") for number in range(THREADS)]
    pipe.send(list(chain(*Threads(store).run(jobs))))


def _serve_when_asked(store: Store, pipe: Connection) -> None:
    """Serve for each received name, until the pipe is closed."""
    with suppress(EOFError):
        while True:
            pipe.send(_serve(pipe.recv(), store))


def _leave(name: str, store: Store, pipe: Connection) -> None:
    """Serve, and exit without closing the store."""
    pipe.send(_serve(name, store))
    os._exit(0)


def _fork_again(name: str, store: Store, pipe: Connection) -> None:
    """Serve, fork a child that serves, and serve again."""
    first = _serve(name, store)
    child = os.fork()
    if not child:
        # The alarm ends a stuck grandchild, which no test can wait for.
        signal.alarm(int(crews.PATIENCE))
        _serve(name, store, 2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "a grandchild did not end normally"
    pipe.send([*first, *(f"{name}, {number}" for number in (2, 3)), *_serve(name, store, 4)])


def _go_on(name: str, store: Store, pipe: Connection) -> None:
    """Serve repeatedly, and report each time."""
    for number in range(10_000):
        pipe.send(_serve(name, store, number, 1))


def _check(store: Store, done: list[str], under_way: set[str] | None = None) -> None:
    """Check that a store has each change once, and no others except those in progress."""
    allowed = set(done) | (under_way or set())
    comments = Counter(entry.comment for order_id in SHARED for entry in consistent(store, order_id)[1:])
    assert set(done) <= comments.keys() <= allowed, "changes of the shared orders are lost"
    assert set(comments.values()) == {1}, "a change is stored twice"
    made = {order.id for order in store.find(ALL)} - set(SHARED)
    assert set(done) <= made <= allowed, "orders are lost"
    levels = {"TEAPOT": StockLevel(PIECES - len(made), held=len(made))}
    assert store.stock_levels(["TEAPOT"]) == levels, "S8: every order must take one piece"
    told = Counter(message.order_id for message in store.messages())
    assert told == Counter(made), "S9: every order must have its message"
    for what in done:
        record = record_under(store, what)
        assert record is not None, "S4: a key is lost"
        assert record.order_id in SHARED

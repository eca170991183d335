"""Changes of many threads in one commit, with forks and interrupts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from order_fsm import (
    Guard,
    InvalidInput,
    Order,
    OrderFsmError,
    OrderNotFound,
    Orders,
    Receipt,
    Refused,
    Rule,
    StoreFull,
    StoreUnavailable,
    shop_workflow,
)
from order_fsm.orders.group_commit import GroupCommit, _Group
from order_fsm.store import Change
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

THREADS = 8
Answer = Receipt | BaseException | None


class Slow(MemoryStore):
    """A slow disk: the first commit takes until other calls wait."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.fails: BaseException | None = None

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        self.groups.append(len(changes))
        if len(self.groups) == 1:
            self.begun.set()
            assert self.go_on.wait(60)
        elif self.fails is not None:
            raise self.fails
        return super().commit_all(changes)


def group_of(orders: Orders) -> _Group:
    """Return the group of this process."""
    writer = orders._executor._writer
    assert isinstance(writer, GroupCommit)
    return writer._groups[os.getpid()]


def wait_for(orders: Orders, number: int, thread: threading.Thread | None = None) -> None:
    """Wait until a number of changes wait for the leader, or a thread has ended without one."""
    while len(group_of(orders).queue) < number and (thread is None or thread.is_alive()):
        os.sched_yield()


def run_all(orders: Orders, store: Slow, calls: Sequence[Callable[[], Receipt]]) -> list[Answer]:
    """Run the first call, and all others during its commit. Return the result or error of each."""
    answers: list[Answer] = [None] * len(calls)

    def do(number: int) -> None:
        try:
            answers[number] = calls[number]()
        except BaseException as error:
            answers[number] = error

    threads = [threading.Thread(target=do, args=(number,), daemon=True) for number in range(len(calls))]
    threads[0].start()
    assert store.begun.wait(60)
    for thread in threads[1:]:
        waiting = len(group_of(orders).queue)
        thread.start()
        wait_for(orders, waiting + 1, thread)
    store.go_on.set()
    for thread in threads:
        thread.join(60)
    return answers


def with_orders(store: Slow | None = None) -> tuple[Orders, Slow, list[Callable[[], Receipt]]]:
    """Create orders in groups, their slow store, and a call for each thread that places its order."""
    store = store or Slow()
    orders = Orders(store, group_commit=True)
    for number in range(THREADS):
        orders.create(str(number), total="1", currency="GBP")
    return orders, store, [partial(orders.fire, str(number), "place") for number in range(THREADS)]


def test_calls_during_a_commit_are_committed_together() -> None:
    orders, store, calls = with_orders()
    answers = run_all(orders, store, calls)
    assert [one.order for one in answers if isinstance(one, Receipt)] == [orders.get(str(n)) for n in range(THREADS)]
    assert store.groups == [1, THREADS - 1]
    assert orders.counts()["to_invoice"] == THREADS


def test_each_call_of_a_group_has_its_own_result() -> None:
    """Receipts and errors go to their callers. A second change of an order builds on the first."""
    orders, store, calls = with_orders()
    calls[2] = partial(orders.fire, "none", "place")
    calls[3] = partial(orders.fire, "3", "dispatch")
    calls[4] = partial(orders.comment, "1", "about the first")
    calls[6] = partial(orders.comment, "5", "about the fifth")
    answers = run_all(orders, store, calls)
    kinds = [type(one) for one in answers]
    assert kinds == [Receipt, Receipt, OrderNotFound, Refused, Receipt, Receipt, Receipt, Receipt]
    assert [entry.trigger for entry in orders.history("1")] == ["create", "place", "comment"]
    assert [entry.trigger for entry in orders.history("5")] == ["create", "place", "comment"]


def test_one_key_at_once_has_one_receipt() -> None:
    orders, store, calls = with_orders()
    calls[1:] = [partial(orders.fire, "1", "place", key="evt_1") for _ in range(1, THREADS)]
    answers = run_all(orders, store, calls)
    receipts = [one for one in answers[1:] if isinstance(one, Receipt)]
    assert [one.duplicate for one in receipts] == [False] + [True] * (THREADS - 2)
    assert len({one.entries for one in receipts}) == 1


def test_exception_of_a_guard_reaches_only_its_caller() -> None:
    """The other calls are done."""

    broken = Guard("counted", "it is not counted", lambda order, facts: 1 / 0)
    rule = Rule("count", needs={"sent"}, guards=(broken,))
    store = Slow()
    store.go_on.set()
    orders = Orders(store, shop_workflow().extend(rules=[rule]), group_commit=True)
    for number in range(THREADS):
        orders.create(str(number), total="1", currency="GBP")
    orders.save("3", {"sent"}, version=1)
    store.groups.clear()
    store.begun.clear()
    store.go_on.clear()
    calls: list[Callable[[], Receipt]] = [partial(orders.fire, str(number), "place") for number in range(THREADS)]
    calls[3] = partial(orders.fire, "3", "count")
    answers = run_all(orders, store, calls)
    assert isinstance(answers.pop(3), ZeroDivisionError)
    assert all(isinstance(one, Receipt) for one in answers)


def test_a_change_from_inside_of_a_group_does_not_wait_for_itself() -> None:
    """Guards should be pure. A guard that makes a change behaves as without groups."""
    store = MemoryStore()

    def counts(order: Order, _: object) -> bool:
        return orders.comment("log", f"{order.id} is placed").order.version > 0

    rule = Rule("count", needs={"sent"}, guards=(Guard("counted", "it is not counted", counts),))
    orders = Orders(store, shop_workflow().extend(rules=[rule]), group_commit=True)
    for number in ("log", "1"):
        orders.create(number, total="1", currency="GBP")
    orders.fire("1", "place")
    done = threading.Thread(target=orders.fire, args=("1", "count"), daemon=True)
    done.start()
    done.join(60)
    assert not done.is_alive()
    assert orders.history("log")[-1].comment == "1 is placed"


@pytest.mark.parametrize("error", [StoreFull("no room"), StoreUnavailable("gone")], ids=["full", "gone"])
def test_failure_of_the_store_raises_in_each_thread(error: OrderFsmError) -> None:
    """Each thread raises a separate error, and the next commit is tried again."""
    orders, store, calls = with_orders()
    store.fails = error
    first, *others = run_all(orders, store, calls)
    assert isinstance(first, Receipt)
    assert [str(one) for one in others] == [str(error)] * (THREADS - 1)
    assert len(set(map(id, others))) == THREADS - 1
    store.fails = None
    assert orders.fire("1", "place").order.state == "sent"


def test_interrupt_of_the_leader_raises_in_the_other_threads() -> None:
    orders, store, calls = with_orders()
    store.fails = KeyboardInterrupt()
    _, *others = run_all(orders, store, calls)
    assert sorted(type(one).__name__ for one in others) == ["KeyboardInterrupt"] + ["StoreUnavailable"] * (THREADS - 2)


class Interrupted(Exception):
    """The exception of a signal handler in the main thread."""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="the system has no such signals")
@pytest.mark.parametrize("when", ["waits", "leads"])
def test_thread_interrupted_before_its_commit_delays_no_other(when: str) -> None:
    """Its call is not done, and another thread leads the waiting calls."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    orders, store, calls = with_orders()
    store.go_on.set()
    orders.comment("0", "creates the group")
    store.go_on.clear()
    store.groups.clear()
    store.begun.clear()
    group = group_of(orders)
    if when == "leads":
        group.last_size = 1_000_000_000  # The next leader waits for a group as large.
    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.get_ident()
    rest: list[Receipt] = []
    first = threading.Thread(target=calls[0], daemon=True)
    behind = threading.Thread(target=lambda: rest.append(calls[2]()), daemon=True)

    def others() -> None:
        """Queue behind the main thread and interrupt it."""
        wait_for(orders, 1)
        behind.start()
        wait_for(orders, 2)
        signal.pthread_kill(main, signal.SIGUSR1)
        while len(group.queue) > 1:
            os.sched_yield()
        group.last_size = 1
        store.go_on.set()

    helper = threading.Thread(target=others, daemon=True)
    try:
        if when == "waits":
            first.start()
            assert store.begun.wait(60)
        helper.start()
        with pytest.raises(Interrupted):
            calls[1]()
        helper.join(60)
        behind.join(60)
        if when == "waits":
            first.join(60)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [type(one) for one in rest] == [Receipt]
    assert orders.get("1").state == "unfinished"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_child_that_is_forked_while_a_thread_writes_can_write(tmp_path: Path) -> None:
    """The leader does not exist in the child, so no thread of the child waits for it."""
    with_sqlite = SqliteStore(tmp_path / "shop.db")
    on_disk = Orders(with_sqlite, group_commit=True)
    on_disk.create("1", total="1", currency="GBP")
    orders, store, calls = with_orders()
    writer = threading.Thread(target=calls[1], daemon=True)
    writer.start()
    assert store.begun.wait(60)
    child = os.fork()
    if not child:
        # The child must never continue the test run.
        status = 1
        try:
            orders.comment("1", "from the child")
            on_disk.fire("1", "place")
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    store.go_on.set()
    writer.join(60)
    assert status == 0
    assert on_disk.get("1").state == "sent"
    with_sqlite.close()


class Forking(MemoryStore):
    """A store whose first commit forks. In the child two threads commit: one leads, and the other waits."""

    def __init__(self) -> None:
        super().__init__()
        self.child: int | None = None
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.threads: list[threading.Thread] = []
        self.leads: object = None
        self.orders: Orders

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        if self.child is None:
            self.child = os.fork()
            if not self.child:
                self.threads[0].start()
                self.begun.wait(60)
                self.threads[1].start()
                wait_for(self.orders, 1)
                self.leads = group_of(self.orders).leader
        else:
            self.begun.set()
            self.go_on.wait(60)
        return super().commit_all(changes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_in_a_child_that_was_forked_in_a_group_the_threads_of_the_child_lead() -> None:
    """The thread that led the group in the parent does not lead in the child."""
    store = Forking()
    orders = Orders(store, group_commit=True)
    for number in range(3):
        orders.create(str(number), total="1", currency="GBP")
    store.threads = [threading.Thread(target=orders.fire, args=(one, "place"), daemon=True) for one in "12"]
    store.orders = orders
    orders.fire("0", "place")
    if not store.child:
        status = 1
        try:
            status = 0 if group_of(orders).leader is store.leads else 2
            store.go_on.set()
            for thread in store.threads:
                thread.join(60)
        finally:
            os._exit(status)
    assert os.waitpid(store.child, 0)[1] == 0


def test_many_threads_on_few_orders_lose_nothing(tmp_path: Path) -> None:
    """On SQLite each comment is one entry, versions are dense, and the comments of each thread are in sequence."""
    store = SqliteStore(tmp_path / "shop.db")
    orders = Orders(store, group_commit=True)
    ids = [orders.create(str(number), total="1", currency="GBP").id for number in range(3)]

    def comment(thread: int) -> None:
        for number in range(30):
            orders.comment(ids[number % 3], f"{thread} {number:02}")

    threads = [threading.Thread(target=comment, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    comments: list[str] = []
    for one in ids:
        history = orders.history(one)
        assert [entry.version for entry in history] == list(range(1, len(history) + 1))
        comments += [entry.comment for entry in history[1:]]
        for name in range(THREADS):
            mine = [entry.comment for entry in history if entry.comment.startswith(f"{name} ")]
            assert mine == sorted(mine)
    assert sorted(comments) == sorted(f"{name} {number:02}" for name in range(THREADS) for number in range(30))
    assert orders.audit().ok
    store.close()


def test_group_commit_must_be_true_or_false() -> None:
    with pytest.raises(InvalidInput, match="group_commit must be True or False"):
        Orders(MemoryStore(), group_commit=1)  # type: ignore[arg-type]

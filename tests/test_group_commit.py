"""Commits of many threads in one: what threads and children see when they meet."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from order_fsm import OrderFsmError, Orders, StoreFull, StoreUnavailable
from order_fsm.model import Change
from order_fsm_adapters.group_commit import GroupCommit
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

THREADS = 8


class Slow(MemoryStore):
    """A disk that is waited for: the first commit takes until others wait behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.fails: BaseException | None = None

    def commit(self, change: Change) -> None:
        self.begun.set()
        self.go_on.wait(60)
        super().commit(change)

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        if self.fails is not None:
            raise self.fails
        self.groups.append(len(changes))
        return super().commit_all(changes)


def run_all(store: Slow, group: GroupCommit) -> list[BaseException | None]:
    """One thread commits, and all the others come while it does; gives what each of them raised."""
    plain = Orders(store)
    store.go_on.set()
    for number in range(THREADS):
        plain.create(str(number), total="1", currency="GBP")
    store.begun.clear()
    store.go_on.clear()
    orders = Orders(group)
    raised: list[BaseException | None] = [None] * THREADS

    def place(number: int) -> None:
        try:
            orders.fire(str(number), "place")
        except BaseException as error:
            raised[number] = error

    threads = [threading.Thread(target=place, args=(number,), daemon=True) for number in range(THREADS)]
    threads[0].start()
    assert store.begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(vars(group)["_queue"]) < THREADS - 1:
        os.sched_yield()
    store.go_on.set()
    for thread in threads:
        thread.join(60)
    return raised


def test_those_who_come_while_one_is_written_are_written_together() -> None:
    store = Slow()
    assert run_all(store, GroupCommit(store)) == [None] * THREADS
    assert store.groups == [THREADS - 1]
    assert Orders(store).counts()["to_invoice"] == THREADS


@pytest.mark.parametrize("error", [StoreFull("no room"), StoreUnavailable("gone")], ids=["full", "gone"])
def test_where_the_store_fails_each_thread_is_told(error: OrderFsmError) -> None:
    """Each raises an error of its own, and the next commit is tried anew."""
    store = Slow()
    group = GroupCommit(store)
    store.fails = error
    raised = run_all(store, group)
    assert raised[0] is None
    assert [str(one) for one in raised[1:]] == [str(error)] * (THREADS - 1)
    assert len(set(map(id, raised))) == THREADS
    store.fails = None
    Orders(group).fire("1", "place")
    assert Orders(store).get("1").state == "sent"


def test_where_the_thread_that_writes_is_interrupted_the_others_are_told() -> None:
    store = Slow()
    store.fails = KeyboardInterrupt()
    raised = run_all(store, GroupCommit(store))
    kinds = sorted(type(one).__name__ for one in raised[1:])
    assert kinds == ["KeyboardInterrupt"] + ["StoreUnavailable"] * (THREADS - 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_child_that_is_forked_while_a_thread_writes_can_write(tmp_path: Path) -> None:
    """The thread that leads the others is not in the child, so nobody there waits for it."""
    with_sqlite = SqliteStore(tmp_path / "shop.db")
    store = Slow()
    held, group = GroupCommit(store), GroupCommit(with_sqlite)
    Orders(group).create("1", total="1", currency="GBP")
    store.go_on.set()
    Orders(store).create("1", total="1", currency="GBP")
    store.go_on.clear()
    store.begun.clear()
    writer = threading.Thread(target=Orders(held).fire, args=("1", "place"), daemon=True)
    writer.start()
    assert store.begun.wait(60)
    child = os.fork()
    if not child:
        # Whatever happens here must not go on into the test run.
        status = 1
        try:
            store.go_on.set()
            Orders(held).comment("1", "from the child")
            Orders(group).fire("1", "place")
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    store.go_on.set()
    writer.join(60)
    assert status == 0
    assert Orders(group).get("1").state == "sent"
    with_sqlite.close()

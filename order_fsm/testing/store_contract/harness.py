"""What all parts of the contract stand on: the factory that its user gives, and the fixtures made from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from order_fsm.store import Store
from order_fsm.testing.store_contract.calls import Calls
from order_fsm.testing.store_contract.crews import Crew, Processes, Threads

KILL_ROUNDS = "ORDER_FSM_KILL_ROUNDS"
"""The environment variable that goes before `StoreHarness.kill_rounds`, for a long run."""

_ROUNDS_OF_A_STORE = 10
"""After so many the next store is begun: each round compares everything, so what there is must not grow for ever."""


class StoreHarness:
    """The factory of a store under test, and the fixtures made from it.

    Attributes:
        durable: whether the store outlives its process. Where it does not, S3 and the races of processes are skipped.
        kill_rounds: how often a process that writes is killed; the environment variable ORDER_FSM_KILL_ROUNDS goes
            before it. Processes that do other things are killed an eighth as often.
        contention: how many changes each of eight workers makes on a few orders; the environment variable
            ORDER_FSM_CONTENTION goes before it. To five of them come twenty other orders, two keys that all use
            at once, and twenty orders that are cancelled and paid at once.
    """

    durable: ClassVar[bool] = True
    kill_rounds: ClassVar[int] = 20
    contention: ClassVar[int] = 25

    def make_store(self, place: Path) -> Store:
        """Open the store that is kept at a place. This is what you give.

        Args:
            place: a folder of the test's own, empty at first. A durable store is opened there several times, also at
                once and by several processes, and must see the same content every time.
        """
        raise NotImplementedError("give your class make_store(self, place), which opens the store kept at that folder")

    def close_store(self, store: Store) -> None:
        """Close a store: calls its `close` where it has one."""
        close = getattr(store, "close", None)
        if close is not None:
            close()

    @contextmanager
    def opened(self, place: Path) -> Iterator[Store]:
        """Open the store kept at a place, and close it in the end."""
        store = self.make_store(place)
        try:
            yield store
        finally:
            self.close_store(store)

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        """Have every call by which a store reaches its disk or its server go through `calls.made`, within a block.

        Give it to have the tests of failing calls; without it they are skipped.

        Args:
            calls: counts the calls, and lets one or some of them fail.
        """
        del calls
        pytest.skip("what calls the store makes is not known: give your class boundary(self, calls)")

    def eras(self, place: Path, share: int = 1) -> Iterator[tuple[Path, range]]:
        """Folders for new stores under a place, one after the other, each with the rounds of kills that it is for.

        Args:
            place: a folder of the test's own.
            share: by how much the rounds are divided.
        """
        rounds = -(-int(os.environ.get(KILL_ROUNDS, self.kill_rounds)) // share)
        for first in range(0, rounds, _ROUNDS_OF_A_STORE):
            era = place / f"from round {first}"
            era.mkdir()
            yield era, range(first, min(first + _ROUNDS_OF_A_STORE, rounds))
            shutil.rmtree(era)

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """An empty folder for a store."""
        place = tmp_path / "store"
        place.mkdir()
        return place

    @pytest.fixture
    def durable_place(self, place: Path) -> Path:
        """The same, for tests of what outlives a process."""
        if not self.durable:
            pytest.skip("what this store holds ends with its process (durable = False)")
        return place

    @pytest.fixture
    def store(self, place: Path) -> Iterator[Store]:
        """A new store."""
        with self.opened(place) as store:
            yield store

    @pytest.fixture(params=["threads", "processes"])
    def crew(self, request: pytest.FixtureRequest) -> Iterator[Crew]:
        """Workers on a new store: threads, then processes."""
        if request.param == "threads":
            with self.opened(request.getfixturevalue("place")) as store:
                yield Threads(store)
        else:
            yield Processes(partial(self.opened, request.getfixturevalue("durable_place")))

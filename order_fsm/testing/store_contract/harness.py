"""The base of all parts of the contract: the factory of the test class, and the fixtures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from order_fsm.store import Store
from order_fsm.testing.store_contract.calls import Calls, Failing
from order_fsm.testing.store_contract.crews import Crew, Processes, Threads

STRESS = "ORDER_FSM_STRESS"
"""The environment variable with the size of the long tests. 1 is full size, 50 is fifty times that size."""

_ROUNDS_PER_STORE = 10
"""A store is replaced after this many rounds, because every round compares its whole content."""


def stress() -> int:
    """Return the size of the long tests, in full sizes. 0 means that they run a part of the full size.

    Raises:
        pytest.UsageError: if the environment variable is not a whole number.
    """
    size = os.environ.get(STRESS) or "0"
    if not size.isdecimal():
        raise pytest.UsageError(f"{STRESS} must be a whole number, such as 1 for the full size, not {size!r}")
    return int(size)


def stressed() -> bool:
    """Return whether the long tests run at full size, as in CI and before a release of a store."""
    return stress() > 0


class StoreHarness:
    """The factory of the store under test, and the fixtures.

    Attributes:
        durable: whether the content outlives the process. If not, the tests of S3 and of several processes are skipped.
        local_disk: whether the store keeps its content in files under `place`. If not (a server), the tests of full
            and read-only disks, of file descriptors and of forks are skipped.
        scrubs: whether the store removes erased values from the files under `place`. If not, the tests of scrubs are
            skipped.
        kill_rounds: the number of kills of a writing process under stress. A tenth of it otherwise. Other processes are
            killed an eighth as often.
        contention: the number of changes that each of eight workers makes on a few orders under stress. A fifth
            otherwise.
    """

    durable: ClassVar[bool] = True
    local_disk: ClassVar[bool] = True
    scrubs: ClassVar[bool] = True
    kill_rounds: ClassVar[int] = 200
    contention: ClassVar[int] = 25

    def make_store(self, place: Path) -> Store:
        """Open the store of a folder. Implement this method in your test class.

        Args:
            place: a folder of this test, empty at first. Tests open a durable store there several times, also in
                several processes at once. It must have the same content each time. A store on a server makes the name
                of its database or schema from it.
        """
        raise NotImplementedError(
            "implement make_store(self, place) in your test class: it opens the store of that folder"
        )

    def opened(self, place: Path) -> AbstractContextManager[Store]:
        """Open the store of a folder for a `with` block."""
        return self.make_store(place)

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        """Route every call of the store to its disk or server through `calls.made` within a block.

        Implement this method to run the tests of failing calls. Without it they are skipped.

        Args:
            calls: counts the calls, and makes one or some of them fail.
        """
        raise NotImplementedError(
            f"implement boundary(self, calls) in your test class to make calls fail ({calls.how.value})"
        )

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize the tests of failing calls by way of failing, and those of workers by crew.

        A test that does not apply is skipped once, not once per way.
        """
        if "how" in metafunc.fixturenames:
            given = type(self).boundary is not StoreHarness.boundary
            reason = "the test class does not implement boundary(self, calls), so the calls of this store cannot fail"
            skipped = pytest.param(None, id="not given", marks=pytest.mark.skip(reason=reason))
            ways = [pytest.param(how, id=how.name.lower()) for how in Failing]
            metafunc.parametrize("how", ways if given else [skipped])
        if "crew" in metafunc.fixturenames:
            metafunc.parametrize("crew", ["threads", "processes"] if self.durable else ["threads"], indirect=True)

    def eras(self, place: Path, share: int = 1) -> Iterator[tuple[Path, range]]:
        """Yield folders for new stores, each with its rounds of kills.

        Args:
            place: a folder of this test.
            share: divides the number of rounds.
        """
        rounds = -(-self.kill_rounds * stress() // share) or -(-self.kill_rounds // (10 * share))
        for first in range(0, rounds, _ROUNDS_PER_STORE):
            era = place / f"from round {first}"
            era.mkdir()
            yield era, range(first, min(first + _ROUNDS_PER_STORE, rounds))
            shutil.rmtree(era)

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Return an empty folder for a store."""
        place = tmp_path / "store"
        place.mkdir()
        return place

    @pytest.fixture
    def durable_place(self, place: Path) -> Path:
        """Return an empty folder for tests of content that outlives a process."""
        if not self.durable:
            pytest.skip("the content of this store ends with its process (durable = False)")
        return place

    @pytest.fixture
    def local_place(self, durable_place: Path) -> Path:
        """Return an empty folder for tests of a local disk and its limits."""
        if not self.local_disk:
            pytest.skip("this store is not on a local disk (local_disk = False)")
        return durable_place

    @pytest.fixture
    def store(self, place: Path) -> Iterator[Store]:
        """Open a new store."""
        with self.opened(place) as store:
            yield store

    @pytest.fixture
    def crew(self, request: pytest.FixtureRequest) -> Iterator[Crew]:
        """Return workers on a new store: threads or processes."""
        if request.param == "threads":
            with self.opened(request.getfixturevalue("place")) as store:
                yield Threads(store)
        else:
            yield Processes(partial(self.opened, request.getfixturevalue("place")))

"""S1, S3 and S4 on a full or read-only disk, and without free file descriptors.

Under such a limit a call returns, or raises StoreFull or StoreUnavailable. When the limit is lifted, the same store and
a newly opened one work again. A failed change is absent or whole. After StoreFull it is absent. A repeated call under
its key commits it once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from order_fsm.errors import KeyReused, OrderNotFound, StoreError, StoreFull, StoreUnavailable
from order_fsm.store import Change, Store
from order_fsm.testing.store_contract.changes import creation, moment, order_of, taken
from order_fsm.testing.store_contract.crews import Threads
from order_fsm.testing.store_contract.expected import ALL, Expected, committed, record_under
from order_fsm.testing.store_contract.harness import StoreHarness, stressed
from order_fsm.testing.store_contract.limits import (
    FewBlocks,
    FewDescriptors,
    FewFiles,
    NoPermission,
    ReadOnlyMount,
    SmallFiles,
    apart,
    open_descriptors,
)
from order_fsm.testing.store_contract.traffic import is_there, next_change, stocked

FullDisk = SmallFiles | FewBlocks | FewFiles
ProtectedDisk = ReadOnlyMount | NoPermission

FULL = pytest.mark.parametrize("kind", [SmallFiles, FewBlocks, FewFiles], ids=lambda kind: kind.__name__)
PROTECTED = pytest.mark.parametrize("kind", [ReadOnlyMount, NoPermission], ids=lambda kind: kind.__name__)

CHANGES = 12
"""The limits of space."""

THREADS = 4
"""The number of concurrent commits in the test of file descriptors."""

ENOUGH = 100
"""A number of descriptors that is enough for all of them."""

SPARE = "spare"
"""The id of an order that is removed on the full disk."""


class Disks(StoreHarness):
    """Tests of limits of the disk and of descriptors. Skipped if `durable` or `local_disk` is False.

    Attributes:
        full_disks: the number of sizes at which a disk is full under stress. A third otherwise.
    """

    full_disks: ClassVar[int] = 24

    @FULL
    def test_s1_a_change_on_a_full_disk_is_absent_or_whole(self, local_place: Path, kind: type[FullDisk]) -> None:
        """On a full disk of any size every change is whole or absent, all reads work, and commits work again later."""
        apart(kind, local_place, self._fill)

    @PROTECTED
    def test_s1_a_read_only_disk_is_unchanged(self, local_place: Path, kind: type[ProtectedDisk]) -> None:
        """On a read-only disk a read returns the right answer or raises, and a write raises. Later both work again."""
        apart(kind, local_place, self._protect)

    def test_s1_a_change_without_free_descriptors_is_absent_or_whole(self, local_place: Path) -> None:
        """With 0, 1, 2 … free descriptors every change is whole or absent, and no file stays open."""
        apart(FewDescriptors, local_place, self._run_out)

    # These functions run in a separate process.

    def _fill(self, disk: FullDisk) -> Iterator[None]:
        to_open, to_change = self._room_for_all(disk)
        rounds = self.full_disks if stressed() else self.full_disks // 3
        # Most files are small, so small sizes are closer together.
        shares = [(turn / rounds) ** 3 for turn in range(rounds)]
        before = open_descriptors()
        for to_open_in, to_change_in in sorted({(int(to_open * share), int(to_change * share)) for share in shares}):
            place = disk.place / f"{to_change_in}"
            place.mkdir()
            with disk.only(to_open_in):
                self._try_to_open(place)
            with self.opened(place) as store:
                expected = stocked(store)
                committed(store, expected, creation(SPARE, topics=["order.paid"], key=SPARE))
            with self.opened(place) as store:
                self._change_until_full(store, expected, disk, to_change_in, place)
                _read(store, expected)
                expected.check(store)
            with self.opened(place) as another:
                expected.check(another)
            assert open_descriptors() == before, "a closed store must have no open file"
            shutil.rmtree(place)
            yield

    def _room_for_all(self, disk: FullDisk) -> tuple[int, int]:
        """Return the space that a store uses when it is opened, and after all changes."""
        place = disk.place / "enough"
        place.mkdir()
        with self.opened(place) as store:
            to_open = disk.used()
            expected = stocked(store)
            for number in range(CHANGES):
                committed(store, expected, next_change(expected, number))
                store.find(ALL)
            to_change = disk.used()
        shutil.rmtree(place)
        return to_open, to_change

    def _change_until_full(self, store: Store, expected: Expected, disk: FullDisk, room: int, place: Path) -> None:
        """Commit changes until the disk is full, compare, and commit the rest with free space."""
        refused: list[tuple[Change, StoreError | None]] = []
        removal: StoreError | None = None
        number = 0
        with disk.only(room):
            while number < CHANGES and not refused:
                change = next_change(expected, number)
                number += 1
                error = _tried(partial(store.commit, change))
                if error is None:
                    expected.commit(change)
                    _tried(partial(store.find, ALL))
                else:
                    refused.append((change, error))
                    with nullcontext() if disk.readable else suppress(StoreUnavailable):
                        _read(store, expected, but=None if isinstance(error, StoreFull) else order_of(change).id)
                    self._try_to_open(place)
                    removal = _write_otherwise(store, expected)
        if refused:
            _settle_removal(store, expected, removal)
            _settle(store, expected, refused)
        for more in (number, number + 1):
            committed(store, expected, next_change(expected, more))

    def _protect(self, disk: ProtectedDisk) -> Iterator[None]:
        with self.opened(disk.place) as store:
            expected = stocked(store)
            committed(store, expected, creation(SPARE, topics=["order.paid"], key=SPARE))
            for number in range(CHANGES):
                committed(store, expected, next_change(expected, number))
        stores = [self.make_store(disk.place)]
        with ExitStack() as protected:
            try:
                _fork_a_child()
                protected.enter_context(disk.read_only())
            except OSError:
                # A file that is open for writing prevents a read-only mount.
                stores.pop().close()
                protected.enter_context(disk.read_only())
            errors = [_tried(lambda: stores.append(self.make_store(disk.place)))]
            for store in stores:
                with suppress(StoreUnavailable):
                    _read(store, expected)
            refused: list[tuple[Change, StoreError | None]] = []
            for number, store in enumerate(stores):
                change = creation(f"refused {number}", stock=[taken("CUP", 1)], key=f"refused {number}")
                refused.append((change, _tried(partial(store.commit, change))))
            removals = [_write_otherwise(store, expected) for store in stores[-1:]]
        errors += [*removals, *(error for _, error in refused)]
        assert not any(isinstance(error, StoreFull) for error in errors), "the disk is not full"
        with self.opened(disk.place) as store:
            for removal in removals:
                _settle_removal(store, expected, removal)
            _settle(store, expected, refused)
        for number, store in enumerate(stores):
            committed(store, expected, next_change(expected, CHANGES + number))
            expected.check(store)
            store.close()
        yield

    def _run_out(self, disk: FewDescriptors) -> Iterator[None]:
        before = open_descriptors()
        everybody = {f"thread {number}": Expected() for number in range(THREADS)}
        with self.opened(disk.place) as store:
            expected = stocked(store)
            crew = Threads(store)
            for step, free in enumerate([ENOUGH, *range(ENOUGH)]):
                changes = [next_change(own, step, name) for name, own in everybody.items()]
                _fork_a_child()
                with disk.only(free):
                    errors = [self._try_to_open(disk.place), _tried(partial(_read, store, expected))]
                    refusals = crew.run([partial(_commit, change) for change in changes])
                errors += refusals
                assert not any(isinstance(error, StoreFull) for error in errors), "the disk is not full"
                _settle(store, expected, zip(changes, refusals, strict=True))
                for own, change in zip(everybody.values(), changes, strict=True):
                    own.commit(change)
                yield
                if step and errors == [None] * len(errors):
                    break
            else:
                pytest.fail("the call needs more and more files")
        assert open_descriptors() == before, "a closed store must have no open file"

    def _try_to_open(self, place: Path) -> StoreError | None:
        return _tried(lambda: self.make_store(place).close())


def _fork_a_child() -> None:
    """Fork a child that does nothing. A store may close its files at a fork, and must reopen them."""
    os.waitpid(os.fork() or os._exit(0), 0)


def _tried(call: Callable[[], object]) -> StoreError | None:
    """Make a call that may fail only because of the limit. Return the error."""
    try:
        call()
    except (StoreFull, StoreUnavailable) as error:
        return error
    return None


def _commit(change: Change, store: Store) -> StoreError | None:
    return _tried(partial(store.commit, change))


def _settle(store: Store, expected: Expected, tried: Iterable[tuple[Change, StoreError | None]]) -> None:
    """Check that each failed change is absent or whole, and commit the absent ones."""
    missing = []
    for change, error in tried:
        if error is not None and is_there(store, change):
            assert not isinstance(error, StoreFull), "the change must be absent after StoreFull"
            with pytest.raises(KeyReused):
                store.commit(change)
        if error is None or is_there(store, change):
            expected.commit(change)
        else:
            missing.append(change)
    expected.refused = missing
    expected.check(store)
    expected.refused = []
    committed(store, expected, *missing)


def _read(store: Store, expected: Expected, but: str | None = None) -> None:
    """Check that all commits are readable, except the messages, because a claim writes.

    Args:
        store: the store.
        expected: the committed content.
        but: the id of an order that may be present or absent.
    """
    known = expected.orders.keys() - {but}
    for order_id in known:
        expected.check_order(store, order_id)
    for key, record in expected.records.items():
        assert record_under(store, key) == record
    assert {order.id for order in store.find(ALL)} - {but} == known
    if but is None:
        assert store.stock(expected.stock) == expected.stock
        expected.check_levels(store)
        assert set(store.tally(None)) == expected.tally(None), "tally must agree with the orders"


def _write_otherwise(store: Store, expected: Expected) -> StoreError | None:
    """Try all writes except commits. Return the error of the removal of the order `SPARE`."""
    _tried(partial(store.set_stock, "CUP", expected.stock["CUP"]))
    _tried(partial(store.claim, moment(1000), moment(2000), 1))
    return _tried(partial(store.remove, expected.orders[SPARE]))


def _settle_removal(store: Store, expected: Expected, error: StoreError | None) -> None:
    """Check that the order `SPARE` is present or absent, according to the error of its removal."""
    try:
        store.load(SPARE)
    except OrderNotFound:
        assert not isinstance(error, StoreFull), "the order must be present after StoreFull"
        expected.remove(SPARE)
    else:
        assert error is not None, "a removed order must be absent"

"""S1, S3 and S4 on a disk that is full or read-only, and where no more files can be opened.

A call that meets this returns, or raises StoreFull or StoreUnavailable. Then the same store, and one that is opened
anew, go on as soon as they can. A change that was refused is absent or whole; after StoreFull it is absent. Under its
key it is committed once.
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
"""What is tried on a full disk."""

THREADS = 4
"""How many commit at once where descriptors are short."""

ENOUGH = 100
"""Descriptors for all of them."""

SPARE = "spare"
"""The id of an order that is removed where there is no room."""


class Disks(StoreHarness):
    """Disks that are full or read-only, and descriptors that run out. Skipped if `durable` or `local_disk` is False.

    Attributes:
        full_disks: at how many sizes a disk is full under stress. A third otherwise.
    """

    full_disks: ClassVar[int] = 24

    @FULL
    def test_s1_a_change_without_room_is_absent_or_whole(self, local_place: Path, kind: type[FullDisk]) -> None:
        """On a disk that is full at every size, nothing is there by half, all can be read, and it goes on with room."""
        apart(kind, local_place, self._fill)

    @PROTECTED
    def test_s1_a_read_only_disk_stays_as_it_was(self, local_place: Path, kind: type[ProtectedDisk]) -> None:
        """Who reads has the right answer, or is told that it cannot be had; who writes is told so; then it goes on."""
        apart(kind, local_place, self._protect)

    def test_s1_a_change_without_descriptors_is_absent_or_whole(self, local_place: Path) -> None:
        """With no file left to open, with one, two … : nothing is there by half, and none is left open."""
        apart(FewDescriptors, local_place, self._run_out)

    # What follows runs in a process of its own.

    def _fill(self, disk: FullDisk) -> Iterator[None]:
        to_open, to_change = self._room_for_all(disk)
        rounds = self.full_disks if stressed() else self.full_disks // 3
        # Small rooms are tried more closely: most files are small.
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
            assert open_descriptors() == before, "a store that is closed leaves no file open"
            shutil.rmtree(place)
            yield

    def _room_for_all(self, disk: FullDisk) -> tuple[int, int]:
        """How much room is used to open a store, and to make all changes."""
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
        """Commit changes until there is no room, look, and commit on with room."""
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
                # What the store has open to write keeps the disk from being made read-only.
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
        assert not any(isinstance(error, StoreFull) for error in errors), "it is not for want of room"
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
                assert not any(isinstance(error, StoreFull) for error in errors), "it is not for want of room"
                _settle(store, expected, zip(changes, refusals, strict=True))
                for own, change in zip(everybody.values(), changes, strict=True):
                    own.commit(change)
                yield
                if step and errors == [None] * len(errors):
                    break
            else:
                pytest.fail("it wants more and more files")
        assert open_descriptors() == before, "a store that is closed leaves no file open"

    def _try_to_open(self, place: Path) -> StoreError | None:
        return _tried(lambda: self.make_store(place).close())


def _fork_a_child() -> None:
    """Fork a child that does nothing: a store may let go of the files that it has open, and must open them again."""
    os.waitpid(os.fork() or os._exit(0), 0)


def _tried(call: Callable[[], object]) -> StoreError | None:
    """Make a call that may be refused for want of room, leave or descriptors, and for nothing else; gives the error."""
    try:
        call()
    except (StoreFull, StoreUnavailable) as error:
        return error
    return None


def _commit(change: Change, store: Store) -> StoreError | None:
    return _tried(partial(store.commit, change))


def _settle(store: Store, expected: Expected, tried: Iterable[tuple[Change, StoreError | None]]) -> None:
    """See that each change that was refused is absent or whole, and commit those that are absent."""
    missing = []
    for change, error in tried:
        if error is not None and is_there(store, change):
            assert not isinstance(error, StoreFull), "StoreFull says that nothing has changed, and the change is there"
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
    """See that what was committed can be read, without a look at the messages: to claim them is to write.

    Args:
        store: in which it is.
        expected: what was committed.
        but: the id of an order of which that is not known.
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
    """Try all that writes beside a commit; gives the error of the removal of the order `SPARE`."""
    _tried(partial(store.set_stock, "CUP", expected.stock["CUP"]))
    _tried(partial(store.claim, moment(1000), moment(2000), 1))
    return _tried(partial(store.remove, expected.orders[SPARE]))


def _settle_removal(store: Store, expected: Expected, error: StoreError | None) -> None:
    """See that the order `SPARE` is there or not, as the error of its removal says."""
    try:
        store.load(SPARE)
    except OrderNotFound:
        assert not isinstance(error, StoreFull), "StoreFull says that nothing has changed, and the order is gone"
        expected.remove(SPARE)
    else:
        assert error is not None, "an order that was removed is there"

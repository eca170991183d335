"""Power losses at random moments of a run, and what the store makes of what is left."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from attrs import define, field

from order_fsm.errors import OrderFsmError
from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation, seeded
from order_fsm.testing.store_contract.expected import Expected
from order_fsm.testing.store_contract.traffic import PIECES, SKUS, stocked
from tests.power.disk import Disk
from tests.power.shop import STEPS, STOCKED, STORES, Step, base_of, closed, next_step, whole
from tests.power.trace import Call, traced

IMAGES_OF_A_RUN = 250
WRONG = (AssertionError, pytest.fail.Exception, OrderFsmError)
ROOT = Path(__file__).parent.parent.parent


@define
class Losses:
    """What came of power losses.

    Attributes:
        images: how many there were.
        bad: what was wrong, for each image in which something was.
    """

    images: int = 0
    bad: list[str] = field(factory=list)


def lose_power(kind: str, images: int, place: Path, base: Path | None = None) -> Losses:
    """Let the power fail so many times in runs of a store, and look what is left.

    Args:
        kind: of the store, a name of `STORES`.
        images: how many times.
        place: an empty folder.
        base: a folder with what there is before each run; a run begins with nothing where it is not given.
    """
    losses = Losses()
    for first in range(0, images, IMAGES_OF_A_RUN):
        seed = f"run {first // IMAGES_OF_A_RUN}"
        wanted = min(IMAGES_OF_A_RUN, images - first)
        _lose_power_in_a_run(kind, seed, wanted, place / f"{first}", base, losses)
        shutil.rmtree(place / f"{first}")
    return losses


def _lose_power_in_a_run(kind: str, seed: str, images: int, place: Path, base: Path | None, losses: Losses) -> None:
    place.mkdir()
    before, work = place / "before", place / "work"
    if base is None:
        before.mkdir()
    else:
        shutil.copytree(base, before)
    shutil.copytree(before, work)
    migrated = None
    if base is not None:
        migrated = place / "migrated"
        shutil.copytree(base, migrated)
    calls = _run(kind, seed, work, migrated)
    changing = [number for number, call in enumerate(calls) if call[1]]
    dice = seeded(f"{kind} {seed} power")
    moments = Counter(dice.choices(changing, k=images))
    disk = Disk(before, str(work))
    begun = base_of(kind, migrated)
    steps = _by_steps(begun, seed)
    for number, (call, _) in enumerate(calls):
        disk.do(call)
        for image in range(moments[number]):
            left = place / "left"
            disk.lose_power(dice, left)
            losses.images += 1
            try:
                _check(kind, left, disk.said, begun, steps)
            except WRONG as error:
                losses.bad.append(f"{seed}, call {number}, image {image}: {type(error).__name__}: {error}"[:500])
            shutil.rmtree(left)


def _run(kind: str, seed: str, work: Path, migrated: Path | None) -> list[tuple[Call, bool]]:
    """The calls of a run, each with whether it may change what a power loss leaves."""
    before = work.parent / "before"
    command = [sys.executable, "-m", "tests.power.shop", kind, str(work), seed, *([str(migrated)] if migrated else [])]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}", "PATH": os.environ["PATH"]}
    calls = traced(command, work.parent / "trace", environment)
    disk = Disk(before, str(work))
    changes = [(call, disk.do(call)) for call in calls]
    assert disk.said[-1] == b"%d\n" % (STEPS - 1), "the trace must hold every acknowledgement"
    return changes


def _by_steps(base: Expected, seed: str) -> list[tuple[Expected, Step | None]]:
    """What a store must hold after each number of steps, and the step after that."""
    expected = _copy(base)
    expected.stock.update(dict.fromkeys(SKUS[:2], PIECES))
    by_steps: list[tuple[Expected, Step | None]] = []
    for number in range(STEPS):
        step = next_step(expected, number, seed)
        by_steps.append((_copy(expected), step))
        step.note(expected)
    return [*by_steps, (expected, None)]


def _check(
    kind: str, place: Path, said: list[bytes], begun: Expected, steps: list[tuple[Expected, Step | None]]
) -> None:
    """Compare what is left with what was acknowledged; what was under way is there whole, or not at all.

    Raises:
        AssertionError, pytest.fail.Exception: it is something else.
        OrderFsmError: the store does not open, or fails.
    """
    store = STORES[whole(kind)](place)
    try:
        if STOCKED not in said:
            expected = _copy(begun)
            on_hand = store.stock(SKUS)
            assert set(on_hand.items()) <= {*begun.stock.items(), *((sku, PIECES) for sku in SKUS[:2])}
            expected.stock = on_hand
            expected.check(store)
            stocked(store)
        else:
            _check_steps(store, *steps[sum(one.strip().isdigit() for one in said)])
        new = creation("after the power loss")
        store.commit(new)
        assert store.load(new.order.id) == new.order, "the store must work on"
    finally:
        closed(store)


def _check_steps(store: Store, done: Expected, under_way: Step | None) -> None:
    expected = _copy(done)
    if under_way is None:
        expected.check(store)
        return
    if under_way.change is not None:
        expected.refused = [under_way.change]
    try:
        expected.check(store)
    except WRONG:
        expected.refused = []
        under_way.note(expected)
        expected.check(store)


def _copy(expected: Expected) -> Expected:
    copy = Expected()
    copy.orders, copy.histories = dict(expected.orders), dict(expected.histories)
    copy.keys, copy.stock = dict(expected.keys), dict(expected.stock)
    copy.messages = list(expected.messages)
    copy.removed = dict(expected.removed)
    return copy

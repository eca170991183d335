"""Power losses at random moments of a run, and what the store makes of what is left."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

from attrs import define, field

from order_fsm.errors import OrderFsmError
from order_fsm.store import Store
from order_fsm.testing.changes import creation, seeded
from order_fsm.testing.expected import Expected
from order_fsm.testing.traffic import PIECES, SKUS, stocked
from tests.power.disk import Disk
from tests.power.shop import STEPS, STOCKED, STORES, base_of, closed, next_step, whole
from tests.power.trace import Call, traced

IMAGES_OF_A_RUN = 250
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
    expected = base_of(kind, migrated)
    for number, (call, _) in enumerate(calls):
        disk.do(call)
        for image in range(moments[number]):
            left = place / "left"
            disk.lose_power(dice, left)
            losses.images += 1
            try:
                _check(kind, left, seed, disk.said, expected)
            except (AssertionError, OrderFsmError) as error:
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


def _check(kind: str, place: Path, seed: str, said: list[bytes], base: Expected) -> None:
    """Compare what is left with what was acknowledged; what was under way is there whole, or not at all.

    Raises:
        AssertionError: it is something else.
        OrderFsmError: the store does not open, or fails.
    """
    store = STORES[whole(kind)](place)
    try:
        expected = _copy(base)
        if STOCKED not in said:
            on_hand = store.stock(SKUS)
            assert set(on_hand.items()) <= {*base.stock.items(), *((sku, PIECES) for sku in SKUS[:2])}
            expected.stock = on_hand
            expected.check(store)
            stocked(store)
        else:
            done = sum(one.strip().isdigit() for one in said)
            _check_steps(store, expected, seed, done)
        new = creation("after the power loss")
        store.commit(new)
        assert store.load(new.order.id) == new.order, "the store must work on"
    finally:
        closed(store)


def _check_steps(store: Store, expected: Expected, seed: str, done: int) -> None:
    expected.stock.update(dict.fromkeys(SKUS[:2], PIECES))
    for number in range(done):
        next_step(expected, number, seed).note(expected)
    try:
        expected.check(store)
    except (AssertionError, OrderFsmError):
        if done == STEPS:
            raise
        next_step(expected, done, seed).note(expected)
        expected.check(store)
    else:
        if done < STEPS and (change := next_step(expected, done, seed).change) is not None:
            expected.refused = [change]
            expected.check(store)


def _copy(expected: Expected) -> Expected:
    copy = Expected()
    copy.orders, copy.histories = dict(expected.orders), dict(expected.histories)
    copy.keys, copy.stock = dict(expected.keys), dict(expected.stock)
    copy.messages = list(expected.messages)
    return copy

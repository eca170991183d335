"""Power losses at random times of a run, and the recovery of the store."""

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
from tests.power.shop import STEPS, STOCKED, STORES, Step, begun, next_step, whole
from tests.power.trace import Call, traced

IMAGES_OF_A_RUN = 250
WRONG = (AssertionError, pytest.fail.Exception, OrderFsmError)
ROOT = Path(__file__).parent.parent.parent


@define
class Losses:
    """The outcome of power losses.

    Attributes:
        images: the number of power losses.
        bad: the faults of images.
    """

    images: int = 0
    bad: list[str] = field(factory=list)


def lose_power(kind: str, images: int, place: Path) -> Losses:
    """Simulate many power losses in runs of a store, and check the recovered content.

    Args:
        kind: a key of `STORES`.
        images: the number of power losses.
        place: an empty folder.
    """
    losses = Losses()
    for first in range(0, images, IMAGES_OF_A_RUN):
        seed = f"run {first // IMAGES_OF_A_RUN}"
        wanted = min(IMAGES_OF_A_RUN, images - first)
        _lose_power_in_a_run(kind, seed, wanted, place / f"{first}", losses)
        shutil.rmtree(place / f"{first}")
    return losses


def _lose_power_in_a_run(kind: str, seed: str, images: int, place: Path, losses: Losses) -> None:
    place.mkdir()
    before, work = place / "before", place / "work"
    before.mkdir()
    work.mkdir()
    calls = _run(kind, seed, work)
    changing = [number for number, call in enumerate(calls) if call[1]]
    dice = seeded(f"{kind} {seed} power")
    moments = Counter(dice.choices(changing, k=images))
    disk = Disk(before, str(work))
    steps = _by_steps(seed)
    for number, (call, _) in enumerate(calls):
        disk.do(call)
        for image in range(moments[number]):
            left = place / "left"
            disk.lose_power(dice, left)
            losses.images += 1
            try:
                _check(kind, left, disk.said, steps)
            except WRONG as error:
                losses.bad.append(f"{seed}, call {number}, image {image}: {type(error).__name__}: {error}"[:500])
            shutil.rmtree(left)


def _run(kind: str, seed: str, work: Path) -> list[tuple[Call, bool]]:
    """Return the calls of a run, each with whether it may change the result of a power loss."""
    command = [sys.executable, "-m", "tests.power.shop", kind, str(work), seed]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}", "PATH": os.environ["PATH"]}
    calls = traced(command, work.parent / "trace", environment)
    disk = Disk(work.parent / "before", str(work))
    changes = [(call, disk.do(call)) for call in calls]
    assert disk.said[-1] == b"%d\n" % (STEPS - 1), "the trace must hold every acknowledgement"
    return changes


def _by_steps(seed: str) -> list[tuple[Expected, Step]]:
    """Return the content that a store must have after each number of steps, and the next step."""
    expected = begun()
    by_steps: list[tuple[Expected, Step]] = []
    for number in range(STEPS):
        step = next_step(expected, number, seed)
        by_steps.append((_copy(expected), step))
        step.note(expected)
    return [*by_steps, (expected, Step())]


def _check(kind: str, place: Path, said: list[bytes], steps: list[tuple[Expected, Step]]) -> None:
    """Compare a store with the acknowledged steps. The step in progress is whole or absent.

    Raises:
        AssertionError, pytest.fail.Exception: if the content differs.
        OrderFsmError: if the store does not open or fails.
    """
    with STORES[whole(kind)](place) as store:
        for torn in place.glob("orders/*.torn-*"):
            assert any(str(torn) in fault for fault in store.faults()), "a torn end must be reported"
            torn.unlink()
        if STOCKED not in said:
            expected = Expected()
            expected.stock = store.stock(SKUS)
            assert set(expected.stock.items()) <= {(sku, PIECES) for sku in SKUS[:2]}
            expected.check(store)
            stocked(store)
        else:
            _check_steps(store, *steps[sum(one.strip().isdigit() for one in said)])
        new = creation("after the power loss")
        store.commit(new)
        assert new.order is not None
        assert store.load(new.order.id) == new.order, "the store must work on"


def _check_steps(store: Store, done: Expected, under_way: Step) -> None:
    """Check the content, with any first part of a batch in progress."""
    expected = _copy(done)
    expected.refused = list(under_way.changes)
    parts = [Step((change,)) for change in under_way.changes] or [under_way]
    while True:
        try:
            expected.check(store)
            return
        except WRONG:
            if not parts:
                raise
        part = parts.pop(0)
        part.note(expected)
        expected.refused = expected.refused[1:]


def _copy(expected: Expected) -> Expected:
    copy = Expected()
    copy.orders, copy.histories = dict(expected.orders), dict(expected.histories)
    copy.records, copy.stock, copy.others = dict(expected.records), dict(expected.stock), dict(expected.others)
    copy.messages = list(expected.messages)
    copy.removed = dict(expected.removed)
    return copy

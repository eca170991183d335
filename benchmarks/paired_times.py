"""Time two pieces of work alternately, so that a slow machine slows down both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

Work = Callable[[], float | None]
"""The timed work. It may measure itself and return the seconds."""

Prepare = Callable[[], Work]
"""Prepares one round, which is not timed, and returns the work to time."""


class Compare(Protocol):
    """The fixture `compare`: times ours against theirs, and fails if the ratio is too high."""

    def __call__(self, ours: Prepare, theirs: Prepare, *, limit: float, rounds: int, changes: int) -> None:
        """Compare ours with theirs.

        Args:
            ours, theirs: prepare a round and return its work.
            limit: the promised ratio.
            rounds: the number of rounds of each.
            changes: the number of changes in one round, for the time of one change.
        """
        ...


class Hold(Protocol):
    """The fixture `hold`: fails if the ratio of two sizes is too high."""

    def __call__(self, measure: Callable[[], tuple[float, float]], *, limit: float, unit: str) -> None:
        """Compare ours with theirs.

        Args:
            measure: returns ours and theirs.
            limit: the promised ratio.
            unit: the unit of ours and theirs.
        """
        ...


class Paired(NamedTuple):
    """The measurements."""

    ours: float
    theirs: float
    ratio: float


def timed(work: Work) -> float:
    """Return the seconds that a piece of work takes, without garbage collection."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        own = work()
        return time.perf_counter() - start if own is None else own
    finally:
        gc.enable()


def paired(ours: Prepare, theirs: Prepare, *, rounds: int, changes: int) -> Paired:
    """Return both medians in microseconds per change, and the median ratio over the rounds. See `Compare`."""
    mine: list[float] = []
    others: list[float] = []
    for number in range(rounds + 1):
        prepared, other = ours(), theirs()
        times = (timed(prepared), timed(other)) if number % 2 else (timed(other), timed(prepared))[::-1]
        if number:  # The first round warms up.
            mine.append(times[0])
            others.append(times[1])
    return Paired(
        statistics.median(mine) / changes * 1e6,
        statistics.median(others) / changes * 1e6,
        statistics.median(one / other for one, other in zip(mine, others, strict=True)),
    )

"""Two pieces of work timed in turn, so that a machine that slows down slows down both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

Work = Callable[[], float | None]
"""What is timed; it may time itself and give the seconds."""

Prepare = Callable[[], Work]
"""Sets up one round, outside of the clock, and gives the work to time."""


class Compare(Protocol):
    """The fixture `compare`: times ours against theirs, and fails where the ratio is higher than it may be."""

    def __call__(self, ours: Prepare, theirs: Prepare, *, limit: float, rounds: int, changes: int) -> None:
        """Compare.

        Args:
            ours, theirs: prepare a round and give its work.
            limit: the ratio that is promised.
            rounds: how often each is timed.
            changes: how many changes one round makes, for the figures of one.
        """
        ...


class Hold(Protocol):
    """The fixture `hold`: fails where the ratio of two sizes is higher than it may be."""

    def __call__(self, measure: Callable[[], tuple[float, float]], *, limit: float, unit: str) -> None:
        """Compare.

        Args:
            measure: gives ours and theirs.
            limit: the ratio that is promised.
            unit: of what `measure` gives.
        """
        ...


class Paired(NamedTuple):
    """What was measured."""

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
    """The medians of both in microseconds a change, and the median over rounds of the ratio; see `Compare`."""
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

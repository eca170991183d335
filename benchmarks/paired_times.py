"""Two pieces of work timed in turn, so that a machine that slows down slows down both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

Work = Callable[[], float | None]
"""What is timed; it may time itself and give the seconds."""

Compare = Callable[..., None]
Prepare = Callable[[], Work]
"""Sets up one round, outside of the clock, and gives the work to time."""


def _timed(work: Work) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        own = work()
        return time.perf_counter() - start if own is None else own
    finally:
        gc.enable()


def ratio(benchmark: Any, ours: Prepare, theirs: Prepare, *, rounds: int, changes: int) -> float:
    """The median over rounds of how many times as long `ours` takes as `theirs`.

    Args:
        benchmark: pytest-benchmark's fixture; it reports our times, and the ratio beside them.
        ours, theirs: prepare a round and give its work.
        rounds: how often each is timed.
        changes: how many changes one round makes, for the figures of one.
    """
    mine: list[float] = []
    others: list[float] = []
    for number in range(rounds + 1):
        prepared, other = ours(), theirs()
        times = (_timed(prepared), _timed(other)) if number % 2 else (_timed(other), _timed(prepared))[::-1]
        if number:  # The first round warms up.
            mine.append(times[0])
            others.append(times[1])
    median = statistics.median(one / other for one, other in zip(mine, others, strict=True))
    benchmark.extra_info |= {
        "ratio": round(median, 3),
        "ours_us": round(statistics.median(mine) / changes * 1e6, 2),
        "theirs_us": round(statistics.median(others) / changes * 1e6, 2),
    }
    benchmark.pedantic(lambda work: work(), setup=lambda: ((ours(),), {}), rounds=3)
    return median

"""Time two pieces of work alternately, so that a slow machine slows down both."""

from __future__ import annotations

import gc
import hmac
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs, urlencode

Work = Callable[[], float | None]
"""The timed work. It may measure itself and return the seconds."""

Prepare = Callable[[], Work]
"""Prepares one round, which is not timed, and returns the work to time."""

Steps = Callable[[], Iterator[object]]
"""Prepares one round, which is not timed, and returns an iterator. Each step of it makes one change."""

SERVED = json.dumps({"id": "evt_1", "amount": 4990, "items": [{"sku": "CUP", "pieces": 4}] * 5})
"""The body of a request."""


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


class CompareSingle(Protocol):
    """The fixture `compare_single`: as `compare`, for single changes between other work."""

    def __call__(self, ours: Steps, theirs: Steps, *, limit: float, rounds: int) -> None:
        """Compare ours with theirs. The arguments are as in `Compare`."""
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
    with _without_collection():
        start = time.perf_counter()
        own = work()
        return time.perf_counter() - start if own is None else own


@contextmanager
def _without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def paired(ours: Prepare, theirs: Prepare, *, rounds: int, changes: int) -> Paired:
    """Return both medians in microseconds per change, and the median ratio over the rounds. See `Compare`."""

    def measure(number: int) -> tuple[float, float]:
        prepared, other = ours(), theirs()
        if number % 2:
            return timed(prepared), timed(other)
        theirs_first = timed(other)
        return timed(prepared), theirs_first

    return _medians(measure, rounds, changes)


def single(ours: Steps, theirs: Steps, *, rounds: int) -> Paired:
    """Return the times of single changes, which alternate, with other work before each.

    In a loop, all code of a short call stays in the caches of the processor. A shop serves a request between two
    changes, so its caches hold other code.

    Args:
        ours, theirs: prepare a round. Both make the same number of changes.
        rounds: the number of rounds of each.
    """

    def measure(_: int) -> tuple[float, float]:
        steps, other_steps = ours(), theirs()
        with _without_collection():
            pairs = list(zip(_seconds(steps), _seconds(other_steps), strict=True))
        return statistics.fmean(one for one, _ in pairs), statistics.fmean(other for _, other in pairs)

    return _medians(measure, rounds, 1)


def _seconds(steps: Iterator[object]) -> Iterator[float]:
    """Yield the seconds of each step, with other work before it."""
    while True:
        _serve()
        start = time.perf_counter()
        try:
            next(steps)
        except StopIteration:
            return
        yield time.perf_counter() - start


def _serve() -> None:
    """Do other work, such as a shop does for a request."""
    hmac.new(b"secret", SERVED.encode(), "sha256").hexdigest()
    parse_qs(urlencode(json.loads(SERVED)))
    mail = EmailMessage()
    mail["Subject"] = "Your payment was received"
    mail.set_content(SERVED)
    bytes(mail)


def _medians(measure: Callable[[int], tuple[float, float]], rounds: int, changes: int) -> Paired:
    """Return the medians over rounds. `measure` returns the seconds of ours and theirs in a round."""
    times = [measure(number) for number in range(rounds + 1)][1:]  # The first round warms up.
    return Paired(
        statistics.median(ours for ours, _ in times) / changes * 1e6,
        statistics.median(theirs for _, theirs in times) / changes * 1e6,
        statistics.median(ours / theirs for ours, theirs in times),
    )

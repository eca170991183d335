"""The results of comparisons and their limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs

from paired_times import Paired

RECORD = Path(__file__).with_name("ratios.json")
"""The ratios of the last recorded run, by the name of the comparison."""


@attrs.frozen
class Ratio:
    """The result of a comparison.

    Attributes:
        name: the name of its test.
        ours, theirs: the measurements in `unit`.
        ratio: ours divided by theirs.
        limit: the promised ratio.
        allowed: the highest ratio that passes in this run.
    """

    name: str
    ours: float
    theirs: float
    ratio: float
    limit: float
    allowed: float
    unit: str

    @property
    def slipped(self) -> bool:
        """Whether the ratio is too high."""
        return self.ratio > self.allowed

    @property
    def said(self) -> str:
        """Return the message of a failure."""
        return (
            f"{self.name}: {self.ratio:.2f} times theirs, and at most {self.allowed:.2f} is allowed "
            f"(ours {self.ours:.1f} {self.unit}, theirs {self.theirs:.1f} {self.unit}, promised {self.limit:.2f})"
        )


def judged(
    name: str, measure: Callable[[], Paired], *, limit: float, recorded: float | None, slack: float | None, unit: str
) -> Ratio:
    """Measure, and measure again if the ratio is too high, because the machine may have been busy.

    A recorded ratio detects that work far below its limit became twice as slow.

    Args:
        name: the name of the comparison.
        measure: returns ours and theirs.
        limit: the promised ratio.
        recorded: the ratio of the last recorded run, or None.
        slack: the allowed multiple of the recorded ratio. None applies the limit.
        unit: the unit of ours and theirs.
    """
    allowed = limit if slack is None else slack * (limit if recorded is None else recorded)
    measured = measure()
    if measured.ratio > allowed:
        measured = min(measured, measure(), key=lambda one: one.ratio)
    return Ratio(name, *measured, limit, allowed, unit)


def table(ratios: Iterable[Ratio]) -> Iterator[str]:
    """Return the lines of the table."""
    yield f"{'comparison':75} {'ours':>12} {'theirs':>12} {'':3} {'ratio':>7} {'limit':>7} {'allowed':>7}"
    for one in ratios:
        yield (
            f"{one.name:75} {one.ours:12.1f} {one.theirs:12.1f} {one.unit:3} "
            f"{one.ratio:7.3f} {one.limit:7.2f} {one.allowed:7.2f}{' slipped' if one.slipped else ''}"
        )

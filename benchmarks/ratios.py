"""What a comparison came to, and what it may come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs

from paired_times import Paired

RECORD = Path(__file__).with_name("ratios.json")
"""The ratios of the last recorded run, by the name of the comparison."""


@attrs.frozen
class Ratio:
    """A comparison that was made.

    Attributes:
        name: of its test.
        ours, theirs: in `unit`.
        ratio: how many times ours is theirs.
        limit: the ratio that is promised.
        allowed: the highest with which the comparison holds in this run.
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
        """Whether it is higher than it may be."""
        return self.ratio > self.allowed

    @property
    def said(self) -> str:
        """A sentence for who reads that it slipped."""
        return (
            f"{self.name}: {self.ratio:.2f} times theirs, and at most {self.allowed:.2f} is allowed "
            f"(ours {self.ours:.1f} {self.unit}, theirs {self.theirs:.1f} {self.unit}, promised {self.limit:.2f})"
        )


def judged(
    name: str, measure: Callable[[], Paired], *, limit: float, recorded: float | None, slack: float | None, unit: str
) -> Ratio:
    """Measure, and once more where the ratio is too high: what the machine did at a moment the code does not always do.

    A limit alone does not see that what was far better than promised became twice as slow; what was recorded does.

    Args:
        name: of the comparison.
        measure: measures.
        limit: what is promised.
        recorded: the ratio of the last recorded run, if the comparison was in it.
        slack: how many times that it may be; None holds it to its limit.
        unit: of ours and theirs.
    """
    allowed = limit if slack is None else slack * (limit if recorded is None else recorded)
    measured = measure()
    if measured.ratio > allowed:
        measured = min(measured, measure(), key=lambda one: one.ratio)
    return Ratio(name, *measured, limit, allowed, unit)


def table(ratios: Iterable[Ratio]) -> Iterator[str]:
    """Lines of text."""
    yield f"{'comparison':75} {'ours':>12} {'theirs':>12} {'':3} {'ratio':>7} {'limit':>7} {'allowed':>7}"
    for one in ratios:
        yield (
            f"{one.name:75} {one.ours:12.1f} {one.theirs:12.1f} {one.unit:3} "
            f"{one.ratio:7.3f} {one.limit:7.2f} {one.allowed:7.2f}{' slipped' if one.slipped else ''}"
        )

"""What a comparison came to, and what it may come to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

RECORD = Path(__file__).with_name("ratios.json")
"""The ratios of the last recorded run, by the name of the comparison."""


def allowed(limit: float, recorded: float | None, slack: float | None) -> float:
    """The highest ratio with which a comparison holds.

    A limit alone does not see that what was far better than promised became twice as slow; what was recorded does.

    Args:
        limit: what is promised.
        recorded: the ratio of the last recorded run, if the comparison was in it.
        slack: how many times that it may be; None holds it to its limit.
    """
    if slack is None:
        return limit
    return slack * (limit if recorded is None else recorded)


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


def table(ratios: Iterable[Ratio]) -> Iterator[str]:
    """Lines of text."""
    yield f"{'comparison':75} {'ours':>12} {'theirs':>12} {'':3} {'ratio':>7} {'limit':>7} {'allowed':>7}"
    for one in ratios:
        yield (
            f"{one.name:75} {one.ours:12.1f} {one.theirs:12.1f} {one.unit:3} "
            f"{one.ratio:7.3f} {one.limit:7.2f} {one.allowed:7.2f}{' slipped' if one.slipped else ''}"
        )

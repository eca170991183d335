"""The check for regressions detects work that became twice as slow, and ignores one slow run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paired_times import Paired, Work, paired
from ratios import Ratio, judged

SLACK = 1.5
"""The slack of the check before a change is merged."""


def work(times: int) -> Work:
    """Return some work for the processor."""

    def work() -> None:
        for _ in range(times):
            sorted(range(200), reverse=True)

    return work


def against_theirs(times: int) -> Paired:
    return paired(lambda: work(times), lambda: work(100), rounds=31, changes=1)


def checked(times: int) -> Ratio:
    """Check repeated work against a recorded run with equal times."""
    return judged("the sort", lambda: against_theirs(times), limit=10, recorded=1.0, slack=SLACK, unit="us")


def test_what_became_twice_as_slow_is_told_though_its_limit_is_far() -> None:
    ratio = checked(200)
    assert ratio.slipped
    assert ratio.said.startswith("the sort: ")
    assert "at most 1.50 is allowed" in ratio.said


def test_what_is_as_it_was_holds() -> None:
    assert not checked(100).slipped


def test_what_is_slow_once_only_holds() -> None:
    measured: Iterator[Paired] = iter([Paired(9, 1, 9), Paired(1, 1, 1)])
    assert not judged("one", lambda: next(measured), limit=2, recorded=1, slack=SLACK, unit="us").slipped


@pytest.mark.parametrize(("ratio", "slipped"), [(2.9, False), (3.1, True)])
def test_what_was_never_recorded_is_held_to_its_limit(ratio: float, slipped: bool) -> None:
    found = judged("one", lambda: Paired(ratio, 1, ratio), limit=2, recorded=None, slack=SLACK, unit="us")
    assert found.slipped is slipped


def test_without_slack_the_limit_counts_whatever_was_recorded() -> None:
    assert judged("one", lambda: Paired(3, 1, 3), limit=2, recorded=5, slack=None, unit="us").slipped

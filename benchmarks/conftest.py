"""The comparisons of a run, held to their limits and printed as a table."""

from __future__ import annotations

from typing import Any

import pytest

from paired_times import Compare, Prepare, ratio

ROWS = pytest.StashKey[list[tuple[str, float, float, float, float]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slack", type=float, default=1.0, help="multiply every limit by this: for a machine that does other things"
    )


@pytest.fixture
def compare(benchmark: Any, request: pytest.FixtureRequest) -> Compare:
    """Times ours against theirs and fails where the ratio is over its limit."""

    def compare(ours: Prepare, theirs: Prepare, *, limit: float, rounds: int, changes: int) -> None:
        measured = ratio(benchmark, ours, theirs, rounds=rounds, changes=changes)
        info = benchmark.extra_info
        row = (request.node.name, info["ours_us"], info["theirs_us"], measured, limit)
        request.config.stash.setdefault(ROWS, []).append(row)
        slack: float = request.config.getoption("--slack", default=1.0) or 1.0
        assert measured <= limit * slack, f"{measured:.2f} times as long; at most {limit} (slack {slack}) was promised"

    return compare


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(ROWS, [])
    if rows:
        terminalreporter.section("ratios: medians, in microseconds a change")
        terminalreporter.line(f"{'comparison':75} {'ours':>12} {'theirs':>12} {'ratio':>7} {'limit':>7}")
        for name, ours, theirs, measured, limit in rows:
            terminalreporter.line(f"{name:75} {ours:12.1f} {theirs:12.1f} {measured:7.3f} {limit:7.2f}")

"""Check the comparisons of a run against their limits or the last recorded run, and print a table."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import pytest

from paired_times import Compare, CompareSingle, Hold, Paired, Prepare, Steps, paired, single
from ratios import RECORD, Ratio, judged, table

RATIOS = pytest.StashKey[list[Ratio]]()
RECORDED = pytest.StashKey[dict[str, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ratios")
    group.addoption(
        "--slack",
        type=float,
        metavar="TIMES",
        help="a short check for regressions, with a third of the rounds: each ratio may be this many times that of the "
        "last recorded run; its limit counts only if no ratio is recorded",
    )
    group.addoption("--record", action="store_true", help=f"record the ratios of this run in {RECORD.name}")
    group.addoption(
        "--orders", type=int, default=100_000, metavar="N", help="the number of orders in the large stores (100,000)"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RATIOS] = []
    config.stash[RECORDED] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def pytest_collection_finish() -> None:
    """Exempt the modules from garbage collection, which runs before each timed piece of work."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def _held(request: pytest.FixtureRequest) -> Callable[[Callable[[], Paired], float, str], None]:
    config, name = request.config, request.node.name

    def held(measure: Callable[[], Paired], limit: float, unit: str) -> None:
        recorded = config.stash[RECORDED].get(name)
        ratio = judged(name, measure, limit=limit, recorded=recorded, slack=config.getoption("--slack"), unit=unit)
        config.stash[RATIOS].append(ratio)
        if ratio.slipped:
            pytest.fail(ratio.said, pytrace=False)

    return held


def _shortened(config: pytest.Config, rounds: int) -> int:
    """Return the number of rounds to run: a third of them in a short check."""
    return -(-rounds // 3) if config.getoption("--slack") else rounds


@pytest.fixture
def compare(
    request: pytest.FixtureRequest, benchmark: Any, _held: Callable[[Callable[[], Paired], float, str], None]
) -> Compare:
    """Return a `Compare`. The times that pytest-benchmark reports are of a few rounds of ours alone."""

    def compare(ours: Prepare, theirs: Prepare, *, limit: float, rounds: int, changes: int) -> None:
        benchmark.pedantic(lambda work: work(), setup=lambda: ((ours(),), {}), rounds=3)
        _held(lambda: paired(ours, theirs, rounds=_shortened(request.config, rounds), changes=changes), limit, "us")

    return compare


@pytest.fixture
def compare_single(
    request: pytest.FixtureRequest, _held: Callable[[Callable[[], Paired], float, str], None]
) -> CompareSingle:
    """Return a `CompareSingle`."""

    def compare_single(ours: Steps, theirs: Steps, *, limit: float, rounds: int) -> None:
        _held(lambda: single(ours, theirs, rounds=_shortened(request.config, rounds)), limit, "us")

    return compare_single


@pytest.fixture
def hold(_held: Callable[[Callable[[], Paired], float, str], None]) -> Hold:
    """Return a `Hold`."""

    def hold(measure: Callable[[], tuple[float, float]], *, limit: float, unit: str) -> None:
        def measured() -> Paired:
            ours, theirs = measure()
            return Paired(ours, theirs, ours / theirs)

        _held(measured, limit, unit)

    return hold


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    ratios = config.stash[RATIOS]
    if not ratios:
        return
    terminalreporter.section("ratios: medians of the rounds; cost of a change in us")
    for line in table(ratios):
        terminalreporter.line(line)
    slipped = [ratio for ratio in ratios if ratio.slipped]
    if slipped:
        terminalreporter.section(f"{len(slipped)} of {len(ratios)} slipped")
        for ratio in slipped:
            terminalreporter.line(ratio.said)
    if config.getoption("--record"):
        recorded = config.stash[RECORDED] | {ratio.name: round(ratio.ratio, 3) for ratio in ratios}
        RECORD.write_text(json.dumps(recorded, indent=4, sort_keys=True) + "\n", encoding="utf-8")
        terminalreporter.line(f"the ratios are in {RECORD.name}")

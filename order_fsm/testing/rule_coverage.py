"""The report of `--rule-coverage`: the rules that the tests exercised.

The report counts edges (a rule taken from a state) and outcomes of guards (a guard of a rule held or failed in a state
in which the rule is open). It counts the decisions of `Orders` that change an order: fire, save, expire, payments. It
counts a guard if a decision called it to choose a rule or to give the reasons of a refusal. Calls by `explain` and
decisions in processes other than those of pytest-xdist do not count. A preview counts as its form.

Equal tables are one workflow. Workflows of `shop_workflow` are named by their call, others by the line that builds
them. A workflow that is built in a test file or a conftest.py belongs to the tests. It is reported and not in the
total.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from attrs import frozen

from order_fsm.rules.shop import Dispatch, shop_workflow
from order_fsm.testing.rule_notes import Place, Row, RuleNotes, rows_of, table_of

SENT = "order_fsm_rule_coverage"
"""The name under which a worker of pytest-xdist sends its notes."""

OWN_TESTS = "order_fsm.testing."
"""The contract's tests, whose files do not have names of test files."""


@frozen
class Line:
    """A rule of a workflow in the report: the covered part, and the rest.

    Attributes:
        taken: whether any decision took the rule.
        edges, outcomes: the numbers of covered ones.
        missing: the rest, in words.
    """

    row: Row
    taken: bool
    edges: int
    outcomes: int
    missing: tuple[str, ...]


@frozen
class Covered:
    """A workflow in the report.

    Attributes:
        name: the name in the report.
        of_tests: whether the tests built it.
        lines: one line for each rule.
    """

    name: str
    of_tests: bool
    lines: tuple[Line, ...]

    @property
    def happened(self) -> int:
        """The number of covered edges and outcomes."""
        return sum(line.edges + line.outcomes for line in self.lines)

    @property
    def possible(self) -> int:
        """The number of all edges and outcomes."""
        return sum(line.row.size for line in self.lines)


class RuleCoverage:
    """The pytest plugin for `--rule-coverage`.

    Args:
        config: the configuration of the run.
        floor: the percentage that the run must reach, or None.
    """

    def __init__(self, config: pytest.Config, floor: float | None) -> None:
        self._config = config
        self._floor = floor
        self._lost: list[str] = []
        self._notes = RuleNotes()
        self._notes.begin()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Merge the notes of a worker of pytest-xdist."""
        notes = getattr(node, "workeroutput", {}).get(SENT)
        if notes is None:
            self._lost.append(node.gateway.id)
        else:
            self._notes.merge(notes)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the notes, or fail a run whose coverage is too low."""
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[SENT] = self._notes.dump()
        elif session.exitstatus == pytest.ExitCode.OK and self._falls_short():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        if self._config.option.collectonly:
            return
        covered = self._covered()
        terminalreporter.section("rule coverage")
        for line in _table(covered):
            terminalreporter.line(line)
        for worker in self._lost:
            terminalreporter.line(f"the notes of {worker} are missing: it crashed", yellow=True)
        if self._floor is not None:
            ours = [one for one in covered if not one.of_tests]
            if not ours:
                terminalreporter.line(f"FAIL: no workflow was used, and {self._floor:g} % was required", red=True)
            elif self._falls_short():
                terminalreporter.line(f"FAIL: rule coverage of {_share(ours)} is below {self._floor:g} %", red=True)
            else:
                terminalreporter.line(f"Required rule coverage of {self._floor:g} % reached: {_share(ours)}")

    def pytest_unconfigure(self) -> None:
        """Restore `order_fsm`."""
        self._notes.end()

    def _falls_short(self) -> bool:
        if self._floor is None or self._config.option.collectonly:
            return False
        ours = [one for one in self._covered() if not one.of_tests]
        return 100 * _happened(ours) < self._floor * _possible(ours) or not ours

    def _covered(self) -> list[Covered]:
        """Return the used workflows: the shop's, then others by name, then those of tests by name."""
        options = list(_options())
        tables = [table_of(shop_workflow(*each)) for each in options]
        found = []
        for table, (places, seen) in self._notes.dump().items():
            lines = tuple(_lines(rows_of(table), seen))
            if table in tables:
                place = tables.index(table)
                found.append((place, Covered(_call(*options[place]), False, lines)))
                continue
            own = sorted((self._of_tests(place), self._name(place)) for place in places)
            of_tests, name = own[0] if own else (False, "(built before the run)")
            found.append((len(tables), Covered(name, of_tests, lines)))
        return [one for _, one in sorted(found, key=lambda each: (each[1].of_tests, each[0], each[1].name))]

    def _of_tests(self, place: Place) -> bool:
        module, file, _ = place
        named = Path(file).name
        patterns = ("conftest.py", *self._config.getini("python_files"))
        return module.startswith(OWN_TESTS) or any(fnmatch(named, pattern) for pattern in patterns)

    def _name(self, place: Place) -> str:
        module, file, line = place
        path, root = Path(file), self._config.rootpath
        return f"{path.relative_to(root).as_posix() if path.is_relative_to(root) else module}:{line}"


def _options() -> Iterator[tuple[Dispatch, bool]]:
    return product(get_args(Dispatch), (True, False))


def _call(dispatch: Dispatch, invoice_on_payment: bool) -> str:
    default, _ = next(_options())
    said = [] if dispatch == default else [repr(dispatch)]
    return f"shop_workflow({', '.join(said + ([] if invoice_on_payment else ['invoice_on_payment=False']))})"


def _lines(rows: list[Row], seen: bytes) -> Iterator[Line]:
    first = 0
    for row in rows:
        edges = seen[first : first + len(row.sources)]
        outcomes = seen[first + len(row.sources) : first + row.size]
        first += row.size
        not_from = [source for source, taken in zip(row.sources, edges, strict=True) if not taken]
        missing = [f"not taken from {', '.join(not_from)}"] if not_from and any(edges) else []
        if row.sources and not any(edges):
            missing = ["never taken"]
        for guard, held, failed in zip(row.guards, outcomes[::2], outcomes[1::2], strict=True):
            if not (held or failed):
                missing.append(f"{guard} never asked")
            elif not (held and failed):
                missing.append(f"{guard} never {'failed' if held else 'held'}")
        yield Line(row, any(edges), sum(edges), sum(outcomes), tuple(missing))


def _happened(covered: list[Covered]) -> int:
    return sum(one.happened for one in covered)


def _possible(covered: list[Covered]) -> int:
    return sum(one.possible for one in covered)


def _share(covered: list[Covered]) -> str:
    """Return the percentage as text, rounded down, so that 100 % is complete."""
    hundredths = 10_000 * _happened(covered) // (_possible(covered) or 1)
    return f"{hundredths / 100:.2f} %"


def _table(covered: list[Covered]) -> Iterator[str]:
    """Return the lines of the report."""
    if not covered:
        yield "no test changed an order"
        return
    width = max(len("of tests, not in the total"), *(len(one.name) for one in covered))
    yield f"{'workflow':{width}} {'rules':>7} {'edges':>9} {'outcomes':>9} {'cover':>9}"
    ours = [one for one in covered if not one.of_tests]
    for one in ours:
        yield from _of(one.name, [one], width)
    if ours:
        yield from _of("TOTAL", ours, width, missing=False)
    if len(ours) < len(covered):
        yield ""
        yield "of tests, not in the total"
    for one in covered[len(ours) :]:
        yield from _of(one.name, [one], width)


def _of(name: str, covered: list[Covered], width: int, missing: bool = True) -> Iterator[str]:
    """Return a line for workflows, and one for each of their rules that is not fully covered."""
    lines = [line for one in covered for line in one.lines]
    rules = f"{sum(line.taken for line in lines)}/{len(lines)}"
    edges = f"{sum(line.edges for line in lines)}/{sum(len(line.row.sources) for line in lines)}"
    outcomes = f"{sum(line.outcomes for line in lines)}/{sum(2 * len(line.row.guards) for line in lines)}"
    yield f"{name:{width}} {rules:>7} {edges:>9} {outcomes:>9} {_share(covered):>9}"
    if not missing:
        return
    numbered = [(f"rule {number} {line.row.trigger}", line) for number, line in enumerate(lines, start=1)]
    for rule, line in numbered:
        if line.missing and line.edges + line.outcomes:
            yield f"  {rule}: {'; '.join(line.missing)}"
    if unused := [rule for rule, line in numbered if not line.edges + line.outcomes]:
        yield f"  never used: {', '.join(unused)}"

"""The pytest plugin: `--rule-coverage`, and fixtures for the tests of a shop.

pytest imports this module in every run, before coverage tools start. So it is outside of the package, and it imports
`order_fsm` only when an option or a fixture needs it.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from order_fsm import Orders
    from order_fsm.testing import FrozenClock


def _percent(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise ArgumentTypeError(f"must be a number of percent from 0 to 100, not {text!r}")
    return number


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options."""
    group = parser.getgroup("order_fsm", "rules of orders (order_fsm)")
    group.addoption(
        "--rule-coverage",
        action="store_true",
        help="report which rules, edges and outcomes of guards the tests exercised",
    )
    group.addoption(
        "--rule-coverage-fail-under",
        type=_percent,
        metavar="N",
        help="report it, and fail the run if it is less than N percent",
    )


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start to record before any conftest builds a workflow. Coverage tools start before that."""
    options = early_config.known_args_namespace
    if options.rule_coverage or options.rule_coverage_fail_under is not None:
        from order_fsm.testing.rule_coverage import RuleCoverage

        early_config.pluginmanager.register(RuleCoverage(early_config, options.rule_coverage_fail_under))


@pytest.fixture
def frozen_clock() -> FrozenClock:
    """Return a clock that only the test advances: `frozen_clock.advance(timedelta(hours=1))`."""
    from order_fsm.testing import FrozenClock

    return FrozenClock()


@pytest.fixture
def orders(frozen_clock: FrozenClock) -> Orders:
    """Return an empty shop under the default rules: `Orders` on a `MemoryStore`, with `frozen_clock` as its clock."""
    from order_fsm import Orders
    from order_fsm_adapters.memory import MemoryStore

    return Orders(MemoryStore(), clock=frozen_clock)

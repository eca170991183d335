"""The pytest plugin: `--rule-coverage`, and fixtures for the tests of a shop.

pytest imports it in every run, and before coverage tools measure, so it is a module outside of the package and imports
`order_fsm` only where it is asked for something.
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
    """The two options."""
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
        help="report it, and fail the run where it is less than N percent",
    )


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begin to note, before any conftest builds a workflow; coverage tools have begun before that."""
    options = early_config.known_args_namespace
    if options.rule_coverage or options.rule_coverage_fail_under is not None:
        from order_fsm.testing.rule_coverage import RuleCoverage

        early_config.pluginmanager.register(RuleCoverage(early_config, options.rule_coverage_fail_under))


@pytest.fixture
def frozen_clock() -> FrozenClock:
    """A clock that stands still until the test moves it: `frozen_clock.advance(timedelta(hours=1))`."""
    from order_fsm.testing import FrozenClock

    return FrozenClock()


@pytest.fixture
def orders(frozen_clock: FrozenClock) -> Orders:
    """An empty shop under the default rules: `Orders` on a new store in memory, driven by `frozen_clock`."""
    from order_fsm import Orders
    from order_fsm_adapters.memory import MemoryStore

    return Orders(MemoryStore(), clock=frozen_clock)

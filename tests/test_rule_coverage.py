"""The pytest plugin in real runs of pytest, with and without workers."""

from __future__ import annotations

import gc
import importlib
import json
import pkgutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import entry_points
from inspect import unwrap
from typing import Any

import pytest

import order_fsm
from order_fsm import InvalidInput, Orders, Refused, Workflow, shop_workflow
from order_fsm.rules.decide import decide
from order_fsm.rules.rule import Edge
from order_fsm.testing import FrozenClock
from order_fsm.testing.rule_notes import DECIDING, RuleNotes, rows_of, table_of
from order_fsm_adapters.memory import MemoryStore

pytest_plugins = ["pytester"]

RULES = """
from order_fsm import Guard, Rule, Status, When, Workflow

LATE = Guard("too_early", "it is too early", lambda order, facts: facts.get("late"))
WARM = Guard("too_cold", "it is too cold", lambda order, facts: facts.get("warm"))

def workflow():
    return Workflow(
        [Status("open", tick="start"), Status("done", tick="finish")],
        [
            Rule("start", forbids={"open"}, adds={"open"}),
            Rule("finish", needs={"open"}, adds={"done"}, forbids={"done"}, guards=(LATE, WARM), facts={"warm"}),
            Rule("look"),
        ],
        holds_stock=When(), counts=When(), queues={},
    )
"""

USES = """
import pytest
from order_fsm import Orders, Refused
from order_fsm_adapters.memory import MemoryStore
from rules import workflow

@pytest.fixture
def orders():
    orders = Orders(MemoryStore(), workflow())
    orders.create("1", total="1", currency="GBP")
    return orders

def test_start(orders):
    orders.fire("1", "start")

def test_finish(orders):
    orders.fire("1", "start")
    with pytest.raises(Refused):
        orders.fire("1", "finish", warm=True)

def test_look(orders):
    orders.fire("1", "look")
    orders.fire("1", "start")
    orders.fire("1", "look")
"""


@pytest.fixture
def small(pytester: pytest.Pytester) -> pytest.Pytester:
    """Create a shop with a module of rules and a module of incomplete tests."""
    pytester.makepyfile(rules=RULES, test_uses=USES)
    return pytester


def report(result: pytest.RunResult) -> list[str]:
    """Return the lines of the report with single blanks."""
    lines = [" ".join(line.split()) for line in result.outlines]
    begin = next(number for number, line in enumerate(lines) if line.startswith("workflow rules"))
    end = next(number for number, line in enumerate(lines) if number > begin and line.startswith("===="))
    return [line for line in lines[begin:end] if line]


SMALL = [
    "workflow rules edges outcomes cover",
    "rules.py:7 2/3 3/5 2/4 55.55 %",
    "rule 2 finish: never taken; too_early never held; too_cold never failed",
    "rule 3 look: not taken from open+done",
    "TOTAL 2/3 3/5 2/4 55.55 %",
]


def test_the_report_counts_covered_rules_and_names_the_rest(small: pytest.Pytester) -> None:
    """It counts taken edges and outcomes of guards by rule, including the guards that a refusal reports."""
    result = small.runpytest_subprocess("--rule-coverage")
    assert result.ret == 0
    assert report(result) == SMALL


def test_workers_of_xdist_make_one_report(small: pytest.Pytester) -> None:
    """Three processes record the same as one, and the floor applies to their sum."""
    result = small.runpytest_subprocess("--rule-coverage-fail-under=56", "-n3")
    result.assert_outcomes(passed=3)
    assert result.ret == 1
    assert report(result) == [*SMALL, "FAIL: rule coverage of 55.55 % is below 56 %"]


def test_the_missing_notes_of_a_crashed_worker_are_reported(small: pytest.Pytester) -> None:
    small.makepyfile(test_crash="import os\ndef test_crash():\n    os._exit(1)\n")
    result = small.runpytest_subprocess("--rule-coverage", "-n1", "--max-worker-restart=0")
    assert result.ret != 0
    result.stdout.fnmatch_lines("the notes of gw0 are missing: it crashed")


@pytest.mark.parametrize(("floor", "code"), [("55.5", 0), ("55.56", 1), ("100", 1), ("0", 0)])
def test_a_run_below_the_floor_fails(small: pytest.Pytester, floor: str, code: int) -> None:
    """Every test passes, and the run fails with a line about the floor."""
    result = small.runpytest_inprocess(f"--rule-coverage-fail-under={floor}")
    result.assert_outcomes(passed=3)
    assert result.ret == code
    last = report(result)[-1]
    assert last == (
        f"FAIL: rule coverage of 55.55 % is below {floor} %"
        if code
        else f"Required rule coverage of {floor} % reached: 55.55 %"
    )


def test_a_floor_over_nothing_fails(pytester: pytest.Pytester) -> None:
    """No test changed an order, so nothing is covered."""
    pytester.makepyfile("def test_nothing(orders):\n    orders.counts()\n")
    result = pytester.runpytest_inprocess("--rule-coverage-fail-under=1")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["no test changed an order", "FAIL: no workflow was used, and 1 % was required"])


def test_a_run_that_fails_or_only_collects_keeps_its_own_exit_code(small: pytest.Pytester) -> None:
    assert small.runpytest_inprocess("--rule-coverage-fail-under=100", "--collect-only").ret == 0
    assert small.runpytest_inprocess("--rule-coverage-fail-under=100", "-k", "nowhere").ret == 5


@pytest.mark.parametrize("floor", ["many", "-1", "100.1", "nan"])
def test_a_floor_that_is_not_a_percentage_is_refused(pytester: pytest.Pytester, floor: str) -> None:
    result = pytester.runpytest_inprocess(f"--rule-coverage-fail-under={floor}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(f"*must be a number of percent from 0 to 100, not '{floor}'")


def test_the_workflows_of_the_shop_are_named_by_their_call(pytester: pytest.Pytester) -> None:
    """Equal workflows are listed once, in declared order."""
    pytester.makepyfile(
        """
        from order_fsm import Orders, shop_workflow
        from order_fsm_adapters.memory import MemoryStore

        def used(workflow):
            orders = Orders(MemoryStore(), workflow)
            orders.create("1", total="1", currency="GBP")
            orders.fire("1", "place")

        def test_used(orders):
            used(shop_workflow("cod", invoice_on_payment=False))
            used(shop_workflow(invoice_on_payment=False))
            used(shop_workflow("prepaid"))
            used(shop_workflow().extend())
            orders.create("1", total="1", currency="GBP")
            orders.fire("1", "cancel")
        """
    )
    lines = pytester.runpytest_inprocess("--rule-coverage").outlines
    assert [line.split("  ")[0] for line in lines if line.startswith("shop_workflow(")] == [
        "shop_workflow()",
        "shop_workflow(invoice_on_payment=False)",
        "shop_workflow('prepaid')",
        "shop_workflow('cod', invoice_on_payment=False)",
    ]


def test_a_workflow_of_a_test_is_not_in_the_total(small: pytest.Pytester) -> None:
    """It is reported by the line that builds it, as is one of a conftest. An unused workflow is not reported."""
    small.makepyfile(
        test_own="""
        from order_fsm import Orders, Rule, Status, When, Workflow
        from order_fsm_adapters.memory import MemoryStore

        def test_own():
            parts = {"holds_stock": When(), "counts": When(), "queues": {}}
            Workflow([Status("a")], [Rule("go", adds={"a"})], **parts)
            orders = Orders(MemoryStore(), Workflow([Status("b")], [Rule("go", adds={"b"})], **parts))
            orders.create("1", total="1", currency="GBP")
            orders.fire("1", "go")
        """
    )
    result = small.runpytest_inprocess("--rule-coverage-fail-under=56")
    assert result.ret == 1
    assert report(result) == [
        *SMALL,
        "of tests, not in the total",
        "test_own.py:7 1/1 1/2 0/0 50.00 %",
        "rule 1 go: not taken from b",
        "FAIL: rule coverage of 55.55 % is below 56 %",
    ]


def test_without_the_option_nothing_is_loaded(pytester: pytest.Pytester) -> None:
    """The plugin does not import the package."""
    pytester.makepyfile(
        "import sys\ndef test_it():\n    assert 'pytest_order_fsm' in sys.modules\n    "
        "assert not [name for name in sys.modules if name.startswith('order_fsm')]\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert "rule coverage" not in result.stdout.str()


@pytest.mark.parametrize("options", [(), ("--rule-coverage",)])
def test_coverage_measures_every_line_that_an_import_runs(pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    """The plugin does not import the package before pytest-cov has started."""
    pytester.makepyfile("def test_it(orders):\n    assert orders\n")
    result = pytester.runpytest_subprocess("--cov=order_fsm", "--cov-report=json", *options)
    assert result.ret == 0
    files: dict[str, Any] = json.loads((pytester.path / "coverage.json").read_text())["files"]
    (errors,) = (file for name, file in files.items() if name.endswith("order_fsm/errors.py"))
    assert errors["classes"][""]["summary"]["percent_covered"] == 100


def test_it_is_installed_with_the_package() -> None:
    (plugin,) = entry_points(group="pytest11", name="order_fsm")
    assert plugin.value == "pytest_order_fsm"
    assert plugin.dist is not None
    assert plugin.dist.name == "order-fsm"


# The wrappers


@pytest.fixture
def notes() -> Any:
    notes = RuleNotes()
    notes.begin()
    yield notes
    notes.end()


def happened(notes: RuleNotes) -> list[tuple[str, str]]:
    """Return the taken edges of the default table."""
    table = table_of(shop_workflow())
    seen = iter(notes.dump().get(table, ([], b"\0" * 1000))[1])
    found = []
    for row in rows_of(table):
        found += [(row.trigger, source) for source in row.sources if next(seen)]
        for _ in range(2 * len(row.guards)):
            next(seen)
    return found


def test_every_module_that_decides_is_wrapped() -> None:
    """The wrappers cover each module that decides changes. `service` explains, and `again` judges."""
    modules = [
        importlib.import_module(one.name)
        for one in pkgutil.walk_packages(order_fsm.__path__, "order_fsm.")
        if not one.name.startswith(("order_fsm.testing", "order_fsm.verify"))
    ]
    named = {module.__name__: vars(module)["decide"] for module in modules if "decide" in vars(module)}
    deciding = {name for name, value in named.items() if unwrap(value) is decide}
    asking = {"order_fsm.rules.decide", "order_fsm.orders.service", "order_fsm.rules.again"}
    assert deciding == asking | {module.__name__ for module in DECIDING}


def test_a_fired_trigger_is_noted_and_a_saved_form_too(notes: RuleNotes) -> None:
    orders = Orders(MemoryStore())
    orders.create("1001", total="10", currency="GBP")
    orders.fire("1001", "place")
    assert happened(notes) == [("place", "unfinished")]
    orders.save("1001", {"sent", "invoiced"}, version=2)
    assert happened(notes) == [("place", "unfinished"), ("invoice", "sent")]


def test_an_explanation_is_not_noted(notes: RuleNotes) -> None:
    orders = Orders(MemoryStore())
    orders.create("1001", total="10", currency="GBP")
    assert orders.explain("1001")["place"] == ()
    assert notes.dump() == {}


def test_a_refusal_takes_no_edge(notes: RuleNotes) -> None:
    orders = Orders(MemoryStore())
    orders.create("1001", total="10", currency="GBP")
    orders.fire("1001", "place")
    ((_, before),) = notes.dump().values()
    with pytest.raises(Refused):
        orders.fire("1001", "refund", amount="1")
    assert happened(notes) == [("place", "unfinished")]
    ((_, seen),) = notes.dump().values()
    assert sum(seen) - sum(before) == 3  # Two guards hold, and the amount exceeds its bound.


def test_a_policy_that_is_overridden_is_an_edge_taken(notes: RuleNotes) -> None:
    orders = Orders(MemoryStore())
    orders.create("1001", total="10", currency="GBP")
    orders.fire("1001", "place")
    orders.fire("1001", "dispatch", override=True, comment="a friend")
    assert happened(notes) == [("place", "unfinished"), ("dispatch", "sent")]


def test_the_end_of_the_notes_restores_everything() -> None:
    before = [vars(module)["decide"] for module in DECIDING], order_fsm.Workflow.__init__
    notes = RuleNotes()
    notes.begin()
    assert vars(DECIDING[0])["decide"] is not before[0][0]
    notes.end()
    assert ([vars(module)["decide"] for module in DECIDING], order_fsm.Workflow.__init__) == before


def test_notes_inside_of_notes_are_the_inner_ones(notes: RuleNotes) -> None:
    """If pytest runs inside of pytest, the outer run does not get the notes of the inner one."""
    orders = Orders(MemoryStore())
    orders.create("1001", total="10", currency="GBP")
    inner = RuleNotes()
    inner.begin()
    orders.fire("1001", "place")
    inner.end()
    orders.fire("1001", "invoice")
    assert happened(inner) == [("place", "unfinished")]
    assert happened(notes) == [("invoice", "sent")]


def workflows() -> int:
    """Return the number of workflows in memory."""
    gc.collect()
    return sum(isinstance(one, order_fsm.Workflow) for one in gc.get_objects())


def test_a_deleted_workflow_leaves_only_its_notes(notes: RuleNotes) -> None:
    """A run may build many workflows. No copy stays, and a new workflow at the same address has its own notes."""
    before = workflows()
    for number in range(20):
        rule = order_fsm.Rule(f"go{number}")
        workflow = order_fsm.Workflow([], [rule], holds_stock=order_fsm.When(), counts=order_fsm.When(), queues={})
        orders = Orders(MemoryStore(), workflow)
        orders.create("1", total="1", currency="GBP")
        orders.fire("1", rule.trigger)
        del orders, workflow
    assert workflows() == before
    assert len(notes.dump()) == 20
    assert all(seen == b"\1" for _, seen in notes.dump().values())


# The fixtures


def test_orders_are_an_empty_shop_on_the_frozen_clock(orders: Orders, frozen_clock: FrozenClock) -> None:
    assert orders.workflow is shop_workflow()
    assert orders.find() == []
    first = orders.create("1001", total="10", currency="GBP")
    frozen_clock.advance(timedelta(days=2))
    orders.fire("1001", "place")
    assert first.created_at == datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    assert orders.get("1001").updated_at - first.created_at == timedelta(days=2)
    assert orders.expire(timedelta(days=1)) == []
    frozen_clock.advance(timedelta(days=1, seconds=1))
    assert [receipt.order.id for receipt in orders.expire(timedelta(days=1))] == ["1001"]


def test_a_frozen_clock_shows_utc_and_takes_any_time_zone(frozen_clock: FrozenClock) -> None:
    frozen_clock.now = datetime(2026, 7, 1, 2, 0, tzinfo=timezone(timedelta(hours=5)))
    assert frozen_clock() == frozen_clock.now == datetime(2026, 6, 30, 21, 0, tzinfo=UTC)
    assert frozen_clock.now.tzinfo is UTC
    frozen_clock.advance(timedelta(hours=-1))
    assert frozen_clock().hour == 20


@pytest.mark.parametrize("moment", [datetime(2026, 1, 5), "2026-01-05", None])
def test_a_frozen_clock_refuses_an_invalid_time(frozen_clock: FrozenClock, moment: Any) -> None:
    before = frozen_clock.now
    with pytest.raises(InvalidInput, match="time zone"):
        frozen_clock.now = moment
    with pytest.raises(InvalidInput, match="timedelta"):
        frozen_clock.advance(moment)
    assert frozen_clock.now == before


def test_a_workflow_of_a_subclass_is_not_recorded(notes: RuleNotes) -> None:
    """It may take other edges than those of its table, so it decides without recording."""

    class Closed(Workflow):
        def edges_from(self, state: str, trigger: str) -> Sequence[Edge]:  # noqa: ARG002
            return ()

    table = shop_workflow()
    closed = Closed(
        table.statuses, table.rules, holds_stock=table.holds_stock, counts=table.counts, queues=table.queues
    )
    orders = Orders(MemoryStore(), workflow=closed)
    orders.create("1001", total="10", currency="GBP")
    with pytest.raises(Refused):
        orders.fire("1001", "place")
    assert notes.dump() == {}

"""Random calls on all stores in lockstep, compared with a reference.

Under stress the tests run all examples, otherwise a third.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from order_fsm import Guard, InvalidInput, Rule, Status, When, Workflow, shop_workflow
from order_fsm.rules.rule import Edge
from order_fsm.rules.shop import STATUSES
from order_fsm.store import Store
from order_fsm.testing.state_machine import MakeStore, orders_machine
from order_fsm.testing.store_contract.harness import stressed
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

from . import servers, weak_commits, weak_erasures, weak_outboxes, weak_reads, weak_stock
from .conftest import POLICIES

STORES: dict[str, MakeStore] = {
    "memory": lambda place: MemoryStore(),
    "sqlite": lambda place: SqliteStore(place / "orders.db"),
    "json": lambda place: JsonStore(place / "orders"),
}

UNDAMAGED = Guard("damaged", "the goods are damaged", lambda order, facts: facts.get("condition") != "damaged", True)
WITH_RETURNS = shop_workflow().extend(
    statuses=[Status("returned", tick="take_back")],
    rules=[
        Rule(
            "take_back",
            needs={"dispatched"},
            forbids={"returned"},
            adds={"returned"},
            guards=(UNDAMAGED,),
            facts={"condition"},
        )
    ],
    forbids={"undispatch": {"returned"}},
    holds_stock=When(has={"sent"}, lacks={"cancelled", "returned"}),
    counts=When(has={"sent"}, lacks={"cancelled", "returned"}),
)

BOOKINGS = Workflow(
    statuses=[Status("requested", tick="request"), Status("confirmed", tick="confirm"), Status("over", tick="end")],
    rules=[
        Rule("request", forbids={"requested"}, adds={"requested"}),
        Rule("confirm", needs={"requested"}, forbids={"confirmed", "over"}, adds={"confirmed"}),
        Rule("end", needs={"requested"}, forbids={"over"}, adds={"over"}),
    ],
    holds_stock=When(has={"confirmed"}, lacks={"over"}),
    counts=When(has={"confirmed"}),
    queues={"to_confirm": When(has={"requested"}, lacks={"confirmed", "over"})},
)
WITH_DEPOSITS = BOOKINGS.extend(
    statuses=[Status("sent", tick="write"), Status("deposited")],
    rules=[
        Rule("write", forbids={"sent"}, adds={"sent"}),
        Rule("deposit", needs={"requested"}, forbids={"deposited"}, adds={"deposited"}, ledger="captured"),
    ],
)


def drive(machine: type[RuleBasedStateMachine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples if stressed() else examples // 3,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.no_cover
def test_all_stores_give_the_same_answers() -> None:
    """The stores are memory, SQLite and JSON files, reopened in between. Each result equals the reference."""
    drive(orders_machine(STORES, volatile={"memory"}), 50)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_servers_give_the_same_answers(name: str, request: pytest.FixtureRequest) -> None:
    server: servers.PostgresServer | servers.MariaDbServer = request.getfixturevalue(name)
    places: set[Path] = set()

    def opened(place: Path) -> Store:
        if place not in places and isinstance(server, servers.MariaDbServer):
            server.empty()  # It is quicker than a new database for each example.
        places.add(place)
        return server.store(str(place))

    drive(orders_machine({**STORES, name: opened}, volatile={"memory"}), 20)


@pytest.mark.parametrize("name", ["sqlite", "json"])
def test_a_single_store_gives_the_right_answers(name: str) -> None:
    drive(orders_machine({name: STORES[name]}), 15)


@pytest.mark.no_cover
@pytest.mark.parametrize("policy", POLICIES)
def test_the_shop_gives_the_right_answers_under_every_policy(policy: str) -> None:
    workflow = shop_workflow(*POLICIES[policy])
    drive(orders_machine({"memory": STORES["memory"]}, workflow=workflow, volatile={"memory"}), 30)


def test_a_workflow_of_a_shop_is_run_with_its_facts() -> None:
    conditions = {"condition": st.sampled_from(["fine", "damaged"])}
    drive(orders_machine({"sqlite": STORES["sqlite"]}, workflow=WITH_RETURNS, facts=conditions), 15)


@pytest.mark.no_cover
@pytest.mark.parametrize("workflow", [BOOKINGS, WITH_DEPOSITS], ids=["bookings", "with deposits"])
def test_table_without_boxes_of_the_shop_gives_the_right_answers(workflow: Workflow) -> None:
    drive(orders_machine({"memory": STORES["memory"]}, volatile={"memory"}, workflow=workflow), 60)


@pytest.mark.parametrize("workflow", [shop_workflow(), WITH_RETURNS], ids=["the shop's", "with returns"])
def test_audit_has_no_finding_after_random_calls_and_erasures(workflow: Workflow) -> None:
    machine: Any = orders_machine(
        {"memory": STORES["memory"]},
        workflow=workflow,
        volatile={"memory"},
        facts={"condition": st.sampled_from(["fine", "damaged"])} if workflow is WITH_RETURNS else None,
    )

    class Audited(machine):  # type: ignore[misc]
        def teardown(self) -> None:
            for orders in self.shops.values():
                assert orders.audit().findings == ()
            super().teardown()

    drive(Audited, 60)


# Faults are found


def found(machine: type[RuleBasedStateMachine]) -> str:
    """Return the message of the machine about a fault, in the same examples every time."""
    with pytest.raises(AssertionError) as told:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=3000,  # Most faults are found within a few dozen.
                stateful_step_count=50,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=[HealthCheck.too_slow],
                print_blob=False,
            ),
        )
    return str(told.value)


WEAK: list[tuple[Callable[[], MemoryStore], str]] = [
    (weak_reads.LosesMicroseconds, "'1001' in 'weak' differs"),
    (weak_reads.LosesZeros, "'1001' in 'weak' differs"),
    (weak_reads.TranslatesLineEnds, "its history in 'weak' differs"),
    (weak_reads.ForgetsAFlag, "its history in 'weak' differs"),
    (weak_erasures.ErasesNothing, "its history in 'weak' differs"),
    (weak_erasures.KeepsFingerprints, "KeyReused"),
    (weak_reads.SortsByTimeAlone, "'weak' finds other orders"),
    (weak_reads.ContinuesAfterAMoment, "'weak' finds other orders than the reference"),
    (weak_reads.CountsOnce, "the counts of 'weak' are wrong"),
    (weak_reads.CountsNoParts, "the counts of 'weak' are wrong"),
    (weak_reads.FindsPartsByState, "the queue of part-dispatched orders in 'weak' is wrong"),
    (weak_commits.ForgetsAShipment, "'weak'"),
    (weak_commits.ForgetsTheSecondMove, "the stock in 'weak' is wrong"),
    (weak_commits.ShowsNothingBelowZero, "the stock in 'weak' is wrong"),
    (weak_stock.CountsAvailablePiecesAlone, "the stock in 'weak' is wrong"),
    (weak_stock.ForgetsUntrackedItems, "the stock in 'weak' is wrong"),
    (weak_stock.ReplacesAnyNumber, "set_stock of "),
    (weak_stock.ForgetsBackordersWhenSet, "the stock in 'weak' is wrong"),
    (weak_stock.NamesNoBackorders, "'weak'"),
    (weak_commits.OverwritesOrders, " on 'weak': "),
    (weak_commits.ForgetsKeys, "'weak'"),
    (weak_commits.KnowsNotWhichEntriesAKeyMade, " on 'weak': "),
    (weak_outboxes.KeepsDeliveredMessages, "'weak' and 'right' deliver other messages"),
]


@pytest.mark.no_cover
@pytest.mark.parametrize(("weak", "said"), WEAK, ids=lambda value: getattr(value, "__name__", ""))
def test_a_faulty_store_is_found(weak: Callable[[], MemoryStore], said: str) -> None:
    """The message names the faulty store, not the right one."""
    stores: dict[str, MakeStore] = {"right": lambda place: MemoryStore(), "weak": lambda place: weak()}
    assert said in found(orders_machine(stores, volatile=set(stores)))


def test_a_store_that_loses_its_content_on_close_is_found() -> None:
    assert "'memory' finds other orders" in found(orders_machine({"memory": STORES["memory"]}))


class LastRowFirst(Workflow):
    """Takes the last open row of a trigger."""

    def edges_from(self, state: str, trigger: str) -> Sequence[Edge]:
        return super().edges_from(state, trigger)[::-1]


class HoldsCancelledStock(Workflow):
    """Returns no stock when an order is cancelled."""

    def holds(self, state: str) -> bool:
        return super().holds(state.replace("+cancelled", ""))


class NeverWaitsForStock(Workflow):
    """Skips every guard that reads stock."""

    def guards_in(self, rule: Rule, statuses: frozenset[str]) -> tuple[Guard, ...]:
        return tuple(guard for guard in super().guards_in(rule, statuses) if guard.code != "out_of_stock")


class CountsCancelled(Workflow):
    """Includes cancelled orders in the totals."""

    def counts_in(self, state: str) -> bool:
        return super().counts_in(state.replace("+cancelled", ""))


@pytest.mark.no_cover
@pytest.mark.parametrize("faulty", [LastRowFirst, HoldsCancelledStock, NeverWaitsForStock, CountsCancelled])
def test_a_workflow_that_contradicts_its_rows_is_found(faulty: type[Workflow]) -> None:
    right = shop_workflow()
    workflow = faulty(
        STATUSES, right.rules, holds_stock=right.holds_stock, counts=right.counts, queues=dict(right.queues)
    )
    found(orders_machine({"memory": STORES["memory"]}, workflow=workflow, volatile={"memory"}))


# Arguments


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stores": {}}, "at least one store"),
        ({"stores": [MemoryStore()]}, "stores must be a dict such as "),
        ({"stores": {"mine": MemoryStore()}}, r"store 'mine' must be a function of \(place\), not MemoryStore"),
        ({"stores": {"mine": MemoryStore}}, r"store 'mine' must be a function of \(place\): "),
        ({"stores": STORES, "volatile": "memory"}, "volatile must be a set of names"),
        ({"stores": STORES, "workflow": shop_workflow}, "workflow must be a Workflow, not function: call it"),
        ({"stores": STORES, "volatile": {"memory", "sqlit"}}, "memory, sqlite, json, not 'sqlit'"),
        (
            {"stores": STORES, "facts": {"colour": st.text()}},
            "amount, credit, currency, items, parcel, provider, reference, restock, transaction_id",
        ),
        ({"stores": STORES, "facts": True}, "facts must be a dict of strategies by name, not bool True"),
    ],
)
def test_a_machine_without_stores_or_with_unknown_names_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        orders_machine(**given)


def test_missing_hypothesis_is_named_with_its_command(tmp_path: Path) -> None:
    """The rest of `order_fsm.testing` works without it."""
    (tmp_path / "hypothesis.py").write_text("raise ModuleNotFoundError('not installed')", encoding="utf-8")
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import order_fsm.testing
try:
    import order_fsm.testing.state_machine
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'order-fsm[testing]'" in done.stdout

"""The decision of one trigger on one order is a value and agrees with the `transitions` machine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from msgspec.structs import replace
from transitions import Machine

from order_fsm import Guard, Order, Refused, Rule, Status, When, Workflow, shop_workflow
from order_fsm.model import Fact
from order_fsm.rules.decide import Decision, decide
from order_fsm.rules.request import Request
from order_fsm.rules.rule import STOCK_SUFFICES, Facts

if TYPE_CHECKING:
    from tests.conftest import Shop


@pytest.fixture
def order(shop: Shop) -> Order:
    return shop.bring("sent")


def request_for(order: Order, trigger: str, facts: Mapping[str, Fact] | None = None, **said: Any) -> Request:
    return Request(trigger, order.updated_at, dict(facts or {}), **said)


def codes(outcome: Decision | Refused) -> list[str]:
    assert isinstance(outcome, Refused)
    return [reason.code for reason in outcome.reasons]


def small_workflow(*rules: Rule) -> Workflow:
    """Return a workflow of one box, `done`, with the given rules."""
    return Workflow([Status("done")], rules, holds_stock=When(), counts=When(), queues={})


def guard(code: str, test: Callable[[Order, Facts], object], policy: bool = False) -> Guard:
    return Guard(code, f"{code} does not hold", test, policy)


# The machine


def test_the_machine_is_one_flat_machine(workflow: Workflow) -> None:
    """It is a plain Machine with exactly the states and triggers of the workflow. It is cached."""
    assert type(workflow.machine) is Machine
    assert workflow.machine is workflow.machine
    assert list(workflow.machine.states) == list(workflow.states)
    assert set(workflow.machine.events) == set(workflow.triggers)
    assert workflow.machine.initial == "unfinished"
    assert workflow.machine.models == []


def test_the_machine_has_the_edges_of_the_workflow(workflow: Workflow) -> None:
    """Its transitions are the edges, with source, target and guards, in the same order."""
    for trigger in workflow.triggers:
        for state in workflow.states:
            transitions = workflow.machine.get_transitions(trigger, source=state)
            edges = workflow.edges_from(state, trigger)
            assert [(one.source, one.dest) for one in transitions] == [(edge.source, edge.target) for edge in edges]
            for transition, edge in zip(transitions, edges, strict=True):
                names = [condition.func.__name__ for condition in transition.conditions]  # type: ignore[union-attr]
                assert names == [one.code for one in edge.guards]
    assert len(workflow.machine.get_transitions()) == len(workflow.edges)


class Stubs:
    """The guards of a workflow, each with an outcome set by the test."""

    def __init__(self, workflow: Workflow) -> None:
        self.outcome: dict[Guard, bool] = {}
        stub_of = {one: self._stub(one) for rule in workflow.rules for one in rule.guards if one is not STOCK_SUFFICES}
        self.stubs_of: dict[str, list[Guard]] = {trigger: [] for trigger in workflow.triggers}
        rules = []
        for rule in workflow.rules:
            stubs = tuple(stub_of.get(one, one) for one in rule.guards)
            rules.append(evolve(rule, guards=stubs))
            known = self.stubs_of[rule.trigger]
            known += [one for one in stubs if one not in known]
        self.workflow = Workflow(
            workflow.statuses,
            rules,
            holds_stock=workflow.holds_stock,
            counts=workflow.counts,
            queues=workflow.queues,
        )

    def _stub(self, real: Guard) -> Guard:
        stub = evolve(real, test=lambda order, facts: self.outcome[stub])
        return stub

    def outcomes(self, trigger: str) -> Iterator[None]:
        guards = self.stubs_of[trigger]
        for values in product([True, False], repeat=len(guards)):
            self.outcome = dict(zip(guards, values, strict=True))
            yield

    def holds(self, one: Guard, override: bool) -> bool:
        return self.outcome[one] or (one.policy and override)

    def target(self, order: Order, trigger: str, override: bool) -> frozenset[str] | None:
        """Return the first open rule whose guards hold, without override first."""
        for overriding in sorted({False, override}):
            for rule in self.workflow.rules_of(trigger):
                counting = self.workflow.guards_in(rule, order.statuses)
                if rule.opens(order.statuses) and all(self.holds(one, overriding) for one in counting):
                    return rule.target(order.statuses)
        return None


@pytest.mark.no_cover
@pytest.mark.parametrize("dispatch", ["on_account", "prepaid", "cod"])
def test_every_state_trigger_and_guard_outcome_agrees(dispatch: Any, order: Order) -> None:
    """`decide`, the rows, and the machine on a bare draft have the same results."""
    stubs = Stubs(shop_workflow(dispatch))
    workflow = stubs.workflow
    for state, trigger, override in product(workflow.states, workflow.triggers, [False, True]):
        here = replace(order, state=state)
        request = request_for(here, trigger, comment="a reason", override=override)
        for _ in stubs.outcomes(trigger):
            shortages = () if stubs.outcome.get(STOCK_SUFFICES, True) else ("TEAPOT",)
            facts = {"shortages": shortages, "comment": "a reason"}
            wanted = stubs.target(here, trigger, override)
            outcome = decide(workflow, here, request, shortages)
            fired = SimpleNamespace(state=state, order=here, facts=facts, override=False)
            done = workflow.machine.events[trigger].trigger(fired)
            if not done and override:
                fired.override = True
                done = workflow.machine.events[trigger].trigger(fired)
            assert done is isinstance(outcome, Decision) is (wanted is not None)
            if isinstance(outcome, Decision):
                assert fired.state == outcome.order.state == workflow.state_name(wanted or frozenset())
                assert outcome.entry.override is fired.override
            else:
                assert fired.state == state
                assert outcome.reasons


# Deciding changes nothing


def test_a_decision_does_not_change_the_order(order: Order) -> None:
    """The given order is unchanged, and the decision has a new one."""
    before = copy.deepcopy(order)
    outcome = decide(shop_workflow(), order, request_for(order, "pay"))
    assert isinstance(outcome, Decision)
    assert order == before
    assert (outcome.order.version, order.version) == (before.version + 1, before.version)
    assert outcome.order.state == "sent+paid"


def test_a_decision_is_deterministic(order: Order) -> None:
    """The same order and request always give the same decision, because it reads no clock, store or state."""
    request = request_for(order, "pay", facts={"reference": "ch_1"})
    first, second = (decide(shop_workflow(), order, request) for _ in range(2))
    assert isinstance(first, Decision)
    assert isinstance(second, Decision)
    assert first == second


def test_exception_of_a_guard_reaches_the_caller(new_shop: type[Shop]) -> None:
    """Order, history, stock and outbox are unchanged."""

    def broken(_: Order, __: Facts) -> object:
        raise ZeroDivisionError("the guard is broken")

    shop = new_shop(shop_workflow().extend(rules=[Rule("mark", adds={"sent"}, guards=(guard("broken", broken),))]))
    shop.create()
    before = shop.dump()
    with pytest.raises(ZeroDivisionError, match="the guard is broken"):
        shop.orders.fire("1001", "mark")
    assert shop.dump() == before
    assert shop.orders.fire("1001", "place").order.state == "sent"


@pytest.mark.parametrize("value", [1, "yes", [0], object(), True])
def test_a_guard_with_a_truthy_result_holds(order: Order, value: object) -> None:
    workflow = small_workflow(Rule("finish", adds={"done"}, guards=(guard("truthy", lambda _, __: value),)))
    assert isinstance(decide(workflow, replace(order, state="unfinished"), request_for(order, "finish")), Decision)


@pytest.mark.parametrize("value", [0, "", [], None, False])
def test_a_guard_with_a_falsy_result_fails(order: Order, value: object) -> None:
    workflow = small_workflow(Rule("finish", adds={"done"}, guards=(guard("falsy", lambda _, __: value),)))
    outcome = decide(workflow, replace(order, state="unfinished"), request_for(order, "finish"))
    assert codes(outcome) == ["falsy"]


def test_a_guard_sees_the_order_and_the_facts(order: Order) -> None:
    """Amount and currency have their defaults, and the comment and the shortages are included."""
    seen: list[Mapping[str, Any]] = []

    def look(_: Order, facts: Facts) -> object:
        seen.append(dict(facts))
        return True

    rule = Rule("charge", guards=(guard("look", look),), ledger="captured")
    here = replace(order, state="unfinished")
    request = request_for(order, "charge", comment="why")
    assert isinstance(decide(small_workflow(Rule("x", adds={"done"}), rule), here, request, {"TEAPOT"}), Decision)
    assert seen == [
        {
            "amount": order.total,
            "currency": "GBP",
            "bound": None,
            "several": False,
            "comment": "why",
            "gateway": False,
            "shortages": {"TEAPOT"},
            "outstanding": 0,
            "online": False,
        }
    ]


# Reasons


def test_a_refusal_lists_every_reason(order: Order) -> None:
    """It lists missing statuses, forbidden statuses and failed guards of the rule."""
    guards = tuple(guard(code, lambda _, __: False) for code in ("one", "two", "three"))
    held = guard("held", lambda _, __: True)
    workflow = Workflow(
        [Status("a"), Status("b"), Status("c"), Status("d")],
        [
            Rule("to_a", adds={"a"}),
            Rule("to_b", adds={"b"}),
            Rule("to_c", adds={"c"}),
            Rule("to_d", adds={"d"}),
            Rule("go", needs={"c", "b"}, needs_any={"c", "d"}, forbids={"a"}, guards=(guards[0], held, *guards[1:])),
        ],
        holds_stock=When(),
        counts=When(),
        queues={},
    )
    outcome = decide(workflow, replace(order, state="a"), request_for(order, "go"))
    assert codes(outcome) == ["needs_b", "needs_c", "needs_any_c_d", "forbids_a", "one", "two", "three"]
    assert isinstance(outcome, Refused)
    for reason in outcome.reasons:
        assert reason.message
        assert reason.message in str(outcome)


def test_the_reasons_are_those_of_the_nearest_rule(order: Order) -> None:
    """Of several rules, the refusal explains the one with the fewest wrong statuses, then the fewest failed guards."""
    no = guard("no", lambda _, __: False)
    never = guard("never", lambda _, __: False)
    workflow = small_workflow(
        Rule("finish", adds={"done"}),
        Rule("go", needs={"done"}),
        Rule("go", guards=(no, never)),
        Rule("go", guards=(never,)),
    )
    assert codes(decide(workflow, replace(order, state="unfinished"), request_for(order, "go"))) == ["never"]


def test_a_state_of_other_rules_is_refused(order: Order) -> None:
    """An order in a state that the workflow does not have is refused, and the reason names the state."""
    outcome = decide(shop_workflow(), replace(order, state="sent+returned"), request_for(order, "pay"))
    assert codes(outcome) == ["unknown_state"]
    assert isinstance(outcome, Refused)
    assert "no state 'sent+returned'" in outcome.reasons[0].message


# Override


@pytest.fixture
def strict() -> Workflow:
    """Return rules in which `finish` has a policy guard and another guard. Both read the facts."""
    return small_workflow(
        Rule(
            "finish",
            adds={"done"},
            guards=(
                guard("policy", lambda _, facts: facts.get("policy", False), policy=True),
                guard("law", lambda _, facts: facts.get("law", False)),
            ),
            facts={"policy", "law"},
        )
    )


def decided(workflow: Workflow, order: Order, **said: Any) -> Decision | Refused:
    return decide(workflow, replace(order, state="unfinished"), request_for(order, "finish", **said))


def test_an_override_passes_policy_with_a_reason(strict: Workflow, order: Order) -> None:
    outcome = decided(strict, order, facts={"law": True}, override=True, comment="the boss said so")
    assert isinstance(outcome, Decision)
    assert outcome.entry.override
    assert outcome.entry.comment == "the boss said so"


def test_an_override_never_passes_another_guard(strict: Workflow, order: Order) -> None:
    assert codes(decided(strict, order, facts={"policy": True}, override=True, comment="please")) == ["law"]
    assert codes(decided(strict, order, override=True, comment="please")) == ["law"]


@pytest.mark.parametrize("blank", ["", "  ", "\n\t"])
def test_an_override_needs_a_reason(strict: Workflow, order: Order, blank: str) -> None:
    outcome = decided(strict, order, facts={"law": True}, override=True, comment=blank)
    assert codes(outcome) == ["policy", "reason_required"]


def test_policy_holds_without_override(strict: Workflow, order: Order) -> None:
    assert codes(decided(strict, order, facts={"law": True}, comment="the boss said so")) == ["policy"]


def test_an_override_that_was_not_needed_is_not_recorded(strict: Workflow, order: Order) -> None:
    outcome = decided(strict, order, facts={"law": True, "policy": True}, override=True, comment="to be sure")
    assert isinstance(outcome, Decision)
    assert not outcome.entry.override


def test_an_override_prefers_a_rule_without_a_failed_guard(order: Order) -> None:
    """If a later rule is open without the override, it is taken and nothing is overridden."""
    policy = guard("policy", lambda _, __: False, policy=True)
    workflow = small_workflow(Rule("finish", adds={"done"}, guards=(policy,)), Rule("finish", forbids={"done"}))
    outcome = decided(workflow, order, override=True, comment="why not")
    assert isinstance(outcome, Decision)
    assert (outcome.order.state, outcome.entry.override) == ("unfinished", False)

"""Proofs about a table of rules: each claim on small tables that meet it or break it, and the shop's claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_fsm import Guard, InvalidInput, Rule, Status, UnknownTrigger, When, Workflow, WorkflowError, shop_workflow
from order_fsm.model import statuses_of
from order_fsm.rules.shop import Dispatch
from order_fsm.testing.store_contract.harness import stressed
from order_fsm.verify import (
    Always,
    CanAlwaysReach,
    Claim,
    Conserves,
    EveryChange,
    EveryOrder,
    EveryStep,
    Never,
    Reachable,
    Requires,
    Undoes,
    assert_proof,
    prove,
    shop_claims,
)
from order_fsm.verify.graph import Graph
from tests.conftest import POLICIES


def guard(code: str, policy: bool = False) -> Guard:
    return Guard(code, f"{code} fails", lambda order, facts: True, policy)


SAID = guard("said")
MEANT = guard("meant")
POLICY = guard("policy", policy=True)
TO_A = Rule("to_a", forbids={"a"}, adds={"a"})
TO_B = Rule("to_b", needs={"a"}, forbids={"b"}, adds={"b"})
TO_C = Rule("to_c", needs={"b"}, forbids={"c"}, adds={"c"})


def table(*rules: Rule, **conditions: When) -> Workflow:
    whole: Mapping[str, Any] = {"holds_stock": When(has={"a"}), "counts": When(has={"a"}), **conditions}
    ticked = frozenset().union(*(rule.adds for rule in rules))
    return Workflow([Status(name) for name in "abc" if name in ticked], rules, queues={}, **whole)


def failure(workflow: Workflow, claim: Claim) -> tuple[str, tuple[str, ...], str]:
    """Return the state, the path and the text of the only failure."""
    proof = prove(workflow, claim)
    assert not proof.ok
    (failed,) = proof.failures
    assert failed.claim is claim
    assert str(failed) in str(proof)
    return failed.state, failed.path, str(failed)


# The claims


def test_never_is_shown_by_the_shortest_path_and_the_row_to_close() -> None:
    """The failure has the shorter of two paths, and names the row with the status that it does not forbid."""
    workflow = table(TO_A, TO_B, TO_C, Rule("at_once", needs={"a"}, adds={"c"}))
    state, path, text = failure(workflow, Never(has={"a", "c"}))
    assert (state, path) == ("a+c", ("to_a", "at_once"))
    assert "row 4 (at_once), open in state a: it" not in text  # The row needs a, so it could not forbid it.
    assert "row 4 (at_once)" in text
    assert prove(workflow, Never(has={"c"}, lacks={"a"})).ok


def test_a_row_is_shown_with_the_statuses_that_it_does_not_forbid() -> None:
    workflow = table(TO_A, TO_B, Rule("cut", adds={"c"}))
    assert (
        "it does not forbid b"
        in failure(table(TO_A, TO_B, Rule("cut", needs={"a"}, adds={"c"})), Never(has={"b", "c"}))[2]
    )
    state, path, text = failure(workflow, Never(has={"c"}, lacks={"a"}))
    assert (state, path) == ("c", ("cut",))
    assert "row 3 (cut), open in state unfinished: it does not need a" in text


def test_a_row_is_not_blamed_for_a_status_that_it_needs_and_drops() -> None:
    drop = Rule("drop", needs={"a"}, drops={"a"})
    text = failure(table(TO_A, TO_B, drop), Never(has={"b"}, lacks={"a"}))[2]
    assert "row 3 (drop), open in state a+b: it does not forbid b" in text
    assert "does not need" not in text


def test_never_fails_of_a_new_order() -> None:
    assert failure(table(TO_A), Never(lacks={"a"}))[:2] == ("unfinished", ())


def test_always_holds_in_every_claimed_state() -> None:
    workflow = table(TO_A, TO_B, TO_C)
    assert prove(workflow, Always(has={"a"}, where=When(has={"b"}))).ok
    assert prove(workflow, Always(has_any={"a", "c"}, lacks={"a"}, where=When(has={"c"}, lacks={"a"}))).ok
    state, path, text = failure(
        table(TO_A, TO_B, Rule("drop", needs={"a"}, drops={"a"})), Always(has={"a"}, where=When(has={"b"}))
    )
    assert (state, path) == ("b", ("to_a", "to_b", "drop"))
    assert "row 3 (drop), open in state a+b: it does not forbid b" in text


def test_reachable_names_the_nearest_state_and_its_closed_rows() -> None:
    to_b = Rule("to_b", needs={"a"}, forbids={"b", "c"}, adds={"b"})
    workflow = table(TO_A, to_b, Rule("to_c", needs={"a"}, forbids={"b", "c"}, adds={"c"}))
    assert prove(workflow, Reachable(has={"c"})).ok
    state, _, text = failure(workflow, Reachable(has={"a", "b", "c"}))
    assert state == "a+b"
    assert "row 3 (to_c), closed there: the order is b" in text


def test_can_always_reach_finds_the_dead_end() -> None:
    trap = Rule("trap", needs={"a"}, forbids={"b"}, adds={"c"})
    to_b = Rule("to_b", needs={"a"}, forbids={"b", "c"}, adds={"b"})
    state, path, text = failure(table(TO_A, to_b, trap), CanAlwaysReach(has={"b"}))
    assert (state, path) == ("a+c", ("to_a", "trap"))
    assert "row 2 (to_b), closed there: the order is c" in text
    assert prove(table(TO_A, to_b, trap), CanAlwaysReach(has={"b"}, where=When(lacks={"c"}))).ok
    assert prove(table(TO_A, to_b, trap, Rule("untrap", needs={"c"}, drops={"c"})), CanAlwaysReach(has={"b"})).ok


def test_requires_is_broken_by_a_state_in_which_the_trigger_fires() -> None:
    """The path ends with the trigger that should not have fired there."""
    workflow = table(TO_A, TO_B, Rule("go", needs={"a"}, guards=(SAID,)))
    state, path, text = failure(workflow, Requires("go", has={"b"}))
    assert (state, path) == ("a", ("to_a", "go"))
    assert "row 3 (go), open in state a: it does not need b" in text
    assert "it does not forbid a" not in failure(workflow, Requires("go", lacks={"b"}))[2]
    assert "it does not forbid b" in failure(workflow, Requires("go", lacks={"b"}))[2]
    assert prove(workflow, Requires("go", has={"a"})).ok


def test_undoing_leads_back() -> None:
    back = Rule("back", needs={"a"}, drops={"a"})
    assert prove(table(TO_A, back), Undoes("to_a", by="back")).ok
    assert (
        "it leads to b, not back to unfinished"
        in failure(table(TO_A, Rule("back", needs={"a"}, drops={"a"}, adds={"b"})), Undoes("to_a", by="back"))[2]
    )
    state, path, text = failure(table(TO_A, TO_B, Rule("back", needs={"b"}, drops={"a"})), Undoes("to_a", by="back"))
    assert (state, path) == ("a", ("to_a",))
    assert "row 3 (back), closed there: the order is not b" in text


def test_no_trigger_undoes_one_that_changes_nothing() -> None:
    assert "it changes no status" in failure(table(TO_A, Rule("look")), Undoes("look", by="to_a"))[2]


@pytest.mark.parametrize("condition", ["holds_stock", "counts"])
def test_an_order_created_with_stock_returns_stock_that_it_never_took(condition: str) -> None:
    workflow = table(TO_A, **{condition: When(lacks={"a"})})
    state, path, text = failure(workflow, Conserves())
    assert (state, path) == ("a", ("to_a",))
    assert condition in text
    assert prove(table(TO_A), Conserves()).ok


# Guards


def test_a_guard_may_hold_and_may_fail() -> None:
    """A claim may assume that it never holds, or only in some states."""
    workflow = table(TO_A, TO_B, Rule("go", guards=(SAID,), adds={"c"}))
    assert not prove(workflow, Never(has={"c"})).ok
    assert prove(workflow, Never(has={"c"}, guards={"said": False})).ok
    assert prove(workflow, Never(has={"c"}, lacks={"b"}, guards={"said": When(has={"b"})})).ok
    assert not prove(workflow, Never(has={"c"}, guards={"said": When(has={"b"})})).ok


def test_a_later_rule_needs_an_earlier_one_that_may_fail() -> None:
    """A rule with all guards of an earlier one is never taken. A rule without one of these guards may be."""
    first = Rule("go", guards=(SAID,), adds={"a"})
    shared = Rule("go", guards=(SAID, MEANT), adds={"b"})
    free = Rule("go", guards=(MEANT,), adds={"c"})
    assert prove(table(first, shared, free), Never(has={"b"})).ok
    assert not prove(table(first, shared, free), Never(has={"c"})).ok
    assert prove(table(first, shared, free), Never(has={"c"}, guards={"said": True})).ok


def test_a_policy_guard_counts_as_overridden_without_an_assumption() -> None:
    workflow = shop_workflow("prepaid")
    unpaid = Requires("dispatch", has={"paid"})
    assert not prove(workflow, unpaid).ok
    assert prove(workflow, Requires("dispatch", has={"paid"}, guards={"not_paid": When(has={"paid"})})).ok


GUARDS = [guard("one"), guard("two", policy=True), guard("three")]
rows = st.lists(
    st.builds(
        Rule,
        st.just("go"),
        needs=st.frozensets(st.sampled_from("ab"), max_size=1),
        adds=st.frozensets(st.sampled_from("abc"), max_size=2),
        guards=st.lists(st.sampled_from(GUARDS), max_size=3, unique=True).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


@given(rules=rows, known=st.dictionaries(st.sampled_from(["one", "two", "three"]), st.booleans()))
def test_the_edges_are_those_that_some_outcome_of_the_guards_takes(
    rules: Sequence[Rule], known: dict[str, bool]
) -> None:
    """The test tries every outcome, with and without override."""
    try:
        workflow = table(*rules, Rule("start", adds={"a"}))
    except WorkflowError:
        return
    graph = Graph(workflow, known)
    outcomes = [dict(zip(GUARDS, values, strict=True)) for values in product([True, False], repeat=len(GUARDS))]
    outcomes = [one for one in outcomes if all(one[guard] == known.get(guard.code, one[guard]) for guard in GUARDS)]
    for state in graph.states:
        taken = set()
        for outcome, override in product(outcomes, [False, True]):
            waived = {guard for guard in GUARDS if override and guard.policy and guard.code not in known}
            edges = workflow.edges_from(state, "go")
            open_ = [edge for edge in edges if all(outcome[one] for one in edge.guards)]
            open_ = open_ or [edge for edge in edges if all(outcome[one] or one in waived for one in edge.guards)]
            taken |= {edge.row for edge in open_[:1]}
        assert taken == {edge.row for edge in graph.edges_from(state) if edge.rule.trigger == "go"}


def test_the_states_are_those_that_the_edges_lead_to() -> None:
    proof = prove(shop_workflow(), Conserves())
    assert (proof.states, len(proof.edges)) == (shop_workflow().states, len(shop_workflow().edges))
    assert all(edge.source in proof.states and edge.target in proof.states for edge in proof.edges)


# Invalid claims


@pytest.mark.parametrize(
    "claim",
    [
        Never(has={"gone"}),
        Always(has={"sent"}, where=When(lacks={"gone"})),
        Requires("dispatch", has_any={"gone"}),
        CanAlwaysReach(lacks={"gone"}),
        Conserves(guards={"not_paid_nor_invoiced": When(has={"gone"})}),
    ],
    ids=str,
)
def test_an_unknown_status_is_refused_with_the_known_ones(claim: Claim) -> None:
    with pytest.raises(InvalidInput, match="must be one of sent, invoiced, paid, dispatched, cancelled, not 'gone'"):
        prove(shop_workflow(), claim)


@pytest.mark.parametrize(
    "claim",
    [
        Requires("teleport", has={"sent"}),
        Undoes("teleport", by="cancel"),
        Undoes("cancel", by="teleport"),
        EveryStep("it is so", lambda step: True, of=("teleport",)),
    ],
    ids=str,
)
def test_an_unknown_trigger_is_refused_with_the_known_ones(claim: Claim) -> None:
    with pytest.raises(UnknownTrigger, match=r"must be one of place, pay, .*, not 'teleport'"):
        prove(shop_workflow(), claim)


def test_an_unknown_guard_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"must be one of out_of_stock, .*, not 'no_such'"):
        prove(shop_workflow(), Conserves(guards={"no_such": True}))


@pytest.mark.parametrize("kind", [Never, Always, Reachable, CanAlwaysReach])
def test_a_claim_without_a_condition_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidInput, match="claims nothing"):
        kind()


@pytest.mark.parametrize("guards", [{"said": 1}, {"said": "yes"}, ["said"], "said"])
def test_an_assumption_about_a_guard_is_true_false_or_a_condition(guards: Any) -> None:
    with pytest.raises(InvalidInput, match="guards must be a dict"):
        Conserves(guards=guards)


def test_only_claims_about_workflows_are_proved() -> None:
    wrong: Any = "never cancelled"
    with pytest.raises(InvalidInput, match="a claim must be"):
        prove(shop_workflow(), wrong)
    with pytest.raises(InvalidInput, match="workflow must be"):
        prove(wrong, Conserves())
    with pytest.raises(InvalidInput, match="at least one claim"):
        assert_proof(shop_workflow())


def test_a_failed_proof_in_a_test_names_the_row_to_change() -> None:
    assert assert_proof(table(TO_A), Conserves()).ok
    with pytest.raises(AssertionError, match=r"fails: never a\n.*\n.*to_a  \(row 1\)"):
        assert_proof(table(TO_A), Never(has={"a"}))


# The shop's own claims, with money and stock


@pytest.mark.parametrize(
    "options",
    # Coverage measures one of them, because the others run the same lines.
    [
        pytest.param(given, id=name, marks=[pytest.mark.no_cover] * (name != "cod"))
        for name, given in POLICIES.items()
        if name in get_args(Dispatch) or stressed()
    ],
)
def test_the_shop_meets_all_its_claims(options: Any) -> None:
    proof = assert_proof(shop_workflow(*options), *shop_claims(*options))
    assert proof.worlds > 500
    assert len({str(claim) for claim in proof.claims}) == len(proof.claims) > 50


@pytest.mark.no_cover
def test_claims_of_another_policy_do_not_hold() -> None:
    proof = prove(shop_workflow("cod"), *shop_claims("prepaid"))
    assert [str(failed.claim) for failed in proof.failures] == [
        "without override only paid orders are dispatched",
        "an order in to_dispatch is covered",
        "an order leaves to_dispatch after its money has all been returned",
        "without override a dispatched order loses its invoice only if it is paid",
    ]
    assert proof.failures[0].path == ("place", "dispatch")


@pytest.mark.no_cover
def test_proofs_visit_orders_with_all_kinds_of_money_and_stock() -> None:
    """The orders are part paid, overpaid, refunded, or without stock. Each is shown by the shortest path."""
    ways = {
        "never overpaid": (lambda world: not world.order.overpaid, ("pay",)),
        "never refunded": (lambda world: not world.order.refunded, ("pay", "refund")),
        "never reversed": (
            lambda world: not any(row.kind == "reversed" for row in world.order.payments),
            ("pay", "unpay"),
        ),
        "never more than one row": (lambda world: len(world.order.payments) < 2, ("pay", "pay")),
        "never short": (lambda world: world.on_hand >= 0, ("pay",)),
        "never sold to another": (lambda world: not world.taken, ()),
    }
    claims = {sentence: EveryOrder(sentence, test) for sentence, (test, _) in ways.items()}
    proof = prove(shop_workflow(), *claims.values())
    assert {str(failed.claim): failed.path for failed in proof.failures} == {
        sentence: path for sentence, (_, path) in ways.items()
    }


@pytest.mark.no_cover
def test_another_buyer_may_take_the_item_during_the_decision() -> None:
    raced = EveryStep("nobody is quicker", lambda step: not (step.ask.raced and step.refused), of=("place",))
    (failed,) = prove(shop_workflow(), raced).failures
    assert "the other buyer is quicker" in str(failed)
    assert "there is not enough stock" in str(failed)


@pytest.mark.parametrize("kind", [EveryOrder, EveryStep, EveryChange])
def test_test_that_returns_a_coroutine_proves_nothing(kind: Any) -> None:
    async def later() -> bool:
        return False

    with pytest.raises(InvalidInput, match="the test of the claim 'x' must be a plain function, not async"):
        prove(shop_workflow(), kind("x", lambda _: later()))


def test_claims_of_steps_include_refusals_and_claims_of_changes_do_not() -> None:
    def done(step: Any) -> bool:
        return bool(step.done)

    assert not prove(table(TO_A), EveryStep("all is done", done)).ok
    assert prove(table(TO_A), EveryChange("every change is done", done)).ok


def test_a_failure_shows_the_ledger() -> None:
    (failed,) = prove(shop_workflow(), EveryOrder("never refunded", lambda world: not world.order.refunded)).failures
    assert statuses_of(failed.state) >= {"sent"}
    assert "the ledger: captured" in str(failed)
    assert "an order over 2.00" in str(failed)


# Counterexamples that need an override


UNPAID = Never(has={"dispatched"}, lacks={"paid", "invoiced"})


def test_counterexample_names_the_override_that_it_needs() -> None:
    (failure,) = prove(shop_workflow(), Requires("dispatch", has_any={"paid", "invoiced"})).failures
    assert failure.path == ("place", "dispatch")
    assert [("override" in step) for step in failure.steps] == [False, True]
    assert "(with an override of not_paid_nor_invoiced)" in str(failure)


def test_counterexample_without_override_names_no_override() -> None:
    (failure,) = prove(shop_workflow("cod"), UNPAID).failures
    assert "override" not in str(failure)
    (failure,) = prove(shop_workflow(), Never(has={"dispatched", "invoiced"}, lacks={"paid"})).failures
    assert "override" not in str(failure)


def test_counterexample_names_no_override_of_a_guard_that_the_claim_knows() -> None:
    """The proof does not override a guard that a claim names."""
    holds = Never(has={"dispatched"}, lacks={"paid", "invoiced"}, guards={"not_paid_nor_invoiced": True})
    (failure,) = prove(shop_workflow(), holds).failures
    assert "override" not in str(failure)
    paid = When(has_any={"paid", "invoiced"})
    known = {"not_paid_nor_invoiced": paid, "dispatched_on_invoice": paid}
    assert prove(shop_workflow(), Requires("dispatch", has_any={"paid", "invoiced"}, guards=known)).ok


def test_counterexample_with_money_names_the_override_that_it_needs() -> None:
    claim = EveryChange(
        "nothing unpaid is dispatched", lambda step: "paid" in step.after.order.statuses, of=("dispatch",)
    )
    (failure,) = prove(shop_workflow("prepaid"), claim).failures
    assert "dispatch (a reason, override)" in str(failure)

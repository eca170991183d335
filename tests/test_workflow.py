"""A table of rules is validated when it is built, expanded to states and edges, and extended without a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from order_fsm import Guard, InvalidInput, Rule, Status, When, Workflow, WorkflowError
from order_fsm.audit.consistency import OWN_TRIGGERS
from order_fsm.rules.rule import STOCK_SUFFICES
from order_fsm.rules.workflow import STATE_LIMIT

NEVER = Guard("never", "it never holds", lambda order, facts: False)
AB = [Status("a"), Status("b")]
A_THEN_B = [Rule("to_a", forbids={"a"}, adds={"a"}), Rule("to_b", needs={"a"}, forbids={"b"}, adds={"b"})]


def built(
    rules: Sequence[Rule],
    statuses: Sequence[Status] = AB,
    holds_stock: When | None = None,
    counts: When | None = None,
    queues: Mapping[str, When] | None = None,
) -> Workflow:
    return Workflow(
        statuses, rules, holds_stock=holds_stock or When(), counts=counts or When(), queues=dict(queues or {})
    )


def findings(rules: Sequence[Rule], **rest: Any) -> tuple[str, ...]:
    with pytest.raises(WorkflowError) as error:
        built(rules, **rest)
    for finding in error.value.findings:
        assert finding in str(error.value)
    return error.value.findings


def independent(number: int) -> Workflow:
    """Return a workflow of independent statuses."""
    names = [f"s{index}" for index in range(number)]
    return built([Rule(f"to_{name}", adds={name}) for name in names], [Status(name) for name in names])


# Invalid workflows


@pytest.mark.parametrize("part", ["needs", "needs_any", "forbids", "adds", "drops"])
def test_a_rule_of_an_unknown_status_is_found(part: str) -> None:
    names: dict[str, Any] = {part: {"nowhere"}}
    found = findings([*A_THEN_B, Rule("odd", **names, guards=(NEVER,))])
    assert any("rule 3 (odd)" in one and "nowhere" in one and "unknown" in one for one in found)


@pytest.mark.parametrize("where", ["holds_stock", "counts"])
@pytest.mark.parametrize("part", ["has", "has_any", "lacks"])
def test_a_condition_of_an_unknown_status_is_found(where: str, part: str) -> None:
    found = findings(A_THEN_B, **{where: When(**{part: {"nowhere"}})})
    assert found == (f"{where} names unknown statuses: nowhere",)


def test_a_queue_of_an_unknown_status_is_found() -> None:
    found = findings(A_THEN_B, queues={"fine": When(has={"a"}), "odd": When(lacks={"nowhere"})})
    assert found == ("queue 'odd' names unknown statuses: nowhere",)


def test_an_unknown_status_is_the_only_finding_of_its_row() -> None:
    """The row is not also reported as ambiguous. One mistake has one sentence."""
    assert len(findings([*A_THEN_B, Rule("to_c", adds={"c"})])) == 1


def test_a_rule_that_no_state_opens_is_found() -> None:
    """Its conditions never hold together, because `b` comes only with `a`."""
    found = findings([*A_THEN_B, Rule("lost", needs={"b"}, forbids={"a"})])
    assert ["rule 3 (lost)" in one and "never fire" in one for one in found] == [True]


def test_a_rule_that_forbids_a_needed_status_is_found() -> None:
    found = findings([*A_THEN_B, Rule("lost", needs={"a"}, forbids={"a"})])
    assert ["rule 3 (lost)" in one and "never fire" in one for one in found] == [True]


def test_a_rule_behind_an_unguarded_one_is_found() -> None:
    """In all of its states the unguarded rule before it is open too, and always taken."""
    found = findings([*A_THEN_B, Rule("go"), Rule("go", needs={"a"}, guards=(NEVER,))])
    assert ["rule 4 (go)" in one and "never fire" in one for one in found] == [True]


def test_a_rule_that_is_open_in_more_states_than_an_unguarded_one_is_valid() -> None:
    built([*A_THEN_B, Rule("go", needs={"b"}), Rule("go", guards=(NEVER,))])


def test_a_guard_on_stock_counts_only_if_stock_is_taken() -> None:
    """If a rule takes no stock, `STOCK_SUFFICES` does not distinguish it from another rule."""
    rules = [*A_THEN_B, Rule("go", guards=(STOCK_SUFFICES,)), Rule("go", needs={"b"})]
    found = findings(rules, holds_stock=When(has={"a"}))
    assert ["rules 3 and 4 (go)" in one for one in found] == [True]


def test_two_unguarded_rules_open_in_one_state_are_found() -> None:
    """The finding names both and one state. It is reported once, not per state."""
    found = findings([*A_THEN_B, Rule("go", needs={"a"}), Rule("go", adds={"b"})])
    assert ["rules 3 and 4 (go)" in one and "in state a" in one for one in found] == [True]


def test_two_unguarded_rules_of_two_triggers_are_valid() -> None:
    built([*A_THEN_B, Rule("go", needs={"a"}), Rule("run", needs={"a"})])


def test_two_unguarded_rules_in_different_states_are_valid() -> None:
    built([*A_THEN_B, Rule("go", needs={"a"}), Rule("go", forbids={"a"})])


def test_more_than_the_limit_of_states_is_found() -> None:
    """Thirteen independent statuses would have 8,192 states. The message has the limit."""
    with pytest.raises(WorkflowError, match="4096 states"):
        independent(13)


def test_the_limit_itself_is_valid() -> None:
    assert len(independent(12).states) == STATE_LIMIT == 4096


@pytest.mark.parametrize("name", sorted(OWN_TRIGGERS | {"save", "override"}))
def test_a_trigger_of_a_reserved_name_is_found(name: str) -> None:
    """Reserved names are those of other history entries and actions."""
    assert [repr(name) in one for one in findings([*A_THEN_B, Rule(name)])] == [True]


@pytest.mark.parametrize(
    "name", ["order_id", "trigger", "key", "by", "comment", "visible", "notify", "override", "shortages"]
)
def test_a_fact_of_a_reserved_name_is_found(name: str) -> None:
    """`fire` could not accept it, or a guard would get another value under it."""
    found = findings([*A_THEN_B, Rule("go", facts={name})])
    assert ["rule 3 (go)" in one and name in one for one in found] == [True]


@pytest.mark.parametrize("name", ["a+b", "+", "unfinished"])
def test_a_status_of_a_reserved_name_is_found(name: str) -> None:
    """Names of states would be ambiguous."""
    found = findings(A_THEN_B, statuses=[*AB, Status(name)])
    assert sum(one.startswith(f"status {name!r} cannot have this name") for one in found) == 1


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 1000, 5, None])
def test_a_status_without_a_proper_name_is_found(name: Any) -> None:
    """A name is one line of text, so that a rule can name it and a form can show it."""
    with pytest.raises((WorkflowError, InvalidInput)):
        built(A_THEN_B, [*AB, Status(name)])


@pytest.mark.parametrize("trigger", ["", "  ", "a\nb", 5, None])
def test_a_trigger_without_a_proper_name_is_found(trigger: Any) -> None:
    with pytest.raises((WorkflowError, InvalidInput)):
        built([*A_THEN_B, Rule(trigger)])


def test_a_status_that_is_declared_twice_is_found() -> None:
    found = findings(A_THEN_B, statuses=[*AB, Status("a")])
    assert {"'a'" in one and "more than once" in one for one in found} == {True}


@pytest.mark.parametrize("ticks", [{"tick": "nothing"}, {"untick": "nothing"}])
def test_a_box_without_its_trigger_is_found(ticks: dict[str, str]) -> None:
    """No rule has the trigger, so a form could not tick or untick the box."""
    found = findings(A_THEN_B, statuses=[Status("a"), Status("b", **ticks)])
    assert ["'b'" in one and "'nothing'" in one for one in found] == [True]


def test_rule_that_ends_credits_and_records_money_is_found() -> None:
    found = findings([*A_THEN_B, Rule("both", needs={"a"}, lapses=True, ledger="refunded")])
    assert ["rule 3 (both)" in one and "cannot record refunded" in one for one in found] == [True]


def test_a_rule_that_adds_a_dropped_status_is_found() -> None:
    found = findings([*A_THEN_B, Rule("both", adds={"a"}, drops={"a"})])
    assert ["rule 3 (both)" in one and "adds and drops a" in one for one in found] == [True]


def test_two_kinds_of_ledger_rows_under_one_trigger_are_found() -> None:
    rules = [*A_THEN_B, Rule("go", needs={"a"}, ledger="captured"), Rule("go", forbids={"a"}, ledger="refunded")]
    assert ["'go'" in one and "ledger" in one for one in findings(rules)] == [True]


def test_a_queue_of_the_name_of_the_derived_one_is_found() -> None:
    assert ["refund_due" in one for one in findings(A_THEN_B, queues={"refund_due": When()})] == [True]


def test_a_repeated_rule_is_found() -> None:
    """The finding has the numbers of both rows, even if they are the same object."""
    twice = Rule("go", needs={"a"})
    assert ["rules 3 and 4 (go)" in one for one in findings([*A_THEN_B, twice, twice])] == [True]


def test_an_unknown_kind_of_ledger_row_is_found() -> None:
    ledger: Any = "stolen"
    with pytest.raises((WorkflowError, InvalidInput), match="stolen"):
        built([*A_THEN_B, Rule("go", ledger=ledger)])


@pytest.mark.parametrize(
    "parts",
    [
        {"statuses": ["a", "b"]},
        {"rules": ["to_a"]},
        {"holds_stock": {"a"}},
        {"counts": None},
        {"queues": {"jobs": {"a"}}},
    ],
    ids=["status", "rule", "holds_stock", "counts", "queue"],
)
def test_a_part_of_another_kind_is_refused(parts: dict[str, Any]) -> None:
    """The error comes when the workflow is built, not when an order first uses it."""
    whole: dict[str, Any] = {"statuses": AB, "rules": A_THEN_B, "holds_stock": When(), "counts": When(), "queues": {}}
    name = next(iter(parts))
    with pytest.raises(InvalidInput, match=f"{name[:5]}.* must be a (list|condition)"):
        Workflow(**{**whole, **parts})


@pytest.mark.parametrize("guards", [(lambda order, facts: True,), NEVER, [NEVER]], ids=["function", "one", "list"])
def test_guards_are_a_tuple_of_guards(guards: Any) -> None:
    """The error comes when the rule is built, not when an order first uses it."""
    with pytest.raises(InvalidInput, match="guards must be a tuple of Guard"):
        Rule("go", guards=guards)


def test_all_findings_are_in_one_error() -> None:
    """One error lists all faults of a table."""
    found = findings(
        [
            *A_THEN_B,
            Rule("lost", needs={"b"}, forbids={"a"}),
            Rule("go"),
            Rule("go", needs={"a"}),
            Rule("both", adds={"a"}, drops={"a"}),
            Rule("save"),
            Rule("odd", forbids={"nowhere"}),
        ],
        statuses=[Status("a", tick="nothing"), Status("b")],
        queues={"jobs": When(has={"elsewhere"})},
    )
    for words in ("never fire", "no guard decides between them", "adds and drops", "'save'", "nowhere", "'nothing'"):
        assert sum(words in one for one in found) == 1, words
    assert sum("elsewhere" in one for one in found) == 1


def test_too_many_states_do_not_hide_the_other_findings() -> None:
    names = [f"s{index}" for index in range(13)]
    found = findings([Rule("save", adds={name}) for name in names], statuses=[Status(name) for name in names])
    assert any("'save'" in one for one in found)
    assert any("4096" in one for one in found)


# Valid workflows


def test_a_state_lists_its_statuses_in_declared_order() -> None:
    """The order of ticking and the alphabet do not matter."""
    workflow = built([Rule("to_a", adds={"a"}), Rule("to_z", adds={"z"})], [Status("z"), Status("a")])
    assert workflow.states == ("unfinished", "a", "z", "z+a")
    assert workflow.state_name(frozenset({"a", "z"})) == "z+a"
    assert workflow.state_name(frozenset()) == "unfinished"


def test_the_trigger_of_a_kind_of_money_is_the_one_that_records_it() -> None:
    """It is None if no rule records the kind."""
    workflow = built([*A_THEN_B, Rule("go", ledger="captured")])
    assert workflow.trigger_of("captured") == "go"
    assert workflow.trigger_of("refunded") is None


def test_a_state_of_other_rules_holds_stock_and_counts_by_its_statuses() -> None:
    """Such a state may have known statuses and unknown ones."""
    workflow = built(A_THEN_B, holds_stock=When(has={"a"}), counts=When(lacks={"b"}))
    states = ("a+x", "b", "b+x", "x")
    assert not any(map(workflow.has_state, states))
    assert list(map(workflow.holds, states)) == [True, False, False, False]
    assert list(map(workflow.counts_in, states)) == [True, False, False, True]


def test_an_unknown_trigger_has_no_rules_and_no_edges() -> None:
    workflow = built(A_THEN_B)
    assert list(workflow.rules_of("nothing")) == []
    assert list(workflow.edges_from("a", "nothing")) == []

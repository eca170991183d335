"""The default workflow: states, triggers, queues, options and extensions."""

from __future__ import annotations

from typing import Any

import pytest

from order_fsm import InvalidInput, Rule, Status, When, Workflow, WorkflowError, shop_workflow

LIVE = {
    "unfinished", "sent", "sent+invoiced", "sent+paid", "sent+invoiced+paid", "sent+dispatched",
    "sent+invoiced+dispatched", "sent+paid+dispatched", "sent+invoiced+paid+dispatched",
}  # fmt: skip
CANCELLED = {
    "cancelled", "sent+cancelled", "sent+invoiced+cancelled", "sent+paid+cancelled", "sent+invoiced+paid+cancelled",
}  # fmt: skip


def test_the_shop_has_fourteen_states(workflow: Workflow) -> None:
    """Every policy and option has the same states. No order is cancelled and dispatched, or has a box without sent."""
    assert len(workflow.states) == 14
    assert set(workflow.states) == LIVE | CANCELLED


def test_the_shop_names_its_triggers(workflow: Workflow) -> None:
    """Each box has the trigger that ticks it and the one that unticks it."""
    ticks = {status.name: (status.tick, status.untick) for status in workflow.statuses}
    assert ticks == {
        "sent": ("place", "unplace"),
        "invoiced": ("invoice", "uninvoice"),
        "paid": ("pay", "unpay"),
        "dispatched": ("dispatch", "undispatch"),
        "cancelled": ("cancel", "reinstate"),
    }
    assert set(workflow.triggers) == {trigger for pair in ticks.values() for trigger in pair} | {
        "refund",
        "refund_failed",
        "restore_payment",
        "expire",
        "return_items",
        "amend",
    }


QUEUES = {
    "unfinished": (set(), {"sent", "cancelled"}),
    "to_invoice": ({"sent"}, {"invoiced", "cancelled"}),
    "to_pay": ({"sent"}, {"paid", "cancelled"}),
    "debt": ({"dispatched"}, {"paid"}),
    "complete": ({"paid", "dispatched"}, set()),
    "cancelled": ({"cancelled"}, set()),
}


def test_the_shop_has_the_queues_of_its_jobs(workflow: Workflow) -> None:
    """Each state is in exactly the queues whose conditions it meets."""
    assert set(workflow.queues) == {*QUEUES, "to_dispatch"}
    for state in workflow.states:
        statuses = set() if state == "unfinished" else set(state.split("+"))
        wanted = {name for name, (has, lacks) in QUEUES.items() if has <= statuses and not lacks & statuses}
        assert set(workflow.queues_of(state)) - {"to_dispatch"} == wanted


@pytest.mark.parametrize(
    ("dispatch", "states"),
    [
        ("on_account", {"sent+invoiced", "sent+paid", "sent+invoiced+paid"}),
        ("prepaid", {"sent+paid", "sent+invoiced+paid"}),
        ("cod", {"sent", "sent+invoiced", "sent+paid", "sent+invoiced+paid"}),
    ],
)
def test_the_queue_to_dispatch_follows_the_policy(dispatch: Any, states: set[str]) -> None:
    workflow = shop_workflow(dispatch)
    assert {state for state in workflow.states if "to_dispatch" in workflow.queues_of(state)} == states


def test_every_live_order_is_in_a_queue(workflow: Workflow) -> None:
    """Every open job is in a queue, and complete orders are in `complete`."""
    for state in workflow.states:
        assert workflow.queues_of(state), state
        assert ("complete" in workflow.queues_of(state)) == state.endswith("paid+dispatched")


def test_stock_is_held_and_totals_count_while_sent_and_not_cancelled(workflow: Workflow) -> None:
    for state in workflow.states:
        live = "sent" in state and "cancelled" not in state
        assert (workflow.holds(state), workflow.counts_in(state)) == (live, live)


# The shop's options


@pytest.mark.parametrize("dispatch", ["credit", "", "COD", None, 1, True, ["cod"], {"cod": 1}])
def test_an_unknown_policy_is_refused(dispatch: Any) -> None:
    with pytest.raises(InvalidInput, match="on_account, prepaid, cod"):
        shop_workflow(dispatch)


@pytest.mark.parametrize("option", ["no", None, 0, 1, []])
def test_the_option_is_true_or_false(option: Any) -> None:
    with pytest.raises(InvalidInput, match="invoice_on_payment must be True or False"):
        shop_workflow(invoice_on_payment=option)


def test_the_same_options_give_the_same_workflow() -> None:
    """The spelling of the options does not matter."""
    assert shop_workflow() is shop_workflow("on_account")
    assert shop_workflow() is shop_workflow(dispatch="on_account", invoice_on_payment=True)
    assert shop_workflow() is not shop_workflow(invoice_on_payment=False)


def test_nobody_can_change_a_workflow() -> None:
    """All callers in a process share the default workflow."""
    queues: Any = shop_workflow().extend().queues
    with pytest.raises(TypeError):
        queues["mine"] = When()


# A shop's own rules


@pytest.fixture
def returned() -> Workflow:
    return shop_workflow().extend(
        statuses=[Status("returned", tick="take_back", untick="send_again")],
        rules=[
            Rule("take_back", needs={"dispatched"}, forbids={"returned"}, adds={"returned"}),
            Rule("send_again", needs={"returned"}, drops={"returned"}),
        ],
        forbids={"undispatch": {"returned"}, "amend": {"returned"}},
        holds_stock=When(has={"sent"}, lacks={"cancelled", "returned"}),
        queues={"returned": When(has={"returned"}), "complete": When(has={"paid", "dispatched"}, lacks={"returned"})},
    )


def test_an_extension_adds_to_the_table(returned: Workflow) -> None:
    """Each dispatched state gets a variant with `returned` at the end of its name. One queue is new, one replaced."""
    dispatched = {state for state in LIVE if "dispatched" in state}
    assert set(returned.states) == LIVE | CANCELLED | {f"{state}+returned" for state in dispatched}
    assert returned.queues_of("sent+paid+dispatched+returned") == ["to_invoice", "returned"]
    assert "complete" in returned.queues_of("sent+paid+dispatched")
    assert not returned.holds("sent+paid+dispatched+returned")
    assert returned.counts_in("sent+paid+dispatched+returned")


def test_an_extension_closes_present_triggers(returned: Workflow) -> None:
    """`forbids` names the triggers that the new status closes. The others stay open."""
    assert not returned.edges_from("sent+paid+dispatched+returned", "undispatch")
    assert returned.edges_from("sent+paid+dispatched", "undispatch")
    assert returned.edges_from("sent+paid+dispatched+returned", "unpay")


def test_an_extension_leaves_the_original(returned: Workflow) -> None:
    assert len(returned.states) == 18
    assert len(shop_workflow().states) == 14
    assert "take_back" not in shop_workflow().triggers
    assert "returned" not in shop_workflow().queues
    assert shop_workflow().holds("sent+dispatched")
    assert all("returned" not in rule.forbids for rule in shop_workflow().rules)


def test_an_extension_that_forbids_an_unknown_trigger_is_refused() -> None:
    with pytest.raises(WorkflowError, match="'teleport'"):
        shop_workflow().extend(forbids={"teleport": {"sent"}})


@pytest.mark.parametrize("names", ["sent", 5, [5]])
def test_forbids_of_an_extension_is_a_set_of_names(names: Any) -> None:
    """A string is not a set of its letters."""
    with pytest.raises(InvalidInput, match=r"^forbids must be"):
        shop_workflow().extend(forbids={"pay": names})


def test_an_extension_is_checked_like_a_table() -> None:
    with pytest.raises(WorkflowError, match="unknown statuses: returned"):
        shop_workflow().extend(rules=[Rule("take_back", adds={"returned"})])


def test_an_extension_may_add_rules_to_a_present_trigger() -> None:
    """They come after the existing rules and record the same kind."""
    workflow = shop_workflow().extend(rules=[Rule("dispatch", needs={"dispatched"}, goods="shipped")])
    assert [edge.target for edge in workflow.edges_from("sent+dispatched", "dispatch")] == ["sent+dispatched"]
    assert workflow.rules_of("dispatch")[0].adds == {"dispatched"}

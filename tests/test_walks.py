"""Paths through the rules start in the empty state, together take every edge, and can be played."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from order_fsm import Guard, InvalidInput, Order, Orders, Receipt, Refused, Rule, Status, When, Workflow, shop_workflow
from order_fsm.rules.machine import Draft
from order_fsm.testing import paths
from order_fsm.testing.paths import LINES, LONGEST, TOTAL, Path
from order_fsm.testing.store_contract.harness import stressed
from order_fsm_adapters.memory import MemoryStore

from .conftest import POLICIES

walked_once = cache(paths)

# A search takes seconds. All policies are searched in a stressed run.
SEARCHED = tuple(POLICIES) if stressed() else ("on_account", "cod_invoiced_by_hand")

# The edges that only a free order takes, each with the state that `place` and `unplace` lead another order to. None
# means refused.
FREE = {("unfinished", "place", "sent+paid"): "sent", ("sent+paid", "unplace", "unfinished"): None}

COURIER = Guard("no_courier", "no courier of ours", lambda order, facts: facts.get("courier") == "Royal Mail")
COURIERS = Workflow(
    [Status("sent"), Status("collected"), Status("lost")],
    [
        Rule("place", forbids={"sent"}, adds={"sent"}),
        Rule(
            "collect", needs={"sent"}, forbids={"collected"}, adds={"collected"}, guards=(COURIER,), facts={"courier"}
        ),
        Rule("lose", needs={"collected"}, forbids={"lost"}, adds={"lost"}),
    ],
    holds_stock=When(has={"sent"}),
    counts=When(has={"sent"}),
    queues={},
)


def taken(walked: Iterable[Path]) -> set[tuple[str, int, str]]:
    return {(step.source, step.row, step.target) for path in walked for step in path}


def edges_of(workflow: Workflow) -> set[tuple[str, int, str]]:
    return {(edge.source, edge.row, edge.target) for edge in workflow.edges}


def begun(workflow: Workflow) -> Orders:
    orders = Orders(MemoryStore(), workflow=workflow)
    orders.create("1001", total=TOTAL, currency="GBP", lines=LINES)
    return orders


@pytest.fixture(params=SEARCHED)
def workflow(request: pytest.FixtureRequest) -> Workflow:
    return shop_workflow(*POLICIES[request.param])


@pytest.mark.no_cover
def test_every_path_of_the_shop_can_be_played(workflow: Workflow) -> None:
    for path in walked_once(workflow):
        check_that_it_can_be_played(workflow, path)


def check_that_it_can_be_played(workflow: Workflow, path: Path) -> None:
    """Each step leads to its target, except one without arguments, which only a free order takes."""
    orders = begun(workflow)
    for step in path:
        if step.arguments is None:
            elsewhere = FREE[step.source, step.trigger, step.target]
            with nullcontext() if elsewhere else pytest.raises(Refused, match="holds_money"):
                assert orders.fire("1001", step.trigger, comment="a reason", override=True).order.state == elsewhere
            break
        before = orders.get("1001").state
        receipt = step.play(orders, "1001")
        assert (before, receipt.order.state, receipt.duplicate) == (step.source, step.target, False)


def test_the_paths_take_every_edge_of_the_table(workflow: Workflow) -> None:
    assert taken(walked_once(workflow)) == edges_of(workflow)


def test_a_path_is_connected_and_starts_in_the_empty_state(workflow: Workflow) -> None:
    for path in walked_once(workflow):
        assert path[0].source == "unfinished"
        assert all(one.target == following.source for one, following in pairwise(path))


def test_a_step_takes_the_row_that_it_names(workflow: Workflow) -> None:
    """This holds if several rows of its trigger lead from one state to the same target."""
    for path in walked_once(workflow):
        orders = begun(workflow)
        for step in (step for step in path if step.arguments is not None):
            before = orders.get("1001")
            receipt = step.play(orders, "1001")
            # The guards get the amended order.
            before = replace(before, total=receipt.order.total, lines=receipt.order.lines)
            assert machine_row(workflow, before, receipt) == step.row


def machine_row(workflow: Workflow, before: Order, receipt: Receipt) -> int | None:
    """Return the row that the `transitions` machine takes, independently of `decide`.

    The guards get the money after the entry. The entry was recorded, so its bounds held.
    """
    (entry,), after = receipt.entries, receipt.order
    facts: dict[str, Any] = {
        **entry.facts,
        "comment": entry.comment,
        "gateway": False,
        "shortages": (),
        "outstanding": max(after.cost - after.held, Decimal(0)),
        "online": after.held_online > 0,
        "bound": None,
        "several": False,
        "pieces": 1,
        "beyond": (),
        "goods_left": bool(after.to_ship),
    }
    for passed in (False, entry.override):
        draft = Draft(before, facts, passed)
        workflow.machine.events[entry.trigger].trigger(draft)
        if draft.edge is not None:
            return draft.edge.row
    return None


@pytest.mark.no_cover
def test_the_set_is_small(workflow: Workflow) -> None:
    """The number of steps is at most 1.5 times the number of edges, and the paths are short."""
    walked = walked_once(workflow)
    assert sum(map(len, walked)) < 1.5 * len(workflow.edges)
    assert max(map(len, walked)) <= LONGEST


@pytest.mark.no_cover
def test_equal_rules_have_equal_paths_with_unique_names() -> None:
    names = [str(path) for path in paths(shop_workflow())]
    assert names == [str(path) for path in walked_once(shop_workflow())]
    assert len(set(names)) == len(names)
    assert "pay.4-unplace.29" in names


def test_covering_states_takes_fewer_steps(workflow: Workflow) -> None:
    walked = paths(workflow, cover="states")
    assert {step.target for path in walked for step in path} >= set(workflow.states) - {"unfinished"}
    assert sum(map(len, walked)) < 2 * len(workflow.states)


def test_a_guard_on_a_fact_of_the_shop_passes_with_the_fact() -> None:
    walked = paths(COURIERS, facts={"collect": [{"courier": "a stranger"}, {"courier": "Royal Mail"}]})
    assert [str(path) for path in walked] == ["place.1-collect.2-lose.3"]
    assert walked[0][1].arguments == {"courier": "Royal Mail"}


def test_edge_that_no_arguments_take_is_covered_without_arguments() -> None:
    """Every edge is on a path, including edges after one that cannot be fired."""
    walked = paths(COURIERS)
    assert taken(walked) == edges_of(COURIERS)
    assert [[step.arguments for step in path] for path in walked] == [[{}], [{}, None], [{}, None, {}]]


def test_a_step_without_arguments_follows_steps_with_arguments() -> None:
    """A shorter path through other such steps is not used, because it could not be played."""
    never = Guard("never", "it never holds", lambda order, facts: False)
    workflow = Workflow(
        [Status("sent"), Status("packed"), Status("lost")],
        [
            Rule("jump", forbids={"sent"}, adds={"sent", "packed"}, guards=(never,)),
            Rule("place", forbids={"sent"}, adds={"sent"}),
            Rule("pack", needs={"sent"}, forbids={"packed"}, adds={"packed"}),
            Rule("lose", needs={"packed"}, forbids={"lost"}, adds={"lost"}, guards=(never,)),
        ],
        holds_stock=When(),
        counts=When(),
        queues={},
    )
    assert [str(path) for path in paths(workflow)] == ["place.2-pack.3", "jump.1", "place.2-pack.3-lose.4"]


def test_an_overpaid_order_is_reached_even_if_a_paid_one_takes_no_payment() -> None:
    over = Guard("not_over", "no more than the total came", lambda order, facts: order.overpaid > 0)
    workflow = Workflow(
        [Status("paid"), Status("settled")],
        [
            Rule("pay", forbids={"paid"}, adds={"paid"}, ledger="captured"),
            Rule("settle", needs={"paid"}, forbids={"settled"}, adds={"settled"}, guards=(over,)),
        ],
        holds_stock=When(),
        counts=When(),
        queues={},
    )
    assert {step.arguments is None for path in paths(workflow) for step in path} == {False}


def test_a_payment_is_a_new_one_at_each_step() -> None:
    for path in walked_once(shop_workflow()):
        references = [step.arguments["reference"] for step in path if "reference" in (step.arguments or {})]  # type: ignore[index]
        assert len(set(references)) == len(references)


@pytest.mark.parametrize("cover", ["rows", "", None, ["edges"]])
def test_an_unknown_cover_is_refused(cover: Any) -> None:
    with pytest.raises(InvalidInput, match="cover must be 'edges' or 'states'"):
        paths(shop_workflow(), cover=cover)


def test_facts_of_unknown_triggers_or_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="place, collect, lose"):
        paths(COURIERS, facts={"colect": [{}]})
    with pytest.raises(InvalidInput, match="collect does not accept the fact 'curier'"):
        paths(COURIERS, facts={"collect": [{"curier": "Royal Mail"}]})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([{"courier": "bob"}], "facts must be a dict such as .* not list"),
        ({"courier": "bob"}, "a trigger one of .*, not 'courier'"),
        ({"collect": {"courier": "bob"}}, "facts of 'collect' must be a list of dicts"),
        ({"collect": "bob"}, "facts of 'collect' must be a list of dicts"),
        ({"collect": ["bob"]}, "facts of 'collect' must be a list of dicts"),
        ({"collect": None}, "facts of 'collect' must be a list of dicts"),
    ],
)
def test_facts_of_another_form_are_refused(facts: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        paths(COURIERS, facts=facts)

"""The growth of proving with the number of statuses, against building the workflow."""

from __future__ import annotations

import pytest

from order_fsm import Rule, Status, When, Workflow
from order_fsm.verify import Always, CanAlwaysReach, Conserves, Never, Reachable, Requires, Undoes, assert_proof
from paired_times import Compare, Work


def independent(number: int) -> Workflow:
    """Return a workflow of independent statuses."""
    names = [f"s{index}" for index in range(number)]
    rules = [Rule(f"to_{name}", forbids={name}, adds={name}) for name in names]
    rules += [Rule(f"from_{name}", needs={name}, drops={name}) for name in names]
    live = When(has={"s0"})
    return Workflow([Status(name) for name in names], rules, holds_stock=live, counts=live, queues={})


CLAIMS = (
    Never(has={"s0"}, lacks={"s0"}),
    Always(has={"s1"}, where=When(has={"s0", "s1"})),
    Reachable(has={"s0", "s1", "s2", "s3", "s4"}),
    CanAlwaysReach(lacks={"s0", "s1", "s2", "s3", "s4"}),
    Requires("from_s0", has={"s0"}),
    Undoes("to_s0", by="from_s0"),
    Conserves(),
)


@pytest.mark.parametrize("statuses", range(5, 13))
def test_proving_seven_claims_against_building(compare: Compare, statuses: int) -> None:
    """Time per edge in microseconds. A constant time means that proving grows with the edges."""
    workflow = independent(statuses)

    def ours() -> Work:
        def work() -> None:
            assert_proof(workflow, *CLAIMS)

        return work

    def theirs() -> Work:
        def work() -> None:
            independent(statuses)

        return work

    compare(ours, theirs, limit=2, rounds=3, changes=len(workflow.edges))

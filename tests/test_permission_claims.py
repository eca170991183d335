"""Proofs about permissions: `May` and `MayNot`, each with a function that meets it and one that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from order_fsm import (
    CLOCK,
    GATEWAY,
    Guard,
    InvalidInput,
    Order,
    Reason,
    Rule,
    Status,
    UnknownTrigger,
    When,
    Workflow,
    shop_workflow,
)
from order_fsm.verify import Claim, Failure, May, MayNot, Never, assert_proof, prove

ACTORS = {"clerk": "bob", "owner": "eve", "nobody": None}
SEALED = Guard("not_paid", "the order is not paid", lambda order, facts: "paid" in order.statuses, policy=True)
TABLE = Workflow(
    [Status(name) for name in ("sent", "paid", "dispatched")],
    [
        Rule("place", forbids={"sent"}, adds={"sent"}),
        Rule("pay", needs={"sent"}, forbids={"paid"}, adds={"paid"}, ledger="captured"),
        Rule("refund", needs={"paid"}, drops={"paid"}, ledger="refunded"),
        Rule("dispatch", needs={"sent"}, forbids={"dispatched"}, adds={"dispatched"}, guards=(SEALED,)),
    ],
    holds_stock=When(has={"sent"}),
    counts=When(has={"sent"}),
    queues={},
)


def allow(actor: str | None, action: str, order: Order) -> bool | Reason:
    """Allow the owner everything, a clerk to dispatch paid orders, and a gateway to report money."""
    if actor is GATEWAY:
        return action in ("pay", "refund")
    if actor == "bob":
        paid = action == "dispatch" and "paid" in order.statuses
        return paid or action == "save" or Reason("clerks_do_not", "a clerk may not do this")
    return actor == "eve"


HOLDS: list[Claim] = [
    MayNot("clerk", "refund"),
    MayNot("clerk", "override"),
    MayNot("clerk", "dispatch", where=When(lacks={"paid"})),
    May("clerk", "dispatch", where=When(has={"paid"})),
    May("clerk", "save"),
    May("owner", "override"),
    May("owner", "erase"),
    May("gateway", "pay"),
    MayNot("gateway", "dispatch"),
    MayNot("clock", "dispatch"),
    MayNot("nobody", "pay"),
]


def failure(claim: Claim, allow: Any = allow) -> Failure:
    """Return the failure of the only claim."""
    (found,) = prove(TABLE, claim, allow=allow, actors=ACTORS).failures
    assert found.claim is claim
    return found


def test_claims_that_hold_are_proved_together() -> None:
    proof = assert_proof(TABLE, *HOLDS, Never(has={"paid"}, lacks={"sent"}), allow=allow, actors=ACTORS)
    assert proof.worlds > 10
    assert len(proof.claims) == 12


def test_faulty_function_is_caught_with_the_shortest_path_to_the_order() -> None:
    """It lets a clerk refund overpayments."""

    def faulty(actor: str | None, action: str, order: Order) -> bool | Reason:
        return (action == "refund" and order.overpaid > 0) or allow(actor, action, order)

    found = failure(MayNot("clerk", "refund"), faulty)
    assert (found.state, found.path) == ("sent+paid", ("place", "pay", "refund"))
    text = str(found)
    assert text.startswith("fails: clerk may not refund\n  state: sent+paid")
    assert "4. refund by clerk" in text
    assert "check allow: it lets clerk refund" in text
    assert "captured 3" in text


def test_missing_permission_is_shown_on_an_order_to_which_the_rules_allow_it() -> None:
    found = failure(May("clerk", "dispatch"))
    assert (found.state, found.path) == ("sent", ("place", "dispatch"))
    assert "override" in found.steps[-1]
    assert found.hints[0] == "allow: it does not let clerk dispatch: a clerk may not do this (clerks_do_not)"


@pytest.mark.parametrize(
    ("claim", "state", "path"),
    [
        (May("clerk", "override"), "sent", ("place", "dispatch")),
        (May("clerk", "amend"), "unfinished", ("amend",)),
        (May("clerk", "erase", where=When(has={"sent"})), "sent", ("place", "erase")),
        (MayNot("owner", "dispatch", where=When(has={"paid"})), "sent+paid", ("place", "pay", "dispatch")),
        (MayNot("clerk", "save"), "unfinished", ("save",)),
        (MayNot("gateway", "refund"), "unfinished", ("refund",)),
    ],
    ids=str,
)
def test_failed_claim_is_shown_by_the_shortest_path(claim: Claim, state: str, path: tuple[str, ...]) -> None:
    found = failure(claim)
    assert (found.state, found.path) == (state, path)


def test_claim_about_no_order_fails() -> None:
    """The rules never allow the action, so the permission has no effect."""
    found = failure(May("owner", "refund", where=When(lacks={"paid"})))
    assert found.hints == ("the rules: they never allow refund if not paid, so the claim is about no order",)
    assert prove(TABLE, MayNot("clerk", "refund", where=When(has={"dispatched"}, lacks={"sent"})), allow=allow,
                 actors=ACTORS).ok  # fmt: skip


def test_allow_is_not_called_for_a_redelivered_payment() -> None:
    """A paid order accepts no further payment, except a redelivery of the last one."""
    assert prove(
        TABLE,
        May("clerk", "pay"),
        allow=lambda actor, action, order: "paid" not in order.statuses,
        actors=ACTORS,
    ).ok


def test_allow_gets_actions_of_gateways_only_for_the_gateway() -> None:
    online = Guard("by_hand", "a gateway reports it", lambda order, facts: facts["gateway"])
    table = Workflow(
        TABLE.statuses,
        [evolve(rule, guards=(online,)) if rule.trigger == "refund" else rule for rule in TABLE.rules],
        holds_stock=TABLE.holds_stock,
        counts=TABLE.counts,
        queues={},
    )
    proof = prove(table, May("gateway", "refund"), May("owner", "refund"), allow=allow, actors=ACTORS)
    assert [str(failed.claim) for failed in proof.failures] == ["owner may refund"]
    assert "they never allow refund" in proof.failures[0].hints[0]


def test_allow_gets_the_actor_as_from_the_service() -> None:
    asked: set[tuple[str | None, str]] = set()

    def noting(actor: str | None, action: str, order: Order) -> bool:
        asked.add((actor, action))
        assert order.id
        return False

    claims = [MayNot(actor, "pay") for actor in ("clerk", "nobody", "gateway", "clock")]
    assert prove(TABLE, *claims, allow=noting, actors=ACTORS).ok
    assert asked == {("bob", "pay"), (None, "pay"), (GATEWAY, "pay"), (CLOCK, "pay")}
    assert {type(actor) for actor, _ in asked} == {str, type(None), type(GATEWAY)}


def test_truthy_answer_and_coroutine_permit_nothing() -> None:
    async def coroutine(*_: object) -> bool:
        return True

    assert prove(TABLE, MayNot("clerk", "pay"), allow=lambda *about: coroutine(*about), actors=ACTORS).ok
    assert prove(TABLE, MayNot("clerk", "pay"), allow=lambda *_: 1, actors=ACTORS).ok


def test_proof_logs_no_attempt_and_hides_no_error(caplog: pytest.LogCaptureFixture) -> None:
    assert not prove(TABLE, May("clerk", "pay"), allow=allow, actors=ACTORS).ok
    assert caplog.records == []
    with pytest.raises(ZeroDivisionError):
        prove(TABLE, May("clerk", "pay"), allow=lambda *_: 1 // 0, actors=ACTORS)


def test_failed_claim_fails_a_test() -> None:
    with pytest.raises(AssertionError, match="fails: clerk may pay"):
        assert_proof(TABLE, May("clerk", "pay"), allow=allow, actors=ACTORS)


@pytest.mark.parametrize(
    ("claim", "given", "error", "said"),
    [
        (May("clark", "pay"), {"allow": allow, "actors": ACTORS}, InvalidInput, "did you mean 'clerk'"),
        (May("clerk", "pay"), {"allow": allow}, InvalidInput, "an actor must be one of gateway, clock, not 'clerk'"),
        (May("clerk", "dispached"), {"allow": allow, "actors": ACTORS}, UnknownTrigger, "did you mean 'dispatch'"),
        (MayNot("clerk", "pay"), {"actors": ACTORS}, InvalidInput, "give prove the function allow="),
        (MayNot("clerk", "pay"), {"allow": True, "actors": ACTORS}, InvalidInput, "allow must be a function"),
        (MayNot("clerk", "pay"), {"allow": allow, "actors": ["clerk"]}, InvalidInput, "actors must be a dict"),
        (MayNot("clerk", "pay"), {"allow": allow, "actors": {"clerk": 7}}, InvalidInput, "by must be a string"),
        (MayNot("clerk", "pay"), {"allow": allow, "actors": {"clerk": "clock"}}, InvalidInput, "by must not be"),
        (
            May("clerk", "pay", where=When(has={"payed"})),
            {"allow": allow, "actors": ACTORS},
            InvalidInput,
            "a status must be one of sent, paid, dispatched, not 'payed'",
        ),
    ],
)
def test_claim_with_an_unknown_name_raises(
    claim: Claim, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        prove(TABLE, claim, **given)


def test_error_about_an_action_lists_each_action_once() -> None:
    with pytest.raises(UnknownTrigger, match="reinstate, amend, save, override, erase, not 'x'"):
        prove(shop_workflow(), May("clerk", "x"), allow=allow, actors=ACTORS)


@pytest.mark.parametrize("part", [{"actor": ""}, {"action": 7}, {"where": {"sent"}}], ids=str)
def test_parts_of_a_claim_are_validated(part: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        May(**{"actor": "clerk", "action": "pay", **part})

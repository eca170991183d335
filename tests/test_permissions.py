"""C7: permissions. `Orders` calls `allow` before every change, and only True allows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from order_fsm import (
    CLOCK,
    GATEWAY,
    Guard,
    InvalidInput,
    Order,
    Orders,
    Reason,
    Refused,
    Rule,
    Status,
    VersionConflict,
    shop_workflow,
)
from order_fsm.payments import PaymentEvent, PaymentReceiver, StripeSignature
from order_fsm.rules.lint import RESERVED_TRIGGERS
from order_fsm.rules.permissions import ACTIONS
from order_fsm.validation import Actor
from tests.conftest import Shop
from tests.stores import interrupted

LOG = "order_fsm.permissions"
CLERK = Reason("clerks_do_not", "a clerk may not do this")


class Guarded:
    """Orders of a shop with a function `allow` that records its calls.

    Attributes:
        asked: the actor, the action, and the order's version and state of each call.
        answer: the results by action. Other actions return True.
    """

    def __init__(self, shop: Shop, group_commit: bool = False) -> None:
        self.asked: list[tuple[str | None, str, int, str]] = []
        self.answer: dict[str, Any] = {}
        self.orders = Orders(
            shop.store,
            workflow=shop.orders.workflow,
            clock=shop.clock,
            allow=self.allow,
            group_commit=group_commit,
        )

    def allow(self, actor: str | None, action: str, order: Order) -> object:
        self.asked.append((actor, action, order.version, order.state))
        answer = self.answer.get(action, True)
        return answer() if callable(answer) else answer

    @property
    def actions(self) -> list[str]:
        """Return the actions of the calls, in sequence."""
        return [action for _, action, _, _ in self.asked]


@pytest.fixture
def guarded(any_shop: Shop) -> Guarded:
    """Return orders with the placed order 1001, on each kind of store."""
    any_shop.bring("sent")
    return Guarded(any_shop)


def refusal(call: Callable[[], object]) -> tuple[Reason, ...]:
    """Return the reasons of a refusal."""
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.reasons


def codes(call: Callable[[], object]) -> list[str]:
    """Return the codes of a refusal."""
    return [reason.code for reason in refusal(call)]


# Allowed actions


def clerks(actor: str | None, action: str, order: Order) -> bool | Reason:
    """Allow the owner everything, a clerk to dispatch and not to refund, and a gateway to report money."""
    if actor is GATEWAY:
        return order.id == "1001" and action == "pay"
    return actor == "owner" or (action in ("place", "invoice", "dispatch", "save") or CLERK)


def test_c7_clerk_dispatches_and_does_not_refund(any_shop: Shop) -> None:
    any_shop.bring("sent+invoiced+paid")
    orders = Orders(any_shop.store, clock=any_shop.clock, allow=clerks)
    orders.fire("1001", "dispatch", by="bob")
    before = any_shop.dump()
    assert refusal(lambda: orders.fire("1001", "refund", amount="1", by="bob")) == (CLERK,)
    assert any_shop.dump() == before
    assert orders.fire("1001", "refund", amount="1", by="owner").order.refunded == 1


def test_c7_forged_form_that_unticks_paid_is_refused_whole(any_shop: Shop) -> None:
    """The page hides the box from a clerk. The forged request has it anyway."""
    any_shop.bring("sent+paid")
    orders = Orders(any_shop.store, clock=any_shop.clock, allow=clerks)
    before = any_shop.dump()
    version = orders.get("1001").version
    form = {"sent", "invoiced", "dispatched"}
    assert CLERK in refusal(lambda: orders.save("1001", form, version=version, by="bob", comment="oops"))
    assert any_shop.dump() == before
    assert orders.save("1001", form, version=version, by="owner", comment="oops").order.statuses == form


def test_explain_gives_the_reasons_of_rules_and_permissions_for_one_actor(guarded: Guarded) -> None:
    guarded.answer = {"dispatch": None, "invoice": CLERK}
    told = guarded.orders.explain("1001", by="bob")
    assert [reason.code for reason in told["dispatch"]] == ["not_paid_nor_invoiced", "not_permitted"]
    assert told["invoice"] == (CLERK,)
    assert told["cancel"] == ()
    assert guarded.actions == list(guarded.orders.workflow.triggers)
    assert {actor for actor, *_ in guarded.asked} == {"bob"}
    with pytest.raises(InvalidInput, match="by must not be 'gateway'"):
        guarded.orders.explain("1001", by="gateway")


@pytest.mark.parametrize("answer", [1, "yes", [True], object(), None, False, 0, "", Reason])
def test_everything_except_true_refuses(guarded: Guarded, answer: object) -> None:
    guarded.answer["cancel"] = lambda: answer
    told = refusal(lambda: guarded.orders.fire("1001", "cancel", by="bob"))
    assert told == (Reason("not_permitted", "bob is not permitted to cancel"),)
    assert guarded.orders.get("1001").version == 2


@pytest.mark.filterwarnings("error")
def test_coroutine_refuses_and_is_closed_without_a_warning(any_shop: Shop) -> None:
    async def allow(*_: object) -> bool:
        return True

    any_shop.bring("sent")
    orders = Orders(any_shop.store, allow=lambda *about: allow(*about))
    assert codes(lambda: orders.fire("1001", "cancel")) == ["not_permitted"]


def test_returned_reason_is_the_reason(guarded: Guarded) -> None:
    guarded.answer["cancel"] = CLERK
    assert refusal(lambda: guarded.orders.fire("1001", "cancel", by="bob")) == (CLERK,)


def test_reasons_of_the_rules_come_with_the_refusal(guarded: Guarded) -> None:
    guarded.answer["dispatch"] = False
    assert codes(lambda: guarded.orders.fire("1001", "dispatch")) == ["not_paid_nor_invoiced", "not_permitted"]
    (reason, _) = refusal(lambda: guarded.orders.fire("1001", "dispatch"))
    guarded.answer["dispatch"] = reason
    assert codes(lambda: guarded.orders.fire("1001", "dispatch")) == ["not_paid_nor_invoiced"]


def test_exception_of_the_function_propagates_and_nothing_changes(guarded: Guarded, any_shop: Shop) -> None:
    guarded.answer["cancel"] = lambda: 1 // 0
    before = any_shop.dump()
    with pytest.raises(ZeroDivisionError):
        guarded.orders.fire("1001", "cancel", key="k")
    assert any_shop.dump() == before


@pytest.mark.parametrize("allow", ["clerk", True, {"bob": "dispatch"}])
def test_function_must_be_callable(shop: Shop, allow: Any) -> None:
    with pytest.raises(InvalidInput, match=r"allow must be a function of \(actor, action, order\), not"):
        Orders(shop.store, allow=allow)


# Calls of `allow`


def test_allow_is_called_once_per_trigger_with_actor_and_loaded_order(guarded: Guarded) -> None:
    guarded.orders.fire("1001", "invoice", by="bob")
    guarded.orders.fire("1001", "dispatch")
    assert guarded.asked == [("bob", "invoice", 2, "sent"), (None, "dispatch", 3, "sent+invoiced")]


def test_allow_is_called_for_a_form_and_each_of_its_steps(guarded: Guarded) -> None:
    guarded.orders.save("1001", {"sent", "invoiced", "dispatched"}, version=2, by="bob")
    assert sorted(guarded.asked) == [
        ("bob", "dispatch", 3, "sent+invoiced"),
        ("bob", "invoice", 2, "sent"),
        ("bob", "save", 2, "sent"),
    ]


@pytest.mark.parametrize("comment", ["", "checked"])
def test_allow_is_called_for_a_form_without_a_difference(guarded: Guarded, comment: str) -> None:
    guarded.answer["save"] = CLERK
    save = guarded.orders.save
    assert refusal(lambda: save("1001", {"sent"}, version=2, by="bob", comment=comment)) == (CLERK,)
    assert guarded.actions == ["save"]


def test_refused_form_has_all_reasons(guarded: Guarded) -> None:
    guarded.answer = {"save": CLERK, "invoice": None}
    told = codes(lambda: guarded.orders.save("1001", {"sent", "invoiced", "dispatched"}, version=2))
    assert sorted(told) == ["clerks_do_not", "not_paid_nor_invoiced", "not_permitted"]


def test_form_takes_the_permitted_path(any_shop: Shop) -> None:
    """Of two paths to one set of boxes, the first has a step that is not permitted."""
    workflow = shop_workflow().extend(
        statuses=[Status("packed", tick="pack"), Status("labelled", tick="label")],
        rules=[
            Rule("pack", needs={"sent"}, forbids={"packed"}, adds={"packed"}),
            Rule("label", needs={"sent"}, forbids={"labelled"}, adds={"packed", "labelled"}),
        ],
    )
    any_shop.bring("sent")
    orders = Orders(any_shop.store, workflow=workflow, allow=lambda actor, action, order: action != "pack")
    receipt = orders.save("1001", {"sent", "packed", "labelled"}, version=2)
    assert [entry.trigger for entry in receipt.entries] == ["label"]


def test_stale_form_is_a_conflict_before_allow_is_called(guarded: Guarded) -> None:
    with pytest.raises(VersionConflict):
        guarded.orders.save("1001", {"sent"}, version=1)
    assert guarded.asked == []


def test_allow_is_called_for_an_override_that_passes_a_guard(guarded: Guarded) -> None:
    guarded.answer["override"] = False
    told = refusal(lambda: guarded.orders.fire("1001", "dispatch", override=True, comment="he always pays", by="bob"))
    assert told == (Reason("not_permitted", "bob is not permitted to override"),)
    guarded.orders.fire("1001", "cancel", override=True, comment="no guard of policy is in its way")
    assert guarded.actions == ["dispatch", "override", "cancel"]


def test_allow_is_called_for_an_override_in_a_form(guarded: Guarded) -> None:
    guarded.answer["override"] = CLERK
    form = {"sent", "dispatched"}
    save = guarded.orders.save
    assert CLERK in refusal(lambda: save("1001", form, version=2, override=True, comment="he always pays"))
    guarded.answer = {}
    assert save("1001", form, version=2, override=True, comment="he always pays").entries[-1].override


def test_allow_sees_the_result_of_earlier_calls_of_a_batch(guarded: Guarded, any_shop: Shop) -> None:
    any_shop.bring("sent", "1002")
    guarded.answer["cancel"] = CLERK
    with guarded.orders.batch() as batch:
        batch.fire("1001", "invoice", by="bob")
        batch.save("1001", {"sent", "invoiced", "dispatched"}, version=3, by="bob")
        batch.fire("1002", "cancel", by="eve")
        batch.comment("1002", "Delayed by snow", by="eve")
    assert guarded.asked == [
        ("bob", "invoice", 2, "sent"),
        ("bob", "dispatch", 3, "sent+invoiced"),
        ("bob", "save", 3, "sent+invoiced"),
        ("eve", "cancel", 2, "sent"),
    ]
    refused = batch.results[2]
    assert isinstance(refused, Refused)
    assert refused.reasons == (CLERK,)
    assert (any_shop.orders.get("1001").version, any_shop.orders.get("1002").version) == (4, 3)


def test_exception_for_one_call_of_a_batch_leaves_the_others_done(guarded: Guarded, any_shop: Shop) -> None:
    any_shop.bring("sent", "1002")
    guarded.answer["cancel"] = lambda: 1 // 0
    with pytest.raises(ZeroDivisionError), guarded.orders.batch() as batch:  # noqa: PT012 - raised at its end
        batch.fire("1001", "cancel")
        batch.fire("1002", "invoice")
    assert (any_shop.orders.get("1001").version, any_shop.orders.get("1002").version) == (2, 3)


def test_allow_is_called_again_after_a_conflict(guarded: Guarded, any_shop: Shop) -> None:
    """The change was permitted on the old order and is not on the new one."""
    orders = Orders(any_shop.store, allow=lambda actor, action, order: "invoiced" not in order.statuses)
    interrupted(any_shop.store).append(lambda: guarded.orders.fire("1001", "invoice"))
    assert codes(lambda: orders.fire("1001", "dispatch", override=True, comment="x")) == [
        "not_permitted",
    ]
    assert orders.get("1001").state == "sent+invoiced"


def test_repeated_call_gets_the_first_receipt_without_a_call_of_allow(guarded: Guarded) -> None:
    """It changes nothing, and its first delivery was permitted."""
    first = guarded.orders.fire("1001", "invoice", key="k", by="bob")
    guarded.orders.fire("1001", "pay", reference="ch_1", transaction_id="ch_1")
    guarded.answer = dict.fromkeys(guarded.orders.workflow.triggers, False)
    del guarded.asked[:]
    again = guarded.orders.fire("1001", "invoice", key="k", by="bob")
    assert (again.duplicate, again.entries) == (True, first.entries)
    assert guarded.orders.fire("1001", "pay", reference="ch_1", transaction_id="ch_1").duplicate
    assert guarded.asked == []


def test_allow_is_not_called_for_creations_and_comments(guarded: Guarded, any_shop: Shop) -> None:
    guarded.orders.create("1002", total="1", currency="GBP", by="bob")
    guarded.orders.comment("1002", "Delayed by snow", by="bob")
    assert guarded.asked == []
    assert any_shop.orders.get("1002").version == 2


def test_allow_gets_the_clock_for_expiry(guarded: Guarded, any_shop: Shop) -> None:
    any_shop.clock.pass_by(days=15)
    guarded.answer["expire"] = False
    assert guarded.orders.expire(timedelta(days=14)) == []
    assert guarded.asked == [(CLOCK, "expire", 2, "sent")]
    assert guarded.asked[0][0] is CLOCK
    guarded.answer = {}
    (receipt,) = guarded.orders.expire(timedelta(days=14))
    assert (receipt.order.state, type(receipt.entries[0].by)) == ("sent+cancelled", str)


def test_expiry_skips_an_order_if_allow_raises(guarded: Guarded, any_shop: Shop) -> None:
    any_shop.clock.pass_by(days=15)
    guarded.answer["expire"] = lambda: 1 // 0
    assert guarded.orders.expire(timedelta(days=14)) == []
    assert guarded.orders.get("1001").state == "sent"


PAYMENT = PaymentEvent("captured", "1001", "ch_1", "ch_1", amount="10.00", currency="GBP", id="evt_1")


def receiver_of(guarded: Guarded) -> PaymentReceiver:
    return PaymentReceiver(guarded.orders, StripeSignature("a secret"))


def test_allow_gets_the_gateway_for_its_facts(guarded: Guarded) -> None:
    receiver = receiver_of(guarded)
    assert receiver.record(PAYMENT).outcome == "applied"
    assert guarded.asked == [(GATEWAY, "pay", 2, "sent")]
    assert guarded.asked[0][0] is GATEWAY
    entry = guarded.orders.history("1001")[-1]
    assert (entry.by, type(entry.by)) == ("gateway", str)


def test_fact_of_a_gateway_that_is_not_permitted_becomes_a_comment(guarded: Guarded, any_shop: Shop) -> None:
    """The comment reports the money, the gateway stops, and the order does not expire."""
    guarded.answer["pay"] = None
    receiver = receiver_of(guarded)
    outcome = receiver.record(PAYMENT)
    assert (outcome.outcome, outcome.http_status) == ("recorded", 200)
    entry = guarded.orders.history("1001")[-1]
    assert (entry.trigger, entry.facts["reasons"], entry.by) == ("comment", "not_permitted", "gateway")
    assert guarded.orders.get("1001").payments == ()
    assert "payment.unmatched" in any_shop.topics()
    assert receiver.record(PAYMENT).outcome == "duplicate"
    any_shop.clock.pass_by(days=15)
    assert guarded.orders.expire(timedelta(days=14)) == []


def test_exception_for_a_fact_of_a_gateway_leaves_no_trace(guarded: Guarded, any_shop: Shop) -> None:
    guarded.answer["pay"] = lambda: 1 // 0
    before = any_shop.dump()
    with pytest.raises(ZeroDivisionError):
        receiver_of(guarded).record(PAYMENT)
    assert any_shop.dump() == before


def test_callers_cannot_act_as_the_engine(guarded: Guarded) -> None:
    for name in ("gateway", "clock"):
        with pytest.raises(InvalidInput, match="the engine acts under this name"):
            guarded.orders.fire("1001", "cancel", by=name)
    assert isinstance(GATEWAY, Actor)
    assert isinstance(CLOCK, Actor)


def test_allow_is_called_in_the_thread_of_its_caller(any_shop: Shop) -> None:
    """This holds for changes that a group commits together."""
    asked: dict[str, int] = {}

    def allow(_: object, __: str, order: Order) -> bool:
        asked[order.id] = threading.get_ident()
        return True

    orders = Orders(any_shop.store, clock=any_shop.clock, allow=allow, group_commit=True)
    callers: dict[str, int] = {}

    def place(order_id: str) -> None:
        callers[order_id] = threading.get_ident()
        orders.fire(order_id, "place")

    threads = [threading.Thread(target=place, args=(any_shop.create(f"{number}").id,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 4
    assert asked == callers


def test_names_of_actions_cannot_be_triggers_of_a_shop() -> None:
    """`amend` is an exception, because it is a trigger of the library."""
    assert set(ACTIONS) - {"amend"} <= RESERVED_TRIGGERS


# Logs


def test_refused_attempt_is_logged_without_data_of_the_customer(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    guarded.answer["cancel"] = Reason("not_yours", "ann@example.com is not your customer")
    with caplog.at_level(logging.DEBUG):
        refusal(lambda: guarded.orders.fire("1001", "cancel", by="bob", comment="Ann asked for it"))
    (record,) = [record for record in caplog.records if record.name == LOG]
    assert record.levelno == logging.WARNING
    for part in ("'1001'", "'bob'", "cancel", "'not_yours'"):
        assert part in record.getMessage()
    assert "ann" not in caplog.text.lower()


def test_refused_form_is_logged_once_for_each_action(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    guarded.answer = {"save": None, "dispatch": CLERK}
    refusal(lambda: guarded.orders.save("1001", {"sent", "invoiced", "dispatched"}, version=2, by="bob"))
    assert sorted(record.getMessage() for record in caplog.records) == [
        "order '1001': 'bob' was not permitted to dispatch: 'clerks_do_not'",
        "order '1001': 'bob' was not permitted to save: 'not_permitted'",
    ]


def test_permitted_attempts_and_refusals_of_the_rules_are_not_logged(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    guarded.orders.fire("1001", "invoice")
    refusal(lambda: guarded.orders.fire("1001", "reinstate"))
    guarded.answer = dict.fromkeys(guarded.orders.workflow.triggers, False)
    guarded.orders.explain("1001")
    assert caplog.records == []


def test_fact_of_a_gateway_that_is_not_permitted_is_logged(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    guarded.answer["pay"] = None
    receiver_of(guarded).record(PAYMENT)
    (record,) = [record for record in caplog.records if record.name == LOG]
    assert record.getMessage() == "order '1001': 'gateway' was not permitted to pay: 'not_permitted'"


def test_refusal_has_reasons_of_rules_and_permissions(any_shop: Shop) -> None:
    asked: list[str] = []
    guard = Guard("never", "never", lambda order, facts: asked.append("guard"))
    workflow = shop_workflow().extend(rules=[Rule("hurry", needs={"sent"}, guards=(guard,))])
    any_shop.bring("sent")
    orders = Orders(any_shop.store, workflow=workflow, allow=lambda *given: asked.append("allow"))
    assert codes(lambda: orders.fire("1001", "hurry")) == ["never", "not_permitted"]
    assert asked[-1] == "allow"

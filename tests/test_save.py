"""The admin's form changes all boxes at once, by legal steps, in one commit."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from itertools import combinations
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import (
    InvalidInput,
    Line,
    Order,
    OrderNotFound,
    Orders,
    Refused,
    Rule,
    Status,
    StockLevel,
    VersionConflict,
    When,
    Workflow,
    shop_workflow,
)
from order_fsm.rules.decide import Decision, decide
from order_fsm.rules.request import Request

if TYPE_CHECKING:
    from tests.conftest import Shop


def codes(refusal: pytest.ExceptionInfo[Refused]) -> set[str]:
    return {reason.code for reason in refusal.value.reasons}


def test_the_boxes_end_as_ticked(shop: Shop) -> None:
    """Each difference is one entry. The entries are in a legal order and in one commit."""
    shop.create()
    receipt = shop.orders.save("1001", {"sent", "invoiced", "paid", "dispatched"}, version=1, by="bob", comment="all")
    assert receipt.order.statuses == {"sent", "invoiced", "paid", "dispatched"}
    assert [entry.trigger for entry in receipt.entries] == ["place", "invoice", "pay", "dispatch"]
    assert [entry.version for entry in receipt.entries] == [2, 3, 4, 5]
    assert {(entry.by, entry.comment) for entry in receipt.entries} == {("bob", "all")}
    for one, following in zip(receipt.entries, receipt.entries[1:], strict=False):
        assert one.after == following.before
    assert shop.orders.history("1001")[1:] == receipt.entries
    assert shop.orders.get("1001") == receipt.order


@pytest.mark.parametrize(
    ("state", "wanted", "steps"),
    [
        ("sent+invoiced+dispatched", {"sent"}, ["undispatch", "uninvoice"]),
        ("sent+paid+dispatched", {"sent", "paid", "cancelled"}, ["undispatch", "cancel"]),
        ("sent+cancelled", {"sent", "invoiced"}, ["reinstate", "invoice"]),
        ("sent+invoiced+cancelled", {"sent"}, ["reinstate", "uninvoice"]),
        ("sent+invoiced", set(), ["uninvoice", "unplace"]),
        ("cancelled", {"sent", "invoiced"}, ["reinstate", "place", "invoice"]),
        ("sent+paid+dispatched", {"sent", "invoiced", "dispatched"}, ["invoice", "unpay"]),
        ("sent+invoiced+dispatched", {"sent", "paid", "dispatched"}, ["pay", "uninvoice"]),
    ],
)
def test_steps_are_taken_in_an_order_that_is_legal(shop: Shop, state: str, wanted: set[str], steps: list[str]) -> None:
    """This holds even if the declared order is not legal."""
    order = shop.bring(state)
    receipt = shop.orders.save("1001", wanted, version=order.version, comment="a reason")
    assert sorted(entry.trigger for entry in receipt.entries) == sorted(steps)
    assert receipt.order.statuses == wanted
    assert not any(entry.override for entry in receipt.entries)


def has_a_way(workflow: Workflow, order: Order, wanted: frozenset[str]) -> bool:
    """Return whether any order of the differences is legal, by trying all of them."""
    if order.statuses == wanted:
        return True
    for status in workflow.statuses:
        if status.name in order.statuses ^ wanted:
            trigger = status.untick if status.name in order.statuses else status.tick
            assert trigger is not None
            by_hand: dict[str, Any] = {"amount": order.held_by_hand, "reference": None} if trigger == "unpay" else {}
            step = decide(workflow, order, Request(trigger, order.updated_at, by_hand, comment="why", override=True))
            if not isinstance(step, Decision) or step.order.state == order.state:
                continue
            if has_a_way(workflow, step.order, wanted):
                return True
    return False


def test_a_form_finds_a_legal_path_if_one_exists(new_shop: type[Shop], workflow: Workflow) -> None:
    """The test tries all states and boxes. Without a legal path the form is refused, and nothing changes."""
    names = [status.name for status in workflow.statuses]
    for state in workflow.states:
        for wanted in (frozenset(some) for size in range(6) for some in combinations(names, size)):
            shop = new_shop(workflow)
            order = shop.bring(state)
            form = partial(shop.orders.save, "1001", wanted, version=order.version, comment="why", override=True)
            if has_a_way(workflow, order, wanted):
                receipt = form()
                assert receipt.order.statuses == wanted
                assert receipt.order.version == order.version + len(receipt.entries)
            else:
                with pytest.raises(Refused) as refusal:
                    form()
                assert refusal.value.reasons
                assert shop.orders.get("1001") == order


def test_a_stale_form_changes_nothing(shop: Shop) -> None:
    """K2: a stale form does not untick paid."""
    form = shop.bring("sent")
    shop.orders.fire("1001", "pay", reference="ch_1")
    before = shop.dump()
    for version in (form.version, 1, 99):
        with pytest.raises(VersionConflict, match=f"version 3, form has {version}"):
            shop.orders.save("1001", {"sent", "dispatched"}, version=version, override=True, comment="why")
    assert shop.dump() == before


def test_a_stale_form_that_changes_nothing_is_stale_too(shop: Shop) -> None:
    shop.bring("sent")
    shop.orders.comment("1001", "snow")
    with pytest.raises(VersionConflict):
        shop.orders.save("1001", {"sent"}, version=2)


def test_a_form_without_a_difference_changes_nothing(shop: Shop) -> None:
    """It adds no entry and no message, even with `notify`."""
    order = shop.bring("sent")
    before = shop.dump()
    receipt = shop.orders.save("1001", {"sent"}, version=order.version, notify=True, visible=True, comment=" \n")
    assert (receipt.entries, receipt.order, receipt.duplicate) == ((), order, False)
    assert shop.dump() == before


def test_a_comment_alone_is_recorded(shop: Shop) -> None:
    order = shop.bring("sent")
    receipt = shop.orders.save("1001", ["sent"], version=order.version, comment="snow", visible=True, notify=True)
    (entry,) = receipt.entries
    assert (entry.trigger, entry.comment, entry.visible, entry.notify) == ("comment", "snow", True, True)
    assert shop.topics() == ["order.placed", "order.updated"]


def test_ticking_paid_records_a_payment_of_the_outstanding_money(shop: Shop) -> None:
    """It has no reference, ticks no invoice and queues no mail about the payment."""
    shop.bring("sent")
    shop.orders.fire("1001", "pay", amount="4.00")
    receipt = shop.orders.save("1001", {"sent", "paid"}, version=3)
    payment = receipt.order.payments[-1]
    assert (payment.kind, payment.amount, payment.reference) == ("captured", Decimal("6.00"), None)
    assert receipt.order.state == "sent+paid"
    assert receipt.entries[0].facts == {"amount": Decimal(6), "currency": "GBP"}
    assert shop.topics() == ["order.placed", "payment.received"]


def test_unticking_paid_needs_a_reason(shop: Shop) -> None:
    shop.bring("sent+paid")
    order = shop.orders.fire("1001", "invoice").order
    with pytest.raises(Refused) as refusal:
        shop.orders.save("1001", {"sent", "invoiced"}, version=order.version)
    assert codes(refusal) == {"reason_required"}
    receipt = shop.orders.save("1001", {"sent", "invoiced"}, version=order.version, comment="it bounced")
    assert receipt.order.payments[-1].kind == "reversed"
    assert receipt.order.reversed == 10


def test_a_refused_form_lists_every_reason(shop: Shop) -> None:
    """It lists the reasons of every box that cannot change. Nothing changes."""
    order = shop.bring("sent+paid+dispatched")
    before = shop.dump()
    with pytest.raises(Refused) as refusal:
        shop.orders.save("1001", {"sent", "invoiced"}, version=order.version)
    assert (refusal.value.trigger, refusal.value.state) == ("save", "sent+paid+dispatched")
    assert {reason.message.split(":")[0] for reason in refusal.value.reasons} == {"unpay", "undispatch"}
    assert codes(refusal) == {"reason_required"}
    assert shop.dump() == before


@pytest.mark.parametrize(
    ("state", "wanted", "why"),
    [
        ("unfinished", {"dispatched"}, {"needs_sent", "not_paid_nor_invoiced"}),
        ("unfinished", {"sent", "dispatched"}, {"not_paid_nor_invoiced"}),
        ("sent+paid", set(), {"reason_required", "holds_money"}),
        ("sent+paid", {"paid"}, {"holds_money"}),
        ("sent", {"sent", "cancelled", "dispatched"}, {"forbids_cancelled", "not_paid_nor_invoiced"}),
    ],
)
def test_a_form_without_a_legal_path_is_refused(shop: Shop, state: str, wanted: set[str], why: set[str]) -> None:
    order = shop.bring(state)
    before = shop.dump()
    with pytest.raises(Refused) as refusal:
        shop.orders.save("1001", wanted, version=order.version)
    assert codes(refusal) >= why
    assert shop.dump() == before


def test_cancelled_and_dispatched_lists_reasons_of_both(shop: Shop) -> None:
    """Each box prevents the other, in any order, so the refusal lists both."""
    order = shop.bring("sent+paid")
    with pytest.raises(Refused) as refusal:
        shop.orders.save("1001", {"sent", "paid", "cancelled", "dispatched"}, version=order.version)
    assert codes(refusal) == {"forbids_cancelled", "forbids_dispatched"}


def test_an_override_counts_for_the_steps_that_need_it(shop: Shop) -> None:
    shop.create()
    with pytest.raises(Refused, match="reason_required"):
        shop.orders.save("1001", {"sent", "dispatched"}, version=1, override=True)
    receipt = shop.orders.save("1001", {"sent", "dispatched"}, version=1, override=True, comment="a friend")
    assert [(entry.trigger, entry.override) for entry in receipt.entries] == [("place", False), ("dispatch", True)]


def test_a_form_queues_one_mail(shop: Shop) -> None:
    """Only the last step is visible and notified. The mail has the whole difference."""
    shop.create()
    receipt = shop.orders.save(
        "1001", {"sent", "paid", "dispatched"}, version=1, comment="on its way", visible=True, notify=True
    )
    assert [(entry.visible, entry.notify) for entry in receipt.entries] == [(False, False)] * 2 + [(True, True)]
    assert shop.orders.progress("1001") == receipt.entries[-1:]
    (message,) = shop.messages("order.updated")
    assert (message.topic, message.payload["added"], message.payload["dropped"], shop.comment_of(message)) == (
        "order.updated",
        ["dispatched", "paid", "sent"],
        [],
        "on its way",
    )


def test_announced_last_step_of_a_form_is_visible(shop: Shop) -> None:
    """The payment came while the order was cancelled, and reinstating it announces the payment."""
    shop.bring("sent+cancelled")
    shop.orders.fire("1001", "pay", amount="10", reference="ch_1")
    receipt = shop.orders.save("1001", {"sent", "paid", "invoiced"}, version=shop.orders.get("1001").version)
    assert [(entry.trigger, entry.visible) for entry in receipt.entries] == [("reinstate", True)]


def test_a_form_moves_stock_once(shop: Shop) -> None:
    """The move follows from the order before and after the whole form."""
    shop.create()
    assert shop.orders.save("1001", {"sent", "invoiced"}, version=1).order.version == 3
    assert shop.orders.stock("TEAPOT") == 8
    shop.orders.save("1001", {"sent", "invoiced", "cancelled"}, version=3)
    assert shop.orders.stock("TEAPOT") == 10


def test_a_form_is_one_change_under_its_key(shop: Shop) -> None:
    """A second click on save returns the first receipt and is not a stale form."""
    shop.create()
    first = shop.orders.save("1001", {"sent", "paid"}, version=1, key="form-1", comment="x")
    again = shop.orders.save("1001", ["paid", "sent"], version=1, key="form-1", comment="x")
    assert (again.duplicate, again.order, again.entries) == (True, first.order, first.entries)
    assert len(again.entries) == 2


def test_boxes_are_those_of_the_workflow(new_shop: type[Shop]) -> None:
    """A box of a shop is ticked and unticked like the others. A box without a trigger cannot be changed."""
    workflow = shop_workflow().extend(
        statuses=[Status("gift", tick="wrap", untick="unwrap"), Status("vip")],
        rules=[
            Rule("wrap", forbids={"gift"}, adds={"gift"}),
            Rule("unwrap", needs={"gift"}, drops={"gift"}),
            Rule("honour", forbids={"vip"}, adds={"vip"}),
        ],
    )
    shop = new_shop(workflow)
    shop.create()
    assert shop.orders.save("1001", {"sent", "gift"}, version=1).order.state == "sent+gift"
    assert shop.orders.save("1001", {"sent"}, version=3).order.state == "sent"
    with pytest.raises(Refused) as refusal:
        shop.orders.save("1001", {"sent", "vip"}, version=4)
    assert codes(refusal) == {"no_tick_vip"}
    shop.orders.fire("1001", "honour")
    with pytest.raises(Refused) as refusal:
        shop.orders.save("1001", {"sent"}, version=5)
    assert codes(refusal) == {"no_untick_vip"}


def test_refused_form_names_the_reason_of_every_box(new_shop: type[Shop]) -> None:
    """A box that cannot be ticked does not hide the reasons of the others."""
    statuses = [Status("vip"), Status("gift", tick="wrap")]
    rules = [Rule("honour", adds={"vip"}), Rule("wrap", needs={"paid"}, forbids={"gift"}, adds={"gift"})]
    shop = new_shop(shop_workflow().extend(statuses=statuses, rules=rules))
    shop.create()
    with pytest.raises(Refused) as refusal:
        shop.orders.save("1001", {"vip", "gift"}, version=1)
    assert codes(refusal) == {"no_tick_vip", "needs_paid"}


def test_form_whose_steps_give_stock_back_and_take_it_again_keeps_the_pieces(any_shop: Shop) -> None:
    """Paid goes, so the invoice of the payment goes with dispatched, and is ticked by hand again."""
    any_shop.create()
    holds = When(has={"sent"}, has_any={"paid", "invoiced"}, lacks={"cancelled"})
    orders = Orders(any_shop.store, workflow=shop_workflow().extend(holds_stock=holds), clock=any_shop.clock)
    orders.fire("1001", "pay", amount="4.00", reference="ch_1")
    orders.fire("1001", "pay", amount="6.00")
    version = orders.fire("1001", "dispatch").order.version
    receipt = orders.save("1001", {"sent", "invoiced"}, version=version, comment="it never left")
    assert [entry.state_after for entry in receipt.entries] == ["sent+invoiced+dispatched", "sent", "sent+invoiced"]
    assert receipt.order.reserved == (Line("TEAPOT", 2),)
    assert orders.stock_level("TEAPOT") == StockLevel(8, 2)
    assert orders.audit().ok


def test_a_form_of_a_missing_order_raises(shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        shop.orders.save("1001", {"sent"}, version=1)


class Form:
    """A form of a web framework that is not a Mapping."""

    def keys(self) -> list[str]:
        return ["sent", "paid"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


@pytest.mark.parametrize(
    "form", [{"sent": True, "paid": False}, {"paid": False}, {}, MappingProxyType({"sent": 1}), Form()]
)
def test_mapping_as_a_form_is_refused(shop: Shop, form: Any) -> None:
    """Its keys ignore its values. They would tick paid and capture money."""
    order = shop.bring("sent")
    before = shop.dump()
    with pytest.raises(InvalidInput, match=r"statuses must be a set of names such as \{'sent'\}, not"):
        shop.orders.save("1001", form, version=order.version)
    batch = shop.orders.batch()
    with pytest.raises(InvalidInput), batch:
        batch.save("1001", form, version=order.version)
    assert shop.dump() == before

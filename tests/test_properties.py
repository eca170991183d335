"""Properties that hold after any sequence of calls."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from order_fsm import InvalidInput, KeyReused, Line, Order, Receipt, Refused, VersionConflict, Workflow, shop_workflow
from order_fsm.model import statuses_of
from order_fsm.rules.amendment import order_as_of

if TYPE_CHECKING:
    from tests.conftest import Shop

ON_HAND = {"TEAPOT": 3, "CUP": 1}
STATUSES = ("sent", "invoiced", "paid", "dispatched", "cancelled")
TRIGGERS = [trigger for trigger in shop_workflow().triggers if trigger != "amend"]
AMOUNTS = ("0.01", "3.33", "10.00", "12.50")

ids = st.sampled_from(["1001", "1002"])
keys = st.none() | st.sampled_from(["k1", "k2", "k3"])
said: dict[str, st.SearchStrategy[Any]] = {
    "comment": st.sampled_from(["", "a reason"]),
    "visible": st.booleans(),
    "notify": st.booleans(),
}


@define
class Fire:
    """A trigger on one of the orders."""

    order_id: str
    trigger: str
    said: dict[str, Any]
    money: dict[str, Any]
    key: str | None

    def __call__(self, shop: Shop) -> Receipt:
        facts = self.money if shop.orders.workflow.ledger_of(self.trigger) else {}
        return shop.orders.fire(self.order_id, self.trigger, key=self.key, **self.said, **facts)


@define
class Save:
    """A form of one of the orders, current or one entry old."""

    order_id: str
    statuses: frozenset[str]
    stale: bool
    said: dict[str, Any]
    key: str | None

    def __call__(self, shop: Shop) -> Receipt:
        version = max(shop.orders.get(self.order_id).version - self.stale, 1)
        return shop.orders.save(self.order_id, self.statuses, version=version, key=self.key, **self.said)


@define
class Comment:
    """A comment on one of the orders."""

    order_id: str
    visible: bool
    key: str | None

    def __call__(self, shop: Shop) -> Receipt:
        return shop.orders.comment(self.order_id, "hello", visible=self.visible, key=self.key)


@define
class Amend:
    """An amendment of one of the orders, current or one entry old."""

    order_id: str
    parts: dict[str, Any]
    stale: bool
    said: dict[str, Any]
    key: str | None

    def __call__(self, shop: Shop) -> Receipt:
        version = max(shop.orders.get(self.order_id).version - self.stale, 1)
        return shop.orders.amend(self.order_id, version=version, key=self.key, **self.said, **self.parts)


money = st.fixed_dictionaries(
    {}, optional={"amount": st.sampled_from(AMOUNTS), "reference": st.sampled_from(["ch_1", "ch_2"])}
)
fires = st.builds(
    Fire,
    ids,
    st.sampled_from(TRIGGERS) | st.sampled_from(["place", "pay", "dispatch", "cancel"]),
    st.fixed_dictionaries({**said, "override": st.booleans()}),
    money,
    keys,
)
saves = st.builds(
    Save,
    ids,
    st.frozensets(st.sampled_from(STATUSES)),
    st.sampled_from([False, False, False, True]),
    st.fixed_dictionaries({**said, "override": st.booleans()}),
    keys,
)
parts = st.fixed_dictionaries(
    {},
    optional={
        "total": st.sampled_from(["0", "3.33", "10.00", "12.50"]),
        "credited": st.sampled_from(["0", "3.33"]),
        "lines": st.sampled_from([[], [Line("TEAPOT", 1)], [Line("TEAPOT", 3), Line("CUP", 1)]]),
        "email": st.sampled_from([None, "ann@example.com"]),
        "data": st.sampled_from([None, {"gift": True}]),
    },
)
amends = st.builds(
    Amend,
    ids,
    parts,
    st.sampled_from([False, False, False, True]),
    st.fixed_dictionaries({**said, "override": st.booleans()}),
    keys,
)
comments = st.builds(Comment, ids, st.booleans(), keys)
steps = st.lists(fires | fires | fires | saves | amends | comments, min_size=5, max_size=30)
workflows = st.builds(shop_workflow, st.sampled_from(["on_account", "prepaid", "cod"]), st.booleans())


@define
class World:
    """A shop with two orders for the same pieces, and the calls under keys."""

    shop: Shop
    done: list[tuple[Callable[[Shop], Receipt], Receipt]] = field(factory=list)

    @classmethod
    def new(cls, new_shop: type[Shop], workflow: Workflow, totals: tuple[str, str]) -> World:
        shop = new_shop(workflow)
        for sku, number in ON_HAND.items():
            shop.orders.set_stock(sku, number)
        lines = [Line("TEAPOT", 2), Line("CUP", 1), Line("SPOON", 6)]
        for order_id, total in zip(("1001", "1002"), totals, strict=True):
            shop.create(order_id, total, lines)
            shop.clock.pass_by(seconds=1)
        return cls(shop)

    def take(self, step: Callable[[Shop], Receipt]) -> None:
        """Run one step. Check that a refused or stale step, or one under a used key, changes nothing."""
        self.shop.clock.pass_by(seconds=1)
        before = self.shop.dump()
        try:
            receipt = step(self.shop)
        except (Refused, KeyReused, VersionConflict, InvalidInput):
            assert self.shop.dump() == before
            return
        if receipt.duplicate:
            assert self.shop.dump() == before
        if receipt.entries:
            self.done.append((step, receipt))


def naive_sum(order: Order, kind: str) -> Decimal:
    return sum((payment.amount for payment in order.payments if payment.kind == kind), Decimal(0))


def check_history(shop: Shop, order: Order) -> None:
    """Check that the history folds to the order."""
    history = shop.orders.history(order.id)
    assert [entry.version for entry in history] == list(range(1, order.version + 1))
    assert history[0].before == frozenset()
    for one, following in pairwise(history):
        assert one.after == following.before
        assert one.at <= following.at
    last = history[-1]
    assert (last.after, last.version, last.at) == (order.statuses, order.version, order.updated_at)
    assert order.state in shop.orders.workflow.states
    moving = [payment for payment in order.payments if payment.amount]
    assert all(history[payment.version - 1].facts["amount"] == payment.amount for payment in moving)


def check_money(order: Order) -> None:
    """Check the derived amounts against the rows, and that paid is ticked if and only if nothing is outstanding."""
    captured, refunded, failed, reversed_, restored = (
        naive_sum(order, kind) for kind in ("captured", "refunded", "refund_failed", "reversed", "restored")
    )
    held = captured - refunded + failed - reversed_ + restored
    cost = max(order.total - sum(row.credit for row in order.payments), Decimal(0))
    assert (order.captured, order.refunded, order.reversed) == (captured, refunded, reversed_)
    assert (order.held, order.cost) == (held, cost)
    assert order.outstanding == (0 if "cancelled" in order.statuses else max(cost - held, Decimal(0)))
    assert order.overpaid == max(held - cost, Decimal(0))
    counts = "sent" in order.statuses and "cancelled" not in order.statuses
    assert order.refund_due == (order.overpaid if counts else max(held, Decimal(0)))
    if counts:
        assert ("paid" in order.statuses) == (order.outstanding == 0)


def check_stock(shop: Shop) -> None:
    """Check that the sum of pieces on hand and held is constant."""
    for sku, number in ON_HAND.items():
        held = sum(
            one.quantities.get(sku, 0)
            for one in shop.all()
            if {"sent"} <= one.statuses and one.state[-9:] != "cancelled"
        )
        assert shop.orders.stock(sku) == number - held
    assert shop.orders.stock("SPOON") is None


def check_findings(shop: Shop) -> None:
    """Check queues, counts and totals against all orders."""
    orders, workflow = shop.all(), shop.orders.workflow
    for name, when in workflow.queues.items():
        wanted = [order for order in orders if when.matches(order.statuses)]
        assert shop.orders.queue(name) == wanted
        assert shop.orders.counts()[name] == len(wanted)
    due = [order for order in orders if order.refund_due]
    assert shop.orders.queue("refund_due") == due
    assert shop.orders.counts()["refund_due"] == len(due)
    counted = [order.total for order in orders if "sent" in order.statuses and "cancelled" not in order.statuses]
    assert shop.orders.totals() == shop.orders.totals("ann") == ({"GBP": sum(counted)} if counted else {})
    for order in orders:
        standing = {name for name in workflow.queues if order in shop.orders.queue(name)}
        assert standing
        assert ({"paid", "dispatched"} <= order.statuses) == ("complete" in standing)


@pytest.mark.no_cover
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(workflow=workflows, totals=st.tuples(*[st.sampled_from(["10.00", "0.01", "0"])] * 2), steps=steps)
def test_a_shop_stays_consistent(
    new_shop: type[Shop], workflow: Workflow, totals: tuple[str, str], steps: list[Callable[[Shop], Receipt]]
) -> None:
    """History, money and stock agree after each step, queues and totals after the last. A refusal changes nothing."""
    world = World.new(new_shop, workflow, totals)
    for step in steps:
        world.take(step)
        for order in world.shop.all():
            check_history(world.shop, order)
            check_money(order)
        check_stock(world.shop)
    check_findings(world.shop)


@pytest.mark.no_cover
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(workflow=workflows, steps=steps)
def test_a_redelivery_changes_nothing(
    new_shop: type[Shop], workflow: Workflow, steps: list[Callable[[Shop], Receipt]]
) -> None:
    """Every call under a key, repeated after all others, returns its first receipt."""
    world = World.new(new_shop, workflow, ("10.00", "10.00"))
    for step in steps:
        world.take(step)
    before = world.shop.dump()
    for step, receipt in world.done:
        if getattr(step, "key", None) is not None and receipt.entries[0].key == getattr(step, "key", None):
            again = step(world.shop)
            # The history does not have the items that were tracked when the order took its stock.
            order = again.order.holding(receipt.order.reserved)
            assert Receipt(order, again.entries, again.duplicate) == replace(receipt, duplicate=True)
            assert (again.order.reserved is None) == (receipt.order.reserved is None)
    assert world.shop.dump() == before


@pytest.mark.no_cover
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(workflow=workflows, steps=steps)
def test_history_folds_back_to_the_order_after_each_entry(
    new_shop: type[Shop], workflow: Workflow, steps: list[Callable[[Shop], Receipt]]
) -> None:
    """The fold equals the returned order, except for the held pieces. The audit accepts every history."""
    world = World.new(new_shop, workflow, ("10.00", "10.00"))
    for step in steps:
        world.take(step)
    for order in world.shop.all():
        history = world.shop.orders.history(order.id)
        for _, receipt in world.done:
            then = receipt.order
            if then.id == order.id:
                folded = order_as_of(workflow, order, history, then.version)
                assert folded.holding(None) == then.holding(None)
                assert folded.data == then.data
    assert world.shop.orders.audit().findings == ()


@pytest.mark.no_cover
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(workflow=workflows, steps=steps)
def test_explain_and_fire_agree(
    new_shop: type[Shop], workflow: Workflow, steps: list[Callable[[Shop], Receipt]]
) -> None:
    """A trigger without facts is refused for exactly the reasons of `explain`. Without reasons it succeeds."""
    world = World.new(new_shop, workflow, ("10.00", "10.00"))
    for step in steps:
        world.take(step)
    reasons = world.shop.orders.explain("1001")
    for trigger in (trigger for trigger in TRIGGERS if reasons[trigger]):
        with pytest.raises(Refused) as refusal:
            world.shop.orders.fire("1001", trigger)
        assert refusal.value.reasons == reasons[trigger]
    allowed = [trigger for trigger in TRIGGERS if not reasons[trigger]]
    if allowed:
        assert world.shop.orders.fire("1001", allowed[0]).entries


@pytest.mark.no_cover
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(workflow=workflows, steps=steps)
def test_messages_follow_from_the_history(
    new_shop: type[Shop], workflow: Workflow, steps: list[Callable[[Shop], Receipt]]
) -> None:
    """Each entry with `notify` has one mail, ids name existing entries, and the refunds due add up."""
    world = World.new(new_shop, workflow, ("10.00", "10.00"))
    for step in steps:
        world.take(step)
    messages = world.shop.messages()
    assert len({message.id for message in messages}) == len(messages)
    for order in world.shop.all():
        mine = [message for message in messages if message.order_id == order.id]
        mailed = [entry.version for entry in world.shop.orders.history(order.id) if entry.notify]
        told = [int(one.id.split("#")[1].split(".")[0]) for one in mine if one.topic == "order.updated"]
        assert told == mailed
        for message in mine:
            assert statuses_of(message.payload["state"]) in {one.after for one in world.shop.orders.history(order.id)}
        due = [message.payload for message in mine if message.topic == "refund.due"]
        if order.refund_due:
            assert due
            assert Decimal(due[-1]["refund_due"]) >= order.refund_due

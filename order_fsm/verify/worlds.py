"""One order with its money and the piece that it wants, and what happens to them: by the real service, on a store that
can be set back to any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, cast

from attrs import evolve, frozen

from order_fsm.errors import Refused, VersionConflict
from order_fsm.model import Change, Entry, Fact, Keyed, Line, Message, Order, PaymentKind, Receipt
from order_fsm.orders import Orders
from order_fsm.rules import Facts
from order_fsm.workflow import Workflow

if TYPE_CHECKING:
    from order_fsm.store import Store

ORDER, ITEM = "order", "item"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = {Decimal(2): 3, Decimal(0): 2}
"""The orders that are looked at, by their totals, and how many rows of the ledger each may come to: one that is paid in
part, in full or in excess, and one that is free."""

CONTESTED_ROWS = 1
"""Up to how many rows of the ledger the other buyer comes."""

PART, EXCESS, NO_SUCH_SUM = Decimal(1), Decimal(3), Decimal(99)
REASON = "why"
NOTHING: Facts = {}


@frozen(eq=False)
class World:
    """An order that wants the only piece of an item, and another buyer who may take it.

    Attributes:
        workflow: the rules.
        order: as it stands.
        history: its entries.
        on_hand: pieces that the shop has on hand; below zero where somebody paid for what is not there.
        taken: pieces that the other buyer holds, 0 or 1.
    """

    workflow: Workflow
    order: Order
    history: tuple[Entry, ...]
    on_hand: int = 1
    taken: int = 0

    @property
    def holds(self) -> int:
        """Pieces that the order holds."""
        return int(self.workflow.holds(self.order.state))

    @property
    def queues(self) -> list[str]:
        """The queues in which the order stands, `refund_due` aside."""
        return self.workflow.queues_of(self.order.state)

    @cached_property
    def place(self) -> tuple[object, ...]:
        """Equal for worlds in which the same can happen: times and the order of rows make no difference."""
        order = self.order
        online = any(row.reference is not None for row in order.payments)
        sums = (order.captured, order.refunded, order.reversed)
        return (order.total, order.state, len(order.payments), *sums, online, self.on_hand, self.taken)


@frozen(eq=False)
class Ask:
    """What somebody asks of the order.

    Attributes:
        trigger: what shall happen.
        facts: what it comes with.
        comment: "" where no reason is given.
        override: whether policy guards may be passed.
        raced: whether the other buyer takes the item while it is decided.
    """

    trigger: str
    facts: Facts = NOTHING
    comment: str = ""
    override: bool = False
    raced: bool = False

    def __str__(self) -> str:
        said = [f"{name} {value}" for name, value in self.facts.items()]
        said += ["a reason"] * bool(self.comment) + ["override"] * self.override
        said += ["the other buyer is quicker"] * self.raced
        return f"{self.trigger} ({', '.join(said)})" if said else self.trigger


@frozen(eq=False)
class Step:
    """What came of an ask.

    Attributes:
        before, after: the world; the same one where the ask was refused.
        ask: what was asked.
        receipt: what the service answered; None where it refused.
        refused: why it refused; None where it did not.
        messages: what is told to the world.
    """

    before: World
    ask: Ask
    after: World
    receipt: Receipt | None
    refused: Refused | None
    messages: tuple[Message, ...]
    _desk: Desk

    @property
    def done(self) -> bool:
        """Whether it was done, now or before, and not refused."""
        return self.refused is None

    @property
    def duplicate(self) -> bool:
        """Whether it was done before."""
        return self.receipt is not None and self.receipt.duplicate

    @property
    def entry(self) -> Entry | None:
        """The entry that did it; None where it was refused."""
        return None if self.receipt is None else self.receipt.entries[-1]

    @property
    def overridden(self) -> bool:
        """Whether it passed a policy guard."""
        return self.entry is not None and self.entry.override

    @property
    def recorded(self) -> list[tuple[str, Decimal]]:
        """The new rows of the ledger: kind and amount."""
        return [(row.kind, row.amount) for row in self.after.order.payments[len(self.before.order.payments) :]]

    @property
    def online(self) -> bool:
        """Whether it came with a payment's reference."""
        return "reference" in self.ask.facts

    @property
    def foreign(self) -> bool:
        """Whether it came in another currency than the order's."""
        return self.ask.facts.get("currency", self.before.order.currency) != self.before.order.currency

    def amount(self, otherwise: Decimal) -> Decimal:
        """The amount that was asked for, or another one where none was."""
        amount = self.ask.facts.get("amount")
        return amount if isinstance(amount, Decimal) else otherwise

    @property
    def topics(self) -> list[str]:
        """The topics of the messages."""
        return [message.topic for message in self.messages]

    def then(self, trigger: str, comment: str = "", override: bool = False, **facts: Fact) -> Step:
        """What would come of another ask after this one."""
        return self._desk.take(self.after, Ask(trigger, facts, comment, override))

    def again(self) -> Step:
        """What comes of the same ask under the same key, delivered once more."""
        self._desk.take(self.before, self.ask, key="k")
        return self._desk.take(self._desk.world, self.ask, key="k")


class Desk:
    """The service at work on one world at a time, and the part of a store that it needs for that."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._orders = Orders(cast("Store", self), workflow, clock=lambda: NOW)
        self._keys: dict[str, Keyed] = {}
        self._messages: tuple[Message, ...] = ()
        self._raced = False
        self.world: World

    def new(self, total: Decimal) -> World:
        """A new order over one piece of the item, of which there is one."""
        self._orders.create(ORDER, total=total, currency="GBP", lines=[Line(ITEM, 1)])
        return self.world

    def take(self, world: World, ask: Ask, key: str | None = None) -> Step:
        """Ask something of the order of a world.

        Args:
            world: as it is.
            ask: what is asked.
            key: an idempotency key; one that was used in this world before is a redelivery.

        Returns:
            What came of it.
        """
        if self._keys and (key is None or world is not self.world):
            self._keys = {}
        self.world, self._messages, self._raced = world, (), ask.raced
        receipt = refused = None
        try:
            receipt = self._orders.fire(
                ORDER, ask.trigger, key=key, comment=ask.comment, override=ask.override, **ask.facts
            )
        except Refused as error:
            refused = error
        return Step(world, ask, self.world, receipt, refused, self._messages, self)

    # What the service needs of a store

    def load(self, _: str) -> Order:
        return self.world.order

    def history(self, _: str) -> tuple[Entry, ...]:
        return self.world.history

    def keyed(self, key: str) -> Keyed | None:
        return self._keys.get(key)

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        on_hand = dict.fromkeys(skus, self.world.on_hand)
        if self._raced:
            self._raced = False
            self.world = evolve(self.world, on_hand=self.world.on_hand - 1, taken=1)
        return on_hand

    def commit(self, change: Change) -> None:
        if not change.expected:
            self.world = World(self._workflow, change.order, change.entries)
            return
        world = self.world
        on_hand = world.on_hand
        for move in change.stock:
            on_hand += move.quantity
            if move.strict and on_hand < 0:
                raise VersionConflict("the stock has changed")
        if change.key is not None:
            self._keys[change.key] = Keyed(ORDER, change.expected + 1, change.order.version, change.content or "")
        self._messages = change.messages
        self.world = World(self._workflow, change.order, (*world.history, *change.entries), on_hand, world.taken)


def asks(world: World) -> Iterator[Ask]:
    """All that is asked of the order of a world, within the bounds.

    Every trigger comes bare, and where that can make a difference with a reason and with an override. One that records money
    comes by hand and with a reference, about all that there is, a part, more than the total, more than there ever was,
    nothing, and in another currency; the last payment online is delivered once more. Facts of other kinds are left out.
    """
    workflow = world.workflow
    full = len(world.order.payments) >= (CONTESTED_ROWS if world.taken else ROWS[world.order.total])
    for trigger in workflow.triggers:
        kind = workflow.ledger_of(trigger)
        if kind == "captured":
            yield from _once_more(trigger, world.order)
        if kind is not None and full:
            continue
        yield Ask(trigger)
        guards = [guard for rule in workflow.rules_of(trigger) for guard in rule.guards]
        if guards:  # Nothing else looks at the comment.
            yield Ask(trigger, NOTHING, REASON)
        if any(guard.policy for guard in guards):
            yield Ask(trigger, NOTHING, REASON, override=True)
        if kind is not None:
            yield from _about_money(trigger, kind, world.order)
    if _contested(world) and world.on_hand > 0 and not world.holds:
        for trigger in workflow.triggers:
            yield Ask(trigger, raced=True)


def _about_money(trigger: str, kind: PaymentKind, order: Order) -> Iterator[Ask]:
    for amount in (PART, EXCESS if kind == "captured" else NO_SUCH_SUM, Decimal(0)):
        yield Ask(trigger, {"amount": amount}, REASON)
    yield Ask(trigger, {"amount": PART, "currency": "EUR"}, REASON)
    if kind == "captured":
        reference = f"ch_{len(order.payments) + 1}"
        yield Ask(trigger, {"reference": reference})
        for amount in (PART, EXCESS):
            yield Ask(trigger, {"amount": amount, "reference": reference})


def _once_more(trigger: str, order: Order) -> Iterator[Ask]:
    """The last payment that came with a reference, delivered again."""
    for row in reversed(order.payments):
        if row.kind == "captured" and row.reference is not None:
            yield Ask(trigger, {"amount": row.amount, "reference": row.reference})
            return


def bought_elsewhere(world: World) -> Iterator[World]:
    """What the other buyer does: takes the item, whether it is there or not, or gives it back."""
    if world.taken:
        yield evolve(world, on_hand=world.on_hand + 1, taken=0)
    elif _contested(world):
        yield evolve(world, on_hand=world.on_hand - 1, taken=1)


def _contested(world: World) -> bool:
    return not world.taken and len(world.order.payments) <= CONTESTED_ROWS

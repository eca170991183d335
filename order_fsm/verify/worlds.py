"""One order with its money and the piece that it wants, and what happens to them: by the real service, on a store that
can be set back to any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from attrs import evolve, frozen

from order_fsm.errors import OrderFsmError, Refused, VersionConflict
from order_fsm.model import Entry, Fact, Line, Message, Order, Receipt
from order_fsm.orders.service import Orders
from order_fsm.rules.rule import AMEND, Facts
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Change, IdempotencyRecord, Need, Snapshot, Store, one_by_one, record_of
from order_fsm.validation import GATEWAY

ORDER, ITEM = "order", "item"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING: Facts = {}


@frozen(eq=False)
class World:
    """An order that wants the only piece of an item, unless it is amended, and another buyer who may take it.

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
        return sum(line.quantity for line in self.order.reserved or ())

    @property
    def queues(self) -> list[str]:
        """The queues in which the order stands, `refund_due` aside."""
        return self.workflow.queues_of(self.order.state)

    @property
    def place(self) -> tuple[object, ...]:
        """Equal for worlds in which the same can happen.

        Times, the sequence of rows, and the names of payments and transactions make no difference.
        """
        order = self.order
        payments: dict[str | None, list[tuple[Any, ...]]] = {}
        for row in order.payments:
            told = (row.kind, row.amount, row.currency, row.credit, row.transaction_id is None)
            payments.setdefault(row.reference, []).append(told)
        rows = sorted((reference is None, tuple(sorted(told))) for reference, told in payments.items())
        held = (order.lines, self.holds, self.on_hand, self.taken)
        return (order.state, order.invoiced_by_payment, order.total, tuple(rows), held)


@frozen(eq=False)
class Ask:
    """What somebody asks of the order.

    Attributes:
        trigger: what shall happen.
        facts: what it comes with.
        comment: "" where no reason is given.
        override: whether policy guards may be passed.
        raced: whether the other buyer takes the item while it is decided.
        gateway: whether a payment gateway reports it.
    """

    trigger: str
    facts: Facts = NOTHING
    comment: str = ""
    override: bool = False
    raced: bool = False
    gateway: bool = False

    def __str__(self) -> str:
        said = [f"{name} {value}" for name, value in self.facts.items()]
        said += ["a reason"] * bool(self.comment) + ["override"] * self.override
        said += ["the other buyer is quicker"] * self.raced + ["by a gateway"] * self.gateway
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
        return bool(self.entry and self.entry.override)

    @property
    def recorded(self) -> list[tuple[str, Decimal]]:
        """The new rows of the ledger that move money: kind and amount."""
        new = self.after.order.payments[len(self.before.order.payments) :]
        return [(row.kind, row.amount) for row in new if row.amount]

    @property
    def foreign(self) -> bool:
        """Whether it recorded money in another currency than the order's."""
        new = self.after.order.payments[len(self.before.order.payments) :]
        return any(row.currency != self.before.order.currency for row in new)

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
        self._orders = Orders(cast(Store, self), workflow, clock=lambda: NOW)
        self._keys: dict[str, IdempotencyRecord] = {}
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
            receipt = self._fire(ask, key)
        except Refused as error:
            refused = error
        return Step(world, ask, self.world, receipt, refused, self._messages, self)

    def _fire(self, ask: Ask, key: str | None) -> Receipt:
        said: dict[str, Any] = {"key": key, "comment": ask.comment, "override": ask.override}
        if ask.trigger == AMEND:
            return self._orders.amend(ORDER, version=self.world.order.version, **said, **ask.facts)
        return self._orders.fire(ORDER, ask.trigger, by=GATEWAY if ask.gateway else None, **said, **ask.facts)

    # The part of `Store` that the service needs

    joined = False

    def load(self, _: str) -> Order:
        return self.world.order

    def history(self, _: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return self.world.history[after:][:limit]

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return [self._snapshot(need) for need in needs]

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return one_by_one(self.commit, changes)

    def _snapshot(self, need: Need) -> Snapshot:
        record = None if need.key is None else self._keys.get(need.key)
        order = self.world.order
        # A redelivery is answered from the record: the other buyer comes only while something is decided.
        decides = record is None and (order.reserved is None or need.skus)
        return Snapshot(order, record, self.stock([ITEM]) if decides else {})

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        on_hand = dict.fromkeys(skus, self.world.on_hand)
        if self._raced:
            self._raced = False
            self.world = evolve(self.world, on_hand=self.world.on_hand - 1, taken=1)
        return on_hand

    def commit(self, change: Change) -> None:
        order = cast(Order, change.order)
        if not change.expected_version:
            self.world = World(self._workflow, order, change.entries)
            return
        world = self.world
        on_hand = world.on_hand
        for move in change.stock:
            on_hand += move.available
            if move.strict and on_hand < 0:
                raise VersionConflict("the stock has changed")
        if change.key is not None:
            self._keys[change.key] = record_of(change)
        self._messages = change.messages
        self.world = World(self._workflow, order, (*world.history, *change.entries), on_hand, world.taken)

"""One order with its money and goods, and what happens to them: by the real service, on a store that can be set back
to any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from attrs import evolve, frozen

from order_fsm.errors import OrderFsmError, Refused
from order_fsm.model import Entry, Fact, Line, Message, Order, Receipt
from order_fsm.orders.service import Orders
from order_fsm.rules.rule import AMEND, Facts
from order_fsm.rules.workflow import PART_DISPATCHED, Workflow
from order_fsm.stock_levels import StockLevel, levels_after
from order_fsm.store import Change, IdempotencyRecord, Need, Snapshot, Store, one_by_one, record_of
from order_fsm.validation import GATEWAY

ORDER, ITEM = "order", "item"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING: Facts = {}


@frozen(eq=False)
class World:
    """An order that wants all pieces of an item, unless it is amended, and another buyer who may take one.

    Attributes:
        workflow: the rules.
        order: as it is now.
        history: its entries.
        pieces: the pieces that the shop has in all, and that the new order wants. An order of one is explored with its
            money, an order of two with its goods.
        stock: the item as the store counts it.
        taken: pieces that the other buyer holds, 0 or 1.
    """

    workflow: Workflow
    order: Order
    history: tuple[Entry, ...]
    pieces: int
    stock: StockLevel
    taken: int = 0

    @property
    def on_hand(self) -> int:
        """Pieces that the shop has on hand. Below zero if somebody paid for pieces that are not there."""
        return self.stock.available or 0

    @property
    def holds(self) -> int:
        """Pieces that the order holds."""
        return sum(line.quantity for line in self.order.reserved or ())

    @property
    def queues(self) -> list[str]:
        """The queues that contain the order, except `refund_due` and `unmatched`."""
        queues = self.workflow.queues_of(self.order.state)
        return [*queues, PART_DISPATCHED] if self.order.part_dispatched else queues

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
        moved = [tuple(sums.items()) for sums in order.goods]
        goods = (order.lines, self.holds, self.pieces, self.stock, self.taken, *moved)
        return (order.state, order.invoiced_by_payment, order.total, tuple(rows), goods)

    def sold(self, taken: int) -> World:
        """Return the world after the other buyer takes pieces, or returns them."""
        stock = self.stock._replace(available=self.on_hand - taken)
        return evolve(self, stock=stock, taken=self.taken + taken)


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

    def new(self, total: Decimal, pieces: int) -> World:
        """Create an order of all pieces of the item."""
        self._orders.create(ORDER, total=total, currency="GBP", lines=[Line(ITEM, pieces)])
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
            self.world = self.world.sold(1)
        return on_hand

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        return dict.fromkeys(skus, self.world.stock)

    def commit(self, change: Change) -> None:
        order = cast(Order, change.order)
        if not change.expected_version:
            pieces = sum(line.quantity for line in order.lines)
            self.world = World(self._workflow, order, change.entries, pieces, StockLevel(pieces))
            return
        world = self.world
        stock = levels_after({ITEM: world.stock}, change.stock).get(ITEM, world.stock)
        if change.key is not None:
            self._keys[change.key] = record_of(change)
        self._messages = change.messages
        history = (*world.history, *change.entries)
        self.world = World(self._workflow, order, history, world.pieces, stock, world.taken)

"""One order with money and goods, and its steps by the real service on a store that can be reset."""

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
    """An order for all pieces of an item, unless amended, and another buyer who may take one.

    Attributes:
        workflow: the rules.
        order: the order now.
        history: its entries.
        pieces: the number of pieces that the shop has and the new order wants. An order for one explores money, an
            order for two explores goods.
        stock: the stock level of the item.
        taken: the number of pieces that the other buyer holds, 0 or 1.
    """

    workflow: Workflow
    order: Order
    history: tuple[Entry, ...]
    pieces: int
    stock: StockLevel
    taken: int = 0

    @property
    def on_hand(self) -> int:
        """The number of pieces that the shop has on hand. Below zero if somebody paid for missing pieces."""
        return self.stock.available or 0

    @property
    def holds(self) -> int:
        """The number of pieces that the order holds."""
        return sum(line.quantity for line in self.order.reserved or ())

    @property
    def queues(self) -> list[str]:
        """The queues that contain the order, except `refund_due` and `unmatched`."""
        queues = self.workflow.queues_of(self.order.state)
        return [*queues, PART_DISPATCHED] if self.order.part_dispatched else queues

    @property
    def place(self) -> tuple[object, ...]:
        """A key that is equal for worlds with the same future.

        Times, the sequence of rows, and the names of payments and transactions make no difference.
        """
        order = self.order
        payments: dict[str | None, list[tuple[Any, ...]]] = {}
        for row in order.payments:
            values = (row.kind, row.amount, row.currency, row.credit, row.transaction_id is None)
            payments.setdefault(row.reference, []).append(values)
        rows = sorted((reference is None, tuple(sorted(values))) for reference, values in payments.items())
        moved = [tuple(sums.items()) for sums in order.goods]
        goods = (order.lines, self.holds, self.pieces, self.stock, self.taken, *moved)
        return (order.state, order.invoiced_by_payment, order.total, tuple(rows), goods)

    def sold(self, taken: int) -> World:
        """Return the world after the other buyer takes pieces, or returns them."""
        stock = self.stock._replace(available=self.on_hand - taken)
        return evolve(self, stock=stock, taken=self.taken + taken)


@frozen(eq=False)
class Ask:
    """One request about the order.

    Attributes:
        trigger: the trigger to fire.
        facts: the facts of the trigger.
        comment: the reason, or "".
        override: whether the request may pass policy guards.
        raced: whether the other buyer takes the item during the decision.
        gateway: whether a payment gateway makes the request.
    """

    trigger: str
    facts: Facts = NOTHING
    comment: str = ""
    override: bool = False
    raced: bool = False
    gateway: bool = False

    def __str__(self) -> str:
        parts = [f"{name} {value}" for name, value in self.facts.items()]
        parts += ["a reason"] * bool(self.comment) + ["override"] * self.override
        parts += ["the other buyer is quicker"] * self.raced + ["by a gateway"] * self.gateway
        return f"{self.trigger} ({', '.join(parts)})" if parts else self.trigger


@frozen(eq=False)
class Step:
    """The result of one request.

    Attributes:
        before, after: the world before and after it. They are the same if the request was refused.
        ask: the request.
        receipt: the receipt, or None if the service refused.
        refused: the refusal, or None if the service accepted.
        messages: the messages that the change put into the outbox.
    """

    before: World
    ask: Ask
    after: World
    receipt: Receipt | None
    refused: Refused | None
    messages: tuple[Message, ...]
    _simulator: Simulator

    @property
    def done(self) -> bool:
        """Whether the request was accepted, now or before."""
        return self.refused is None

    @property
    def duplicate(self) -> bool:
        """Whether the request was a redelivery."""
        return self.receipt is not None and self.receipt.duplicate

    @property
    def entry(self) -> Entry | None:
        """The entry that the request added, or None if it was refused."""
        return None if self.receipt is None else self.receipt.entries[-1]

    @property
    def overridden(self) -> bool:
        """Whether the request passed a policy guard."""
        return bool(self.entry and self.entry.override)

    @property
    def recorded(self) -> list[tuple[str, Decimal]]:
        """The new rows of the ledger that move money: kind and amount."""
        new = self.after.order.payments[len(self.before.order.payments) :]
        return [(row.kind, row.amount) for row in new if row.amount]

    @property
    def foreign(self) -> bool:
        """Whether the request recorded money in a currency that is not the order's."""
        new = self.after.order.payments[len(self.before.order.payments) :]
        return any(row.currency != self.before.order.currency for row in new)

    @property
    def topics(self) -> list[str]:
        """The topics of the messages."""
        return [message.topic for message in self.messages]

    def then(self, trigger: str, comment: str = "", override: bool = False, **facts: Fact) -> Step:
        """Return the result of another request after this one."""
        return self._simulator.take(self.after, Ask(trigger, facts, comment, override))

    def again(self) -> Step:
        """Return the result of a redelivery under the same key."""
        self._simulator.take(self.before, self.ask, key="k")
        return self._simulator.take(self._simulator.world, self.ask, key="k")


class Simulator:
    """Runs the service on one world at a time, and implements the part of a store that this needs."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._orders = Orders(cast(Store, self), workflow, clock=lambda: NOW)
        self._keys: dict[str, IdempotencyRecord] = {}
        self._messages: tuple[Message, ...] = ()
        self._raced = False
        self.world: World

    def new(self, total: Decimal, pieces: int) -> World:
        """Create an order for all pieces of the item."""
        self._orders.create(ORDER, total=total, currency="GBP", lines=[Line(ITEM, pieces)])
        return self.world

    def take(self, world: World, ask: Ask, key: str | None = None) -> Step:
        """Make a request in a world.

        Args:
            world: the world before the request.
            ask: the request.
            key: an idempotency key. A key that was used in this world before is a redelivery.

        Returns:
            The step.
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
        common: dict[str, Any] = {"key": key, "comment": ask.comment, "override": ask.override}
        if ask.trigger == AMEND:
            return self._orders.amend(ORDER, version=self.world.order.version, **common, **ask.facts)
        return self._orders.fire(ORDER, ask.trigger, by=GATEWAY if ask.gateway else None, **common, **ask.facts)

    # The methods of `Store` that the service needs

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
        # A redelivery needs no decision, so the other buyer cannot interrupt one.
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

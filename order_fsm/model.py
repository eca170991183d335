"""The values of the library: orders, histories, ledgers and messages.

All values are frozen.

A state is a set of statuses. Its name joins them in declared order with `+` (`sent+paid`). The empty set is named
`unfinished`. `statuses_of` turns a name into the set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from attrs import field, frozen
from msgspec.structs import force_setattr, replace

from order_fsm import ledger, validation
from order_fsm.dicts import DictValue
from order_fsm.goods import NO_GOODS, Goods, GoodsKind, goods, less
from order_fsm.ledger import PaymentKind
from order_fsm.money import ZERO, minus

__all__ = [
    "ADOPT",
    "LASTING_FACTS",
    "UNFINISHED",
    "Entry",
    "Fact",
    "Finding",
    "GoodsKind",
    "Line",
    "Message",
    "Order",
    "Owned",
    "Payment",
    "PaymentKind",
    "Receipt",
    "Sales",
    "Shipment",
    "When",
    "invoiced_by_payment",
    "placed_at",
    "placing_of",
    "quantities_of",
    "statuses_of",
]

UNFINISHED = "unfinished"
"""The name of the state without statuses."""

LASTING_FACTS = frozenset(
    {"amount", "currency", "reference", "transaction_id", "provider", "credit", "kind", "reasons", "topic"}
    | {"items", "restock", "lines", "lines_before", "total", "total_before", "credited", "credited_before"}
    | {"placed_at", "occurred_at"}
)
"""The facts that an erasure keeps, because the ledgers need them. All other facts count as personal, including a shop's
own facts."""


@lru_cache(maxsize=8192)
def statuses_of(state: str) -> frozenset[str]:
    """Return the set of statuses of a state's name."""
    return frozenset() if state == UNFINISHED else frozenset(state.split("+"))


class Owned(dict[str, Any]):
    """A dict inside a frozen value.

    No caller holds a reference to it.
    """

    __slots__ = ()


def _owned(value: Mapping[str, Any]) -> Owned:
    return Owned(_copied(dict(value))) if value else _NOTHING


_NOTHING = Owned()


def _copied(value: Any) -> Any:
    """Copy JSON values, in a tenth of the time of copy.deepcopy."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _flat(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """Flatten facts to names and values, to save memory.

    They alternate, sorted by name. The tuple takes half the memory of a dict.
    """
    return sum(sorted(facts.items()), ()) if facts else ()


def _unflat(flat: tuple[Any, ...]) -> dict[str, Any]:
    names_and_values = iter(flat)
    return dict(zip(names_and_values, names_and_values, strict=False))


def _read_as_copy(kind: type[msgspec.Struct], name: str, copy: Callable[[Any], Any]) -> Any:
    """Let every reader of a field get a copy, so that no reader changes a frozen value.

    Args:
        kind: the class.
        name: the name of the field.
        copy: returns a copy of the stored value.

    Returns:
        The descriptor of the field, which reads and writes the stored value itself.
    """
    stored = getattr(kind, name)
    setattr(kind, name, property(lambda value: copy(stored.__get__(value))))
    return stored


def _statuses(value: object) -> frozenset[str]:
    return validation.names(value, "a condition on statuses")


@frozen
class When:
    """A condition on the statuses of an order.

    Attributes:
        has: the order must have all of these.
        has_any: the order must have at least one of these, unless `has_any` is empty.
        lacks: the order must have none of these.
    """

    has: frozenset[str] = field(default=frozenset(), converter=_statuses)
    lacks: frozenset[str] = field(default=frozenset(), converter=_statuses)
    has_any: frozenset[str] = field(default=frozenset(), converter=_statuses)

    def matches(self, statuses: frozenset[str]) -> bool:
        """Return whether a set of statuses meets the condition."""
        return (
            self.has <= statuses
            and self.lacks.isdisjoint(statuses)
            and (not self.has_any or not self.has_any.isdisjoint(statuses))
        )


class Line(DictValue, frozen=True):
    """A line of an order: `quantity` pieces of the item `sku`.

    Raises:
        InvalidInput: if `sku` is not a valid identifier, or `quantity` is not a whole number of at least 1.
    """

    sku: str
    quantity: int

    def __post_init__(self) -> None:
        sku, quantity = validation.identifier(self.sku, "sku"), validation.whole(self.quantity, "quantity", 1)
        if sku is not self.sku or quantity is not self.quantity:  # One is of a subclass.
            force_setattr(self, "sku", sku)
            force_setattr(self, "quantity", quantity)


Fact = str | int | bool | Decimal | tuple[Line, ...] | None
"""The type of a fact. The amount of a payment is a Decimal, the pieces of a shipment are lines."""

ADOPT = "adopt"
"""The trigger of the entries of an adopted order."""


def quantities_of(lines: Iterable[Line]) -> dict[str, int]:
    """Return the number of pieces of each SKU over all lines."""
    quantities: dict[str, int] = {}
    for line in lines:
        quantities[line.sku] = quantities.get(line.sku, 0) + line.quantity
    return quantities


class Payment(DictValue, frozen=True):
    """One row of an order's ledger.

    Attributes:
        kind: `captured` (money came), `refunded` (the shop gave it back), `refund_failed` (a refund did not arrive),
            `reversed` (the bank took the money back, or the payment was recorded by mistake), `restored` (a reversal
            was undone).
        amount: not negative.
        currency: the currency of the amount.
        reference: the gateway's id of the payment. None if it was recorded by hand.
        at: the time of recording, in UTC.
        version: the version of the history entry that recorded it.
        credit: the part of a refund that lowers the order's cost. Below zero if the row revokes credits.
        transaction_id: the gateway's id of this capture, refund or dispute, if known.
        provider: the gateway, if known.
    """

    kind: PaymentKind
    amount: Decimal
    currency: str
    reference: str | None
    at: datetime
    version: int
    credit: Decimal = ZERO
    transaction_id: str | None = None
    provider: str | None = None


class Shipment(DictValue, frozen=True):
    """A row of an order's goods: pieces shipped or returned.

    Attributes:
        kind: `shipped` (the pieces left the shop), `returned` (they came back, and are not shipped again), `recalled`
            (all pieces that were out came back, to be shipped again).
        lines: the pieces, one line for each SKU.
        drawn: the pieces among them that the order had taken from stock.
        at: the time of recording, in UTC.
        version: the version of the history entry that recorded it.
        restock: whether returned pieces went back on the shelf.
    """

    kind: GoodsKind
    lines: tuple[Line, ...]
    drawn: tuple[Line, ...]
    at: datetime
    version: int
    restock: bool = True


class Entry(DictValue, frozen=True):
    """One line of an order's history.

    Attributes:
        version: 1 for the first entry. It equals the order's version after the entry.
        trigger: the event. Besides the triggers of the rules: `create`, `comment`, `migrate`, `adopt`, `resend`,
            `erase`.
        state_before, state_after: the names of the states. `before` and `after` are the sets of statuses.
        at: the time, in UTC.
        by: the person or program, if the caller named one.
        comment: the comment, or "".
        visible: whether the customer may read the entry.
        notify: whether the caller asked for a mail to the customer.
        key: the idempotency key of the call.
        override: whether an override passed a policy guard, with the comment as the reason.
        facts: the keyword arguments of the trigger, as a copy.
        rules_fingerprint: the fingerprint of the workflow that decided it. None if no rule decided it.
        erased: whether an erasure blanked its comment or some of its facts.
    """

    _derived = ("before", "after")

    version: int
    trigger: str
    state_before: str
    state_after: str
    at: datetime
    by: str | None = None
    comment: str = ""
    visible: bool = False
    notify: bool = False
    key: str | None = None
    override: bool = False
    facts: dict[str, Fact] = msgspec.field(default_factory=dict)
    rules_fingerprint: str | None = None
    erased: bool = False

    def __post_init__(self) -> None:
        facts = _FACTS.__get__(self)
        if not isinstance(facts, tuple):
            _FACTS.__set__(self, _flat(facts))

    @property
    def before(self) -> frozenset[str]:
        """The statuses before the entry."""
        return statuses_of(self.state_before)

    @property
    def after(self) -> frozenset[str]:
        """The statuses after the entry."""
        return statuses_of(self.state_after)


_FACTS = _read_as_copy(Entry, "facts", _unflat)


class Order(DictValue, frozen=True):
    """An order at one version.

    Attributes:
        id: the shop's order number.
        state: the name of the state. `statuses` is the set of statuses.
        counted: whether the order counts in totals. If it does not, all money held is due back.
        version: the number of entries in its history.
        total: the price, in `currency`.
        lines: the ordered items.
        customer, email: the customer, if known.
        payments: the ledger, oldest first.
        created_at, updated_at: the times of its first and last entry, in UTC.
        reserved: the pieces that the order took from stock. None if it holds no stock. An order without lines never
            holds stock. Empty if no item was tracked when it took its stock.
        data: the shop's own data, as a copy.
        invoiced_by_payment: whether a payment ticked `invoiced`, in the entry that ticked `paid`. False if the order
            was adopted with these boxes.
        placed_at: the time of the last entry that ticked `sent`, in UTC. None if the order is not placed.
        shipments: the goods that left or came back, oldest first. Empty for orders without lines.
    """

    _derived = ("statuses",)

    id: str
    state: str
    counted: bool
    version: int
    total: Decimal
    currency: str
    lines: tuple[Line, ...]
    customer: str | None
    email: str | None
    payments: tuple[Payment, ...]
    created_at: datetime
    updated_at: datetime
    reserved: tuple[Line, ...] | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    invoiced_by_payment: bool = False
    placed_at: datetime | None = None
    shipments: tuple[Shipment, ...] = ()

    def __post_init__(self) -> None:
        data = _DATA.__get__(self)
        if not isinstance(data, Owned):
            _DATA.__set__(self, _owned(data))

    def __hash__(self) -> int:
        return hash((self.id, self.version))

    @property
    def statuses(self) -> frozenset[str]:
        """The statuses of the state."""
        return statuses_of(self.state)

    @property
    def quantities(self) -> dict[str, int]:
        """The ordered pieces of each SKU, over all lines."""
        return quantities_of(self.lines)

    # The goods, in pieces of each SKU.

    @property
    def goods(self) -> Goods:
        """The sums over the shipments, for callers that need several sums."""
        return goods(self.shipments) if self.shipments else NO_GOODS

    @property
    def to_ship(self) -> dict[str, int]:
        """The pieces that were ordered and not shipped.

        A returned piece counts as shipped. A recalled piece does not.
        """
        return less(self.quantities, self.goods.shipped)

    @property
    def out(self) -> dict[str, int]:
        """The pieces that were shipped and have not come back."""
        return dict(self.goods.out)

    @property
    def part_dispatched(self) -> bool:
        """Whether a live order was shipped only in part."""
        if not self.shipments or not self.counted:
            return False
        shipped = self.goods.shipped
        return bool(shipped) and bool(less(self.quantities, shipped))

    # The money. Only rows in the order's currency count, except for `unmatched`.

    @property
    def balance(self) -> ledger.Balance:
        """The sums over the ledger, for callers that need several sums."""
        return ledger.balance(self.total, self.payments, self.currency)

    @property
    def captured(self) -> Decimal:
        """All money that was ever captured."""
        return ledger.recorded(self.payments, "captured", self.currency)

    @property
    def refunded(self) -> Decimal:
        """All money that the shop gave back, failed refunds included."""
        return ledger.recorded(self.payments, "refunded", self.currency)

    @property
    def reversed(self) -> Decimal:
        """All money that was reversed: taken back, or recorded by mistake."""
        return ledger.recorded(self.payments, "reversed", self.currency)

    @property
    def held(self) -> Decimal:
        """The money that the shop has now, below zero after a loss."""
        return self.balance.held

    @property
    def held_online(self) -> Decimal:
        """The part of `held` that came through a gateway."""
        return self.balance.online

    @property
    def held_by_hand(self) -> Decimal:
        """The money recorded by hand that the order still holds.

        A reversal of all payments recorded by hand would take it back.
        """
        kinds = ("captured", "reversed", "restored")
        by_hand = [row for row in self.payments if row.reference is None and row.kind in kinds]
        return max(min(ledger.held(by_hand, self.currency), self.held), ZERO)

    @property
    def credited(self) -> Decimal:
        """The amount by which refunds lowered the price."""
        return self.balance.credited

    @property
    def cost(self) -> Decimal:
        """The price after credits."""
        return self.balance.cost

    @property
    def outstanding(self) -> Decimal:
        """The money still to be paid, 0 if the order is cancelled."""
        return self.balance.owed("cancelled" in self.statuses)

    @property
    def overpaid(self) -> Decimal:
        """The money held beyond the cost."""
        return self.balance.overpaid

    @property
    def refund_due(self) -> Decimal:
        """The money due back.

        It is the overpaid part, or all money held if the order does not count.
        """
        return self.balance.due(self.counted)

    @property
    def unmatched(self) -> dict[str, Decimal]:
        """The money held in other currencies, by currency.

        It pays no part of the order.
        """
        others = self.balance.others
        return {currency: others[currency] for currency in sorted(others) if others[currency] > 0}

    @property
    def references(self) -> frozenset[str]:
        """The references of its payments."""
        return frozenset([row.reference for row in self.payments if row.reference is not None])

    def after(
        self,
        entry: Entry,
        payments: tuple[Payment, ...],
        counted: bool,
        shipments: tuple[Shipment, ...] | None = None,
    ) -> Order:
        """Return the order after an entry of its history.

        The held pieces do not change.

        Args:
            entry: the entry, which has the state, the version and the time.
            payments: the ledger after the entry.
            counted: whether the order counts in totals after the entry.
            shipments: the goods after the entry. None if unchanged.
        """
        invoiced_by_payment, placed_at = self.invoiced_by_payment, self.placed_at
        if entry.state_after != entry.state_before:
            before, after = entry.before, entry.after
            invoiced_by_payment, placed_at = self._marked(entry, before, after), self._placed(entry, before, after)
        return replace(
            self,
            state=entry.state_after,
            counted=counted,
            version=entry.version,
            payments=payments,
            updated_at=entry.at,
            invoiced_by_payment=invoiced_by_payment,
            placed_at=placed_at,
            shipments=self.shipments if shipments is None else shipments,
        )

    def _marked(self, entry: Entry, before: frozenset[str], after: frozenset[str]) -> bool:
        """Return `invoiced_by_payment` after an entry."""
        if "invoiced" in before:
            return self.invoiced_by_payment and "invoiced" in after
        return "invoiced" in after and "paid" in after - before and entry.trigger != ADOPT

    def _placed(self, entry: Entry, before: frozenset[str], after: frozenset[str]) -> datetime | None:
        """Return `placed_at` after an entry."""
        if "sent" not in after:
            return None
        return self.placed_at if "sent" in before else placing_of(entry)

    def holding(self, reserved: tuple[Line, ...] | None) -> Order:
        """Return the order with these pieces reserved.

        None means that it holds no stock.
        """
        return replace(self, reserved=reserved)


_DATA = _read_as_copy(Order, "data", _copied)


def invoiced_by_payment(entries: Sequence[Entry]) -> bool:
    """Derive `Order.invoiced_by_payment` from a history."""
    for entry in reversed(entries):
        if "invoiced" not in entry.after:
            return False
        if "invoiced" not in entry.before:
            return "paid" in entry.after - entry.before and entry.trigger != ADOPT
    return False


def placed_at(entries: Sequence[Entry]) -> datetime | None:
    """Derive `Order.placed_at` from a history."""
    for entry in reversed(entries):
        if "sent" not in entry.after:
            return None
        if "sent" not in entry.before:
            return placing_of(entry)
    return None


def placing_of(entry: Entry) -> datetime:
    """Return the time of the placing that an entry records.

    An adopted order was placed earlier than its entry.
    """
    return datetime.fromisoformat(str(entry.facts["placed_at"])) if entry.trigger == ADOPT else entry.at


class Message(DictValue, frozen=True):
    """An outbox row: a message to deliver after the commit.

    Attributes:
        id: the id. It is the same in every delivery, and never reused.
        order_id: the order that it is about.
        topic: `order.placed`, `order.updated`, `order.paid`, `payment.received` (a part), `payment.reversed`,
            `payment.unmatched`, `refund.due`, `stock.short`, or a topic that a rule of the shop announces.
        payload: a copy of ids and facts as JSON values, with money as text. It has no name, address or comment of the
            customer: read these from the order and from its entry `version`.
        created_at: the time of the commit, in UTC.
        attempts: the number of failed deliveries.
        remaining: the recipients still to be reached, if a delivery reached the others. Empty means all recipients.
    """

    id: str
    order_id: str
    topic: str
    payload: dict[str, Any]
    created_at: datetime
    attempts: int = 0
    remaining: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        payload = _PAYLOAD.__get__(self)
        if not isinstance(payload, Owned):
            _PAYLOAD.__set__(self, _owned(payload))

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def version(self) -> int:
        """The order's version in the id, or 0."""
        number = self.id.rpartition("#")[2].partition(".")[0]
        return int(number) if number.isdecimal() else 0


_PAYLOAD = _read_as_copy(Message, "payload", _copied)


class Sales(DictValue, frozen=True):
    """The sums of an interval, in one currency.

    An order belongs to the interval in which it was placed. A ledger row belongs to the interval in which it was
    recorded.

    Attributes:
        currency: the currency of the sums.
        orders: the number of orders that count (sent and not cancelled).
        gross: the sum of their totals.
        received: captures and restorations, minus reversals. It may be below zero.
        refunded: the money refunded, without failed refunds. It may be below zero.
        credited: the amount by which refunds lowered the cost of orders that count now. It may be below zero.
    """

    _derived = ("net",)

    currency: str
    orders: int
    gross: Decimal
    received: Decimal
    refunded: Decimal
    credited: Decimal

    @property
    def net(self) -> Decimal:
        """The gross minus the credits."""
        return minus(self.gross, self.credited)


class Finding(NamedTuple):
    """A fault that an audit found in a store.

    Attributes:
        order_id: the order with the fault, or None.
        code: the kind of fault, for programs.
        message: the description of the fault, for people.
    """

    order_id: str | None
    code: str
    message: str


class Receipt(DictValue, frozen=True):
    """The result of a call.

    Attributes:
        order: the order after the call.
        entries: the history entries that the call made. Empty if there was nothing to do.
        duplicate: True if the same call was committed already. Then this is the first receipt again.
    """

    order: Order
    entries: tuple[Entry, ...]
    duplicate: bool = False

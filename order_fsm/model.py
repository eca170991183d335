"""The values of the library: what an order is, what happened to it, what one commit carries. All are frozen.

A state is a set of statuses, and travels as its name: the statuses in declared order joined with `+`
(`sent+paid`), or `unfinished` for the empty set. `statuses_of` turns the name into the set.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from attrs import field, frozen

from order_fsm import validation
from order_fsm.money import ZERO, minus, plus

UNFINISHED = "unfinished"
"""The name of the state that has no status."""

Fact = str | int | bool | Decimal | None
"""What a fact may be; the amount of a payment is a Decimal."""

PaymentKind = Literal["captured", "refunded", "reversed"]


@lru_cache(maxsize=8192)
def statuses_of(state: str) -> frozenset[str]:
    """The set of statuses that the name of a state stands for."""
    return frozenset() if state == UNFINISHED else frozenset(state.split("+"))


class Owned(dict[str, Any]):
    """A dict that is part of a frozen value: who makes one keeps no hold of it, and nobody is handed it."""

    __slots__ = ()


def _owned(value: Mapping[str, Any]) -> Owned:
    if not value:
        return _NOTHING
    return value if isinstance(value, Owned) else Owned(_copied(dict(value)))


_NOTHING = Owned()


def _copied(value: Any) -> Any:
    """A copy of JSON values; copy.deepcopy takes ten times as long."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _flat(facts: Mapping[str, Fact] | tuple[Any, ...]) -> tuple[Any, ...]:
    """Facts as they are kept: names and values in turn, by name, in half of the memory that a dict takes."""
    return facts if isinstance(facts, tuple) else sum(sorted(facts.items()), ()) if facts else ()


def _statuses(value: object) -> frozenset[str]:
    return validation.names(value, "a set of statuses")


@frozen
class When:
    """A condition on the statuses that an order holds.

    Attributes:
        has: all of these.
        has_any: at least one of these, where there are any.
        lacks: none of these.
    """

    has: frozenset[str] = field(default=frozenset(), converter=_statuses)
    lacks: frozenset[str] = field(default=frozenset(), converter=_statuses)
    has_any: frozenset[str] = field(default=frozenset(), converter=_statuses)

    def matches(self, statuses: frozenset[str]) -> bool:
        """Whether a set of statuses meets the condition."""
        return (
            self.has <= statuses
            and self.lacks.isdisjoint(statuses)
            and (not self.has_any or not self.has_any.isdisjoint(statuses))
        )


@frozen(weakref_slot=False)
class Line:
    """What is ordered: `quantity` pieces (1 or more) of the item `sku`.

    Raises:
        InvalidInput: a SKU that is no identifier, a quantity that is no whole number of at least 1.
    """

    sku: str = field(validator=lambda _, attribute, value: validation.identifier(value, attribute.name))
    quantity: int = field(validator=lambda _, attribute, value: validation.whole(value, attribute.name, 1))


@frozen(weakref_slot=False)
class Payment:
    """One row of an order's ledger. Its currency is the order's.

    Attributes:
        kind: `captured` (money came), `refunded` (the shop gave back), `reversed` (the bank took back).
        amount: not negative.
        reference: the gateway's name of the payment, None for one recorded by hand.
        at: when it was recorded, in UTC.
        version: of the history entry that recorded it.
    """

    kind: PaymentKind
    amount: Decimal
    reference: str | None
    at: datetime
    version: int


@frozen(weakref_slot=False)
class Entry:
    """One line of an order's history.

    Attributes:
        version: 1 for the first; the order's version after it.
        trigger: what happened; `create` and `comment` are entries too.
        state_before, state_after: names of states; `before` and `after` are the sets.
        at: when, in UTC.
        by: who, where it was said.
        comment: "" where there is none.
        visible: whether the customer may read it.
        notify: whether a mail to the customer was asked for.
        key: the idempotency key that it came with.
        override: whether a policy guard was passed on the strength of the comment.
        facts: what the trigger came with; a copy.
    """

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
    _facts: tuple[Any, ...] = field(default=(), converter=_flat, alias="facts")

    @property
    def before(self) -> frozenset[str]:
        return statuses_of(self.state_before)

    @property
    def after(self) -> frozenset[str]:
        return statuses_of(self.state_after)

    @property
    def facts(self) -> dict[str, Fact]:
        flat = self._facts
        return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}


@frozen(weakref_slot=False)
class Order:
    """An order as it stands at one version.

    Attributes:
        id: the shop's order number.
        state: the name of the state; `statuses` is the set.
        counted: whether it counts in totals; of an order that does not, all money held is due back.
        version: the number of entries in its history.
        total: what the customer owes for it, in `currency`.
        lines: what is ordered.
        customer, email: whose it is, where that is known.
        payments: the ledger, oldest first.
        created_at, updated_at: the times of its first and last entry, in UTC.
        data: what the shop wants to keep with it; a copy.
    """

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
    _data: Mapping[str, Any] = field(factory=dict, converter=_owned, hash=False, alias="data")

    @property
    def statuses(self) -> frozenset[str]:
        return statuses_of(self.state)

    @property
    def data(self) -> dict[str, Any]:
        copied: dict[str, Any] = _copied(self._data) if self._data else {}
        return copied

    @property
    def quantities(self) -> dict[str, int]:
        """How many pieces of each SKU are ordered, over all lines."""
        wanted: dict[str, int] = {}
        for line in self.lines:
            wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
        return wanted

    @property
    def captured(self) -> Decimal:
        """All that was ever received."""
        return self._sum("captured")

    @property
    def refunded(self) -> Decimal:
        """What the shop gave back."""
        return self._sum("refunded")

    @property
    def reversed(self) -> Decimal:
        """What the bank took back (bounced, charged back) or was ticked by mistake."""
        return self._sum("reversed")

    def _sum(self, kind: PaymentKind) -> Decimal:
        money = ZERO
        for payment in self.payments:
            if payment.kind == kind:
                money = plus(money, payment.amount)
        return money

    @property
    def received(self) -> Decimal:
        """What counts towards the total: captured minus reversed. A refund does not unpay an order."""
        money = ZERO
        for payment in self.payments:
            if payment.kind == "captured":
                money = plus(money, payment.amount)
            elif payment.kind == "reversed":
                money = minus(money, payment.amount)
        return money

    @property
    def held(self) -> Decimal:
        """What the shop still has of it: captured minus reversed minus refunded; below zero after a loss."""
        money = ZERO
        for payment in self.payments:
            money = (plus if payment.kind == "captured" else minus)(money, payment.amount)
        return money

    @property
    def outstanding(self) -> Decimal:
        """What is still to be paid."""
        if not self.payments:
            return self.total
        return max(minus(self.total, self.received), ZERO)

    @property
    def overpaid(self) -> Decimal:
        """What the shop holds beyond the total."""
        return max(minus(self.held, self.total), ZERO)

    @property
    def refund_due(self) -> Decimal:
        """What should go back to the customer: what is overpaid, or all that is held where the order does not count."""
        if not self.payments:
            return ZERO
        due = minus(self.held, self.total) if self.counted else self.held
        return ZERO if due < ZERO else due

    def after(self, entry: Entry, payments: tuple[Payment, ...], counted: bool) -> Order:
        """The order as an entry of its history leaves it.

        Args:
            entry: gives the state, the version and the time.
            payments: the ledger then.
            counted: whether it counts in totals then.
        """
        return Order(
            self.id,
            entry.state_after,
            counted,
            entry.version,
            self.total,
            self.currency,
            self.lines,
            self.customer,
            self.email,
            payments,
            self.created_at,
            entry.at,
            self._data,
        )


@frozen(weakref_slot=False)
class Message:
    """Something to tell the world after the commit.

    Attributes:
        id: stable over every delivery of it; names the order, the version and the place in it.
        topic: `order.updated`, `order.paid`, `refund.due` or `stock.short`.
        payload: what there is to tell, as JSON values (money as strings); a copy.
        created_at: in UTC.
        attempts: how many deliveries of it have failed.
    """

    id: str
    order_id: str
    topic: str
    _payload: Mapping[str, Any] = field(converter=_owned, hash=False, alias="payload")
    created_at: datetime
    attempts: int = 0

    @property
    def payload(self) -> dict[str, Any]:
        copied: dict[str, Any] = _copied(self._payload)
        return copied

    @property
    def version(self) -> int:
        """The version of the order that its id names; 0 where it names none."""
        number = self.id.rpartition("#")[2].partition(".")[0]
        return int(number) if number.isdecimal() else 0


class Finding(NamedTuple):
    """Something that is wrong in a store.

    Attributes:
        order_id: of the order that it is about, None where it is about none.
        code: what kind it is, for programs.
        message: what it is, for people.
    """

    order_id: str | None
    code: str
    message: str


@frozen(weakref_slot=False)
class Receipt:
    """What came of a call.

    Attributes:
        order: the order after it.
        entries: the history entries that it made; none where there was nothing to do.
        duplicate: True where the same thing was done before: then this is the first receipt again.
    """

    order: Order
    entries: tuple[Entry, ...]
    duplicate: bool = False

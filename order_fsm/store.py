"""The contract between the engine and whatever keeps the orders: fifteen methods and ten guarantees.

The engine decides and orders; a store only commits and finds. `order_fsm.testing.StoreContract` states the guarantees
as tests, under the same numbers:

S1 atomic       a commit or a removal is whole or absent, whatever raises or kills the process
S2 versioned    of two commits from one version one wins; the other raises VersionConflict and leaves no trace
S3 durable      once commit has returned, a killed process loses nothing; nor does a lost power supply (not: memory)
S4 keyed        a key commits once; afterwards `keyed` finds what it stands for, and other content raises KeyReused
S5 ordered      the versions of an order's history are dense from 1
S6 isolated     values in and out share nothing that can be changed
S7 faithful     every value returns equal: any Unicode, any Decimal
S8 stock        on hand + held is constant; a strict move never leaves less than zero
S9 outbox       a message exists if and only if its commit does; it is claimed by one relay at a time, in order per
                order, under a stable id, until it is delivered or given up
S10 found       find and tally agree with the orders at every moment between commits

All methods may be called from several threads at once. All raise StoreUnavailable where the store cannot be reached
and StoreCorrupt where it holds what it did not write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from attrs import frozen

from order_fsm.errors import OrderFsmError, StoreCorrupt, StoreFull, StoreUnavailable
from order_fsm.model import Entry, Message, Order, Payment, When


class StockMove(NamedTuple):
    """How one commit changes the number on hand of one item.

    Attributes:
        quantity: pieces to add; negative when the order takes them.
        strict: whether the number on hand must not fall below zero by it.
    """

    sku: str
    quantity: int
    strict: bool


@frozen(eq=False)
class Change:
    """What one commit carries, whole or not at all.

    Attributes:
        order: the order after it.
        expected: the version that it was decided on; 0 for a new order.
        entries: the new history entries, versions `expected + 1` up to the order's.
        stock: moves of the items that the store tracks.
        messages: for the outbox, in order.
        key: the idempotency key, if any.
        content: a digest of what was asked for under that key.
        recalled: the order that it was decided on, where the store had recalled and not loaded it: it must stand so.
    """

    order: Order
    expected: int
    entries: tuple[Entry, ...]
    stock: tuple[StockMove, ...] = ()
    messages: tuple[Message, ...] = ()
    key: str | None = None
    content: str | None = None
    recalled: Order | None = None

    @property
    def payments(self) -> tuple[Payment, ...]:
        """The new rows of the ledger."""
        return tuple([payment for payment in self.order.payments if payment.version > self.expected])


class Keyed(NamedTuple):
    """What a key stands for: the entries `first` to `last` of an order, and the digest of what was asked for."""

    order_id: str
    first: int
    last: int
    content: str


class Query(NamedTuple):
    """Which orders to find: oldest first by (created_at, id).

    Attributes:
        when: the condition on their statuses.
        customer: only this customer's, where not None.
        refund_due: only those with a refund due, where True.
        after: the id of the order after which to go on, where not None.
        limit: how many at the most, 1 or more.
    """

    when: When
    customer: str | None = None
    refund_due: bool = False
    after: str | None = None
    limit: int = 50


class Tally(NamedTuple):
    """How many orders stand in one state, and what they come to.

    Attributes:
        refund_due: whether these are the orders with a refund due.
        orders: their number.
        total: the sum of their totals in `currency`.
    """

    state: str
    currency: str
    refund_due: bool
    orders: int
    total: Decimal


class Store(Protocol):
    """What `Orders` needs of a store."""

    def load(self, order_id: str) -> Order:
        """The order as last committed.

        Raises:
            OrderNotFound: there is none of this id.
        """
        ...

    def history(self, order_id: str) -> tuple[Entry, ...]:
        """All entries of an order, oldest first.

        Raises:
            OrderNotFound: there is none of this id.
        """
        ...

    def keyed(self, key: str) -> Keyed | None:
        """What was committed under a key; None where nothing was."""
        ...

    def commit(self, change: Change) -> None:
        """Write all of a change, or nothing.

        Only items that were set with `set_stock` are counted; moves of others are passed over.

        Raises:
            OrderExists: `change.expected` is 0 and the order is there.
            OrderNotFound: `change.expected` is not 0 and the order is not there.
            VersionConflict: the order's version is not `change.expected`, or a strict stock move would leave less
                than zero: what the change was decided on is no longer so.
            KeyReused: the key was committed before (on whatever order).
            StoreFull: there is no room.
        """
        ...

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        """Write several changes as `commit` would one after the other, and make them durable together.

        Each is whole or absent by itself: one that is refused leaves the others as they are. A store that gains
        nothing by it uses `one_by_one`.

        Returns:
            For each change None, or the error that `commit` would have raised.

        Raises:
            StoreFull, StoreUnavailable, StoreCorrupt: any of the changes may be written, or not.
        """
        ...

    def find(self, query: Query) -> list[Order]:
        """The orders that a query describes, oldest first by (created_at, id).

        Raises:
            OrderNotFound: `query.after` is no order's id.
        """
        ...

    def tally(self, customer: str | None) -> list[Tally]:
        """How many orders stand in each state, by currency and whether a refund is due.

        Args:
            customer: count only this customer's orders; None for all.
        """
        ...

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        """The number on hand of those of these items that the store tracks."""
        ...

    def set_stock(self, sku: str, on_hand: int) -> None:
        """Track an item from now on, with so many on hand."""
        ...

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        """Take messages to deliver, oldest first; nobody else is given them, or later ones of their orders, before
        `until`.

        Of one order only a run from its oldest undelivered message on is given; an order whose oldest is claimed or
        postponed to later than `now` gives none. Messages of one order come in the sequence of their commits, those of
        several orders by `created_at`; where clocks disagree, a store may go by the commits there too.
        """
        ...

    def delivered(self, message: Message) -> None:
        """Forget a message: it has been delivered. One that is gone already is passed over."""
        ...

    def postpone(self, message: Message, until: datetime | None) -> None:
        """Give a claimed message back after a failed delivery: one attempt more, not to be claimed before `until`.

        Claims on later messages of its order end with it. Without `until` it becomes a dead letter: kept, not claimed
        any more, and in the way of none. One that is gone already, or a dead letter, is passed over: a relay whose
        claim has ended may be late.
        """
        ...

    def dead_letters(self, limit: int) -> list[Message]:
        """The messages whose delivery was given up, oldest first by `created_at`."""
        ...

    def revive(self, message: Message) -> None:
        """Put a dead letter back among the messages to deliver, with no attempts made. Any other is passed over.

        It comes after those of its order that are there, and waits for them: they may be claimed.
        """
        ...

    def remove(self, order: Order) -> None:
        """Forget an order with all that there is of it: history, payments, messages, dead letters, keys.

        Stock stays as it is. The id and the keys are free again.

        Raises:
            OrderNotFound: it is not there.
            VersionConflict: its version is not that of `order`.
        """
        ...


@runtime_checkable
class Inspectable(Protocol):
    """What a store may offer beside `Store`, so that an audit finds more than it can ask any store for.

    Without it an audit ends at the first page of `find` that cannot be read, and sees no message that is not dead.
    """

    def order_ids(self) -> Iterator[str]:
        """The ids of all orders, each once, those that cannot be read too. Some may be made or gone meanwhile."""
        ...

    def messages(self) -> Iterator[Message]:
        """The messages that wait to be delivered. This claims none of them."""
        ...

    def faults(self) -> list[str]:
        """What is wrong in the store beside its orders: a sentence for each."""
        ...


@runtime_checkable
class Recalling(Protocol):
    """What a store may offer beside `Store`, so that a change of an order that it knows need not begin with a read.

    Such a store holds more at `commit`, for a change with `Change.recalled`: whatever was committed since, the order
    must stand just as that says, and not only at the same version. Otherwise commit raises VersionConflict
    (OrderNotFound where it is gone), and what was found to be old is recalled no more. Damage may be found later, when
    the order is read.
    """

    def recall(self, order_id: str) -> Order | None:
        """The order as this store last read or wrote it, if that is known: it may have been changed elsewhere since.

        Good for deciding a change, as commit tells whether it still stands so. What is refused on it may be allowed by
        now: whoever is told so must be told of the order that `load` gives.
        """
        ...


def one_by_one(commit: Callable[[Change], object], changes: Sequence[Change]) -> list[OrderFsmError | None]:
    """What `Store.commit_all` answers, by a store's `commit` of one change.

    Raises:
        StoreFull, StoreUnavailable, StoreCorrupt: as `commit` does.
    """
    return [refusal(partial(commit, change)) for change in changes]


def refusal(commit: Callable[[], object]) -> OrderFsmError | None:
    """The error with which one change is refused; None where it is committed.

    Raises:
        StoreFull, StoreUnavailable, StoreCorrupt: it is not the change that is refused, the store fails.
    """
    try:
        commit()
    except (StoreFull, StoreUnavailable, StoreCorrupt):
        raise
    except OrderFsmError as error:
        return error
    return None

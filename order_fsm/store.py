"""The contract of a store: the `Store` protocol and its guarantees.

The engine decides. A store reads, commits and finds. `order_fsm.testing.store_contract` tests the guarantees under
these numbers:

S1 atomic       A commit, a removal or an erasure is whole or absent, whatever raises or kills the process.
S2 versioned    Of two commits from one version one wins. The other raises VersionConflict and leaves no trace.
S3 durable      After `commit` returned, a killed process or a lost power supply loses nothing. (Not in memory.)
S4 keyed        A key commits once. A second commit under it raises KeyReused, and the key's record is found.
S5 ordered      The versions of an order's history are dense from 1.
S6 isolated     Values in and out share nothing mutable.
S7 faithful     Every value returns equal: any Unicode text, any Decimal.
S8 stock        Available + held + out + lost is constant per tracked item, except by `set_stock` and moves of stock
                alone. A strict move never leaves less than zero.
S9 outbox       A message exists if and only if its commit does. It is claimed by one relay at a time, in order per
                order, under a stable id, until it is delivered or given up.
S10 found       `find`, `tally`, `totals` and `report` agree with the orders at every moment between commits.
S11 joined      Inside a host's transaction everything commits and rolls back with the host's rows.
S12 erased      After an erasure and `scrub`, no byte of an erased value is left in the files of a store that owns them.

All methods may be called from several threads at once. Any method raises StoreUnavailable if the store cannot be
reached, and StoreCorrupt if its content is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import compress
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from msgspec import Struct

from order_fsm.errors import (
    KeyReused,
    OrderExists,
    OrderFsmError,
    OrderNotFound,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    TransactionLost,
    VersionConflict,
)
from order_fsm.ledger import Balance
from order_fsm.model import Entry, Message, Order, Payment, Sales, When
from order_fsm.money import ZERO, minus, plus
from order_fsm.stock_levels import StockLevel as StockLevel
from order_fsm.stock_levels import StockMove as StockMove
from order_fsm.stock_levels import available_of as available_of
from order_fsm.stock_levels import level_set as level_set
from order_fsm.stock_levels import levels_after as levels_after


class Change(Struct, frozen=True, eq=False):
    """One commit, which is written whole or not at all.

    Attributes:
        order: the order after the commit. None if the change is about stock alone.
        expected_version: the version of the order that the decision used. 0 for a new order and for stock alone.
        entries: the new history entries, with the versions `expected_version + 1` up to the order's. A new order may
            have many.
        stock: the moves, applied in sequence.
        messages: the rows for the outbox, in sequence.
        key: the idempotency key, if any.
        request_fingerprint: the digest of the request under that key.
        erases: whether the commit erases the personal values of the order's past. See `order_fsm.erasure`.
        balance: the sums over the order's ledger, if they are known already.
    """

    order: Order | None
    expected_version: int
    entries: tuple[Entry, ...]
    stock: tuple[StockMove, ...] = ()
    messages: tuple[Message, ...] = ()
    key: str | None = None
    request_fingerprint: str | None = None
    erases: bool = False
    balance: Balance | None = None

    @property
    def marks(self) -> Marks:
        """The ledger queues that the order is in after the commit."""
        return NO_MARKS if self.order is None else marks_of(self.order, self.balance)

    @property
    def payments(self) -> tuple[Payment, ...]:
        """The new rows of the ledger."""
        if self.order is None or not self.order.payments:
            return ()
        return tuple([payment for payment in self.order.payments if payment.version > self.expected_version])


class IdempotencyRecord(NamedTuple):
    """The record of a request that was committed under a key.

    Attributes:
        order_id: the order that it changed, or None.
        first, last: the first and last version of its entries. 0 and 0 if it changed no order.
        request_fingerprint: the digest of the request. For `Orders.first_seen`, it is the time of the first call.
    """

    order_id: str | None
    first: int
    last: int
    request_fingerprint: str


def record_of(change: Change) -> IdempotencyRecord:
    """Return the record that a commit leaves under its key."""
    fingerprint = change.request_fingerprint or ""
    if change.order is None:
        return IdempotencyRecord(None, 0, 0, fingerprint)
    return IdempotencyRecord(change.order.id, change.expected_version + 1, change.order.version, fingerprint)


class Need(Struct, frozen=True):
    """The reads that the engine needs to decide one change.

    Attributes:
        order_id: the order, or None.
        key: the idempotency key of the record to read, if any.
        skus: further items whose stock to read.
    """

    order_id: str | None
    key: str | None = None
    skus: tuple[str, ...] = ()


class Snapshot(Struct, frozen=True):
    """The answer to a `Need`.

    Attributes:
        order: the order, or None if the store does not have it.
        record: the record under the key, or None.
        stock: the available pieces of the tracked items among `Need.skus` and the order's lines. A store may leave out
            the lines if the order already holds its stock.
        fault: the error to raise if this answer cannot be read. Other answers are not affected.
        backorder: the items of `stock` that orders may take even if pieces are not available.
    """

    order: Order | None
    record: IdempotencyRecord | None
    stock: Mapping[str, int]
    fault: StoreCorrupt | None = None
    backorder: frozenset[str] = frozenset()

    @classmethod
    def of_levels(
        cls, order: Order | None, record: IdempotencyRecord | None, levels: Mapping[str, StockLevel]
    ) -> Snapshot:
        """Return a snapshot with the available pieces of these levels."""
        backorder = frozenset([sku for sku, level in levels.items() if level.backorder])
        return cls(order, record, available_of(levels), None, backorder)

    def checked(self) -> Self:
        """Return this snapshot, or raise its fault."""
        if self.fault is not None:
            raise self.fault
        return self


class Cursor(NamedTuple):
    """A position in the sequence of a query.

    It stays valid if the order at that position is removed.

    Attributes:
        at: the time by which the query sorts.
        order_id: the order at that position.
    """

    at: datetime
    order_id: str


class Query(NamedTuple):
    """The conditions of a search for orders, oldest first.

    The orders are sorted by (created_at, id), or by (placed_at, id) if the query is dated.

    Attributes:
        when: the condition on their statuses.
        customer: only this customer's orders, if given.
        refund_due: only orders with a refund due, if True.
        after: the position after which the results begin, if given.
        limit: the largest number of orders to return, 1 or more.
        unmatched: only orders with money in another currency, if True.
        reference: only orders with a payment that has this reference, if given.
        since: only orders that were placed at this time or later, if given.
        until: only orders that were placed before this time, if given.
        part_dispatched: only live orders that were shipped in part, if True.
    """

    when: When
    customer: str | None = None
    refund_due: bool = False
    after: Cursor | None = None
    limit: int = 50
    unmatched: bool = False
    reference: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    part_dispatched: bool = False

    @property
    def is_dated(self) -> bool:
        """Whether the query has an interval.

        Such a query finds only placed orders.
        """
        return self.since is not None or self.until is not None

    @property
    def marks(self) -> Marks:
        """The ledger queues that the orders must be in."""
        return Marks(self.refund_due, self.unmatched, self.part_dispatched)

    def matches(self, order: Order) -> bool:
        """Return whether an order meets every condition.

        The position and the limit of the page are ignored.
        """
        wanted = self.marks
        return (
            self.when.matches(order.statuses)
            and self.customer in (None, order.customer)
            and (self.reference is None or self.reference in order.references)
            and (not self.is_dated or is_within(order.placed_at, self.since, self.until))
            and (not any(wanted) or all(compress(marks_of(order), wanted)))
        )


def is_within(at: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    """Return whether a time is in an interval.

    The interval includes `since` and excludes `until`. None means no bound.
    """
    return at is not None and (since is None or at >= since) and (until is None or at < until)


def sales_of(
    placed: Mapping[str, tuple[int, Decimal]], recorded: Mapping[tuple[str, str], Decimal]
) -> dict[str, Sales]:
    """Return the result of `Store.report`.

    Args:
        placed: the number and the sum of the orders, by currency.
        recorded: the sums of the ledger rows, by currency and kind. Credits have the kind `credited`.
    """
    sales: dict[str, Sales] = {}
    for currency in sorted({*placed, *(currency for currency, _ in recorded)}):
        orders, gross = placed.get(currency, (0, ZERO))
        money = {kind: total for (one, kind), total in recorded.items() if one == currency}
        received = minus(money.get("captured", ZERO), money.get("reversed", ZERO))
        sales[currency] = Sales(
            currency,
            orders,
            gross,
            plus(received, money.get("restored", ZERO)),
            minus(money.get("refunded", ZERO), money.get("refund_failed", ZERO)),
            money.get("credited", ZERO),
        )
    return sales


class Marks(NamedTuple):
    """The queues of an order that do not follow from its state.

    Attributes:
        refund_due, unmatched, part_dispatched: as in `Tally`.
    """

    refund_due: bool
    unmatched: bool
    part_dispatched: bool


class Tally(NamedTuple):
    """The number and the sum of the orders in one state.

    Attributes:
        state: the name of the state.
        currency: the currency of `total`.
        refund_due: whether these orders have a refund due.
        orders: the number of the orders.
        total: the sum of their totals.
        unmatched: whether these orders hold money in another currency.
        part_dispatched: whether only a part of the goods was shipped.
    """

    state: str
    currency: str
    refund_due: bool
    orders: int
    total: Decimal
    unmatched: bool = False
    part_dispatched: bool = False

    @property
    def marks(self) -> Marks:
        """The queues of these orders that do not follow from their state."""
        return Marks(self.refund_due, self.unmatched, self.part_dispatched)


NO_MARKS = Marks(False, False, False)


def marks_of(order: Order, balance: Balance | None = None) -> Marks:
    """Return the queues of an order that follow from its ledgers.

    Args:
        order: the order.
        balance: the sums over its ledger, if they are known already.
    """
    due = unmatched = False
    if order.payments:
        balance = balance or order.balance
        due = balance.due(order.counted) > ZERO
        unmatched = bool(balance.others) and max(balance.others.values()) > 0
    parts = bool(order.shipments) and order.part_dispatched
    return Marks(due, unmatched, parts) if due or unmatched or parts else NO_MARKS


class Store(Protocol):
    """The interface of a store. To write a store, implement these methods."""

    @property
    def joined(self) -> bool:
        """Whether the next call joins an open transaction of the host.

        Then the engine never retries.
        """
        ...

    def load(self, order_id: str) -> Order:
        """Return an order as last committed.

        Raises:
            OrderNotFound: if there is no such order.
        """
        ...

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        """Return the entries of an order, oldest first.

        Args:
            order_id: the order.
            after: the version after which the results begin.
            limit: the largest number of entries to return, 1 or more. None returns all.

        Raises:
            OrderNotFound: if there is no such order.
        """
        ...

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        """Read everything that these changes need, in one round trip.

        A damaged order, record or stock row becomes the `fault` of its own snapshot.

        Returns:
            One snapshot per need, in the same sequence.
        """
        ...

    def commit(self, change: Change) -> None:
        """Write a change atomically.

        If an item is not tracked, a move that takes available pieces is a conflict, and available pieces that a move
        adds are dropped. The other numbers change in any case. `levels_after` does this.

        If the change `erases`, the same commit blanks the order's past. It replaces each entry by its `erased_entry`,
        and each message and dead letter by its `erased_message`. It blanks the fingerprints of records unless
        `is_lasting`. All three are functions of `order_fsm.erasure`.

        `mismatch` and `key_reused` return the errors for another version and for a committed key.

        Raises:
            OrderExists: if `expected_version` is 0 and the order exists.
            OrderNotFound: if `expected_version` is not 0 and the order does not exist.
            VersionConflict: if the order's version is not `expected_version`, or a strict move would leave less than
                zero pieces, or a move takes from an item that is not tracked.
            InvalidInput: if a number of pieces would not fit into 64 bits.
            KeyReused: if the key was committed already, on any order or on none.
            StoreFull: if the store has no room.
        """
        ...

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        """Write several changes and make them durable together.

        The store writes them one after the other, each as `commit` would.

        Each change is whole or absent by itself. A refused change, or a change of a damaged order, does not affect
        the others. Several changes may be about one order, each decided on the result of the one before it. If a change
        is refused, the changes that build on it are conflicts. `one_by_one` does this.

        Returns:
            For each change None, or the error that `commit` would have raised.

        Raises:
            StoreFull, StoreUnavailable, StoreCorrupt: if the store itself fails. Then any of the changes may be
                written.
        """
        ...

    def find(self, query: Query) -> list[Order]:
        """Return the orders that match a query, in its sequence.

        A damaged order is logged by its id and left out, so that it does not block a queue. An audit reports it.
        """
        ...

    def tally(self, customer: str | None) -> list[Tally]:
        """Count the orders by state, currency and `Marks`.

        Args:
            customer: count only this customer's orders. None counts all.
        """
        ...

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        """Return the sums of counted orders placed in an interval, by currency.

        Args:
            since, until: as in `Query`.
            customer: only this customer's orders, if given.
        """
        ...

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        """Return the sums over an interval by currency, from one snapshot.

        The orders are the same as in `totals`. The ledger rows of all orders count by `Payment.at`, in their own
        currency. Only credits of counted orders count. The result leaves out a currency without such an order and
        without a row of more than 0.

        Args:
            since, until: as in `Query`.
        """
        ...

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        """Return the available pieces of these items, if they are tracked."""
        ...

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        """Return the levels of these items, without unknown ones.

        An item is known if it was ever set or moved.

        The items need not be tracked now.
        """
        ...

    def stock_items(self) -> Iterator[str]:
        """Yield every item that was ever set or moved, once.

        Damaged items are included.
        """
        ...

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        """Set the available pieces of an item.

        Its other numbers do not change.

        Args:
            sku: the item.
            available: the number of available pieces. None stops tracking the item.
            expected: the present number of available pieces. None accepts any number.
            backorder: whether an order may take pieces that are not available. None keeps the present setting, which is
                False at first.

        Raises:
            VersionConflict: if `expected` is given and is not the number of available pieces.
        """
        ...

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        """Lease messages for delivery: only the oldest one of each order.

        If the oldest message of an order is leased, or its retry is due after `now`, the order has no message to lease.
        Messages with `remaining` recipients are outside this sequence: they wait for no other message, and no message
        waits for them. New messages come first, in the sequence of their commits. Messages to retry follow, by the time
        at which they are due. A damaged message is logged by its id and left out, and later messages of its order wait.

        Args:
            now: the time, in UTC.
            until: the end of the lease. It identifies the lease in `delivered` and `retry_later`.
            limit: the largest number of messages to return, 1 or more.
        """
        ...

    def delivered(self, message: Message, until: datetime) -> None:
        """Delete a delivered message, if this lease is still its last one.

        The lease is identified by its end `until`.

        Otherwise nothing happens: the message was deleted, or another relay has leased it.
        """
        ...

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        """Return a leased message after a failed delivery, and count it.

        Nothing happens unless the lease that ends at `until` is still the message's last one.

        Args:
            message: as it was claimed, except `remaining`, which is stored.
            until: the end of its lease.
            due: the message is not claimed before this time. None makes it a dead letter, which is kept, never claimed,
                and blocks no other message.
        """
        ...

    def dead_letters(self, limit: int) -> list[Message]:
        """Return the dead letters, oldest first by `created_at`.

        Damaged letters are logged and left out.
        """
        ...

    def requeue(self, message: Message) -> None:
        """Return a dead letter to the outbox, with no attempts.

        It goes behind the messages of its order. The call ignores messages that are not dead letters.

        It keeps its `remaining` recipients.
        """
        ...

    def remove(self, order: Order) -> None:
        """Delete an order and everything that belongs to it.

        That is its history, payments, messages, dead letters and keys. Stock does not change.

        Raises:
            OrderNotFound: if there is no such order.
            VersionConflict: if the stored version is not the version of `order`.
        """
        ...

    def scrub(self) -> None:
        """Remove the bytes of erased values from the store's files.

        The call does nothing if no such bytes are left.

        It also completes the work of a process that was killed between an erasure and this call. A store in a host's
        database or on a server leaves its files to the database.

        Raises:
            StoreUnavailable, StoreFull: if erased bytes may be left. The erasure itself is committed: call again.
        """
        ...

    def order_ids(self) -> Iterator[str]:
        """Yield the ids of all orders once each, damaged orders included.

        Concurrent changes may or may not be included.
        """
        ...

    def messages(self) -> Iterator[Message]:
        """Yield the undelivered messages without claiming them."""
        ...

    def faults(self) -> list[str]:
        """Return a sentence for each fault of the store itself.

        Faults of orders, messages and stock rows are not included.
        """
        ...

    def close(self) -> None:
        """Release files and connections. Closing twice is allowed.

        Further calls raise StoreUnavailable.
        """
        ...

    def __enter__(self) -> Self:
        """Return the store itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store."""
        ...


def mismatch(order_id: str, present: int, expected_version: int) -> OrderFsmError:
    """Return the error of `Store.commit` for an order with another version.

    Args:
        order_id: the order.
        present: its version. 0 if there is no such order.
        expected_version: as in `Change`. Not equal to `present`.
    """
    if not present:
        return OrderNotFound(f"there is no order {order_id!r}")
    if not expected_version:
        return OrderExists(f"there is already an order {order_id!r}")
    return VersionConflict(f"order {order_id!r} is at version {present}, not {expected_version}: load it again")


def key_reused(key: str | None) -> KeyReused:
    """Return the error of `Store.commit` for a key that was committed before."""
    return KeyReused(f"the key {key!r} was committed before")


def one_by_one(commit: Callable[[Change], object], changes: Sequence[Change]) -> list[OrderFsmError | None]:
    """Implement `Store.commit_all` by committing each change alone.

    A change that builds on a refused one is not committed: another change may have brought the order to the same
    version.

    Raises:
        StoreFull, StoreUnavailable, TransactionLost: if the store itself fails.
    """
    errors: list[OrderFsmError | None] = []
    reached: set[tuple[str, int]] = set()
    missed: set[tuple[str, int]] = set()
    for change in changes:
        order = change.order
        before = None if order is None else (order.id, change.expected_version)
        error: OrderFsmError | None
        if order is not None and before in missed and before not in reached:
            error = VersionConflict(f"order {order.id!r}: the change before this one was refused")
        else:
            error = refusal(partial(commit, change))
        if order is not None:
            (reached if error is None else missed).add((order.id, order.version))
        errors.append(error)
    return errors


def refusal(commit: Callable[[], object]) -> OrderFsmError | None:
    """Commit one change. Return the error that refuses it, or None.

    Raises:
        StoreFull, StoreUnavailable, TransactionLost: if the store itself fails.
    """
    try:
        commit()
    except (StoreFull, StoreUnavailable, TransactionLost):
        raise
    except OrderFsmError as error:
        return error
    return None

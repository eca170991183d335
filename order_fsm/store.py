"""The contract between the engine and a store: the `Store` protocol and its guarantees.

The engine decides. A store reads, commits and finds. `order_fsm.testing.store_contract` has the guarantees as tests,
under the same numbers:

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

from attrs import frozen

from order_fsm.errors import (
    OrderFsmError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    TransactionLost,
    VersionConflict,
)
from order_fsm.model import Entry, Message, Order, Payment, Sales, When
from order_fsm.money import ZERO, minus, plus
from order_fsm.stock_levels import StockLevel as StockLevel
from order_fsm.stock_levels import StockMove as StockMove
from order_fsm.stock_levels import available_of as available_of
from order_fsm.stock_levels import level_set as level_set
from order_fsm.stock_levels import levels_after as levels_after


@frozen(eq=False)
class Change:
    """One commit: written whole, or not at all.

    Attributes:
        order: the order after the commit. None if the change is about stock alone.
        expected_version: the version that the change was decided on. 0 for a new order and for stock alone.
        entries: the new history entries, with the versions `expected_version + 1` up to the order's. A new order may
            come with many.
        stock: moves, applied in sequence.
        messages: rows for the outbox, in order.
        key: the idempotency key, if any.
        request_fingerprint: the digest of the request under that key.
        erases: whether the commit erases the personal values of the order's past. See `order_fsm.erasure`.
    """

    order: Order | None
    expected_version: int
    entries: tuple[Entry, ...]
    stock: tuple[StockMove, ...] = ()
    messages: tuple[Message, ...] = ()
    key: str | None = None
    request_fingerprint: str | None = None
    erases: bool = False

    @property
    def payments(self) -> tuple[Payment, ...]:
        """The new rows of the ledger."""
        if self.order is None or not self.order.payments:
            return ()
        return tuple([payment for payment in self.order.payments if payment.version > self.expected_version])


class IdempotencyRecord(NamedTuple):
    """The request that was committed under a key.

    Attributes:
        order_id: the order that it changed, or None.
        first, last: the versions of its entries. 0 and 0 without an order.
        request_fingerprint: the digest of the request.
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


class Need(NamedTuple):
    """What the engine must read to decide one change.

    Attributes:
        order_id: the order, or None.
        key: the idempotency key whose record is wanted, if any.
        skus: further items whose stock is wanted.
    """

    order_id: str | None
    key: str | None = None
    skus: tuple[str, ...] = ()


class Snapshot(NamedTuple):
    """The answer to a `Need`.

    Attributes:
        order: the order, or None if the store does not have it.
        record: the record under the key, or None.
        stock: the available pieces of the tracked items among `Need.skus` and the order's lines. A store may leave
            out the lines of an order that holds its stock already.
        fault: the error to raise if this answer cannot be read. Other answers are not affected.
        backorder: the items of `stock` of which an order may take pieces that are not available.
    """

    order: Order | None
    record: IdempotencyRecord | None
    stock: Mapping[str, int]
    fault: StoreCorrupt | None = None
    backorder: frozenset[str] = frozenset()


class Cursor(NamedTuple):
    """A position in the sequence of a query. It stays valid if the order at that position is removed.

    Attributes:
        at: the time by which the query sorts.
        order_id: the order at that position.
    """

    at: datetime
    order_id: str


class Query(NamedTuple):
    """Which orders to find, oldest first by (created_at, id), or by (placed_at, id) if the query is dated.

    Attributes:
        when: the condition on their statuses.
        customer: only this customer's orders, if given.
        refund_due: only orders with a refund due, if True.
        after: the position after which to continue, if given.
        limit: the largest number of orders to return, 1 or more.
        unmatched: only orders with money in another currency, if True.
        reference: only orders with a payment that has this reference, if given.
        since: only orders that were placed at this time or later, if given.
        until: only orders that were placed before this time, if given.
        part_dispatched: only live orders of which a part was shipped, if True.
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
        """Whether the query has an interval. Then it finds no order that is not placed."""
        return self.since is not None or self.until is not None

    @property
    def marks(self) -> Marks:
        """The queues that the orders must be in, besides those that their states tell."""
        return Marks(self.refund_due, self.unmatched, self.part_dispatched)

    def matches(self, order: Order) -> bool:
        """Return whether an order meets every condition. The position and the limit of the page are not looked at."""
        wanted = self.marks
        return (
            self.when.matches(order.statuses)
            and self.customer in (None, order.customer)
            and (self.reference is None or self.reference in order.references)
            and (not self.is_dated or is_within(order.placed_at, self.since, self.until))
            and (not any(wanted) or all(compress(marks_of(order), wanted)))
        )


def is_within(at: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    """Return whether a time is in an interval: not before `since`, and before `until`. None is no bound."""
    return at is not None and (since is None or at >= since) and (until is None or at < until)


def sales_of(
    placed: Mapping[str, tuple[int, Decimal]], recorded: Mapping[tuple[str, str], Decimal]
) -> dict[str, Sales]:
    """Return the answer of `Store.report`.

    Args:
        placed: the number and the sum of the orders, by currency.
        recorded: the sums of the rows of ledgers, by currency and kind. The kind of their credits is `credited`.
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
    """The queues of an order that its state does not tell.

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
        orders: their number.
        total: the sum of their totals.
        unmatched: whether these orders hold money in another currency.
        part_dispatched: whether a part of the goods was shipped, and the rest was not.
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
        """The queues of these orders that their state does not tell."""
        return Marks(self.refund_due, self.unmatched, self.part_dispatched)


NO_MARKS = Marks(False, False, False)


def marks_of(order: Order) -> Marks:
    """Return the queues of an order that follow from its ledgers."""
    if not order.payments:
        return Marks(False, False, True) if order.part_dispatched else NO_MARKS
    balance = order.balance
    due, unmatched = balance.refund_due > 0, max(balance.others.values(), default=ZERO) > 0
    parts = order.part_dispatched
    return Marks(due, unmatched, parts) if due or unmatched or parts else NO_MARKS


class Store(Protocol):
    """The interface of a store. To write a store, implement these methods."""

    @property
    def joined(self) -> bool:
        """Whether the next call becomes part of a transaction that the host has open. Then the engine never retries."""
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
            after: the version after which to begin.
            limit: the largest number of entries to return, 1 or more. None returns all.

        Raises:
            OrderNotFound: if there is no such order.
        """
        ...

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        """Read everything that some changes need, in one round trip.

        A damaged order, record or stock row becomes the `fault` of its own snapshot.

        Returns:
            One snapshot per need, in the same sequence.
        """
        ...

    def commit(self, change: Change) -> None:
        """Write a change whole, or not at all.

        If an item is not tracked, a move that takes available pieces is a conflict, and available pieces that a move
        adds are dropped. The other numbers change all the same. `levels_after` does this.

        If the change `erases`, the same commit blanks what the order had before: `erased_entry` of each entry,
        `erased_message` of each message and dead letter, and the fingerprints of records unless `is_lasting`. All three
        are functions of `order_fsm.erasure`.

        Raises:
            OrderExists: if `expected_version` is 0 and the order exists.
            OrderNotFound: if `expected_version` is not 0 and the order does not exist.
            VersionConflict: if the order's version is not `expected_version`, or a strict move would leave less than
                zero pieces, or a move takes from an item that is not tracked.
            InvalidInput: if a number of pieces would not fit into 64 bits.
            KeyReused: if the key was committed before, on any order or none.
            StoreFull: if there is no room.
        """
        ...

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        """Write several changes as `commit` would, one after the other, and make them durable together.

        Each is whole or absent by itself. A refused change leaves the others as they are, and so does a change of a
        damaged order. Several changes may be about one order, each decided on the outcome of the one before it. If that
        one is refused, those that build on it are conflicts. `one_by_one` does this.

        Returns:
            For each change None, or the error that `commit` would have raised.

        Raises:
            StoreFull, StoreUnavailable, StoreCorrupt: if the store itself fails. Then any of the changes may be
                written.
        """
        ...

    def find(self, query: Query) -> list[Order]:
        """Return the orders that match a query, in its sequence.

        A damaged order is logged by its id and left out, so that it stops no queue. An audit reports it.
        """
        ...

    def tally(self, customer: str | None) -> list[Tally]:
        """Count the orders by state, currency and `Marks`.

        Args:
            customer: count only this customer's orders. None counts all.
        """
        ...

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        """Return the sums of the counted orders that were placed in an interval, by currency.

        Args:
            since, until: as in `Query`.
            customer: only this customer's orders, if given.
        """
        ...

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        """Return the sums over an interval by currency, all of one moment.

        The orders are those that `totals` sums up. The rows of the ledgers of all orders count by `Payment.at`, in
        their own currency. The credits are those of the orders that count. A currency without such an order, and
        without a row of more than 0, is left out.

        Args:
            since, until: as in `Query`.
        """
        ...

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        """Return the available pieces of the tracked items among these."""
        ...

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        """Return the levels of those among these items that were ever set or moved, tracked now or not."""
        ...

    def stock_items(self) -> Iterator[str]:
        """Yield the items that were ever set or moved, once each, damaged ones included."""
        ...

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        """Set the available pieces of an item. Its other numbers stay.

        Args:
            sku: the item.
            available: the number of available pieces. None stops tracking the item.
            expected: the number of available pieces that is replaced. None replaces any.
            backorder: whether an order may take pieces that are not available. None keeps it. False at first.

        Raises:
            VersionConflict: if `expected` is given and is not the number of available pieces.
        """
        ...

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        """Lease messages for delivery: of each order only the oldest undelivered one.

        An order whose oldest message is leased or postponed beyond `now` gives none. Messages with `remaining`
        recipients stand outside this sequence: they wait for no other message, and none waits for them. New messages
        come first, in the
        sequence of their commits, then postponed ones by the time at which they are due. A damaged message is logged
        by its id and left out, and later messages of its order wait.

        Args:
            now: the time, in UTC.
            until: the end of the lease. It identifies the lease in `delivered` and `retry_later`.
            limit: the largest number of messages to return, 1 or more.
        """
        ...

    def delivered(self, message: Message, until: datetime) -> None:
        """Delete a delivered message, if the lease that ends at `until` is still its last one.

        Otherwise nothing happens: the message is gone, or another relay has leased it since.
        """
        ...

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        """Return a leased message after a failed delivery, with one attempt more.

        Nothing happens unless the lease that ends at `until` is still the message's last one.

        Args:
            message: as it was claimed, except `remaining`, which is stored.
            until: the end of its lease.
            due: the message is not claimed before this time. None makes it a dead letter: kept, not claimed any more,
                and in no other message's way.
        """
        ...

    def dead_letters(self, limit: int) -> list[Message]:
        """Return the dead letters, oldest first by `created_at`. Damaged ones are logged and left out."""
        ...

    def requeue(self, message: Message) -> None:
        """Return a dead letter to the outbox, behind the messages of its order, with no attempts. Ignores others.

        It keeps its `remaining` recipients.
        """
        ...

    def remove(self, order: Order) -> None:
        """Delete an order with its history, payments, messages, dead letters and keys. Stock stays as it is.

        Raises:
            OrderNotFound: if there is no such order.
            VersionConflict: if its version is not that of `order`.
        """
        ...

    def scrub(self) -> None:
        """Remove the last bytes of erased values from the store's own files. Does nothing if there are none.

        It also completes the work of a process that was killed between an erasure and this call. A store in a host's
        database or on a server leaves its files to the database.

        Raises:
            StoreUnavailable, StoreFull: if bytes may be left. The erasure itself is committed: call again.
        """
        ...

    def order_ids(self) -> Iterator[str]:
        """Yield the ids of all orders once each, damaged orders included. Concurrent changes may or may not show."""
        ...

    def messages(self) -> Iterator[Message]:
        """Yield the undelivered messages, without claiming any."""
        ...

    def faults(self) -> list[str]:
        """Return a sentence for each fault of the store that no order, message or stock row shows."""
        ...

    def close(self) -> None:
        """Release files and connections. Further calls raise StoreUnavailable. Closing twice is allowed."""
        ...

    def __enter__(self) -> Self:
        """Return the store itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store."""
        ...


def one_by_one(commit: Callable[[Change], object], changes: Sequence[Change]) -> list[OrderFsmError | None]:
    """Answer `Store.commit_all` by committing each change alone.

    A change that builds on a refused one is not committed: the order may have come to the same version in another way.

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
    """Return the error that refuses one change, None if it is committed.

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

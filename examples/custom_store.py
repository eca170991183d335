"""A store that you write, and the contract that tests it.

    python examples/custom_store.py

To write a store, implement `Store`. This one keeps a list of changes in memory and computes every result from it. It is
slow, and simple enough to check by reading. A real store keeps an index for each query.

The contract needs pytest and Hypothesis: pip install '.[testing]' in the checkout. In your project the class
`TestLogStore` belongs in a test module.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from threading import RLock
from typing import Self

from msgspec.structs import replace

from order_fsm import (
    Entry,
    Line,
    Message,
    MissingDependency,
    Order,
    OrderFsmError,
    OrderNotFound,
    Orders,
    Sales,
    errors,
)
from order_fsm.erasure import erased_entry, erased_message, is_lasting
from order_fsm.store import (
    Change,
    IdempotencyRecord,
    Marks,
    Need,
    Query,
    Snapshot,
    StockLevel,
    Store,
    Tally,
    available_of,
    is_within,
    level_set,
    levels_after,
    marks_of,
    one_by_one,
    record_of,
    sales_of,
)

try:
    from order_fsm.testing import StoreContract
except MissingDependency:
    HAS_PYTEST = False
else:
    HAS_PYTEST = True

    class TestLogStore(StoreContract):
        """The whole contract on this store."""

        durable = False

        def make_store(self, place: Path) -> Store:  # noqa: ARG002 - it needs no folder
            return LogStore()


class LogStore:
    """Orders as a list of changes in memory."""

    joined = False

    def __init__(self) -> None:
        self._lock = RLock()
        self._closed = False
        self._log: list[Change] = []
        self._levels: dict[str, StockLevel] = {}
        # With the end of the last lease, or the time of the next attempt. None before the first lease.
        self._outbox: dict[str, tuple[Message, datetime | None]] = {}
        self._dead: dict[str, Message] = {}

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Hold the lock, so that no call sees half of a commit."""
        with self._lock:
            if self._closed:
                raise errors.StoreUnavailable("this store is closed")
            yield

    def load(self, order_id: str) -> Order:
        with self._opened():
            order = self._orders().get(order_id)
        if order is None:
            raise OrderNotFound(f"there is no order {order_id!r}")
        return order

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        with self._opened():
            self.load(order_id)
            changes = [change for change in self._log if change.order is not None and change.order.id == order_id]
            return tuple(entry for change in changes for entry in change.entries)[after:][:limit]

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        with self._opened():
            orders, records = self._orders(), self._records()
            snapshots = []
            for need in needs:
                order = orders.get(need.order_id or "")
                skus = [*need.skus, *(line.sku for line in (order.lines if order else ()))]
                backorder = frozenset(sku for sku, level in self.stock_levels(skus).items() if level.backorder)
                snapshots.append(Snapshot(order, records.get(need.key or ""), self.stock(skus), None, backorder))
            return snapshots

    def find(self, query: Query) -> list[Order]:
        with self._opened():
            orders = list(self._orders().values())
        found = [
            (at, order.id, order)
            for order in orders
            if (at := order.placed_at if query.is_dated else order.created_at) is not None
            and query.matches(order)
            and (query.after is None or (at, order.id) > query.after)
        ]
        return [order for _, _, order in sorted(found, key=lambda one: one[:2])[: query.limit]]

    def tally(self, customer: str | None) -> list[Tally]:
        groups: dict[tuple[str, str, Marks], list[Decimal]] = {}
        with self._opened():
            for order in self._orders().values():
                if customer in (None, order.customer):
                    groups.setdefault((order.state, order.currency, marks_of(order)), []).append(order.total)
        return [
            Tally(state, currency, due, len(totals), sum(totals, Decimal(0)), unmatched, part_dispatched)
            for (state, currency, (due, unmatched, part_dispatched)), totals in groups.items()
        ]

    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        return {currency: total for currency, (_, total) in self._placed(since, until, customer).items()}

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        recorded: dict[tuple[str, str], Decimal] = {}
        with self._opened():
            placed = self._placed(since, until, None)
            for order in self._orders().values():
                for row in order.payments:
                    for kind, amount in ((row.kind, row.amount), ("credited", row.credit)):
                        counts = order.counted or kind != "credited"
                        if amount and counts and is_within(row.at, since, until):
                            recorded[row.currency, kind] = recorded.get((row.currency, kind), Decimal(0)) + amount
        return sales_of(placed, recorded)

    def _placed(
        self, since: datetime | None, until: datetime | None, customer: str | None
    ) -> dict[str, tuple[int, Decimal]]:
        placed: dict[str, tuple[int, Decimal]] = {}
        with self._opened():
            for order in self._orders().values():
                if order.counted and customer in (None, order.customer) and is_within(order.placed_at, since, until):
                    number, total = placed.get(order.currency, (0, Decimal(0)))
                    placed[order.currency] = number + 1, total + order.total
        return placed

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return available_of(self.stock_levels(skus))

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        with self._opened():
            return {sku: self._levels[sku] for sku in skus if sku in self._levels}

    def stock_items(self) -> Iterator[str]:
        with self._opened():
            return iter(list(self._levels))

    def order_ids(self) -> Iterator[str]:
        with self._opened():
            return iter(self._orders())

    def faults(self) -> list[str]:
        with self._opened():
            return []

    def _orders(self) -> dict[str, Order]:
        return {change.order.id: change.order for change in self._log if change.order is not None}

    def _records(self) -> dict[str, IdempotencyRecord]:
        return {change.key: record_of(change) for change in self._log if change.key is not None}

    def commit(self, change: Change) -> None:
        with self._opened():
            # All checks come before the first write, so a change is written whole or not at all.
            self._check(change)
            levels = levels_after(self._levels, change.stock)
            if change.erases and change.order is not None:
                self._erase(change.order.id)
            self._log.append(change)
            self._levels |= levels
            self._outbox |= {message.id: (message, None) for message in change.messages}

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return one_by_one(self.commit, changes)

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        with self._opened():
            self._levels[sku] = level_set(sku, self._levels.get(sku), available, expected, backorder)

    def remove(self, order: Order) -> None:
        with self._opened():
            if self.load(order.id).version != order.version:
                raise errors.VersionConflict(f"order {order.id!r} has changed: load it again")
            self._log = [change for change in self._log if change.order is None or change.order.id != order.id]
            self._outbox = {one: row for one, row in self._outbox.items() if row[0].order_id != order.id}
            self._dead = {one: dead for one, dead in self._dead.items() if dead.order_id != order.id}

    def scrub(self) -> None:
        with self._opened():
            pass  # The store has no files.

    def _erase(self, order_id: str) -> None:
        """Blank the personal values of an order's past."""
        for place, change in enumerate(self._log):
            if change.order is not None and change.order.id == order_id:
                fingerprint = change.request_fingerprint if is_lasting(change.entries) else ""
                order = replace(change.order, customer=None, email=None, data={})
                entries = tuple(erased_entry(entry) for entry in change.entries)
                self._log[place] = replace(change, order=order, entries=entries, request_fingerprint=fingerprint)
        for message, due in list(self._outbox.values()):
            if message.order_id == order_id:
                self._outbox[message.id] = (erased_message(message), due)
        for message in list(self._dead.values()):
            if message.order_id == order_id:
                self._dead[message.id] = erased_message(message)

    def _check(self, change: Change) -> None:
        if change.key is not None and change.key in self._records():
            raise errors.KeyReused(f"the key {change.key!r} was committed before")
        if change.order is None:
            return
        present = self._orders().get(change.order.id)
        if present is not None and change.expected_version == 0:
            raise errors.OrderExists(f"there is already an order {present.id!r}")
        if present is None and change.expected_version != 0:
            raise OrderNotFound(f"there is no order {change.order.id!r}")
        if present is not None and present.version != change.expected_version:
            raise errors.VersionConflict(f"order {present.id!r} has changed: load it again")

    def messages(self) -> Iterator[Message]:
        with self._opened():
            return iter([message for message, _ in self._outbox.values()])

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        with self._opened():
            heads: dict[tuple[str, str | None], tuple[Message, datetime | None]] = {}
            for message, due in self._outbox.values():
                # A message with remaining recipients waits for no other, and no other waits for it.
                alone = message.id if message.remaining else None
                heads.setdefault((message.order_id, alone), (message, due))
            free = [(message, due) for message, due in heads.values() if due is None or due <= now]
            # Messages without a lease come first. The sort is stable, so they stay in the sequence of their commits.
            free.sort(key=lambda row: (row[1] is not None, row[1] or now))
            self._outbox |= {message.id: (message, until) for message, _ in free[:limit]}
            return [message for message, _ in free[:limit]]

    def delivered(self, message: Message, until: datetime) -> None:
        with self._opened():
            if self._is_leased(message, until):
                del self._outbox[message.id]

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        with self._opened():
            if self._is_leased(message, until):
                present, _ = self._outbox[message.id]  # An erasure may have changed the message since the claim.
                tried = replace(present, attempts=message.attempts + 1, remaining=message.remaining)
                if due is None:
                    del self._outbox[message.id]
                    self._dead[message.id] = tried
                else:
                    self._outbox[message.id] = (tried, due)

    def dead_letters(self, limit: int) -> list[Message]:
        with self._opened():
            return sorted(self._dead.values(), key=lambda message: (message.created_at, message.id))[:limit]

    def requeue(self, message: Message) -> None:
        with self._opened():
            if message.id in self._dead:
                self._outbox[message.id] = (replace(self._dead.pop(message.id), attempts=0), None)

    def _is_leased(self, message: Message, until: datetime) -> bool:
        return message.id in self._outbox and self._outbox[message.id][1] == until

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()


def main() -> None:
    with LogStore() as store:
        orders = Orders(store)
        orders.set_stock("TEAPOT", 10)
        orders.create("1001", total="49.90", currency="GBP", lines=[Line("TEAPOT", 2)])
        print(f"An order on LogStore: {orders.fire('1001', 'pay').order.state}, {orders.stock('TEAPOT')} teapots left")
    if not HAS_PYTEST:
        print("To run the contract on it, install pytest: pip install '.[testing]' in the checkout")
        return
    print("Running the contract on LogStore, which may take a minute:", flush=True)
    # In a new process, because pytest must be imported first, and in a folder that is deleted afterwards.
    command = [sys.executable, "-m", "pytest", __file__, "-qq", "-p", "no:cacheprovider", "--basetemp", "places"]
    with tempfile.TemporaryDirectory() as folder:
        failed = subprocess.run(command, cwd=folder, check=False).returncode  # noqa: S603 - the command is fixed
    print("LogStore breaks the contract" if failed else "LogStore passes the contract")
    sys.exit(failed)


if __name__ == "__main__":
    main()

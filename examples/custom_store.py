"""A store of one's own, and the contract that says whether it is right.

    python examples/custom_store.py

This one keeps a log of the changes in memory, and reads what it is asked for out of the log: slow, and plain to see to
be right. A real one keeps an index for each question.

The contract needs pytest (pip install order-fsm[testing]); in a project of yours the class at the end stands in a test
module.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import chdir
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from threading import RLock

import pytest
from attrs import evolve

from order_fsm import Entry, KeyReused, Message, Order, OrderExists, OrderFsmError, OrderNotFound, VersionConflict
from order_fsm.store import Change, Keyed, Query, Store, Tally, one_by_one
from order_fsm.testing import StoreContract


class LoggedStore:
    """Orders as a log of changes in memory."""

    def __init__(self) -> None:
        # One lock around everything: no question is answered between two halves of a commit.
        self._lock = RLock()
        self._log: list[Change] = []
        self._on_hand: dict[str, int] = {}
        self._outbox: list[Message] = []
        self._dead: list[Message] = []
        self._not_before: dict[str, datetime] = {}

    def load(self, order_id: str) -> Order:
        with self._lock:
            for change in reversed(self._log):
                if change.order.id == order_id:
                    return change.order
        raise OrderNotFound(f"there is no order {order_id!r}")

    def history(self, order_id: str) -> tuple[Entry, ...]:
        with self._lock:
            self.load(order_id)
            return tuple(entry for change in self._log if change.order.id == order_id for entry in change.entries)

    def keyed(self, key: str) -> Keyed | None:
        with self._lock:
            for change in self._log:
                if change.key == key:
                    return Keyed(change.order.id, change.expected + 1, change.order.version, change.content or "")
        return None

    def commit(self, change: Change) -> None:
        with self._lock:
            # First all that may stand in the way, then all that is written: so it is written whole or not at all.
            self._check(change)
            on_hand = self._after(change)
            self._log.append(change)
            self._on_hand = on_hand
            self._outbox += change.messages

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return one_by_one(self.commit, changes)

    def _check(self, change: Change) -> None:
        order_id = change.order.id
        if change.key is not None and self.keyed(change.key) is not None:
            raise KeyReused(f"the key {change.key!r} was committed before")
        version = max((logged.order.version for logged in self._log if logged.order.id == order_id), default=0)
        if version and not change.expected:
            raise OrderExists(f"there is an order {order_id!r} already")
        if change.expected and not version:
            raise OrderNotFound(f"there is no order {order_id!r}")
        if version != change.expected:
            raise VersionConflict(f"order {order_id!r} is at version {version}, not {change.expected}: load it again")

    def _after(self, change: Change) -> dict[str, int]:
        """The stock after a change. Items that were never set are not counted."""
        on_hand = dict(self._on_hand)
        for move in change.stock:
            if move.sku in on_hand:
                on_hand[move.sku] += move.quantity
                if move.strict and on_hand[move.sku] < 0:
                    raise VersionConflict(
                        f"the stock of {move.sku!r} has changed: load order {change.order.id!r} again"
                    )
        return on_hand

    def _orders(self) -> Iterator[Order]:
        """All orders as they stand, oldest first."""
        latest = {change.order.id: change.order for change in self._log}
        return iter(sorted(latest.values(), key=lambda order: (order.created_at, order.id)))

    def find(self, query: Query) -> list[Order]:
        with self._lock:
            after = None if query.after is None else self.load(query.after)
            found = [
                order
                for order in self._orders()
                if query.when.matches(order.statuses)
                and query.customer in (None, order.customer)
                and (not query.refund_due or order.refund_due > 0)
                and (after is None or (order.created_at, order.id) > (after.created_at, after.id))
            ]
        return found[: query.limit]

    def tally(self, customer: str | None) -> list[Tally]:
        groups: dict[tuple[str, str, bool], list[Decimal]] = {}
        with self._lock:
            for order in self._orders():
                if customer in (None, order.customer):
                    groups.setdefault((order.state, order.currency, order.refund_due > 0), []).append(order.total)
        return [Tally(*group, orders=len(totals), total=sum(totals, Decimal(0))) for group, totals in groups.items()]

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        with self._lock:
            return {sku: self._on_hand[sku] for sku in skus if sku in self._on_hand}

    def set_stock(self, sku: str, on_hand: int) -> None:
        with self._lock:
            self._on_hand[sku] = on_hand

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Message]:
        with self._lock:
            claimed: list[Message] = []
            waiting: set[str] = set()
            for message in self._outbox:
                # What is claimed or postponed holds back all later messages of its order.
                if message.order_id in waiting or self._not_before.get(message.id, now) > now:
                    waiting.add(message.order_id)
                elif len(claimed) < limit:
                    claimed.append(message)
                    self._not_before[message.id] = until
            return claimed

    def delivered(self, message: Message) -> None:
        with self._lock:
            self._outbox = [other for other in self._outbox if other.id != message.id]
            self._not_before.pop(message.id, None)

    def postpone(self, message: Message, until: datetime | None) -> None:
        with self._lock:
            for place, other in enumerate(self._outbox):
                if other.order_id == message.order_id:
                    self._not_before.pop(other.id, None)
                if other.id == message.id:
                    self._outbox[place] = evolve(other, attempts=other.attempts + 1)
                    if until is not None:
                        self._not_before[other.id] = until
            if until is None:
                self._dead += [other for other in self._outbox if other.id == message.id]
                self._outbox = [other for other in self._outbox if other.id != message.id]

    def dead_letters(self, limit: int) -> list[Message]:
        with self._lock:
            return sorted(self._dead, key=lambda message: message.created_at)[:limit]

    def revive(self, message: Message) -> None:
        with self._lock:
            self._outbox += [evolve(other, attempts=0) for other in self._dead if other.id == message.id]
            self._dead = [other for other in self._dead if other.id != message.id]

    def remove(self, order: Order) -> None:
        with self._lock:
            version = self.load(order.id).version
            if version != order.version:
                raise VersionConflict(f"order {order.id!r} is at version {version}, not {order.version}: load it again")
            self._log = [change for change in self._log if change.order.id != order.id]
            self._outbox = [message for message in self._outbox if message.order_id != order.id]
            self._dead = [message for message in self._dead if message.order_id != order.id]


class TestLoggedStore(StoreContract):
    """The whole contract, on this store: a subclass and a factory is all that it takes."""

    durable = False

    def make_store(self, place: Path) -> Store:  # noqa: ARG002
        return LoggedStore()


def main() -> None:
    print("Running the contract of a store on LoggedStore:")
    # In a folder that goes away, with all that pytest and its plug-ins note down.
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        failed = pytest.main([__file__, "-qq", "-p", "no:cacheprovider", "--basetemp", "places"])
    print("it does not keep the contract" if failed else "it keeps the contract")
    sys.exit(failed)


if __name__ == "__main__":
    main()

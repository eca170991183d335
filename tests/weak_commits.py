"""Stores with one deliberate fault each in commits, as controls for the store contract."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from msgspec.structs import replace

from order_fsm.errors import KeyReused, OrderExists, OrderFsmError, OrderNotFound, VersionConflict
from order_fsm.model import Message, Order
from order_fsm.store import Change, IdempotencyRecord, Need, Snapshot, StockLevel, StockMove, record_of, refusal
from order_fsm_adapters.memory import MemoryStore


def let_others_go_on() -> None:
    """Yield to other threads, for faults between two steps."""
    for _ in range(20):
        time.sleep(0)


def _add(store: MemoryStore, messages: Iterable[Message]) -> None:
    for message in messages:
        store._content.outbox.add(message)


def _lenient(change: Change) -> tuple[StockMove, ...]:
    return tuple(move._replace(strict=False) for move in change.stock)


class ForgetsTheSecondMove(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(replace(change, stock=change.stock[:1]))


class ForgetsAShipment(MemoryStore):
    """Keeps the old shipments if the state does not change."""

    def commit(self, change: Change) -> None:
        order = change.order
        known = None if order is None else self._content.orders.get(order.id)
        if order is not None and known is not None and known.state == order.state:
            change = replace(change, order=replace(order, shipments=known.shipments))
        super().commit(change)


class StopsAtARefusal(MemoryStore):
    """Loses the keys of changes after a refused one."""

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        errors = list(map(refusal, (partial(self.commit, change) for change in changes)))
        first = next((number for number, error in enumerate(errors) if error is not None), len(errors))
        for change in changes[first:]:
            self._content.records.pop(change.key or "", None)
        return errors


class ForgetsLaterMessages(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(replace(change, messages=change.messages[:1]))


class KeepsTheLastEntryOnly(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(replace(change, entries=change.entries[-1:]))


class WritesTheKeyFirst(MemoryStore):
    """Keeps the key if the rest of the commit is refused."""

    def commit(self, change: Change) -> None:
        try:
            super().commit(change)
        except VersionConflict:
            if change.key is not None:
                self._content.records[change.key] = record_of(change)
            raise


class WritesMessagesFirst(MemoryStore):
    """Keeps the messages if the rest of the commit is refused."""

    def commit(self, change: Change) -> None:
        _add(self, change.messages)
        super().commit(change)


class WritesMessagesLast(MemoryStore):
    """Commits without the messages if they cannot be written."""

    def commit(self, change: Change) -> None:
        super().commit(replace(change, messages=()))
        json.dumps([message.payload for message in change.messages])
        _add(self, change.messages)


class MovesStockFirst(MemoryStore):
    """Moves stock outside of the lock, and keeps the move if the rest of the commit is refused."""

    def commit(self, change: Change) -> None:
        for move in change.stock:
            for sku, available in self.stock([move.sku]).items():
                let_others_go_on()
                if move.strict and available + move.available < 0:
                    raise VersionConflict("short")
                self.set_stock(sku, available + move.available)
        super().commit(replace(change, stock=tuple(move._replace(available=0) for move in change.stock)))


class ChecksNoStock(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(replace(change, stock=_lenient(change)))


class ChecksStockOutsideTheLock(ChecksNoStock):
    def commit(self, change: Change) -> None:
        available = self.stock(move.sku for move in change.stock)
        if any(move.strict and available.get(move.sku, 0) + move.available < 0 for move in change.stock):
            raise VersionConflict("short")
        let_others_go_on()
        super().commit(change)


class TracksEveryItem(MemoryStore):
    """Tracks an item from its first returned piece on."""

    def commit(self, change: Change) -> None:
        for move in change.stock:
            if move.available > 0 and not self.stock([move.sku]):
                self.set_stock(move.sku, 0)
        super().commit(change)


class PassesOverUntrackedItems(MemoryStore):
    """Ignores strict moves of untracked items."""

    def commit(self, change: Change) -> None:
        tracked = self.stock(move.sku for move in change.stock)
        super().commit(replace(change, stock=tuple(move for move in change.stock if move.sku in tracked)))


class KnowsEveryItem(MemoryStore):
    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        wanted = list(skus)
        return dict.fromkeys(wanted, 0) | super().stock(wanted)


class ShowsNothingBelowZero(MemoryStore):
    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return {sku: max(number, 0) for sku, number in super().stock(skus).items()}


class CountsInFloats(MemoryStore):
    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return {sku: int(float(number)) for sku, number in super().stock(skus).items()}


class ChecksNoVersion(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(_expecting(change, self._content.orders.get(_id(change))))


def _expecting(change: Change, order: Order | None) -> Change:
    """Return a change with the current version of the order as expected version."""
    return replace(change, expected_version=order.version) if order and change.expected_version else change


def _id(change: Change) -> str:
    return "" if change.order is None else change.order.id


class ChecksTheVersionOutsideTheLock(ChecksNoVersion):
    def commit(self, change: Change) -> None:
        if change.expected_version and self.load(_id(change)).version != change.expected_version:
            raise VersionConflict("stale")
        let_others_go_on()
        super().commit(change)


class TakesVersionsAhead(MemoryStore):
    def commit(self, change: Change) -> None:
        order = self._content.orders.get(_id(change))
        super().commit(_expecting(change, order) if order and change.expected_version > order.version else change)


class OverwritesOrders(MemoryStore):
    def commit(self, change: Change) -> None:
        try:
            super().commit(change)
        except OrderExists:
            assert change.order is not None
            self._content.orders[change.order.id] = change.order


class MakesMissingOrders(MemoryStore):
    def commit(self, change: Change) -> None:
        try:
            super().commit(change)
        except OrderNotFound:
            super().commit(replace(change, expected_version=0))


class ForgetsKeys(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(replace(change, key=None))


class KeepsKeysPerOrder(MemoryStore):
    def commit(self, change: Change) -> None:
        key = None if change.key is None else f"{_id(change)} {change.key}"
        super().commit(replace(change, key=key))
        if change.key is not None:
            self._content.records.setdefault(change.key, record_of(change))


class ChecksKeysOfOrdersOnly(MemoryStore):
    """Commits a key of a stock move repeatedly."""

    def commit(self, change: Change) -> None:
        if change.order is None and change.key is not None:
            self._content.records.pop(change.key, None)
        super().commit(change)


class RemovesKeysWithoutAnOrder(MemoryStore):
    """Removes these keys with any order."""

    def remove(self, order: Order) -> None:
        super().remove(order)
        records = self._content.records
        for key in [key for key, record in records.items() if record.order_id is None]:
            del records[key]


class ChecksTheKeyOutsideTheLock(ForgetsKeys):
    def commit(self, change: Change) -> None:
        if change.key in self._content.records:
            raise KeyReused("used")
        let_others_go_on()
        super().commit(change)
        if change.key is not None:
            self._content.records[change.key] = record_of(change)


class ChangesSnapshots(MemoryStore):
    """Changes every snapshot with a function that loses a value."""

    def change(self, need: Need, snapshot: Snapshot) -> Snapshot:
        raise NotImplementedError

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return list(map(self.change, needs, super().prepare_many(needs)))


class KnowsNotWhichEntriesAKeyMade(ChangesSnapshots):
    def change(self, need: Need, snapshot: Snapshot) -> Snapshot:  # noqa: ARG002
        record = snapshot.record
        if record is None:
            return snapshot
        return replace(snapshot, record=IdempotencyRecord(record.order_id, 1, record.last, record.request_fingerprint))


class ForgetsExtraItems(ChangesSnapshots):
    """Returns in a snapshot only the stock of the order's lines."""

    def change(self, need: Need, snapshot: Snapshot) -> Snapshot:
        lines = () if snapshot.order is None else snapshot.order.lines
        return replace(snapshot, stock=self.stock(line.sku for line in lines if line.sku not in need.skus))


class AnswersInItsOwnSequence(MemoryStore):
    """Returns snapshots sorted by order id."""

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return super().prepare_many(sorted(needs, key=lambda need: need.order_id or ""))


class CachesSnapshots(MemoryStore):
    """Caches records with their order and stock."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str | None, Snapshot] = {}

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return [
            self._seen.setdefault(need.key, snapshot) if need.key in self._seen or snapshot.record else snapshot
            for need, snapshot in zip(needs, super().prepare_many(needs), strict=True)
        ]


class CachesOrders(MemoryStore):
    """Caches orders of snapshots."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, Order] = {}

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return [
            one if one.order is None else replace(one, order=self._seen.setdefault(one.order.id, one.order))
            for one in super().prepare_many(needs)
        ]


class ChecksAGroupAtOnce(MemoryStore):
    """Checks strict moves against the stock before the whole group."""

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        before = self.stock(move.sku for change in changes for move in change.stock)

        def commit(change: Change) -> None:
            for move in change.stock:
                if move.strict and before.get(move.sku, 0) + move.available < 0:
                    raise VersionConflict("short")
            self.commit(replace(change, stock=_lenient(change)))

        return [refusal(partial(commit, change)) for change in changes]


class ChecksVersionsOfAGroupAtOnce(MemoryStore):
    """Refuses a second change of one order, because its version does not exist yet."""

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        known = {one.id: one.version for one in self._content.orders.values()}

        def commit(change: Change) -> None:
            if change.expected_version != known.get(_id(change), 0):
                raise VersionConflict("stale")
            self.commit(change)

        return [refusal(partial(commit, change)) for change in changes]


class ForgetsRefusedChanges(MemoryStore):
    """Commits a change that builds on a refused change of its group."""

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return [refusal(partial(self.commit, change)) for change in changes]


class ChecksKeysOfAGroupAtOnce(ForgetsKeys):
    """Accepts one key for two changes of a group."""

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        return [refusal(partial(self.commit, change)) for change in changes]


class LimitsCreations(MemoryStore):
    """Stores only the last entry of a new order."""

    def commit(self, change: Change) -> None:
        super().commit(change if change.expected_version else replace(change, entries=change.entries[-1:]))


class Folding(MemoryStore):
    """Treats names as equal if they are equal after `fold`."""

    fold: Callable[[str], str] = staticmethod(str.casefold)

    def commit(self, change: Change) -> None:
        moves = [move._replace(sku=self.fold(move.sku)) for move in change.stock]
        key = None if change.key is None else self.fold(change.key)
        order = change.order and replace(change.order, id=self.fold(change.order.id))
        super().commit(replace(change, order=order, stock=tuple(moves), key=key))

    def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
        return super().prepare_many([replace(need, key=need.key and self.fold(need.key)) for need in needs])

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return {sku: number for sku in skus for number in super(Folding, self).stock([self.fold(sku)]).values()}

    def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
        return {sku: level for sku in skus for level in super(Folding, self).stock_levels([self.fold(sku)]).values()}

    def set_stock(
        self, sku: str, available: int | None, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        super().set_stock(self.fold(sku), available, expected=expected, backorder=backorder)


class FoldingLetters(Folding):
    """Folds like file systems that normalize Unicode."""

    fold = staticmethod(lambda name: unicodedata.normalize("NFC", name))


class FoldingBlanks(Folding):
    """Folds like databases that pad texts for comparison."""

    fold = staticmethod(str.rstrip)


class RemovesNoMessages(MemoryStore):
    def remove(self, order: Order) -> None:
        messages = [message for message in self.messages() if message.order_id == order.id]
        super().remove(order)
        _add(self, messages)


class RemovesNoDeadLetters(MemoryStore):
    def remove(self, order: Order) -> None:
        dead = dict(self._content.outbox._dead)
        super().remove(order)
        self._content.outbox._dead = dead


class RemovesNoKeys(MemoryStore):
    def remove(self, order: Order) -> None:
        records = dict(self._content.records)
        super().remove(order)
        self._content.records.update(records)


class RemovesNoHistory(MemoryStore):
    """Continues the old history in a new order of the same id."""

    def remove(self, order: Order) -> None:
        history = self._content.histories[order.id]
        super().remove(order)
        self._content.histories[order.id] = history


class GivesStockBack(MemoryStore):
    """Returns the stock of a removed order."""

    def remove(self, order: Order) -> None:
        super().remove(order)
        for line in order.lines:
            for sku, available in self.stock([line.sku]).items():
                self.set_stock(sku, available + line.quantity)


class RemovesAnyVersion(MemoryStore):
    def remove(self, order: Order) -> None:
        super().remove(self.load(order.id))


class ChecksARemovalOutsideTheLock(RemovesAnyVersion):
    def commit(self, change: Change) -> None:
        for _ in range(10):
            let_others_go_on()  # Without this the committing workers would finish before the others start.
        super().commit(change)

    def remove(self, order: Order) -> None:
        if self.load(order.id).version != order.version:
            raise VersionConflict("stale")
        for _ in range(500):
            let_others_go_on()
            with suppress(OrderNotFound):
                if self.load(order.id).version != order.version:
                    break
        super().remove(order)


class RemovesWhatIsMissing(MemoryStore):
    def remove(self, order: Order) -> None:
        with suppress(OrderNotFound):
            super().remove(order)

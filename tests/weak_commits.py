"""Stores that commit with one deliberate fault each: controls for the contract of stores."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from attrs import evolve

from order_fsm.errors import KeyReused, OrderExists, OrderFsmError, OrderNotFound, VersionConflict
from order_fsm.model import Order
from order_fsm.store import Change, Keyed, StockMove, refusal
from order_fsm_adapters.memory import MemoryStore


def let_others_go_on() -> None:
    """Give other threads a turn, where a fault lies in what they can do meanwhile."""
    for _ in range(20):
        time.sleep(0)


def _lenient(change: Change) -> tuple[StockMove, ...]:
    return tuple(StockMove(move.sku, move.quantity, strict=False) for move in change.stock)


class ForgetsTheSecondMove(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(evolve(change, stock=change.stock[:1]))


class StopsAtARefusal(MemoryStore):
    """What was to be committed with a refused change is not."""

    def commit_all(self, changes: Sequence[Change]) -> list[OrderFsmError | None]:
        errors = list(map(refusal, (partial(self.commit, change) for change in changes)))
        first = next((number for number, error in enumerate(errors) if error is not None), len(errors))
        for change in changes[first:]:
            self._keys.pop(change.key or "", None)
        return errors


class ForgetsLaterMessages(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(evolve(change, messages=change.messages[:1]))


class KeepsTheLastEntryOnly(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(evolve(change, entries=change.entries[-1:]))


class WritesTheKeyFirst(MemoryStore):
    """The key stays where the rest of the commit is refused."""

    def commit(self, change: Change) -> None:
        try:
            super().commit(change)
        except VersionConflict:
            if change.key is not None:
                self._keys[change.key] = Keyed(change.order.id, change.expected + 1, change.order.version, "")
            raise


class WritesMessagesFirst(MemoryStore):
    """They stay where the rest of the commit is refused."""

    def commit(self, change: Change) -> None:
        self._outbox.update((message.id, message) for message in change.messages)
        super().commit(change)


class WritesMessagesLast(MemoryStore):
    """They are missing where they cannot be written."""

    def commit(self, change: Change) -> None:
        super().commit(evolve(change, messages=()))
        json.dumps([message.payload for message in change.messages])
        self._outbox.update((message.id, message) for message in change.messages)


class MovesStockFirst(MemoryStore):
    """Outside of the lock, and it stays moved where the rest of the commit is refused."""

    def commit(self, change: Change) -> None:
        for move in change.stock:
            for sku, on_hand in self.stock([move.sku]).items():
                let_others_go_on()
                if move.strict and on_hand + move.quantity < 0:
                    raise VersionConflict("short")
                self.set_stock(sku, on_hand + move.quantity)
        super().commit(evolve(change, stock=()))


class ChecksNoStock(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(evolve(change, stock=_lenient(change)))


class ChecksStockOutsideTheLock(ChecksNoStock):
    def commit(self, change: Change) -> None:
        on_hand = self.stock(move.sku for move in change.stock)
        if any(move.strict and on_hand.get(move.sku, 0) + move.quantity < 0 for move in change.stock):
            raise VersionConflict("short")
        let_others_go_on()
        super().commit(change)


class TracksEveryItem(MemoryStore):
    def commit(self, change: Change) -> None:
        for move in change.stock:
            if not self.stock([move.sku]):
                self.set_stock(move.sku, 0)
        super().commit(evolve(change, stock=_lenient(change)))


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
        super().commit(evolve(change, expected=self.load(change.order.id).version) if change.expected else change)


class ChecksTheVersionOutsideTheLock(ChecksNoVersion):
    def commit(self, change: Change) -> None:
        if change.expected and self.load(change.order.id).version != change.expected:
            raise VersionConflict("stale")
        let_others_go_on()
        super().commit(change)


class TakesVersionsAhead(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(
            evolve(change, expected=min(change.expected, self.load(change.order.id).version))
            if change.expected
            else change
        )


class OverwritesOrders(MemoryStore):
    def commit(self, change: Change) -> None:
        try:
            super().commit(change)
        except OrderExists:
            self._orders[change.order.id] = change.order


class MakesMissingOrders(MemoryStore):
    def commit(self, change: Change) -> None:
        try:
            super().commit(change)
        except OrderNotFound:
            super().commit(evolve(change, expected=0))


class ForgetsKeys(MemoryStore):
    def commit(self, change: Change) -> None:
        super().commit(evolve(change, key=None))


class KeepsKeysPerOrder(MemoryStore):
    def commit(self, change: Change) -> None:
        key = None if change.key is None else f"{change.order.id} {change.key}"
        super().commit(evolve(change, key=key))
        if change.key is not None:
            self._keys.setdefault(change.key, self._keys[key or ""])


class ChecksTheKeyOutsideTheLock(ForgetsKeys):
    def commit(self, change: Change) -> None:
        if change.key is not None and self.keyed(change.key) is not None:
            raise KeyReused("used")
        let_others_go_on()
        super().commit(change)
        if change.key is not None:
            self._keys[change.key] = Keyed(change.order.id, change.expected + 1, change.order.version, "")


class KnowsNotWhichEntriesAKeyMade(MemoryStore):
    def keyed(self, key: str) -> Keyed | None:
        keyed = super().keyed(key)
        return None if keyed is None else Keyed(keyed.order_id, 1, keyed.last, keyed.content)


class Folding(MemoryStore):
    """Names that differ only by what `fold` takes away are one."""

    fold: Callable[[str], str] = staticmethod(str.casefold)

    def commit(self, change: Change) -> None:
        moves = [StockMove(self.fold(move.sku), move.quantity, move.strict) for move in change.stock]
        key = None if change.key is None else self.fold(change.key)
        order = evolve(change.order, id=self.fold(change.order.id))
        super().commit(evolve(change, order=order, stock=tuple(moves), key=key))

    def keyed(self, key: str) -> Keyed | None:
        return super().keyed(self.fold(key))

    def stock(self, skus: Iterable[str]) -> dict[str, int]:
        return {sku: number for sku in skus for number in super(Folding, self).stock([self.fold(sku)]).values()}

    def set_stock(self, sku: str, on_hand: int) -> None:
        super().set_stock(self.fold(sku), on_hand)


class FoldingLetters(Folding):
    """As file systems do that keep file names in one form of Unicode."""

    fold = staticmethod(lambda name: unicodedata.normalize("NFC", name))


class FoldingBlanks(Folding):
    """As databases do that pad texts for comparison."""

    fold = staticmethod(str.rstrip)


class RemovesNoMessages(MemoryStore):
    def remove(self, order: Order) -> None:
        outbox = dict(self._outbox)
        super().remove(order)
        self._outbox = outbox


class RemovesNoDeadLetters(MemoryStore):
    def remove(self, order: Order) -> None:
        dead = dict(self._dead)
        super().remove(order)
        self._dead = dead


class RemovesNoKeys(MemoryStore):
    def remove(self, order: Order) -> None:
        keys = dict(self._keys)
        super().remove(order)
        self._keys = keys


class RemovesNoHistory(MemoryStore):
    """A new order of the same id goes on with it."""

    def remove(self, order: Order) -> None:
        history = self._histories[order.id]
        super().remove(order)
        self._histories[order.id] = history


class GivesStockBack(MemoryStore):
    """A removed order gives back what it held."""

    def remove(self, order: Order) -> None:
        super().remove(order)
        for line in order.lines:
            for sku, on_hand in self.stock([line.sku]).items():
                self.set_stock(sku, on_hand + line.quantity)


class RemovesAnyVersion(MemoryStore):
    def remove(self, order: Order) -> None:
        super().remove(self.load(order.id))


class ChecksARemovalOutsideTheLock(RemovesAnyVersion):
    def commit(self, change: Change) -> None:
        for _ in range(10):
            let_others_go_on()  # Or who only commits would be done with all orders before the others have begun.
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

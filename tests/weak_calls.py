"""A simple store on an unreliable server, and stores derived from it with one deliberate fault each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from msgspec.structs import replace

from order_fsm.errors import StoreUnavailable
from order_fsm.model import Message, Order
from order_fsm.store import Change, Snapshot, record_of
from order_fsm.testing.store_contract.calls import Calls
from order_fsm_adapters.memory import MemoryStore


class RemoteStore:
    """A store whose every method is one atomic call to a store in a server's memory."""

    calls: ClassVar[Calls | None] = None
    servers: ClassVar[dict[Path, MemoryStore]] = {}
    _closed = False

    def __init__(self, place: Path) -> None:
        self._memory = self._called(lambda: self.servers.setdefault(place, MemoryStore()))

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if not hasattr(MemoryStore, method):
            raise AttributeError(method)
        return lambda *given, **named: self._called(lambda: getattr(self._memory, method)(*given, **named))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True

    def _called(self, call: Callable[[], Any]) -> Any:
        if self._closed:
            raise StoreUnavailable("this store is closed: make a new one")
        try:
            return self._sent(call)
        except ConnectionError as error:
            raise StoreUnavailable("the server does not answer") from error

    @classmethod
    def _sent(cls, call: Callable[[], Any]) -> Any:
        return call() if cls.calls is None else cls.calls.made(call, ConnectionError)


@contextmanager
def boundary(calls: Calls) -> Iterator[None]:
    """The calls to the server."""
    RemoteStore.calls = calls
    try:
        yield
    finally:
        RemoteStore.calls = None


class GivesRawErrors(RemoteStore):
    """Raises errors of the network."""

    def _called(self, call: Callable[[], Any]) -> Any:
        return self._sent(call)


NOTHING: dict[str, Any] = {
    "stock": {},
    "stock_levels": {},
    "prepare_many": [Snapshot(None, None, {})],
    **dict.fromkeys(("claim", "find", "tally", "dead_letters", "order_ids", "stock_items", "messages"), ()),
}
"""The results without content."""


class SwallowsErrors(RemoteStore):
    """Returns empty results if the server does not answer."""

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = super().__getattr__(method)

        def silent(*given: Any) -> Any:
            try:
                return call(*given)
            except StoreUnavailable:
                return NOTHING.get(method)

        return silent


class MovesStockByItself(RemoteStore):
    """Moves the stock in a separate call before the rest."""

    def commit(self, change: Change) -> None:
        for move in change.stock:
            available = self._memory.stock([move.sku]).get(move.sku, 0)
            self._called(partial(self._memory.set_stock, move.sku, available + move.available))
        rest = tuple(move._replace(available=0) for move in change.stock)
        self._called(lambda: self._memory.commit(replace(change, stock=rest)))


class WritesTheKeyLast(RemoteStore):
    """Writes the key in a separate call after the rest."""

    def commit(self, change: Change) -> None:
        self._called(lambda: self._memory.commit(replace(change, key=None, request_fingerprint=None)))
        self._called(lambda: self._memory._content.records.update({change.key or "": record_of(change)}))


class AddsLast(RemoteStore):
    """Removes a message, and restores it in a separate call."""

    def retry_later(self, message: Message, until: datetime, due: datetime | None) -> None:
        del due
        outbox = self._memory._content.outbox

        def add() -> None:
            if message.id not in {one.id for one in outbox}:  # A call whose answer was lost is repeated.
                outbox.add(replace(message, attempts=1))

        self._called(lambda: self._memory.delivered(message, until))
        self._called(add)


class RemovesMessagesByItself(RemoteStore):
    """Removes the messages of an order in a separate call before the rest."""

    def remove(self, order: Order) -> None:
        self._called(lambda: self._memory._content.outbox.forget(order.id))
        self._called(lambda: self._memory.remove(order))

"""A store on a server that may not answer, plain and right, and stores with one deliberate fault each made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve

from order_fsm.errors import StoreUnavailable
from order_fsm.model import Order
from order_fsm.store import Change, Keyed
from order_fsm.testing.store_contract.calls import Calls
from order_fsm_adapters.memory import MemoryStore


class RemoteStore:
    """Every method is one call to a store in the memory of a server, where it is done whole."""

    calls: ClassVar[Calls | None] = None
    servers: ClassVar[dict[Path, MemoryStore]] = {}

    def __init__(self, place: Path) -> None:
        self._memory = self._called(lambda: self.servers.setdefault(place, MemoryStore()))

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if not hasattr(MemoryStore, method):
            raise AttributeError(method)
        return lambda *given: self._called(lambda: getattr(self._memory, method)(*given))

    def _called(self, call: Callable[[], Any]) -> Any:
        try:
            return self._sent(call)
        except ConnectionError as error:
            raise StoreUnavailable("the server does not answer") from error

    @classmethod
    def _sent(cls, call: Callable[[], Any]) -> Any:
        return call() if cls.calls is None else cls.calls.made(call, ConnectionError)


@contextmanager
def boundary(calls: Calls) -> Iterator[None]:
    """Calls to the server."""
    RemoteStore.calls = calls
    try:
        yield
    finally:
        RemoteStore.calls = None


class GivesRawErrors(RemoteStore):
    """Its errors are those of the network."""

    def _called(self, call: Callable[[], Any]) -> Any:
        return self._sent(call)


class SwallowsErrors(RemoteStore):
    """Where the server does not answer it goes on as if it had said "nothing"."""

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = super().__getattr__(method)

        def silent(*given: Any) -> Any:
            try:
                return call(*given)
            except StoreUnavailable:
                return {} if method == "stock" else [] if method in {"claim", "find", "tally", "dead_letters"} else None

        return silent


class MovesStockByItself(RemoteStore):
    """The stock is a call of its own, before the rest."""

    def commit(self, change: Change) -> None:
        for move in change.stock:
            on_hand = self._memory.stock([move.sku]).get(move.sku, 0)
            self._called(partial(self._memory.set_stock, move.sku, on_hand + move.quantity))
        self._called(lambda: self._memory.commit(evolve(change, stock=())))


class WritesTheKeyLast(RemoteStore):
    """The key is a call of its own, after the rest."""

    def commit(self, change: Change) -> None:
        self._called(lambda: self._memory.commit(evolve(change, key=None, content=None)))
        keyed = Keyed(change.order.id, change.expected + 1, change.order.version, change.content or "")
        self._called(lambda: vars(self._memory)["_keys"].update({change.key: keyed}))


class TellsLast(RemoteStore):
    """A message is brought back by a call of its own, after it was taken away."""

    def postpone(self, message: Any, until: Any) -> None:  # noqa: ARG002
        self._called(lambda: self._memory.delivered(message))
        self._called(lambda: vars(self._memory)["_outbox"].update({message.id: evolve(message, attempts=1)}))


class RemovesMessagesByItself(RemoteStore):
    """The messages of an order are removed by calls of their own, before the rest."""

    def remove(self, order: Order) -> None:
        for message in list(vars(self._memory)["_outbox"].values()):
            if message.order_id == order.id:
                self._called(lambda: self._memory.delivered(message))  # noqa: B023 - called at once
        self._called(lambda: self._memory.remove(order))

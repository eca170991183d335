"""The stores that a behaviour is tested on, and how others come between one of their calls and the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from order_fsm.store import Store
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

KINDS = ("memory", "sqlite", "json")


@contextmanager
def opened(kind: str, place: Path) -> Iterator[Store]:
    """A new store of a kind, in an empty folder."""
    if kind == "sqlite":
        store = SqliteStore(place / "orders.db")
        try:
            yield store
        finally:
            store.close()
    else:
        yield MemoryStore() if kind == "memory" else JsonStore(place / "orders")


def precede(store: Store, method: str, act: Callable[..., object]) -> None:
    """Have something happen before every call of a method, given what the method is given."""
    call = getattr(store, method)

    def preceded(*given: Any) -> Any:
        act(*given)
        return call(*given)

    setattr(store, method, preceded)


def interrupted(store: Store) -> list[Callable[[], object]]:
    """What happens before the next commits of a store, one at a time, the last one first; to be filled."""
    before: list[Callable[[], object]] = []
    precede(store, "commit", lambda change: before.pop()() if before else None)
    return before

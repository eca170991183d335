"""The stores of the tests, and ways to run other changes between two of their calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from order_fsm.store import Store
from order_fsm_adapters.memory import MemoryStore

KINDS = ("memory", "sqlite", "json")


@contextmanager
def opened(kind: str, place: Path) -> Iterator[Store]:
    """Open a new store of a kind, in an empty folder."""
    with _made(kind, place) as store:
        yield store


def _made(kind: str, place: Path) -> Store:
    if kind == "sqlite":
        from order_fsm_adapters.sqlite import SqliteStore

        return SqliteStore(place / "orders.db")
    if kind == "json":
        from order_fsm_adapters.json_files import JsonStore

        return JsonStore(place / "orders")
    return MemoryStore()


def precede(store: Store, method: str, act: Callable[..., object]) -> None:
    """Run a function before every call of a method, with the same arguments."""
    call = getattr(store, method)

    def preceded(*given: Any) -> Any:
        act(*given)
        return call(*given)

    setattr(store, method, preceded)


def interrupted(store: Store) -> list[Callable[[], object]]:
    """Return a list of functions that run before the next commits of a store, the last one first."""
    before: list[Callable[[], object]] = []
    precede(store, "commit", lambda change: before.pop()() if before else None)
    return before

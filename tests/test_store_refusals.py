"""Errors of a store name the order, the key or the item for the shop's log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from order_fsm import KeyReused, OrderExists, OrderNotFound, VersionConflict
from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation, order_of, step, taken

from .stores import KINDS, opened


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with opened(request.param, tmp_path) as store:
        yield store


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.load("1002"),
        lambda store: store.history("1002"),
        lambda store: store.commit(step(order_of(creation("1002")))),
        lambda store: store.remove(order_of(creation("1002"))),
    ],
    ids=["load", "history", "commit", "remove"],
)
def test_missing_order_is_named(store: Store, ask: Callable[[Store], object]) -> None:
    store.commit(creation("1001"))
    with pytest.raises(OrderNotFound, match=r"^there is no order '1002'$"):
        ask(store)


def test_order_that_exists_is_named(store: Store) -> None:
    store.commit(creation("1001"))
    with pytest.raises(OrderExists, match=r"^there is already an order '1001'$"):
        store.commit(creation("1001"))


def test_reused_key_is_named(store: Store) -> None:
    store.commit(creation("1001", key="evt_1"))
    with pytest.raises(KeyReused, match=r"^the key 'evt_1' was committed before$"):
        store.commit(creation("1002", key="evt_1"))


def test_conflict_names_both_versions(store: Store) -> None:
    first = creation("1001")
    store.commit(first)
    store.commit(step(order_of(first)))
    for late in (partial(store.commit, step(order_of(first))), partial(store.remove, order_of(first))):
        with pytest.raises(VersionConflict, match=r"^order '1001' is at version 2, not 1: load it again$"):
            late()


@pytest.mark.parametrize("sku", ["TEAPOT", "NOT TRACKED"])
def test_item_that_cannot_be_taken_is_named(store: Store, sku: str) -> None:
    store.set_stock("TEAPOT", 1)
    with pytest.raises(VersionConflict, match=f"^order '1001': the stock of {sku!r} has changed: load it again$"):
        store.commit(creation("1001", stock=[taken(sku, 2)]))

"""What a store refuses, it refuses in words that name what is meant: they end in a shop's log or before its owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from order_fsm import KeyReused, OrderExists, OrderNotFound, VersionConflict, When
from order_fsm.store import Query, Store
from order_fsm.testing.store_contract.changes import creation, step, taken

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
        lambda store: store.find(Query(When(), after="1002")),
        lambda store: store.commit(step(creation("1002").order)),
        lambda store: store.remove(creation("1002").order),
    ],
    ids=["load", "history", "find", "commit", "remove"],
)
def test_an_order_that_is_not_there_is_named(store: Store, ask: Callable[[Store], object]) -> None:
    store.commit(creation("1001"))
    with pytest.raises(OrderNotFound, match=r"^there is no order '1002'$"):
        ask(store)


def test_an_order_that_is_there_already_is_named(store: Store) -> None:
    store.commit(creation("1001"))
    with pytest.raises(OrderExists, match=r"^there is an order '1001' already$"):
        store.commit(creation("1001"))


def test_a_key_that_is_used_is_named(store: Store) -> None:
    store.commit(creation("1001", key="evt_1"))
    with pytest.raises(KeyReused, match=r"^the key 'evt_1' was committed before$"):
        store.commit(creation("1002", key="evt_1"))


def test_a_conflict_tells_the_version_that_is_there_and_the_one_that_was_expected(store: Store) -> None:
    first = creation("1001")
    store.commit(first)
    store.commit(step(first.order))
    for late in (partial(store.commit, step(first.order)), partial(store.remove, first.order)):
        with pytest.raises(VersionConflict, match=r"^order '1001' is at version 2, not 1: load it again$"):
            late()


def test_an_item_that_is_short_is_named(store: Store) -> None:
    store.set_stock("TEAPOT", 1)
    with pytest.raises(VersionConflict, match="the stock of 'TEAPOT' has changed: load"):
        store.commit(creation("1001", stock=[taken("TEAPOT", 2)]))

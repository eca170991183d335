"""The library against other libraries and hand-written code, at the work of `peers.shop`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from paired_times import Compare, Work
from peers import library
from peers.shop import CREATED, STATES, STEPS, Illegal, Shop, live

INSTALL = "its package is not installed: pip install -e '.[bench]'"

# The allowed ratio of the library to each peer.
IN_MEMORY = {
    "by_hand": 30,
    "transitions_shared": 2.5,
    "transitions_each": 1,
    "python_statemachine": 1,
    "django_fsm": 5,
    "event_sourcing": 1,
}
# Hand-written code does not seal rows, keep tallies, or store keys and messages. `test_speed` compares equal rows.
ON_SQLITE = {
    "by_hand": 1.5,
    "transitions_shared": 1.4,
    "transitions_each": 1,
    "python_statemachine": 1,
    "django_fsm": 1,
    "event_sourcing": 1,
}


def peer(name: str) -> Any:
    """Import the module of a peer by name, because not all are installed."""
    return pytest.importorskip(f"peers.{name}", reason=INSTALL)


@pytest.fixture(params=IN_MEMORY)
def in_memory(request: pytest.FixtureRequest) -> Iterator[tuple[str, Shop]]:
    with closing(peer(request.param).in_memory()) as shop:
        yield request.param, shop


@pytest.fixture(params=ON_SQLITE)
def on_sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Shop]]:
    with closing(peer(request.param).on_sqlite(tmp_path / "theirs.db")) as shop:
        yield request.param, shop


def does_the_work(shop: Shop) -> None:
    live(shop, "1001")
    assert (shop.state("1001"), shop.entries("1001")) == (STATES[-1], 1 + len(STEPS))
    shop.create("1002", "49.90")
    with pytest.raises(Illegal):
        shop.change("1002", "dispatch")
    shop.create("1003", "0.00")
    with pytest.raises(Illegal):
        shop.change("1003", "place")
    for order_id in ("1002", "1003"):
        assert (shop.state(order_id), shop.entries(order_id)) == (CREATED, 1), order_id


def test_a_peer_in_memory_does_the_work(in_memory: tuple[str, Shop]) -> None:
    does_the_work(in_memory[1])


def test_a_peer_on_sqlite_does_the_work(on_sqlite: tuple[str, Shop]) -> None:
    does_the_work(on_sqlite[1])


def lives(shop: Shop, numbers: Iterator[int], orders: int) -> Work:
    ids = [f"o{next(numbers)}" for _ in range(orders)]

    def work() -> None:
        for order_id in ids:
            live(shop, order_id)

    return work


def test_the_life_of_an_order_in_memory(compare: Compare, in_memory: tuple[str, Shop]) -> None:
    name, theirs = in_memory
    ours, numbers, orders = library.in_memory(), count(), 100
    compare(
        lambda: lives(ours, numbers, orders),
        lambda: lives(theirs, numbers, orders),
        limit=IN_MEMORY[name],
        rounds=9,
        changes=orders * len(STATES),
    )


def test_the_life_of_an_order_on_sqlite(compare: Compare, on_sqlite: tuple[str, Shop], tmp_path: Path) -> None:
    name, theirs = on_sqlite
    numbers, orders = count(), 20
    with closing(library.on_sqlite(tmp_path / "ours.db")) as ours:
        compare(
            lambda: lives(ours, numbers, orders),
            lambda: lives(theirs, numbers, orders),
            limit=ON_SQLITE[name],
            rounds=9,
            changes=orders * len(STATES),
        )

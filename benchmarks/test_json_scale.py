"""What opening a folder of many orders costs, until the first of them is changed: no other is read for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from filled_stores import unflushed
from order_fsm import Orders
from order_fsm_adapters.json_files import JsonStore
from paired_times import Compare, Work

LARGE, SMALL = 100_000, 1_000


def filled(folder: Path, number: int) -> Path:
    """A store of so many orders, written without waiting for the disk, as durability is not what is timed."""
    with unflushed():
        orders = Orders(JsonStore(folder))
        for one in range(number):
            orders.create(f"o{one}", total="49.90", currency="GBP")
    return folder


@pytest.fixture(scope="module")
def large_and_small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("scale")
    return filled(folder / "large", LARGE), filled(folder / "small", SMALL)


def test_opening_and_the_first_change_among_100_000_orders_against_1_000(
    compare: Compare, large_and_small: tuple[Path, Path]
) -> None:
    large, small = large_and_small
    times = 10

    def prepared(folder: Path) -> Work:
        def work() -> None:
            for one in range(times):
                store = JsonStore(folder)
                Orders(store).comment(f"o{one}", "Delayed by snow")
                store.close()

        return work

    compare(lambda: prepared(large), lambda: prepared(small), limit=1.2, rounds=15, changes=times)

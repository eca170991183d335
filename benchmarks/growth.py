"""Measure how the cost of a change grows, as a table and a picture.

    python benchmarks/growth.py FOLDER --orders 100000

Writes `growth.md` and `growth.svg` into the folder. The picture needs matplotlib: pip install -e '.[bench]'.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

from msgspec.structs import replace

from filled_stores import KINDS, Shop
from growth_table import Panel, markdown
from order_fsm import Entry, Orders
from order_fsm.store import Change, Store
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore
from test_verify import independent

TITLES = {"memory": "in memory", "sqlite": "on SQLite", "json": "on JSON files"}
ENTRIES = (10, 100, 1_000, 10_000)
STATUSES = range(5, 13)
WORKERS = (1, 2, 4, 8)
CHANGES = 320
"""The number of changes of all workers together."""

Line = list[tuple[int, float]]


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Store]:
    """Open a store in a folder."""
    if kind == "memory":
        yield MemoryStore()
        return
    store = SqliteStore(folder / "shop.db") if kind == "sqlite" else JsonStore(folder / "shop")
    try:
        yield store
    finally:
        store.close()


def medians(works: Mapping[int, Sequence[Callable[[], object]]]) -> Line:
    """Return the median times in microseconds. The work alternates, so that a slow machine slows down all of it."""
    taken: dict[int, list[float]] = {number: [] for number in works}
    for one_of_each in zip(*works.values(), strict=True):
        for number, work in zip(works, one_of_each, strict=True):
            start = time.perf_counter()
            work()
            taken[number].append(time.perf_counter() - start)
    return [(number, statistics.median(seconds) * 1e6) for number, seconds in taken.items()]


def by_orders(folder: Path, most: int) -> Panel:
    """Measure changes all over stores with more and more orders."""
    lines: dict[str, Line] = {}
    numbers = [number for number in (100, 1_000, 10_000, 100_000, 1_000_000) if number <= most]
    for kind in KINDS:
        with ExitStack() as stack:
            shops = [stack.enter_context(closing(Shop(folder, kind, number))) for number in numbers]
            lines[TITLES[kind]] = medians(
                {
                    shop.number: [partial(shop.orders.fire, order_id, "invoice") for order_id in shop.some(50)]
                    for shop in shops
                }
            )
    return Panel("Orders in the store", "orders", "a change, \N{MICRO SIGN}s", lines)


def by_entries(folder: Path) -> Panel:
    """Measure changes of an order with a longer and longer history."""
    lines: dict[str, Line] = {}
    for kind in KINDS:
        with opened(kind, folder) as store:
            orders = Orders(store)
            works: dict[int, list[Callable[[], object]]] = {}
            for number in ENTRIES:
                ids = [f"o{number} {one}" for one in range(20)]
                for order_id in ids:
                    long_lived(orders, store, order_id, number)
                works[number] = [partial(orders.fire, order_id, "place") for order_id in ids]
            lines[TITLES[kind]] = medians(works)
    return Panel("Entries in the history of the order", "entries", "a change, \N{MICRO SIGN}s", lines)


def long_lived(orders: Orders, store: Store, order_id: str, number: int) -> None:
    """Create an order with a number of entries, all except the first in one commit."""
    order = orders.create(order_id, total="49.90", currency="GBP")
    more = (
        Entry(version, "comment", order.state, order.state, order.created_at, comment="Delayed by snow")
        for version in range(2, number + 1)
    )
    store.commit(Change(replace(order, version=number), order.version, tuple(more)))


def by_statuses() -> Panel:
    """Measure workflows with more and more independent statuses: 12 have 4,096 states."""
    changes: dict[int, list[Callable[[], object]]] = {}
    for number in STATUSES:
        orders = Orders(MemoryStore(), independent(number))
        ids = [f"o{one}" for one in range(200)]
        for order_id in ids:
            orders.create(order_id, total="49.90", currency="GBP")
            orders.fire(order_id, "to_s0")
        changes[number] = [partial(orders.fire, order_id, "to_s1") for order_id in ids]
    builds = {number: [partial(independent, number)] * 3 for number in STATUSES}
    lines = {"a change in memory": medians(changes), "building the workflow, once per process": medians(builds)}
    return Panel("Statuses of the workflow", "statuses", "\N{MICRO SIGN}s", lines)


def by_workers(folder: Path) -> Panel:
    """Measure more and more threads or processes, each with its own orders."""
    runs: dict[str, Callable[[int], float]] = {
        "on SQLite, threads": partial(in_threads, folder, "sqlite"),
        "on SQLite, threads with group_commit": partial(in_threads, folder, "sqlite", group_commit=True),
        "on SQLite, processes": partial(in_processes, folder, "sqlite"),
        "on JSON files, threads": partial(in_threads, folder, "json"),
        "on JSON files, processes": partial(in_processes, folder, "json"),
    }
    rounds = [{(name, number): run(number) for name, run in runs.items() for number in WORKERS} for _ in range(3)]
    lines = {
        name: [(number, statistics.median(found[name, number] for found in rounds)) for number in WORKERS]
        for name in runs
    }
    return Panel("Workers at the same time", "threads or processes", "all workers: a change, \N{MICRO SIGN}s", lines)


def shares(store: Store, number: int) -> list[list[str]]:
    """Create new orders for each worker."""
    orders = Orders(store)
    ids = [f"{time.monotonic_ns()}" for _ in range(CHANGES)]
    for order_id in ids:
        orders.create(order_id, total="49.90", currency="GBP")
    return [ids[one::number] for one in range(number)]


def place(orders: Orders, ids: list[str], ready: Any, spans: Any) -> None:
    """Place orders when all workers are ready. Return the start and the end."""
    ready.wait()
    start = time.monotonic()
    for order_id in ids:
        orders.fire(order_id, "place")
    spans.append((start, time.monotonic()))


def place_in_a_process(kind: str, folder: Path, ids: list[str], ready: Any, spans: Any) -> None:
    with opened(kind, folder) as store:
        place(Orders(store), ids, ready, spans)


def together(spans: Sequence[tuple[float, float]]) -> float:
    """Return the time of a change over all workers, in microseconds."""
    begin = min(start for start, _ in spans)
    end = max(end for _, end in spans)
    return (end - begin) / CHANGES * 1e6


def in_threads(folder: Path, kind: str, number: int, group_commit: bool = False) -> float:
    ready, spans = Barrier(number), list[tuple[float, float]]()
    with opened(kind, folder) as store:
        orders = Orders(store, group_commit=group_commit)
        threads = [Thread(target=place, args=(orders, ids, ready, spans)) for ids in shares(store, number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return together(spans)


def in_processes(folder: Path, kind: str, number: int) -> float:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager:
        ready, spans = manager.Barrier(number), manager.list()
        with opened(kind, folder) as store:
            work = partial(place_in_a_process, kind, folder)
            workers = [spawn.Process(target=work, args=(ids, ready, spans)) for ids in shares(store, number)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found: list[tuple[float, float]] = list(spans)
    return together(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how the cost of a change grows. Write a table and a picture.")
    parser.add_argument("folder", type=Path, help="the folder of growth.md and growth.svg")
    parser.add_argument("--orders", type=int, default=100_000, help="the largest number of orders (100,000)")
    asked = parser.parse_args()
    if importlib.util.find_spec("matplotlib") is None:
        parser.exit(1, "the picture needs matplotlib: pip install -e '.[bench]'\n")
    from growth_plot import draw

    with tempfile.TemporaryDirectory() as some, tempfile.TemporaryDirectory() as other:
        panels = [by_orders(Path(some), asked.orders), by_entries(Path(some)), by_statuses(), by_workers(Path(other))]
    (asked.folder / "growth.md").write_text(markdown(panels), encoding="utf-8")
    draw(panels, asked.folder / "growth.svg")


if __name__ == "__main__":
    main()

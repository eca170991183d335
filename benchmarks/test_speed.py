"""How long a change takes, as a ratio to the same work without the library, in one run."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from filled_stores import unflushed
from order_fsm import Line, Orders, Workflow, shop_workflow
from order_fsm.rules.machine import Draft, flat_machine
from order_fsm.testing.store_contract.changes import creation
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore
from paired_times import Compare, Work

CHANGES = 500


@pytest.mark.parametrize("what", ["place", "place with a key and two lines of tracked stock", "pay", "dispatch"])
def test_a_change_in_memory_against_a_bare_trigger(compare: Compare, what: str) -> None:
    trigger = what.split()[0]
    whole = what != trigger
    facts: dict[str, Any] = {"pay": {"amount": "49.90", "currency": "GBP", "reference": "ch_1"}}.get(trigger, {})
    event = shop_workflow().machine.events[trigger]

    def orders_before_it() -> Orders:
        orders = Orders(MemoryStore())
        for sku in ("TEAPOT", "CUP"):
            orders.set_stock(sku, 10 * CHANGES)
        lines = [Line("TEAPOT", 1), Line("CUP", 4)] if whole else []
        for number in range(CHANGES):
            orders.create(str(number), total="49.90", currency="GBP", lines=lines)
            if trigger == "dispatch":
                orders.fire(str(number), "pay", reference="ch_1")
        return orders

    def ours() -> Work:
        orders = orders_before_it()
        keys = [f"evt_{number}" if whole else None for number in range(CHANGES)]

        def work() -> None:
            for number, key in enumerate(keys):
                orders.fire(str(number), trigger, key=key, **facts)

        return work

    def theirs() -> Work:
        order = orders_before_it().get("0")
        guarded = {"amount": Decimal("49.90"), "currency": "GBP", "reference": "ch_1", "comment": "", "short": ()}

        def work() -> None:
            for _ in range(CHANGES):
                event.trigger(Draft(order, guarded, override=False))

        return work

    compare(ours, theirs, limit=2.5, rounds=15, changes=CHANGES)


def test_building_the_workflow_against_building_its_machine(compare: Compare) -> None:
    """The table checked and expanded, once a process, against the bare `transitions.Machine` of its edges."""
    built = shop_workflow()

    def ours() -> Work:
        parts = {"holds_stock": built.holds_stock, "counts": built.counts, "queues": built.queues}

        def work() -> None:
            Workflow(built.statuses, built.rules, **parts)  # type: ignore[arg-type]

        return work

    compare(
        ours, lambda: lambda: bool(flat_machine(built.states, built.edges)) and None, limit=1.5, rounds=15, changes=1
    )


def _created(store: SqliteStore | JsonStore, numbers: Iterator[int], number: int) -> list[str]:
    """So many new orders, made together: what prepares a round need not wait for the disk once an order."""
    ids = [f"o{next(numbers)}" for _ in range(number)]
    now = datetime.now(UTC)  # Where a store keeps them by age, they come after those before them.
    with unflushed() if isinstance(store, JsonStore) else nullcontext():
        assert not any(store.commit_all([creation(order_id, at=now) for order_id in ids]))
    return ids


BY_HAND = """
CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT, counted INTEGER, version INTEGER, total TEXT, currency TEXT,
    customer TEXT, email TEXT, lines TEXT, data TEXT, payments TEXT, created_at TEXT, updated_at TEXT,
    refund_is_due INTEGER, unit TEXT, units INTEGER, last_seal BLOB, seal BLOB) STRICT;
CREATE INDEX queues ON orders (state, created_at, id);
CREATE TABLE entries (order_id TEXT, version INTEGER, trigger TEXT, state_before TEXT, state_after TEXT, at TEXT,
    by TEXT, comment TEXT, visible INTEGER, notify INTEGER, key TEXT, override INTEGER, facts TEXT, seal BLOB,
    PRIMARY KEY (order_id, version)) STRICT, WITHOUT ROWID;
CREATE TABLE tally (state TEXT, currency TEXT, refund_is_due INTEGER, unit TEXT, orders INTEGER, units INTEGER,
    PRIMARY KEY (state, currency, refund_is_due, unit)) STRICT, WITHOUT ROWID;
INSERT INTO tally VALUES ('unfinished', 'GBP', 0, '0.01', 0, 0), ('sent', 'GBP', 0, '0.01', 0, 0);
"""
CREATED = "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
MOVED = "UPDATE orders SET state = ?, counted = 1, version = ?, updated_at = ?, last_seal = ?, seal = ? WHERE id = ?"
NOTED = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
COUNTED = """
    UPDATE tally SET orders = orders + ?, units = units + ?
    WHERE state = ? AND currency = 'GBP' AND refund_is_due = 0 AND unit = '0.01'
"""
Seal = Callable[[tuple[object, ...], bytes], bytes]
"""Makes the seal of a row, which follows another one."""


def _sealed(row: tuple[object, ...], before: bytes) -> bytes:
    return blake2b(before + msgspec.msgpack.encode(row), digest_size=32).digest()


def _not_sealed(_: tuple[object, ...], __: bytes) -> bytes:
    return bytes(32)


@pytest.mark.parametrize(
    ("seal", "known", "limit"),
    [
        pytest.param(_sealed, True, 1.15, id="all"),
        pytest.param(_not_sealed, True, 1.3, id="without seals"),
        pytest.param(_sealed, False, 1.3, id="of orders that others made"),
    ],
)
def test_a_durable_change_on_sqlite_against_the_same_rows_by_hand(
    compare: Compare, tmp_path: Path, seal: Seal, known: bool, limit: float
) -> None:
    """The rows are the same but for what is in the columns of the seals, where these are not made by hand. Orders that
    another program made are not known to the store, so that it must read them first."""
    store = SqliteStore(tmp_path / "ours.db")
    maker = store if known else SqliteStore(tmp_path / "ours.db")
    orders = Orders(store)
    hand = sqlite3.connect(tmp_path / "by_hand.db", isolation_level=None)
    hand.execute("PRAGMA journal_mode=WAL")
    hand.execute("PRAGMA synchronous=FULL")
    hand.executescript(BY_HAND)
    numbers = count()
    changes = 240  # So that a round has a checkpoint of the log in it.

    def ours() -> Work:
        ids = _created(maker, numbers, changes)

        def work() -> None:
            for order_id in ids:
                orders.fire(order_id, "place")

        return work

    def theirs() -> Work:
        ids = [f"o{next(numbers)}" for _ in range(changes)]
        now = datetime.now(UTC).isoformat()
        hand.execute("BEGIN IMMEDIATE")  # One commit, as that of ours: then both have as many checkpoints to come.
        for one in ids:
            entry = (one, 1, "create", "unfinished", "unfinished", now, None, "", 0, 0, None, 0, "{}")
            last = seal(entry, b"")
            money = ("49.90", "GBP", None, None, "[]", "{}", "[]")
            row = (one, "unfinished", 0, 1, *money, now, now, 0, "0.01", 4990, last)
            hand.execute(CREATED, (*row, seal(row, b"")))
            hand.execute(NOTED, (*entry, last))
            hand.execute(COUNTED, (1, 4990, "unfinished"))
        hand.execute("COMMIT")

        def work() -> None:
            for one in ids:
                at = datetime.now(UTC).isoformat()
                hand.execute("BEGIN IMMEDIATE")
                if seal is _sealed:
                    before = hand.execute("SELECT * FROM orders WHERE id = ?", (one,)).fetchone()
                    state, version, last = before[1], before[3], before[-2]
                else:
                    before, last = (), b""
                    state, version = hand.execute("SELECT state, version FROM orders WHERE id = ?", (one,)).fetchone()
                if state != "unfinished":
                    raise ValueError(state)
                entry = (one, version + 1, "place", state, "sent", at, None, "", 0, 0, None, 0, "{}")
                last = seal(entry, last)
                sealed = seal((one, "sent", 1, version + 1, *before[4:12], at, *before[13:-2], last), b"")
                hand.execute(MOVED, ("sent", version + 1, at, last, sealed, one))
                hand.execute(NOTED, (*entry, last))
                hand.execute(COUNTED, (-1, -4990, state))
                hand.execute(COUNTED, (1, 4990, "sent"))
                hand.execute("COMMIT")

        return work

    compare(ours, theirs, limit=limit, rounds=15, changes=changes)
    maker.close()
    store.close()
    hand.close()


def test_a_change_in_a_batch_of_100_against_a_change_alone(compare: Compare, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "shop.db")
    orders = Orders(store)
    numbers = count()
    changes = 100

    def together() -> Work:
        ids = _created(store, numbers, changes)

        def work() -> None:
            with orders.batch() as batch:
                for order_id in ids:
                    batch.fire(order_id, "place")

        return work

    def alone() -> Work:
        ids = _created(store, numbers, changes)

        def work() -> None:
            for order_id in ids:
                orders.fire(order_id, "place")

        return work

    compare(together, alone, limit=1 / 5, rounds=9, changes=changes)
    store.close()


def test_changes_of_16_threads_in_groups_against_one_thread(compare: Compare, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "shop.db")
    orders = Orders(store, group_commit=True)
    numbers = count()
    changes = 480

    def prepared(size: int) -> Work:
        ids = _created(store, numbers, changes)

        def work_off(mine: list[str]) -> None:
            for order_id in mine:
                orders.fire(order_id, "place")

        threads = [Thread(target=work_off, args=(ids[number::size],)) for number in range(size)]

        def work() -> None:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return work

    compare(lambda: prepared(16), lambda: prepared(1), limit=1 / 2.5, rounds=9, changes=changes)
    store.close()


@pytest.mark.parametrize(
    ("known", "limit"), [pytest.param(True, 1.25, id="all"), pytest.param(False, 1.35, id="of orders that others made")]
)
def test_a_durable_change_of_a_json_file_against_writing_the_same_bytes(
    compare: Compare, tmp_path: Path, known: bool, limit: float
) -> None:
    store = JsonStore(tmp_path / "ours")
    maker = store if known else JsonStore(tmp_path / "ours")
    orders = Orders(store)
    bare = tmp_path / "bare"
    bare.mkdir()
    numbers = count()
    changes = 60
    contents: list[bytes] = []

    def ours() -> Work:
        ids = _created(maker, numbers, changes)
        os.sync()

        def work() -> None:
            for order_id in ids:
                orders.fire(order_id, "place")

        return work

    def theirs() -> Work:
        folder = os.open(bare, os.O_RDONLY)

        def write(file: int, content: bytes) -> None:
            temporary = os.open(bare / f"{file}.tmp", os.O_WRONLY | os.O_CREAT)
            os.write(temporary, content)
            os.fsync(temporary)
            os.close(temporary)
            os.replace(bare / f"{file}.tmp", bare / f"{file}")
            os.fsync(folder)

        def work() -> None:
            for file, content in enumerate(contents):
                write(file, content)

        if not contents:
            ids = _created(store, numbers, changes)
            for order_id in ids:
                orders.fire(order_id, "place")
            contents.extend((tmp_path / "ours" / "orders" / f"{order_id}.json").read_bytes() for order_id in ids)
            # There is a file before: to replace one frees its blocks, which on some file systems takes a flush more.
            work()
        return work

    compare(ours, theirs, limit=limit, rounds=9, changes=changes)
    maker.close()
    store.close()


def test_importing_it_against_importing_what_it_stands_on(compare: Compare) -> None:
    # As installed packages are: with their bytecode compiled.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def python(code: str) -> Work:
        # The interpreter's own start is not part of it.
        script = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"

        def work() -> float:
            done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
            return float(done.stdout)

        return work

    compare(
        lambda: python("import order_fsm"),
        lambda: python("import transitions, attrs"),
        limit=1.3,
        rounds=15,
        changes=1,
    )

"""The time of a change, as a ratio to the same work without the library."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from filled_stores import opened
from order_fsm import Line, Orders, Workflow, shop_workflow
from order_fsm.rules.machine import Draft, flat_machine
from order_fsm.store import Store
from order_fsm.testing.store_contract.changes import creation
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore
from paired_times import Compare, CompareSingle, Work

CHANGES = 500


@pytest.mark.parametrize("what", ["place", "place with a key and two lines of tracked stock", "pay", "dispatch"])
def test_a_change_in_memory_against_a_bare_trigger(compare_single: CompareSingle, what: str) -> None:
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

    def ours() -> Iterator[object]:
        orders = orders_before_it()
        keys = [f"evt_{number}" if whole else None for number in range(CHANGES)]
        return (orders.fire(str(number), trigger, key=key, **facts) for number, key in enumerate(keys))

    def theirs() -> Iterator[object]:
        order = orders_before_it().get("0")
        paid = {"amount": Decimal("49.90"), "currency": "GBP", "reference": "ch_1", "bound": None, "several": False}
        left = {"outstanding": Decimal(0) if trigger == "pay" else Decimal("49.90"), "online": trigger == "pay"}
        guarded = {**paid, **left, "comment": "", "shortages": (), "gateway": False}
        guarded |= {"pieces": 0, "beyond": (), "goods_left": False}
        return (event.trigger(Draft(order, guarded, override=False)) for _ in range(CHANGES))

    compare_single(ours, theirs, limit=3 if trigger == "pay" else 2.5, rounds=15)


def test_building_the_workflow_against_building_its_machine(compare: Compare) -> None:
    """Checking and expanding the table, once per process, against the bare `transitions.Machine` of its edges."""
    built = shop_workflow()

    def ours() -> Work:
        parts = {"holds_stock": built.holds_stock, "counts": built.counts, "queues": built.queues}

        def work() -> None:
            Workflow(built.statuses, built.rules, **parts)  # type: ignore[arg-type]

        return work

    compare(
        ours, lambda: lambda: bool(flat_machine(built.states, built.edges)) and None, limit=1.5, rounds=15, changes=1
    )


def _created(store: Store, numbers: Iterator[int], number: int) -> list[str]:
    """Create a number of orders in one commit, so that the preparation does not wait for the disk per order."""
    ids = [f"o{next(numbers)}" for _ in range(number)]
    now = datetime.now(UTC)  # The new orders are the youngest, for stores that sort by age.
    assert not any(store.commit_all([creation(order_id, at=now) for order_id in ids]))
    return ids


def _seal(row: tuple[object, ...], before: bytes = b"") -> bytes:
    return blake2b(before + msgspec.msgpack.encode(row), digest_size=32).digest()


ORDER = f"INSERT INTO order_fsm_order VALUES ({', '.join('?' * 26)})"  # noqa: S608 - of question marks alone
ENTRY = f"INSERT INTO order_fsm_entry VALUES ({', '.join('?' * 18)})"  # noqa: S608 - of question marks alone
MESSAGE = f"INSERT INTO order_fsm_message VALUES (NULL, {', '.join('?' * 7)}, 0, '', 1)"  # noqa: S608 - of question marks
PLACE = """
    UPDATE order_fsm_order SET state = ?, invoiced_by_payment = ?, version = ?, reserved = ?, payments = ?,
        shipments = ?, updated_at = ?, refund_is_due = ?, is_unmatched = ?, is_part_dispatched = ?, last_seal = ?,
        seal = ?, counted = ?, placed_at = ? WHERE id = ?
"""


def test_a_durable_change_on_sqlite_against_the_same_rows_by_hand(compare: Compare, tmp_path: Path) -> None:
    """By hand: the same tables, one transaction per change, the row read and checked, and all three rows sealed."""
    store = SqliteStore(tmp_path / "ours.db")
    orders = Orders(store)
    SqliteStore(tmp_path / "by_hand.db").close()
    hand = sqlite3.connect(tmp_path / "by_hand.db", isolation_level=None)
    hand.execute("PRAGMA synchronous=FULL")
    numbers = count()
    changes = 240  # Enough changes for a checkpoint of the log in each round.

    def ours() -> Work:
        ids = _created(store, numbers, changes)

        def work() -> None:
            for order_id in ids:
                orders.fire(order_id, "place")

        return work

    def theirs() -> Work:
        ids = [f"o{next(numbers)}" for _ in range(changes)]
        now = datetime.now(UTC).isoformat()
        # One commit, as in ours, so that both have the same number of checkpoints left.
        hand.execute("BEGIN IMMEDIATE")
        for one in ids:
            step = (one, 1, "create", "unfinished", "unfinished", now, None, "", 0, 0, None, 0, "{}", None)
            entry = (*step, "{}", None, None)
            last = _seal(entry)
            money = (0, None, "49.90", "GBP", "[]", "0.01", 4990, None, None, "{}", None, None, now)
            row = (one, "unfinished", 0, 1, None, "[]", "[]", now, 0, 0, 0, last)
            hand.execute(ORDER, (*row, _seal(row + money), *money))
            hand.execute(ENTRY, (*entry, last))
        hand.execute("COMMIT")

        def work() -> None:
            for one in ids:
                at = datetime.now(UTC).isoformat()
                hand.execute("BEGIN IMMEDIATE")
                before = hand.execute("SELECT * FROM order_fsm_order WHERE id = ?", (one,)).fetchone()
                if before[1] != "unfinished" or _seal(before[:12] + before[13:]) != before[12]:
                    raise ValueError(before)
                version, rules = before[3] + 1, "0123456789abcdef"
                step = (one, version, "place", before[1], "sent", at, None, "", 0, 0, None, 0, "{}", rules)
                entry = (*step, "{}", None, None)
                last = _seal(entry, before[11])
                row = ("sent", 0, version, None, "[]", "[]", at, 0, 0, 0, last)
                hand.execute(PLACE, (*row, _seal((one, *row, 1, at, *before[15:])), 1, at, one))
                hand.execute(ENTRY, (*entry, last))
                payload = '{"total":"49.90","currency":"GBP","state":"sent"}'
                message = (f"{one}#{version}.1-{os.urandom(4).hex()}", one, "order.placed", payload, at, "")
                hand.execute(MESSAGE, (*message, _seal(message)))
                hand.execute("COMMIT")

        return work

    compare(ours, theirs, limit=1.3, rounds=15, changes=changes)
    store.close()
    hand.close()


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_a_change_in_a_batch_of_100_against_a_change_alone(compare: Compare, tmp_path: Path, kind: str) -> None:
    store = opened(kind, tmp_path)
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


def test_a_durable_change_on_the_json_log_against_appending_the_same_bytes(compare: Compare, tmp_path: Path) -> None:
    store = JsonStore(tmp_path / "ours")
    orders = Orders(store)
    log = tmp_path / "ours" / "orders.jsonl"
    numbers = count()
    changes = 60
    lines: list[bytes] = []

    def ours() -> Work:
        ids = _created(store, numbers, changes)

        def work() -> None:
            for order_id in ids:
                orders.fire(order_id, "place")

        return work

    def theirs() -> Work:
        if not lines:
            size = log.stat().st_size
            ours()()
            lines.extend(log.read_bytes()[size:].splitlines(keepends=True)[-changes:])
        bare = os.open(tmp_path / "bare.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def work() -> None:
            for line in lines:
                os.write(bare, line)
                os.fsync(bare)

        return work

    compare(ours, theirs, limit=1.3, rounds=15, changes=changes)
    store.close()


def test_importing_it_against_importing_what_it_stands_on(compare: Compare) -> None:
    # Compiled bytecode, as in installed packages.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def python(code: str) -> Work:
        # The start of the interpreter does not count.
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

"""The steps in a store before a power loss, run by a traced process that prints each one.

The program opens the store of a place and runs step after step, the first half in a process that is killed.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from attrs import frozen

from order_fsm.errors import OrderNotFound
from order_fsm.model import Message
from order_fsm.store import Change, Store
from order_fsm.testing.store_contract.changes import seeded
from order_fsm.testing.store_contract.expected import ALL, LATE, Expected, record_under
from order_fsm.testing.store_contract.traffic import SKUS, next_change, stocked
from order_fsm_adapters.files import DiskFile
from order_fsm_adapters.json_files import JsonStore, log
from order_fsm_adapters.sqlite import SqliteStore

STEPS = 24
"""The number of steps in one run."""

STOCKED = b"stocked\n"


@frozen
class Step:
    """A batch of commits, a delivery, a removal, or a compaction."""

    changes: tuple[Change, ...] = ()
    delivered: Message | None = None
    removed: str | None = None
    compacts: bool = False

    def do(self, store: Store) -> None:
        """Run the step."""
        if len(self.changes) == 1:
            store.commit(self.changes[0])
        elif self.changes:
            assert store.commit_all(self.changes) == [None] * len(self.changes)
        elif self.delivered is not None:
            store.claim(LATE, LATE, ALL.limit)
            store.delivered(self.delivered, LATE)
        elif self.removed is not None:
            store.remove(store.load(self.removed))
        elif isinstance(store, JsonStore):
            store.compact()

    def is_done(self, store: Store) -> bool:
        """Return whether a killed process has completed the step. Complete a batch that SQLite did in part."""
        if self.changes:
            rest = tuple(one for one in self.changes if one.key is None or record_under(store, one.key) is None)
            if 0 < len(rest) < len(self.changes):
                Step(rest).do(store)
            return len(rest) < len(self.changes)
        if self.removed is not None:
            try:
                store.load(self.removed)
            except OrderNotFound:
                return True
        return False

    def note(self, expected: Expected) -> None:
        """Record that the step was done."""
        for change in self.changes:
            expected.commit(change)
        if self.delivered is not None:
            expected.messages.remove(self.delivered)
        if self.removed is not None:
            expected.remove(self.removed)


def next_step(expected: Expected, number: int, seed: str) -> Step:
    """Return the step of a number and seed, which is the same in every process."""
    dice = seeded(f"{seed} step {number}")
    kind = dice.randrange(8)
    if kind == 0 and expected.messages:
        return Step(delivered=expected.messages[0])
    mine = [order_id for order_id in expected.orders if order_id.startswith(f"{seed}-")]
    if kind == 1 and len(mine) > 2:
        return Step(removed=dice.choice(mine))
    if kind == 2:
        return Step(compacts=True)
    if kind == 3:
        return Step((next_change(expected, number, seed), next_change(expected, number, f"{seed} batch")))
    return Step((next_change(expected, number, seed),))


def _opened_sqlite(place: Path) -> Store:
    return SqliteStore(place / "orders.db")


def _opened_json(place: Path) -> Store:
    return JsonStore(place / "orders")


def _sqlite_without_full_sync(place: Path) -> Store:
    class Hasty(sqlite3.Connection):
        def execute(self, statement: str, *given: Any) -> sqlite3.Cursor:
            return super().execute(statement.replace("synchronous = FULL", "synchronous = NORMAL"), *given)

    connect = sqlite3.connect
    mock.patch.object(
        sqlite3, "connect", lambda *given, **named: connect(*given, **{**named, "factory": Hasty})
    ).start()
    return _opened_sqlite(place)


def _json_without_flush(*names: str) -> Callable[[Path], Store]:
    """Return a store that does not flush files with a suffix."""

    def sync(file: DiskFile) -> None:
        if not str(file.name).endswith(names):
            os.fsync(file.fileno())

    def opened(place: Path) -> Store:
        mock.patch.object(DiskFile, "sync", sync).start()
        return _opened_json(place)

    return opened


def _json_without_folder_flush(place: Path) -> Store:
    mock.patch.object(log, "flush_folder", return_value=None).start()
    return _opened_json(place)


def _json_without_parent_flush(place: Path) -> Store:
    from order_fsm_adapters.json_files import store

    mock.patch.object(store, "flush_folder", return_value=None).start()
    return _opened_json(place)


STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": _opened_sqlite,
    "json": _opened_json,
    "json killed at a flush": _opened_json,
    "sqlite without full sync": _sqlite_without_full_sync,
    "json without flush of the log": _json_without_flush(log.LOG),
    "json without flush of the draft": _json_without_flush(log.DRAFT),
    "json without flush of the head": _json_without_flush(log.HEAD),
    "json without flush of the folder": _json_without_folder_flush,
    "json without flush of the parent": _json_without_parent_flush,
}
"""The stores by kind. A power loss must reveal the fault of a store `without` a flush."""


def whole(kind: str) -> str:
    """Return the kind that opens the files of a kind after the power loss."""
    return kind.split()[0]


def _say(text: bytes) -> None:
    os.write(1, text)


def _work(kind: str, place: Path, seed: str, first: int, last: int, told: int) -> None:
    """Open the store and run some steps. Print each one and report it to the parent.

    The first step may have been in progress when the previous process was killed. If it is done, it is not repeated.
    """
    store = STORES[kind](place)
    if set(store.stock(SKUS)) != set(SKUS[:2]):
        stocked(store)
    expected = begun()
    _say(STOCKED)
    for number in range(last):
        step = next_step(expected, number, seed)
        if number >= first:
            if number > first or not step.is_done(store):
                step.do(store)
            _say(b"%d\n" % number)
            os.write(told, b".")
        step.note(expected)
    if last < STEPS:
        os.kill(os.getpid(), signal.SIGKILL)
    store.close()


def begun() -> Expected:
    """Return the content before the first step."""
    from order_fsm.testing.store_contract.traffic import PIECES

    expected = Expected()
    expected.stock.update(dict.fromkeys(SKUS[:2], PIECES))
    return expected


def _die_at_a_flush(seed: str) -> None:
    """Kill this process before one of its next flushes."""
    left = seeded(f"{seed} dies").randint(1, 25)
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = fsync  # type: ignore[assignment]


def main(kind: str, place: Path, seed: str) -> None:
    """Run all steps: some in a process that is killed, the rest in another one."""
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        if kind == "json killed at a flush":
            _die_at_a_flush(seed)
        _work(kind, place, seed, 0, STEPS // 2, telling)
        os._exit(1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended != -signal.SIGKILL:
        raise SystemExit(f"the first process was to be killed; it ended with {ended}")
    os.write(telling, b"!")
    done = len(os.read(told, 10 * STEPS)) - 1
    _work(kind, place, seed, done, STEPS, telling)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])

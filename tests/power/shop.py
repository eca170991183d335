"""What is done in a store before the power fails: by a process that is traced, and that says what it has done.

Run as a program it opens the store of a place, and does step after step, some in a process that is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from order_fsm.model import Message
from order_fsm.store import Change, Store
from order_fsm.testing.store_contract.changes import moment, seeded
from order_fsm.testing.store_contract.expected import ALL, LATE, Expected
from order_fsm.testing.store_contract.traffic import PIECES, SKUS, next_change, stocked
from order_fsm_adapters.json_files import JsonStore, durable_files
from order_fsm_adapters.sqlite import SqliteStore

STEPS = 24
"""How many are done in one run."""

OPEN = b"open\n"
STOCKED = b"stocked\n"


@frozen
class Step:
    """A commit, or the delivery of a message, or that it is given up, or the removal of an order."""

    change: Change | None = None
    delivered: Message | None = None
    removed: str | None = None

    def do(self, store: Store) -> None:
        """Do it."""
        if self.change is not None:
            store.commit(self.change)
        elif self.delivered is not None:
            store.claim(moment(1e6), moment(2e6), 1)
            store.delivered(self.delivered)
        elif self.removed is not None:
            store.remove(store.load(self.removed))

    def is_done(self, store: Store) -> bool:
        """Whether a process that was killed has done it."""
        if self.change is not None:
            return self.change.key is not None and store.keyed(self.change.key) is not None
        if self.removed is not None:
            return all(order.id != self.removed for order in store.find(ALL))
        return False

    def note(self, expected: Expected) -> None:
        """Take note that it was done."""
        if self.change is not None:
            expected.commit(self.change)
        elif self.delivered is not None:
            expected.messages.remove(self.delivered)
        elif self.removed is not None:
            expected.remove(self.removed)


def next_step(expected: Expected, number: int, seed: str) -> Step:
    """The step of a number in the run of a seed: the same one in every process."""
    dice = seeded(f"{seed} step {number}")
    kind = dice.randrange(8)
    if kind == 0 and expected.messages:
        return Step(delivered=expected.messages[0])
    mine = [order_id for order_id in expected.orders if order_id.startswith(f"{seed}-")]
    if kind == 1 and len(mine) > 2:
        return Step(removed=dice.choice(mine))
    return Step(change=next_change(expected, number, seed))


def held(store: Store) -> Expected:
    """What a store holds, to be compared later; its keys are left out."""
    expected = Expected()
    for order in store.find(ALL):
        expected.orders[order.id] = order
        expected.histories[order.id] = store.history(order.id)
    expected.messages = store.claim(LATE, LATE, ALL.limit)
    expected.stock = store.stock(SKUS)
    return expected


class _WithoutFullSync(SqliteStore):
    """Does not wait for the disk when it commits."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        database: Any = self._database
        with database._seat() as session:
            session.cursor.execute("PRAGMA synchronous = NORMAL")


def _json_without_folder_flush(place: Path) -> Store:
    """Does not flush the names of files."""
    from order_fsm_adapters.json_files import file_journal, json_folder

    for module in (durable_files, file_journal, json_folder):
        module.__dict__["flush_folder"] = lambda path: None
    return JsonStore(place / "orders")


def _json_in_place(place: Path) -> Store:
    """Writes a file where it stands, and flushes it."""
    from order_fsm_adapters.json_files import order_files

    order_files.__dict__["write"] = durable_files.put
    return JsonStore(place / "orders")


STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda place: SqliteStore(place / "orders.db"),
    "json": lambda place: JsonStore(place / "orders"),
    "json killed at a flush": lambda place: JsonStore(place / "orders"),
    "sqlite without full sync": lambda place: _WithoutFullSync(place / "orders.db"),
    "json without folder flush": _json_without_folder_flush,
    "json in place": _json_in_place,
}
"""By name; those `without` and `in place` are made to lose something."""


def whole(kind: str) -> str:
    """The name of the store as which what one of these wrote is opened after the power loss."""
    return kind.split()[0]


def _say(text: bytes) -> None:
    os.write(1, text)


def base_of(kind: str, base: Path | None) -> Expected:
    """What there was before: what a store holds that is kept elsewhere, or nothing."""
    if base is None:
        return Expected()
    store = STORES[whole(kind)](base)
    try:
        return held(store)
    finally:
        closed(store)


def closed(store: Store) -> None:
    """Close a store that can be closed."""
    close = getattr(store, "close", None)
    if close is not None:
        close()


def _work(kind: str, place: Path, seed: str, first: int, last: int, expected: Expected, told: int) -> None:
    """Open the store and do some steps, each said on the standard output, and to whom else is to be told.

    A first step that the process before was doing when it was killed is not done again where it is there: its caller
    would be given the receipt.
    """
    store = STORES[kind](place)
    _say(OPEN)
    if set(store.stock(SKUS)) != set(SKUS[:2]):
        stocked(store)
    expected.stock.update(dict.fromkeys(SKUS[:2], PIECES))
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
    closed(store)


def _die_at_a_flush(seed: str) -> None:
    """Have this process killed just before one of its next flushes."""
    left = seeded(f"{seed} dies").randint(1, 90)
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = fsync  # type: ignore[assignment]


def main(kind: str, place: Path, seed: str, base: Path | None) -> None:
    """Do all steps: some in a process that is killed, the rest in another."""
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        if kind == "json killed at a flush":
            _die_at_a_flush(seed)
        _work(kind, place, seed, 0, STEPS // 2, base_of(kind, base), telling)
        os._exit(1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended != -signal.SIGKILL:
        raise SystemExit(f"the first process was to be killed; it ended with {ended}")
    os.write(telling, b"!")
    done = len(os.read(told, 10 * STEPS)) - 1
    _work(kind, place, seed, done, STEPS, base_of(kind, base), telling)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]) if len(sys.argv) > 4 else None)

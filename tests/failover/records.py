"""Collect the outcomes that writers report, and compare them with the store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import define, field

from order_fsm.errors import OrderNotFound
from order_fsm.model import Entry
from order_fsm.store import Store

Place = tuple[str, int]
"""An order and a version."""


@define
class Records:
    """All outcomes reported so far, by idempotency key.

    Attributes:
        begun: the order of each started call.
        acknowledged: the entry that each acknowledged call returned, except for calls that wrote no entry.
        unknown: the calls with an unknown outcome at least once.
        repeated: the calls of `unknown` whose earlier attempt was written after all.
        refused: the calls that raised another error, after which nothing may be written.
        answered: the calls with a known outcome.
        delivered: how often each message was delivered.
        changed: the orders of the calls reported since the last `taken`.
        first_since: for each writer, the time of its first acknowledged call that began after the last kill.
    """

    paths: list[Path]
    begun: dict[str, str] = field(factory=dict)
    acknowledged: dict[str, Place] = field(factory=dict)
    unknown: set[str] = field(factory=set)
    repeated: set[str] = field(factory=set)
    refused: set[str] = field(factory=set)
    answered: set[str] = field(factory=set)
    delivered: Counter[str] = field(factory=Counter)
    changed: set[str] = field(factory=set)
    first_since: dict[str, float] = field(factory=dict)
    killed_at: float = 0.0
    _read: dict[Path, int] = field(factory=dict)
    _begun_at: dict[str, float] = field(factory=dict)

    def update(self) -> Records:
        """Read the reports written since the last call."""
        for path in self.paths:
            with path.open("rb") as reports:
                reports.seek(self._read.get(path, 0))
                text = reports.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                self._add(path.stem, json.loads(line))
        return self

    def forget_kills(self, killed_at: float) -> None:
        """Set the time of the last kill, and clear `first_since`."""
        self.killed_at = killed_at
        self.first_since = {}

    def taken(self) -> set[str]:
        """Return the orders of the calls reported since the last `taken`."""
        self.update()
        changed, self.changed = self.changed, set()
        return changed

    def _add(self, writer: str, report: dict[str, Any]) -> None:
        key, outcome = report["key"], report["outcome"]
        if outcome == "delivered":
            self.delivered[key] += 1
            return
        self.changed.add(report["order_id"])
        if outcome == "begun":
            self.begun[key] = report["order_id"]
            self._begun_at[writer] = report["at"]
        elif outcome == "unknown":
            self.unknown.add(key)
        elif outcome == "refused":
            self.refused.add(key)
            self.answered.add(key)
        else:
            self.answered.add(key)
            if report["version"] is not None:
                self.acknowledged[key] = (report["order_id"], report["version"])
            if report.get("repeated"):
                self.repeated.add(key)
            if self._begun_at[writer] > self.killed_at:
                self.first_since.setdefault(writer, report["at"])


@define
class Faults:
    """The differences between the reports and the store.

    Attributes:
        lost: acknowledged calls that are missing from the store, or stored under another order or version.
        invented: calls in the store that were refused or never started.
        twice: calls that were acknowledged with the same version, or stored twice.
    """

    lost: list[str] = field(factory=list)
    invented: list[str] = field(factory=list)
    twice: list[str] = field(factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.invented or self.twice)

    def __str__(self) -> str:
        return ", ".join(
            f"{len(keys)} {name}{f' such as {keys[0]}' if keys else ''}"
            for name, keys in (("lost", self.lost), ("invented", self.invented), ("twice", self.twice))
        )


def compared(records: Records, store: Store, order_ids: Iterable[str]) -> Faults:
    """Compare orders with the reports about them. Writers may be running: a pending call counts as unknown."""
    order_ids = set(order_ids)
    acknowledged = {key: place for key, place in records.update().acknowledged.items() if place[0] in order_ids}
    refused = set(records.refused)
    present: dict[str, Place] = {}
    faults = Faults()
    for order_id in order_ids:
        for entry in _history(store, order_id):
            if entry.key is not None:
                if entry.key in present:
                    faults.twice.append(entry.key)
                present[entry.key] = (order_id, entry.version)
    begun = records.update().begun
    faults.lost = [key for key, place in acknowledged.items() if present.get(key) != place]
    faults.invented = [key for key in present if key in refused or key not in begun]
    places = Counter(acknowledged.values())
    faults.twice += [key for key, place in acknowledged.items() if places[place] > 1]
    return faults


def _history(store: Store, order_id: str) -> tuple[Entry, ...]:
    try:
        return store.history(order_id)
    except OrderNotFound:
        return ()

"""The JSON store with any byte changed, cut at any length, or without a file.

Every read is right or raises StoreCorrupt, or the store reports the loss. Under stress every byte is changed, otherwise
every 17th.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from order_fsm import StoreCorrupt
from order_fsm.store import StockMove, Store
from order_fsm.testing.store_contract.changes import creation, moment, order_of, step, stock_change
from order_fsm.testing.store_contract.expected import ALL, record_under
from order_fsm.testing.store_contract.harness import stressed
from order_fsm_adapters.json_files import JsonStore

from .damage import changed, cut

STRIDE = 1 if stressed() else 17
LOG, HEAD = "orders.jsonl", "orders.head"
KEYS = ("evt_1", "evt_2", "delivery 7")


@pytest.fixture(autouse=True)
def _quiet_and_fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Skip flushes, because the power does not fail and the tests open thousands of stores."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Return the files of a store with a compacted part and some lines after it."""
    with JsonStore(tmp_path / "whole") as store:
        store.set_stock("TEAPOT", 5)
        first = creation("1001", topics=["order.updated"], key="evt_1", customer="ann")
        store.commit(first)
        store.commit(stock_change(StockMove("TEAPOT", 2, strict=False), key="delivery 7"))
        store.compact()
        store.commit_all([creation("1002"), step(order_of(first), state="sent", topics=["order.paid"])])
        (message,) = store.claim(moment(0), moment(9), 1)
        store.retry_later(message, moment(9), None)
        store.commit(creation("1003", key="evt_2"))
    return {name: (tmp_path / "whole" / name).read_bytes() for name in (LOG, HEAD)}


def content(store: Store) -> list[Any]:
    orders = store.find(ALL)
    return [
        orders,
        [store.history(order.id) for order in orders],
        sorted(store.tally(None)),
        store.report(None, None),
        store.stock(["TEAPOT"]),
        list(store.messages()),
        store.dead_letters(9),
        [record_under(store, key) for key in KEYS],
    ]


def verdict(place: Path, files: dict[str, bytes | None], right: list[Any]) -> str:
    """Open a store on some files. Return `right`, `corrupt` or `reported`."""
    place.mkdir()
    for name, data in files.items():
        if data is not None:
            (place / name).write_bytes(data)
    try:
        with JsonStore(place) as store:
            if content(store) == right:
                return "right"
            torn = list(place.glob("*.torn-*"))
            assert torn, "the content is wrong, and the store reports nothing"
            assert [str(path) in fault for path, fault in zip(torn, store.faults(), strict=True)] == [True]
            data = files[LOG]
            assert data is not None
            kept = (place / LOG).read_bytes()
            assert data == kept + torn[0].read_bytes(), "bytes are lost"
            return "reported"
    except StoreCorrupt:
        return "corrupt"
    finally:
        shutil.rmtree(place)


@pytest.fixture
def right(files: dict[str, bytes], tmp_path: Path) -> list[Any]:
    place = tmp_path / "right"
    place.mkdir()
    for name, data in files.items():
        (place / name).write_bytes(data)
    with JsonStore(place) as store:
        return content(store)


def test_any_changed_byte_of_the_log_is_corrupt(files: dict[str, bytes], right: list[Any], tmp_path: Path) -> None:
    for data in changed(files[LOG], STRIDE):
        assert verdict(tmp_path / "left", {**files, LOG: data}, right) == "corrupt"


def test_any_cut_of_the_log_is_corrupt(files: dict[str, bytes], right: list[Any], tmp_path: Path) -> None:
    for data in cut(files[LOG], STRIDE):
        assert verdict(tmp_path / "left", {**files, LOG: data}, right) == "corrupt"


def test_any_changed_byte_or_cut_of_the_head_is_harmless(
    files: dict[str, bytes], right: list[Any], tmp_path: Path
) -> None:
    stride = 1 if stressed() else 4
    for data in (*changed(files[HEAD], stride), *cut(files[HEAD], stride)):
        assert verdict(tmp_path / "left", {**files, HEAD: data}, right) == "right"


def test_any_changed_byte_without_a_head_is_corrupt_or_reported(
    files: dict[str, bytes], right: list[Any], tmp_path: Path
) -> None:
    """Only damage to the last lines looks like a torn end."""
    found: Counter[str] = Counter()
    last = files[LOG].rindex(b"\n", 0, -1)
    last_two = files[LOG].rindex(b"\n", 0, last)
    for number, data in enumerate(changed(files[LOG], STRIDE)):
        place = number // 2 * STRIDE
        answer = verdict(tmp_path / "left", {LOG: data, HEAD: None}, right)
        found[answer] += 1
        assert answer == "corrupt" if place <= last_two else answer in {"corrupt", "reported"}
    assert set(found) == {"corrupt", "reported"}


def test_any_cut_without_a_head_is_corrupt_or_reported(
    files: dict[str, bytes], right: list[Any], tmp_path: Path
) -> None:
    """A cut between two lines is not detectable."""
    ends = {place + 1 for place, byte in enumerate(files[LOG]) if byte == ord("\n")}
    for data in cut(files[LOG], STRIDE):
        if len(data) not in ends:
            assert verdict(tmp_path / "left", {LOG: data, HEAD: None}, right) in {"corrupt", "reported"}


def test_swapped_removed_and_repeated_lines_are_corrupt(
    files: dict[str, bytes], right: list[Any], tmp_path: Path
) -> None:
    lines = files[LOG].splitlines(keepends=True)
    for number in range(1, len(lines) - 1):
        swapped = [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]
        removed = [*lines[:number], *lines[number + 1 :]]
        repeated = [*lines[:number], lines[number], *lines[number:]]
        for wrong in (swapped, removed, repeated):
            assert verdict(tmp_path / "left", {**files, LOG: b"".join(wrong)}, right) == "corrupt"

"""The index of a folder of JSON files is only a cache: deleted, broken or stale, what is found is what is there."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from order_fsm import Orders, StoreUnavailable
from order_fsm_adapters.json_files import JsonStore, durable_files, order_index
from order_fsm_adapters.json_files.change_notes import ChangeNotes
from order_fsm_adapters.json_files.order_locks import OrderLocks

from .sqlite_files import by_hand


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def orders(folder: Path) -> Iterator[Orders]:
    """Three orders: 1001 is placed, 1002 and 1003 are not."""
    opened = JsonStore(folder)
    orders = Orders(opened)
    for number in ("1001", "1002", "1003"):
        orders.create(number, total="10.00", currency="GBP", customer="ann")
    orders.fire("1001", "place")
    yield orders
    opened.close()


def found(orders: Orders) -> dict[str, list[str]]:
    return {name: [order.id for order in orders.queue(name)] for name in ("unfinished", "to_pay", "cancelled")}


FIRST = {"unfinished": ["1002", "1003"], "to_pay": ["1001"], "cancelled": []}


def test_changing_orders_makes_no_index(folder: Path, orders: Orders) -> None:
    """It is the first question that does, so opening and firing read no other order."""
    assert not (folder / "index").exists()
    assert found(orders) == FIRST
    assert (folder / "index" / "orders.db").exists()


def test_a_page_reads_the_orders_of_the_page(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        orders.create(f"more-{number:02d}", total="1", currency="GBP")
    orders.counts()
    read: list[str] = []

    def counted(path: str) -> bytes | None:
        read.append(path)
        return durable_files.read(path)

    monkeypatch.setattr("order_fsm_adapters.json_files.order_files.read", counted)
    assert len(orders.find(limit=5)) == 5
    assert len(read) == 5
    assert orders.counts()["unfinished"] == 52
    orders.fire("more-07", "place")
    read.clear()
    assert orders.counts()["unfinished"] == 51
    assert len(read) == 1


@pytest.mark.parametrize("gone", ["index", "index/orders.db", "index/changes"])
def test_an_index_that_was_deleted_is_made_anew(folder: Path, orders: Orders, gone: str) -> None:
    """Whole or in part, under a store that is open, and for one that is opened later."""
    orders.counts()
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    orders.fire("1002", "place")
    orders.fire("1003", "cancel")
    changed = {"unfinished": [], "to_pay": ["1001", "1002"], "cancelled": ["1003"]}
    other = JsonStore(folder)
    assert found(Orders(other)) == changed
    other.close()
    reopened = JsonStore(folder)
    assert found(Orders(reopened)) == changed
    reopened.close()


@pytest.mark.parametrize("content", [b"", b"no database" * 1000], ids=["empty", "garbage"])
def test_an_index_that_is_broken_is_made_anew(folder: Path, orders: Orders, content: bytes) -> None:
    assert found(orders) == FIRST
    orders.fire("1002", "place")
    for one in (folder / "index").glob("orders.db*"):
        if one.suffix != ".lock":
            one.unlink()
    (folder / "index" / "orders.db").write_bytes(content)
    lock = (folder / "index" / "orders.db.lock").stat().st_ino
    reopened = JsonStore(folder)
    for _ in range(2):
        assert found(Orders(reopened)) == {"unfinished": ["1003"], "to_pay": ["1001", "1002"], "cancelled": []}
    assert Orders(reopened).counts()["to_pay"] == 2
    assert (folder / "index" / "orders.db.lock").stat().st_ino == lock, "others may be waiting at it"
    assert by_hand(folder / "index" / "orders.db", "SELECT count(*) FROM order_fsm_order") == [(3,)]
    reopened.close()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("UPDATE order_fsm_index SET seen = -1", "it does not say how much of the changes is in it"),
        ("DELETE FROM order_fsm_index", "it does not say how much of the changes is in it"),
        ("UPDATE order_fsm_order SET currency = NULL", "it holds what is no text in the place of text"),
        ("UPDATE order_fsm_order SET total = '1' WHERE id = '1001'", "it is wrong about the file 1001.json"),
    ],
    ids=["seen", "nothing seen", "no text", "wrong"],
)
def test_an_audit_says_what_was_wrong_with_the_index_once(folder: Path, orders: Orders, edit: str, said: str) -> None:
    """Some questions may have been answered wrongly by it."""
    orders.totals()
    by_hand(folder / "index" / "orders.db", edit)
    orders.totals()
    messages = [finding.message for finding in orders.audit().findings]
    assert messages.count(f"the index of the orders was broken, and is made anew: {said}") == 1
    assert orders.audit().ok


def test_where_no_index_can_be_kept_every_order_is_read(
    folder: Path, orders: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a disk that is read-only; it is said in the log."""
    (folder / "index").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert found(orders) == FIRST
        assert [order.id for order in orders.find(after="1001", limit=1)] == ["1002"]
        assert orders.counts()["unfinished"] == 2
        assert orders.totals() == orders.totals("ann") == {"GBP": 10}
        assert orders.totals("bob") == {}
        assert orders.dead_letters() == []
    said = [record.getMessage() for record in caplog.records if "every order is read" in record.getMessage()]
    assert said
    assert all(str(folder / "index") in one for one in said)


def test_a_file_that_was_restored_by_hand_is_noticed(folder: Path, orders: Orders) -> None:
    """By the next process at its first question; a store that is open does not show the order where it no longer
    stands."""
    path = folder / "orders" / "1001.json"
    backup = path.read_bytes()
    orders.fire("1001", "cancel")
    assert found(orders)["cancelled"] == ["1001"]
    path.write_bytes(backup)
    assert found(orders)["cancelled"] == []
    assert found(orders)["to_pay"] == ["1001"]
    (folder / "orders" / "1002.json").unlink()
    other = JsonStore(folder)
    assert found(Orders(other)) == {"unfinished": ["1003"], "to_pay": ["1001"], "cancelled": []}
    other.close()


def test_a_page_is_filled_up_where_orders_have_left_that_the_index_still_shows(folder: Path, orders: Orders) -> None:
    """Their files were restored by hand, so no note says that they are others: later ones make up for them."""
    for number in ("1004", "1005", "1006"):
        orders.create(number, total="10.00", currency="GBP", customer="ann")
    backups = {number: (folder / "orders" / f"{number}.json").read_bytes() for number in ("1002", "1004")}
    for number in ("1002", "1003", "1004", "1005", "1006"):
        orders.fire(number, "place")
    assert orders.counts()["to_pay"] == 6
    for number, backup in backups.items():
        (folder / "orders" / f"{number}.json").write_bytes(backup)
    assert [order.id for order in orders.find(has={"sent"}, after="1001", limit=2)] == ["1003", "1005"]


def test_what_is_noted_while_the_notes_are_thrown_away_is_in_the_index(
    folder: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process changes an order after the notes were read, and before it has to wait."""
    orders.counts()
    other = Orders(JsonStore(folder))
    all_held = OrderLocks.all_held
    late = ["1003", "1002"]

    def after_another(locks: OrderLocks) -> AbstractContextManager[None]:
        if late:
            other.fire(late.pop(), "place")
        return all_held(locks)

    monkeypatch.setattr(order_index, "_CHANGES_LIMIT", 0)
    monkeypatch.setattr(OrderLocks, "all_held", after_another)
    orders.comment("1001", "x")
    assert orders.counts()["to_pay"] == 2
    assert (folder / "index" / "changes").stat().st_size == 0
    assert found(orders)["to_pay"] == ["1001", "1002"]


def test_a_broken_file_is_left_out_until_it_is_restored(
    folder: Path, orders: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    """Under a store that is open: each question looks again."""
    path = folder / "orders" / "1001.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert found(orders)["to_pay"] == []
    assert "1001.json" in caplog.text
    assert orders.counts()["to_pay"] == 0
    path.write_bytes(whole)
    assert orders.counts()["to_pay"] == 1
    assert found(orders) == FIRST


def test_a_note_that_a_full_disk_cut_short_hides_no_other(folder: Path, orders: Orders) -> None:
    orders.counts()
    with (folder / "index" / "changes").open("ab") as changes:
        changes.write(b"\n10")
    orders.fire("1002", "place")
    assert found(orders) == {"unfinished": ["1003"], "to_pay": ["1001", "1002"], "cancelled": []}


def test_what_a_power_loss_left_among_the_notes_is_passed_over(folder: Path, orders: Orders) -> None:
    orders.counts()
    with (folder / "index" / "changes").open("ab") as changes:
        changes.write(b"\0\0\0\0\n../1001\n\xff\xfe\n")
    orders.fire("1002", "place")
    assert found(orders) == {"unfinished": ["1003"], "to_pay": ["1001", "1002"], "cancelled": []}


def test_notes_are_read_from_a_place_on_and_as_far_as_lines_are_whole(tmp_path: Path) -> None:
    """A line that is no name is none of two; nor is anything beyond the end, where the notes were cut."""
    (tmp_path / "changes").write_bytes(b"\na\n\nb\nx y\n\nc")
    notes = ChangeNotes(str(tmp_path / "changes"))
    assert notes.size() == 12
    assert notes.since(0) == ({"a", "b"}, 11)
    assert notes.since(3) == ({"b"}, 11)
    assert notes.since(11) == (set(), 11)
    assert notes.since(12) == notes.since(13) == notes.since(99) == (set(), 12)


@pytest.mark.parametrize(
    "use",
    [
        lambda notes: notes.add("a"),
        lambda notes: notes.make(),
        lambda notes: notes.since(0),
        lambda notes: notes.clear(),
    ],
    ids=["add", "make", "since", "clear"],
)
def test_notes_that_cannot_be_kept_are_named(tmp_path: Path, use: Callable[[ChangeNotes], object]) -> None:
    (tmp_path / "changes").mkdir()
    with pytest.raises(StoreUnavailable, match=re.escape(str(tmp_path / "changes"))):
        use(ChangeNotes(str(tmp_path / "changes")))


def test_notes_that_cannot_be_measured_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=re.escape(str(tmp_path / "file" / "changes"))):
        ChangeNotes(str(tmp_path / "file" / "changes")).size()


def test_notes_that_were_read_are_thrown_away(folder: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once they have become many; what is noted afterwards is found, by others too."""
    monkeypatch.setattr(order_index, "_CHANGES_LIMIT", 20)
    other = JsonStore(folder)
    for number in ("1002", "1003"):
        assert found(orders) == found(Orders(other))
        for comment in ("Delayed", "by", "snow"):
            orders.comment(number, comment)
        orders.fire(number, "cancel")
        assert number in found(orders)["cancelled"]
        assert (folder / "index" / "changes").stat().st_size == 0
        assert number in found(Orders(other))["cancelled"]
    other.close()


def test_a_folder_from_before_there_was_an_index_is_opened(folder: Path, orders: Orders) -> None:
    """The index is no part of the format."""
    shutil.rmtree(folder / "index", ignore_errors=True)
    other = JsonStore(folder)
    assert found(Orders(other)) == FIRST
    assert Orders(other).get("1001") == orders.get("1001")
    other.close()

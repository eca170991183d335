"""The JSON files when they are damaged: each damage is found, and stops the order that it hit and no other."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from order_fsm import Orders, StoreCorrupt, StoreUnavailable
from order_fsm_adapters.json_files import JsonStore, order_files, sealed_json

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def shop(folder: Path) -> Orders:
    return Orders(JsonStore(folder), clock=lambda: NOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def orders(folder: Path) -> Orders:
    """A shop with the order 1001, which is paid for, and the order 1002."""
    orders = shop(folder)
    orders.create("1001", total="49.90", currency="GBP", customer="ann", email="ann@example.com")
    orders.fire("1001", "pay", reference="ch_1", key="evt_1")
    orders.create("1002", total="5", currency="GBP")
    return orders


def broken_ways(content: bytes) -> Iterator[bytes]:
    """The content cut at every length, and with every byte changed."""
    for place in range(len(content)):
        yield content[:place]
        yield content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]


READ_BY: dict[str, Callable[[Orders], object]] = {
    "orders/{}.json": lambda orders: orders.get("x"),
    "keys/{}.json": lambda orders: orders.fire("1002", "place", key="x"),
    "stock/{}.json": lambda orders: orders.stock("x"),
}
"""The files of a store beside `store.json`, and who reads one that is named x."""


def test_a_file_cut_short_or_with_any_byte_changed_is_corrupt(folder: Path, orders: Orders) -> None:
    path = folder / "orders" / "1002.json"
    for content in broken_ways(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreCorrupt, match=r"1002\.json"):
            orders.get("1002")


@pytest.mark.parametrize("file", READ_BY)
def test_so_are_the_store_s_other_files(folder: Path, orders: Orders, file: str) -> None:
    orders.create("x", total=5, currency="GBP", key="x")
    orders.set_stock("x", 5)
    path = folder / file.format("x")
    for content in broken_ways(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreCorrupt, match=r"x\.json"):
            READ_BY[file](orders)


@pytest.mark.usefixtures("orders")
def test_so_is_the_one_that_makes_the_folder_a_store(folder: Path) -> None:
    path = folder / "store.json"
    for content in broken_ways(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreCorrupt, match=r"store\.json"):
            JsonStore(folder)


def test_more_at_the_end_is_corrupt(folder: Path, orders: Orders) -> None:
    path = folder / "orders" / "1001.json"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(StoreCorrupt):
        orders.get("1001")


def test_an_edit_by_hand_is_found_and_nothing_is_written_over_it(folder: Path, orders: Orders) -> None:
    path = folder / "orders" / "1001.json"
    edited = path.read_text().replace('"total": "49.90"', '"total": "9.90"')
    path.write_text(edited)
    for use in (
        lambda: orders.get("1001"),
        lambda: orders.history("1001"),
        lambda: orders.fire("1001", "dispatch"),
        lambda: orders.create("1001", total=1, currency="GBP"),
        lambda: orders.find(after="1001"),
    ):
        with pytest.raises(StoreCorrupt, match="edited by hand; restore the file from a backup"):
            use()
    assert path.read_text() == edited


def test_it_stops_its_order_and_no_other(folder: Path, orders: Orders, caplog: pytest.LogCaptureFixture) -> None:
    """The others are found, counted, changed and delivered; the broken one is logged as an error."""
    orders.fire("1002", "pay", reference="ch_2")
    (folder / "orders" / "1001.json").write_text("{}")
    assert [order.id for order in orders.find()] == ["1002"]
    assert orders.totals() == {"GBP": Decimal(5)}
    assert orders.dead_letters() == []
    assert orders.fire("1002", "dispatch").order.version == 3
    told: list[str] = []
    assert orders.deliver(lambda message: told.append(message.order_id)) == 1
    assert told == ["1002"]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert all("1001.json" in record.getMessage() for record in caplog.records)


def test_a_folder_in_a_file_s_place_stops_that_order_alone(folder: Path, orders: Orders) -> None:
    (folder / "orders" / "1003.json").mkdir()
    with pytest.raises(StoreCorrupt, match=r"1003\.json"):
        orders.get("1003")
    assert len(orders.find()) == 2


def test_the_restored_file_serves_again(folder: Path, orders: Orders) -> None:
    """Its messages are delivered again too, even if none was left in the outbox meanwhile."""
    path = folder / "orders" / "1001.json"
    backup = path.read_bytes()
    assert orders.deliver(lambda message: None) == 1
    path.write_bytes(b"")
    path.write_bytes(backup)
    assert orders.fire("1001", "dispatch").order.version == 3
    assert orders.deliver(lambda message: None) == 1


@pytest.mark.parametrize("file", READ_BY)
def test_a_file_under_another_s_name_is_corrupt(folder: Path, orders: Orders, file: str) -> None:
    orders.create("y", total=5, currency="GBP", key="y")
    orders.set_stock("y", 5)
    shutil.copy(folder / file.format("y"), folder / file.format("x"))
    with pytest.raises(StoreCorrupt, match=r"x\.json is (gone or )?of another"):
        READ_BY[file](orders)


def test_a_sealed_document_of_another_kind_is_corrupt(folder: Path, orders: Orders) -> None:
    shutil.copy(folder / "keys" / "evt_1.json", folder / "orders" / "1001.json")
    with pytest.raises(StoreCorrupt, match="no document of the kind"):
        orders.get("1001")


@pytest.mark.parametrize("name", ["orders/1001.json", "store.json"])
@pytest.mark.usefixtures("orders")
def test_a_newer_format_is_refused_by_its_name(folder: Path, name: str) -> None:
    class Newer(sealed_json.Document, frozen=True, kw_only=True):
        warehouse: str = "north"

    (folder / name).write_bytes(sealed_json.encode(Newer(format=2)))
    said = f"^{re.escape(str(folder / name))} was written by a newer version"
    with pytest.raises(StoreUnavailable, match=said):
        shop(folder).get("1001")


@pytest.mark.usefixtures("orders")
def test_a_newer_format_that_keeps_the_shape_is_refused_by_its_name(folder: Path) -> None:
    """What a member means may be another thing there."""

    class Newer(sealed_json.Document, frozen=True, kw_only=True):
        store: str = "order_fsm"

    path = folder / "store.json"
    path.write_bytes(sealed_json.encode(Newer(format=2)))
    with pytest.raises(StoreUnavailable, match=f"^{re.escape(str(path))} was written by a newer version"):
        shop(folder)


@pytest.mark.parametrize("folder_of", ["orders", "keys", "stock"])
@pytest.mark.usefixtures("orders")
def test_an_audit_lists_files_that_the_store_did_not_write(folder: Path, folder_of: str) -> None:
    """They may be its own with another name. What a killed writer left is none of them."""
    (folder / folder_of / "1001.json.tmp").write_text("{}")
    assert shop(folder).audit().ok
    (folder / folder_of / "1001.json~").write_text("{}")
    assert [finding.code for finding in shop(folder).audit().findings] == ["corrupt"]
    stray = folder / folder_of / "1001.json~"
    assert f"{stray} was not written by order_fsm: move it" in shop(folder).audit().findings[0].message


def test_an_order_that_goes_while_an_audit_looks_at_the_index_is_no_fault(
    folder: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JsonStore(folder)
    assert store.faults() == []
    names = ["1001", "1002"]
    store.remove(orders.get("1002"))
    monkeypatch.setattr(order_files.OrderFiles, "names", lambda _: names)
    assert store.faults() == []
    store.close()

"""An audit finds every missing, changed or extra row of order_fsm_reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from order_fsm import Orders
from order_fsm_adapters.sql import audit
from order_fsm_adapters.sqlite import SqliteStore

from .sqlite_files import by_hand


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as store:
        yield store


@pytest.fixture
def orders(store: SqliteStore) -> Orders:
    """Create two orders with a payment each."""
    orders = Orders(store)
    for number in ("1", "2"):
        orders.create(number, total="10.00", currency="GBP")
        orders.fire(number, "pay", reference=f"ch_{number}")
    return orders


def test_undamaged_references_have_no_fault(orders: Orders, store: SqliteStore) -> None:
    orders.fire("1", "pay", amount="1", reference="ch_1b")
    orders.fire("1", "refund", amount="1", reference="ch_1b")
    orders.fire("2", "pay", amount="1")
    assert store.faults() == []


LACKS = "order_fsm_reference lacks 'ch_1' of order '1'"
HAS = "order_fsm_reference has {} of order {}, which has no such payment"


@pytest.mark.parametrize(
    ("edit", "faults"),
    [
        ("DELETE FROM order_fsm_reference WHERE order_id = '1'", [LACKS]),
        ("UPDATE order_fsm_reference SET reference = 'ch_9' WHERE order_id = '1'", [LACKS, ("'ch_9'", "'1'")]),
        ("UPDATE order_fsm_reference SET order_id = '2' WHERE order_id = '1'", [LACKS, ("'ch_1'", "'2'")]),
        ("INSERT INTO order_fsm_reference VALUES ('ch_9', '1')", [("'ch_9'", "'1'")]),
        ("INSERT INTO order_fsm_reference VALUES ('ch_1', 'gone')", [("'ch_1'", "'gone'")]),
    ],
)
def test_damaged_reference_is_a_fault(
    path: Path, store: SqliteStore, orders: Orders, edit: str, faults: list[Any]
) -> None:
    by_hand(path, edit)
    wanted = [one if isinstance(one, str) else HAS.format(*one) for one in faults]
    assert store.faults() == wanted
    assert not orders.audit().ok


@pytest.mark.usefixtures("orders")
def test_every_page_of_references_is_audited(path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAGE", 1)
    by_hand(path, "INSERT INTO order_fsm_reference VALUES ('ch_7', 'x'), ('ch_8', '1'), ('ch_9', 'gone')")
    strays = [("'ch_7'", "'x'"), ("'ch_8'", "'1'"), ("'ch_9'", "'gone'")]
    assert store.faults() == [HAS.format(*stray) for stray in strays]


def test_stray_reference_finds_no_order(path: Path, orders: Orders) -> None:
    by_hand(path, "INSERT INTO order_fsm_reference VALUES ('ch_9', '1'), ('ch_9', 'gone'), ('ch_2', '1')")
    assert orders.find(reference="ch_9") == []
    assert [order.id for order in orders.find(reference="ch_2")] == ["2"]

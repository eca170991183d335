"""Errors about mistakes of a host name the mistake and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from order_fsm import (
    InvalidInput,
    Line,
    OrderFsmError,
    Orders,
    Rule,
    Status,
    UnknownTrigger,
    WorkflowError,
    shop_workflow,
)
from order_fsm.payments import PaymentReceiver
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

# The type hints forbid these calls.
new_orders: Any = Orders
new_receiver: Any = PaymentReceiver
Call = Callable[[Any], object]
MISTAKES: dict[str, tuple[Call, type[OrderFsmError], tuple[str, ...]]] = {
    "path as store": (
        lambda _: new_orders("shop.db"),
        InvalidInput,
        ("store must be", "SqliteStore('shop.db')", "'shop.db'"),
    ),
    "class as store": (lambda _: new_orders(SqliteStore), InvalidInput, ("class SqliteStore", "create it first")),
    "no store": (lambda _: new_orders(None), InvalidInput, ("store must be", "NoneType")),
    "function as workflow": (
        lambda orders: new_orders(orders._store, workflow=shop_workflow),
        InvalidInput,
        ("workflow must be a Workflow", "call it", "shop_workflow()"),
    ),
    "time as clock": (
        lambda orders: new_orders(orders._store, clock=5),
        InvalidInput,
        ("clock must be a function", "int 5"),
    ),
    "connection as path": (
        lambda _: SqliteStore(__import__("sqlite3").connect(":memory:")),
        InvalidInput,
        ("connection",),
    ),
    "secret as verifier": (
        lambda orders: new_receiver(orders, "secret"),
        InvalidInput,
        ("verifier must", "verify"),
    ),
    "total and currency swapped": (
        lambda orders: orders.create("x", "GBP", "1"),
        InvalidInput,
        ("total must be a plain number", "'GBP'"),
    ),
    "currency in small letters": (
        lambda orders: orders.create("x", "1", "gbp"),
        InvalidInput,
        ("currency must be three upper-case letters", "'GBP'", "'gbp'"),
    ),
    "total as a float": (lambda orders: orders.create("x", 49.9, "GBP"), InvalidInput, ("float", "'49.90'")),
    "lines as a dict": (
        lambda orders: orders.create("x", "1", "GBP", lines={"TEAPOT": 2}),
        InvalidInput,
        ("lines must be a list such as [Line('TEAPOT', 2)]", "dict"),
    ),
    "lines of pairs": (
        lambda orders: orders.create("x", "1", "GBP", lines=[("TEAPOT", 2)]),
        InvalidInput,
        ("lines must be a list of Line(sku, quantity)", "tuple"),
    ),
    "status as trigger": (
        lambda orders: orders.fire("1", "paid"),
        UnknownTrigger,
        ("did you mean 'pay'?", "place, pay"),
    ),
    "status as trigger, sent": (lambda orders: orders.fire("1", "sent"), UnknownTrigger, ("did you mean 'place'?",)),
    "misspelt trigger": (lambda orders: orders.fire("1", "dispach"), UnknownTrigger, ("did you mean 'dispatch'?",)),
    "name of a method as trigger": (
        lambda orders: orders.fire("1", "migrate"),
        UnknownTrigger,
        ("call Orders.migrate",),
    ),
    "infinite number as data": (
        lambda orders: orders.create("x", "1", "GBP", data={"rate": float("inf")}),
        InvalidInput,
        ("data must hold only finite numbers, not inf",),
    ),
    "misspelt fact": (lambda orders: orders.fire("1", "pay", amout="1"), InvalidInput, ("did you mean 'amount'?",)),
    "misspelt queue": (lambda orders: orders.queue("to_dispach"), InvalidInput, ("did you mean 'to_dispatch'?",)),
    "days as an age": (lambda orders: orders.expire(14), InvalidInput, ("timedelta(days=14)", "int 14")),
    "days as an age of a purge": (lambda orders: orders.purge(14), InvalidInput, ("timedelta(days=14)", "int 14")),
    "negative age": (lambda orders: orders.expire(timedelta(days=-1)), InvalidInput, ("timedelta(days=14)",)),
    "one status as a form": (
        lambda orders: orders.save("1", "sent", version=1),
        InvalidInput,
        ("statuses must be a set of names such as {'sent'}", "'sent'"),
    ),
    "stale form": (
        lambda orders: orders.save("1", {"sent"}, version=9),
        OrderFsmError,
        ("changed since the form was loaded", "version 1, form has 9", "reload it"),
    ),
    "list as handler": (lambda orders: orders.deliver([]), InvalidInput, ("handler must be a function of (message)",)),
    "id as message": (lambda orders: orders.requeue("1#1.1"), InvalidInput, ("dead_letters()",)),
    "unused status": (
        lambda _: shop_workflow().extend(statuses=[Status("gift")]),
        WorkflowError,
        ("status 'gift' is never ticked: no rule adds it",),
    ),
    "misspelt status in a rule": (
        lambda _: shop_workflow().extend(
            statuses=[Status("gift")], rules=[Rule("wrap", forbids={"gift"}, adds={"gfit"})]
        ),
        WorkflowError,
        ("status 'gift' is never ticked", "unknown statuses: gfit"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_error_names_the_mistake_and_the_remedy(mistake: str) -> None:
    call, kind, words = MISTAKES[mistake]
    store = MemoryStore()
    orders = Orders(store)
    orders.create("1", "1", "GBP", [Line("TEAPOT", 1)])
    with pytest.raises(kind) as raised:
        call(orders)
    text = str(raised.value)
    assert [word for word in words if word not in text] == [], text
    assert [order.version for order in orders.find()] == [1]


def test_mistakes_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store: Any = "shop.db"
    with pytest.raises(InvalidInput):
        Orders(store)
    assert list(tmp_path.iterdir()) == []


def test_status_that_a_rule_adds_is_not_a_finding() -> None:
    gift = shop_workflow().extend(
        statuses=[Status("gift")], rules=[Rule("wrap", needs={"sent"}, forbids={"gift"}, adds={"gift"})]
    )
    assert gift.has_state("sent+gift")


def test_fault_of_a_name_is_listed_once() -> None:
    with pytest.raises(WorkflowError) as raised:
        shop_workflow().extend(statuses=[Status("gift"), Status("gift")], rules=[Rule("wrap", adds={"gift"})])
    assert list(raised.value.findings).count("status 'gift' is declared more than once") == 1

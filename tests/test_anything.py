"""The service answers any arguments with a typed error that changes nothing, or with a success."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from order_fsm import OrderFsmError
from order_fsm.testing.store_contract.harness import stressed

if TYPE_CHECKING:
    from tests.conftest import Shop

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [2**63, -(2**63), 10**400, "a\ud800b", "..", "sent", "paid", "pay", "1001", "GBP", "used", "to_pay", ""]
    )
    | st.floats()
    | st.decimals()
    | st.text(st.characters(), max_size=12)
    | st.binary(max_size=4)
    | st.just(object()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "create": ("order_id", "total", "currency", "lines", "customer", "email", "data", "by", "key"),
    "fire": (
        "order_id", "trigger", "key", "by", "comment", "visible", "notify", "override", "amount", "currency",
        "reference",
    ),
    "save": ("order_id", "statuses", "version", "key", "by", "comment", "visible", "notify", "override"),
    "comment": ("order_id", "comment", "key", "by", "visible", "notify"),
    "find": ("has", "lacks", "customer", "after", "limit"),
    "queue": ("name", "after", "limit"),
    "totals": ("customer",),
    "stock": ("sku",),
    "stock_level": ("sku",),
    "stop_tracking": ("sku",),
    "set_stock": ("sku", "available", "expected", "backorder"),
    "adjust_stock": ("sku", "by", "key"),
    "expire": ("older_than", "limit"),
    "purge": ("older_than", "limit"),
    "deliver": ("handler", "limit"),
    "get": ("order_id",),
    "history": ("order_id",),
    "progress": ("order_id",),
    "explain": ("order_id",),
}  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    "create": {"order_id": "1003", "total": "1", "currency": "GBP"},
    "fire": {"order_id": "1001", "trigger": "pay"},
    "save": {"order_id": "1001", "statuses": {"sent", "paid"}, "version": 3},
    "comment": {"order_id": "1001", "comment": "x"},
    "queue": {"name": "to_pay"},
    **{method: {"sku": "TEAPOT"} for method in ("stock", "stock_level", "stop_tracking")},
    "set_stock": {"sku": "TEAPOT", "available": 10},
    "adjust_stock": {"sku": "TEAPOT", "by": 1},
    "expire": {"older_than": timedelta(days=1)},
    "purge": {"older_than": timedelta(days=1)},
    "deliver": {"handler": lambda message: None},
    **{method: {"order_id": "1001"} for method in ("get", "history", "progress", "explain")},
}


@pytest.mark.no_cover
@settings(max_examples=400 if stressed() else 100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_arguments_give_a_typed_error_or_succeed(data: st.DataObject, new_shop: type[Shop]) -> None:
    """Any values of one or two arguments of a method give a typed error that changes nothing, or a success
    whose result is in the store."""
    shop = new_shop()
    shop.bring("sent")
    shop.orders.fire("1001", "pay", amount="1.00", reference="ch_1", key="used")
    method = data.draw(st.sampled_from(sorted(ARGUMENTS)))
    names = data.draw(st.lists(st.sampled_from(ARGUMENTS[method]), min_size=1, max_size=2, unique=True))
    given_now = {**GOOD.get(method, {}), **{name: data.draw(ANYTHING, label=name) for name in names}}
    before = shop.dump()
    error: OrderFsmError | None = None
    outcome: Any = None
    try:
        outcome = getattr(shop.orders, method)(**given_now)
    except OrderFsmError as raised:
        error = raised
    if error is not None:
        told = str(error)
        assert 0 < len(told) < 1000
        assert shop.dump() == before
        return
    if method in {"fire", "save", "comment"} and not outcome.duplicate:
        assert shop.orders.get("1001") == outcome.order
        assert shop.orders.history("1001")[3:] == outcome.entries
    elif method == "create":
        assert shop.orders.get(outcome.id) == outcome
    elif method not in {"set_stock", "adjust_stock", "deliver"}:
        assert shop.dump() == before

"""`Orders.preview` returns the result of saving a form, without writing."""

from __future__ import annotations

from typing import Any

import pytest

from order_fsm import InvalidInput, Line, OrderFsmError, OrderNotFound, Orders, Reason, Refused, VersionConflict
from tests.conftest import Shop

FORMS: dict[str, tuple[str, set[str], dict[str, Any]]] = {
    "one box": ("sent", {"sent", "invoiced"}, {}),
    "stock taken": ("unfinished", {"sent"}, {}),
    "stock given back": ("sent", {"sent", "cancelled"}, {"by": "bob"}),
    "money by hand": ("sent", {"sent", "paid", "dispatched"}, {"by": "bob", "comment": "cash"}),
    "money back": ("sent+paid", {"sent"}, {"comment": "a mistake"}),
    "an override": ("sent", {"sent", "dispatched"}, {"override": True, "comment": "he always pays"}),
    "a comment alone": ("sent", {"sent"}, {"comment": "Delayed by snow"}),
    "nothing": ("sent", {"sent"}, {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_preview_is_the_receipt_of_the_form_that_is_saved_next(any_shop: Shop, form: str) -> None:
    state, statuses, said = FORMS[form]
    version = any_shop.bring(state).version
    before = any_shop.dump()
    preview = any_shop.orders.preview("1001", statuses, version=version, **said)
    assert any_shop.dump() == before
    assert preview == any_shop.orders.save("1001", statuses, version=version, **said)


REFUSED: dict[str, tuple[str, Any, int, type[OrderFsmError]]] = {
    "against the rules": ("1001", {"sent", "dispatched"}, 2, Refused),
    "a reason is missing": ("1001", set[str](), 2, Refused),
    "stale": ("1001", {"sent", "invoiced"}, 1, VersionConflict),
    "no order": ("1002", {"sent"}, 1, OrderNotFound),
    "a mapping": ("1001", {"sent": True}, 2, InvalidInput),
    "an unknown box": ("1001", {"send"}, 2, InvalidInput),
    "no version": ("1001", {"sent"}, 0, InvalidInput),
}


@pytest.mark.parametrize("form", REFUSED)
def test_preview_raises_the_error_of_saving_the_form(any_shop: Shop, form: str) -> None:
    order_id, statuses, version, error = REFUSED[form]
    any_shop.bring("sent" if form != "a reason is missing" else "sent+paid")
    version = version if form != "a reason is missing" else any_shop.orders.get("1001").version
    before = any_shop.dump()
    with pytest.raises(error) as of_preview:
        any_shop.orders.preview(order_id, statuses, version=version)
    with pytest.raises(error) as of_save:
        any_shop.orders.save(order_id, statuses, version=version)
    assert (type(of_preview.value), str(of_preview.value)) == (type(of_save.value), str(of_save.value))
    assert any_shop.dump() == before


def test_preview_of_a_form_that_waits_for_stock_is_refused(any_shop: Shop) -> None:
    any_shop.create(lines=[Line("TEAPOT", 11)])
    with pytest.raises(Refused, match="out_of_stock"):
        any_shop.orders.preview("1001", {"sent"}, version=1)


def test_preview_calls_allow_and_logs_nothing(any_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    any_shop.bring("sent")
    why = Reason("clerks_do_not", "a clerk may not do this")
    orders = Orders(any_shop.store, allow=lambda actor, action, order: actor != "bob" or action == "save" or why)
    with pytest.raises(Refused) as refused:
        orders.preview("1001", {"sent", "invoiced"}, version=2, by="bob")
    assert refused.value.reasons == (why,)
    assert orders.preview("1001", {"sent", "invoiced"}, version=2, by="owner").order.state == "sent+invoiced"
    assert orders.get("1001").version == 2
    assert caplog.records == []

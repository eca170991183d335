"""Compare the engine with the executable model of the money ledger over random histories.

The model is in a folder `shared` next to the checkout, or at the path in `ORDER_FSM_LEDGER_MODEL`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_fsm import KeyReused, Order, Orders, Refused, shop_workflow
from order_fsm.rules.shop import Dispatch
from order_fsm.validation import GATEWAY
from order_fsm_adapters.memory import MemoryStore


def model_file() -> Path | None:
    named = os.environ.get("ORDER_FSM_LEDGER_MODEL")
    places = [Path(named)] if named else [up / "shared" / "ledger_model.py" for up in Path(__file__).resolve().parents]
    return next((place for place in places if place.is_file()), None)


@pytest.fixture(scope="module")
def model() -> ModuleType:
    file = model_file()
    if file is None:
        pytest.skip("ledger_model.py is missing: put it into `shared` next to the checkout")
    spec = importlib.util.spec_from_file_location("ledger_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# One step: a trigger of the model with its arguments. `mov` is the model's word for transaction_id.

AMOUNTS = st.sampled_from([10, 30, 40, 60, 100, 130])
REFERENCES = st.sampled_from(["p0", "p1"])

BOXES = (
    *("place", "unplace", "invoice", "uninvoice", "dispatch", "undispatch", "cancel", "reinstate", "expire"),
    *("tick_paid", "untick_paid", "dispatch", "undispatch", "cancel", "reinstate"),
)

STEPS = st.one_of(
    st.sampled_from(BOXES).map(lambda name: (name, {})),
    st.tuples(
        st.just("pay"),
        st.fixed_dictionaries({"a": AMOUNTS, "ref": REFERENCES}, optional={"mov": st.sampled_from(["m0", "m1"])}),
    ),
    st.tuples(st.just("pay"), st.fixed_dictionaries({"a": AMOUNTS})),
    st.tuples(st.just("pay"), st.fixed_dictionaries({"a": AMOUNTS, "ref": st.just("e"), "cur": st.just("EUR")})),
    st.tuples(
        st.just("refund"),
        st.fixed_dictionaries(
            {"a": AMOUNTS, "ref": REFERENCES | st.none(), "mov": st.sampled_from(["r0", "r1", "r2"])},
            optional={"credit": st.booleans(), "gateway": st.booleans()},
        ),
    ),
    st.tuples(
        st.just("refund"),
        st.fixed_dictionaries({"a": AMOUNTS, "ref": st.just("e"), "mov": st.just("re"), "cur": st.just("EUR")}),
    ),
    st.tuples(
        st.just("fail_refund"),
        st.fixed_dictionaries({"mov": st.sampled_from(["r0", "r1", "r2", "re"])}, optional={"a": AMOUNTS}),
    ),
    st.tuples(
        st.just("unpay"),
        st.fixed_dictionaries({"a": AMOUNTS, "ref": REFERENCES, "mov": st.sampled_from(["d0", "d1"])}),
    ),
    st.tuples(
        st.just("restore"), st.fixed_dictionaries({"mov": st.sampled_from(["d0", "d1"])}, optional={"a": AMOUNTS})
    ),
    st.tuples(st.just("amend"), st.fixed_dictionaries({"total": st.sampled_from([0, 30, 60, 100, 130])})),
)
"""Draw steps, money more often than boxes."""

TRIGGERS = {"fail_refund": "refund_failed", "restore": "restore_payment"}
FACTS = {"a": "amount", "ref": "reference", "mov": "transaction_id", "cur": "currency", "credit": "credit"}


def act(orders: Orders, name: str, arguments: dict[str, Any], wanted: frozenset[str]) -> Order:
    """Make a step with the engine. `wanted` has the boxes of the form that unticks paid."""
    order = orders.get("1")
    if name == "untick_paid":
        return orders.save("1", wanted, version=order.version, comment="a reason").order
    if name == "tick_paid":
        return orders.fire("1", "pay").order
    if name == "amend":
        return orders.amend("1", version=order.version, total=arguments["total"]).order
    facts = {FACTS[key]: value for key, value in arguments.items() if key in FACTS and value is not None}
    if name == "pay" and "reference" in facts:
        facts.setdefault("transaction_id", facts["reference"])
    by = GATEWAY if arguments.get("gateway") else None
    return orders.fire("1", TRIGGERS.get(name, name), by=by, comment="a reason", **facts).order


def seen_by(order: Order, queues: set[str]) -> dict[str, object]:
    if order.refund_due:
        queues.add("refund_due")
    if order.unmatched:
        queues.add("unmatched")
    return {
        "held": order.held,
        "credited": order.credited,
        "cost": order.cost,
        "outstanding": order.outstanding,
        "refund_due": order.refund_due,
        "unmatched": bool(order.unmatched),
        "boxes": order.statuses,
        "by_payment": order.invoiced_by_payment,
        "rows": [(row.kind, row.amount, row.credit) for row in order.payments],
        "queues": queues,
    }


def seen_by_model(model: ModuleType, order: Any) -> dict[str, object]:
    return {
        "held": model.held(order),
        "credited": model.credited(order),
        "cost": model.cost(order),
        "outstanding": model.outstanding(order),
        "refund_due": model.refund_due(order),
        "unmatched": model.unmatched(order),
        "boxes": order.boxes,
        "by_payment": order.by_payment,
        "rows": [(row.kind, row.amount, row.credit) for row in order.rows],
        "queues": model.queues(order),
    }


def lockstep(model: ModuleType, dispatch: Dispatch, invoice: bool, total: int, steps: list[tuple[str, Any]]) -> None:
    model.POLICY, model.INVOICE_ON_PAYMENT, model.LITERAL, model.PER_PAYMENT = dispatch, invoice, False, False  # type: ignore[attr-defined]
    workflow = shop_workflow(dispatch, invoice)
    orders = Orders(MemoryStore(), workflow=workflow)
    order = orders.create("1", total=total, currency="GBP")
    expected = model.Order(total=total)
    for name, arguments in steps:
        if name == "expire" and expected.rows:
            continue  # The model lets an order expire after all money went back. The table does not.
        if name in ("tick_paid", "untick_paid") and expected.has("paid") == (name == "tick_paid"):
            continue  # The form would change nothing.
        step: Callable[..., Any] = getattr(model, name)
        after = step(expected, **arguments)
        wanted = expected.boxes - {"paid"} if after is None else after.boxes
        try:
            order = act(orders, name, arguments, wanted)
        except Refused:
            assert after is None, f"{name} {arguments} is refused, and the model allows it"
        except KeyReused:
            assert after == expected, f"{name} {arguments} is taken for another fact, and the model allows it"
        else:
            assert after is not None, f"{name} {arguments} is allowed, and the model refuses it"
            expected = after
        order = orders.get("1")
        queues = set(workflow.queues_of(order.state))
        assert seen_by(order, queues) == seen_by_model(model, expected), f"after {name} {arguments}"
    assert orders.audit().ok


@pytest.mark.no_cover
@pytest.mark.parametrize("invoice", [True, False], ids=["invoice_on_payment", "invoice_by_hand"])
@pytest.mark.parametrize("dispatch", ["on_account", "prepaid", "cod"])
@settings(max_examples=int(os.environ.get("LEDGER_EXAMPLES", "150")), deadline=None)
@given(total=st.sampled_from([100, 100, 100, 60, 0]), steps=st.lists(STEPS, min_size=4, max_size=16))
def test_engine_follows_the_model_of_the_ledger(
    model: ModuleType, dispatch: Dispatch, invoice: bool, total: int, steps: list[tuple[str, Any]]
) -> None:
    """Every refusal, amount, credit, box and queue equals that of the model, under every policy."""
    lockstep(model, dispatch, invoice, total, [("place", {}), ("pay", {"a": total or 10, "ref": "p0"}), *steps])


@settings(max_examples=int(os.environ.get("LEDGER_EXAMPLES", "150")), deadline=None)
@given(steps=st.lists(STEPS, max_size=16))
def test_engine_follows_the_model_from_an_unfinished_order(model: ModuleType, steps: list[tuple[str, Any]]) -> None:
    lockstep(model, "on_account", True, 100, steps)

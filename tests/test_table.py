"""Every state, trigger and kind of request, compared with readable tables in `golden/table`.

The table of the default policy is complete. The other tables have only their differences from it. After an intended
change of the rules, rewrite them with `RENEW_GOLDEN=1 pytest tests/test_table.py` and review the difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from order_fsm import Line, Order, Refused, Shipment, Workflow, shop_workflow
from order_fsm.rules.decide import decide
from order_fsm.rules.request import Request
from order_fsm.rules.rule import AMEND

if TYPE_CHECKING:
    from tests.conftest import Shop

GOLDEN = Path(__file__).parent / "golden" / "table"
DEFAULT = "on_account"

OVERRIDE: dict[str, Any] = {"comment": "a reason", "override": True}
WAYS: dict[str, dict[str, Any]] = {
    "bare": {},
    "reason": {"comment": "a reason"},
    "no reason": {"override": True},
    "override": OVERRIDE,
    "no stock": {**OVERRIDE, "shortages": {"TEAPOT"}},
}
MONEY_WAYS: dict[str, dict[str, Any]] = {
    "reference": {**OVERRIDE, "facts": {"reference": "ch_2"}},
    "part": {**OVERRIDE, "facts": {"amount": Decimal(1)}},
    "part, reference": {**OVERRIDE, "facts": {"amount": Decimal(1), "reference": "ch_2"}},
    "too much": {**OVERRIDE, "facts": {"amount": Decimal(99)}},
    "nothing": {**OVERRIDE, "facts": {"amount": Decimal(0)}},
    "euros": {**OVERRIDE, "facts": {"currency": "EUR"}},
    "part, euros": {**OVERRIDE, "facts": {"amount": Decimal(1), "currency": "EUR"}},
}
CREDIT_WAYS: dict[str, dict[str, Any]] = {
    "part, credit": {**OVERRIDE, "facts": {"amount": Decimal(1), "credit": True}},
    "part, no credit": {**OVERRIDE, "facts": {"amount": Decimal(1), "credit": False}},
}
AMEND_WAYS: dict[str, dict[str, Any]] = {
    "total 0": {**OVERRIDE, "total": Decimal(0)},
    "total 1": {**OVERRIDE, "total": Decimal(1)},
    "total 11": {**OVERRIDE, "total": Decimal(11)},
    "credit": {**OVERRIDE, "facts": {"credited": Decimal(2)}},
    "no lines": {**OVERRIDE, "lines": ()},
    "1 piece": {**OVERRIDE, "lines": (Line("TEAPOT", 1),)},
    "3 pieces": {**OVERRIDE, "lines": (Line("TEAPOT", 3),)},
    "3, no stock": {**OVERRIDE, "lines": (Line("TEAPOT", 3),), "shortages": {"TEAPOT"}},
    "another item": {**OVERRIDE, "lines": (Line("CUP", 2),)},
}
GOODS_WAYS: dict[str, dict[str, Any]] = {
    "one": {**OVERRIDE, "facts": {"items": (Line("TEAPOT", 1),)}},
    "all": {**OVERRIDE, "facts": {"items": (Line("TEAPOT", 2),)}},
    "too many": {**OVERRIDE, "facts": {"items": (Line("TEAPOT", 3),)}},
    "others": {**OVERRIDE, "facts": {"items": (Line("TEAPOT", 1), Line("CUP", 1))}},
}
RETURN_WAYS: dict[str, dict[str, Any]] = {
    "one, damaged": {**OVERRIDE, "facts": {"items": (Line("TEAPOT", 1),), "restock": False}},
}

LEGEND = """\
The result of each trigger on an order over 10.00 GBP for two teapots, in each reachable state, by kind of request:
  bare              as in explain(): without comment and facts
  reason            with a comment
  no reason         with an override and without a comment
  override          with an override and a comment, so policy guards may be passed
  no stock          as override, without enough stock
  reference         as override, with the reference of a payment: for pay, an online payment
  part · too much   as override, with an amount of 1.00 · of 99.00
  nothing           as override, with an amount of 0.00
  euros             as override, in a currency that is not the order's
  part, (no) credit as part, with a refund that lowers the cost, or does not
  total             as override, with another total, set by amend
  credit            as override, with credits of 2.00, set by amend
  no lines · pieces · another item
                    as override, with other lines, set by amend; with 3 pieces the stock may not suffice
  one · all · too many · others
                    as override, with one, two or three teapots, or with one and a cup, which the order lacks
  one, damaged      as override, with one teapot that does not go back on the shelf
  always            each of these
  otherwise         each of these without a line of its own

A line has the state after the trigger, with the rows of the ledgers and the message, or the codes of all reasons of a
refusal. An order with a plus has more or less money than its state implies, or partly shipped or returned goods. It has
only the lines that differ from those of the order without a plus.
"""

PAID_STEPS = ([("pay", "5.00")], [("refund", "4.00")], [("unpay", "4.00")])
UNPAID_STEPS = ([("pay", "4.00")], [("pay", "4.00"), ("refund", "4.00")], [("pay", "4.00"), ("unpay", "4.00")])

ONE: dict[str, Any] = {"items": {"TEAPOT": 1}}
GOODS_STEPS: tuple[tuple[str, list[tuple[str, dict[str, Any]]]], ...] = (
    ("sent", [("dispatch", ONE)]),
    ("sent", [("dispatch", ONE), ("return_items", ONE)]),
    ("sent", [("dispatch", ONE), ("return_items", ONE), ("cancel", {})]),
    ("sent+paid", [("dispatch", ONE)]),
    ("sent+dispatched", [("return_items", ONE)]),
    ("sent+dispatched", [("return_items", {})]),
)
"""By state, further steps with the goods of an order."""

Table = dict[tuple[str, str], list[str]]
"""The result of a trigger (second name) on an order (first name), line by line."""


def outcome_of(workflow: Workflow, order: Order, trigger: str, way: dict[str, Any]) -> str:
    said = dict(way)
    shortages = said.pop("shortages", ())
    order = replace(order, total=said.pop("total", order.total), lines=said.pop("lines", order.lines))
    outcome = decide(workflow, order, Request(trigger, order.updated_at, said.pop("facts", {}), **said), shortages)
    if isinstance(outcome, Refused):
        return "refused: " + ", ".join(reason.code for reason in outcome.reasons)
    done = [f"-> {outcome.order.state}"]
    for row in outcome.order.payments[len(order.payments) :]:
        credit = f" credit {row.credit:.2f}" if row.credit else ""
        done.append(f"{row.kind} {row.amount:.2f}{credit}")
    done += [moved(row) for row in outcome.order.shipments[len(order.shipments) :]]
    if outcome.entry.override:
        done.append("overridden")
    assert outcome.edge is not None
    if outcome.edge.rule.announces is not None:
        done.append(outcome.edge.rule.announces)
    return ", ".join(done)


def moved(row: Shipment) -> str:
    pieces = "".join(f" {line.quantity} {line.sku}" for line in row.lines)
    return f"{row.kind}{pieces or ' 0'}{'' if row.restock else ' damaged'}"


def rows_of(workflow: Workflow, order: Order, trigger: str) -> Iterator[str]:
    ways = WAYS | (MONEY_WAYS if workflow.ledger_of(trigger) else {})
    ways |= CREDIT_WAYS if "credit" in workflow.facts_of(trigger) else {}
    ways |= AMEND_WAYS if trigger == AMEND else {}
    goods = workflow.goods_of(trigger)
    ways |= GOODS_WAYS if goods in ("shipped", "returned") else {}
    ways |= RETURN_WAYS if goods == "returned" else {}
    by_outcome: dict[str, list[str]] = {}
    for way, said in ways.items():
        by_outcome.setdefault(outcome_of(workflow, order, trigger, said), []).append(way)
    label = trigger
    for outcome, asked in by_outcome.items():
        when = " · ".join(asked)
        if len(by_outcome) == 1:
            when = "always"
        elif len(asked) > len(ways) // 2:
            when = "otherwise"
        yield f"  {label:<15} {outcome:<67} {when}"
        label = ""


def money_apart(workflow: Workflow, new_shop: type[Shop]) -> Iterator[tuple[str, Order]]:
    """Yield orders whose money does not follow from their state.

    They are overpaid, paid by hand and refunded in part, refunded in full while cancelled, or paid in part and then
    refunded or reversed.
    """
    for state in workflow.states:
        for steps in (PAID_STEPS if "paid" in state else UNPAID_STEPS) if "sent" in state else ():
            shop = new_shop(workflow)
            order = shop.bring(state)
            for trigger, amount in steps:
                order = shop.orders.fire("1001", trigger, amount=amount, comment="a reason").order
            if order.state == state:
                yield state, order


def goods_apart(workflow: Workflow, new_shop: type[Shop]) -> Iterator[tuple[str, Order]]:
    """Yield orders that are partly shipped or whose goods came back."""
    for state, steps in GOODS_STEPS:
        shop = new_shop(workflow)
        shop.bring(state)
        for trigger, facts in steps:
            shop.orders.fire("1001", trigger, comment="a reason", override=True, **facts)
        order = shop.orders.get("1001")
        yield order.state, order


def table_of(workflow: Workflow, new_shop: type[Shop]) -> Table:
    table = {
        (state, trigger): list(rows_of(workflow, new_shop(workflow).bring(state), trigger))
        for state in workflow.states
        for trigger in workflow.triggers
    }
    apart: list[tuple[str, str, Order]] = []
    for state, order in money_apart(workflow, new_shop):
        label = f"{state}  + " + ", ".join(f"{row.kind} {row.amount:.2f}" for row in order.payments)
        apart.append((label, state, order))
    for state, order in goods_apart(workflow, new_shop):
        apart.append((f"{state}  + " + ", ".join(map(moved, order.shipments)), state, order))
    for label, state, order in apart:
        for trigger in workflow.triggers:
            rows = list(rows_of(workflow, order, trigger))
            if rows != table[state, trigger]:
                table[label, trigger] = rows
    return table


def written(name: str, table: Table, default: Table) -> str:
    lines = [f"The rules of the shop: {name}", ""]
    if name == DEFAULT:
        lines += LEGEND.splitlines()
    else:
        assert default.keys() <= table.keys(), "a missing row means the row of the default table"
        table = {place: rows for place, rows in table.items() if rows != default.get(place)}
        lines.append(f"The differences from {DEFAULT}, which has the legend.")
    heading = None
    for (label, _), rows in table.items():
        if label != heading:
            heading = label
            lines += ["", label]
        lines += rows
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def default(new_shop: type[Shop]) -> Table:
    return table_of(shop_workflow(), new_shop)


def test_the_rules_match_the_golden_table(
    workflow: Workflow, default: Table, new_shop: type[Shop], request: pytest.FixtureRequest
) -> None:
    """Each trigger has in each state the result in the table of the policy."""
    name = request.node.callspec.id
    file = GOLDEN / f"{name}.txt"
    text = written(name, table_of(workflow, new_shop), default)
    if os.environ.get("RENEW_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text.splitlines() == file.read_text(encoding="utf-8").splitlines()


def test_explain_matches_the_table_for_a_bare_trigger(workflow: Workflow, new_shop: type[Shop]) -> None:
    """`explain` returns for each state and trigger the result of the bare request, and `fire` agrees."""
    for state in workflow.states:
        shop = new_shop(workflow)
        order = shop.bring(state)
        for trigger, reasons in shop.orders.explain("1001").items():
            told = "refused: " + ", ".join(reason.code for reason in reasons)
            tabled = outcome_of(workflow, order, trigger, {})
            assert tabled == told if reasons else tabled.startswith("-> ")
            again = new_shop(workflow)
            again.bring(state)
            if trigger == AMEND:
                version = again.orders.get("1001").version
                receipt = again.orders.amend("1001", version=version, customer="eve")
                assert tabled.split(", ")[0] == f"-> {receipt.order.state}"
            elif reasons:
                with pytest.raises(Refused) as refusal:
                    again.orders.fire("1001", trigger)
                assert refusal.value.reasons == reasons
            else:
                assert tabled.split(", ")[0] == f"-> {again.orders.fire('1001', trigger).order.state}"

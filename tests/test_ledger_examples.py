"""Short histories of one order's money, each step with its expected result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from order_fsm import KeyReused, Order, Payment, Refused, Workflow, shop_workflow
from order_fsm.rules.amendment import amended, difference
from order_fsm.rules.booking import recorded_before
from order_fsm.rules.decide import decide
from order_fsm.rules.request import Request
from order_fsm.rules.rule import AMEND

GOLDEN = Path(__file__).parent / "golden" / "ledger.txt"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = {"ref": "reference", "tx": "transaction_id", "of": "currency", "from": "provider", "credit": "credit"}

EXAMPLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a free order": (
        "0",
        (
            "place",
            "refund 1",
            "pay 0",
            "pay 5",
            "refund",
            "cancel",
            "reinstate",
        ),
    ),
    "a payment in parts": (
        "100",
        (
            "pay",
            "refund 20",
            "pay 30 ref=a tx=1 from=acme",
            "pay 30 ref=a tx=1 from=acme",
            "pay 20 ref=a tx=1 from=acme",
            "pay 70 ref=a tx=2 from=acme",
            "unpay 100 ref=a",
            "unpay 101 ref=a by=gateway",
        ),
    ),
    "more than the total": (
        "100",
        (
            "pay 130",
            "refund",
            "refund 40",
            "refund 60",
            "refund",
            "refund 1",
        ),
    ),
    "a refund of each payment": (
        "100",
        (
            "pay 60 ref=a tx=1",
            "pay 40 ref=b tx=2",
            "refund 70 ref=a",
            "refund 60 ref=a tx=r1 from=acme",
            "refund 10 ref=b tx=r2",
            "refund 10 ref=b tx=r2",
            "refund 11 ref=b tx=r2",
            "refund_failed",
            "refund_failed 10 tx=r2",
            "refund_failed 1 ref=b tx=r2",
            "refund_failed",
            "refund_failed",
        ),
    ),
    "a refund by hand is at most what is held": (
        "100",
        (
            "pay 60 ref=a",
            "pay 60 ref=b",
            "unpay 30 ref=a by=gateway",
            "refund 40 ref=a",
            "refund 95",
            "refund 70",
            "refund 30 ref=a",
            "refund 30 ref=b tx=r by=gateway",
        ),
    ),
    "a reversal of several payments": (
        "100",
        (
            "pay 60 ref=a",
            "pay 40",
            "unpay",
            "unpay ref=a silent",
            "unpay ref=a tx=d1 by=gateway silent",
            "restore_payment",
            "unpay",
            "restore_payment",
            "restore_payment 60 ref=a",
            "unpay ref=a",
        ),
    ),
    "a dispute in two parts": (
        "100",
        (
            "pay 100 ref=a tx=1",
            "unpay 60 ref=a tx=d1 by=gateway",
            "unpay 40 ref=a tx=d2 by=gateway",
            "restore_payment",
            "restore_payment 70 tx=d1",
            "restore_payment 60 tx=d1",
            "restore_payment 40 ref=a tx=w2 by=gateway",
            "restore_payment 1 ref=a tx=w3 by=gateway",
        ),
    ),
    "a restoration with its own id": (
        "100",
        (
            "pay 100 ref=a tx=1",
            "pay 30 ref=b tx=2",
            "pay 30 ref=a tx=3 of=EUR",
            "unpay 60 ref=a tx=d1 of=GBP by=gateway",
            "unpay 30 ref=b tx=d2 by=gateway",
            "unpay 30 ref=a tx=d3 of=EUR by=gateway",
            "restore_payment 60 ref=a tx=w1 of=GBP by=gateway",
            "restore_payment 30 ref=a tx=d1 of=GBP by=gateway",
            "restore_payment 30 ref=a of=GBP",
            "unpay 40 ref=a tx=d4 of=GBP by=gateway",
            "restore_payment 41 ref=a tx=d1 of=GBP by=gateway",
            "restore_payment 40 ref=a tx=d4 of=GBP by=gateway",
            "restore_payment 40 ref=a tx=d1 of=GBP by=gateway",
        ),
    ),
    "facts recorded by their ids alone": (
        "100",
        (
            "pay 100 ref=a tx=1",
            "refund 30 tx=r1",
            "refund 30 ref=a tx=r1 by=gateway",
            "refund 20 ref=a tx=r2 by=gateway",
            "refund_failed 20 ref=b tx=r2 by=gateway",
            "refund_failed 30 ref=a tx=r1 by=gateway",
            "refund_failed 20 ref=a tx=r3 by=gateway",
        ),
    ),
    "a reversal recorded by its id alone": (
        "100",
        (
            "pay 100",
            "unpay 40 tx=d1",
            "restore_payment 41 ref=a tx=d1 by=gateway",
            "restore_payment 40 ref=a tx=d1 by=gateway",
        ),
    ),
    "a loss": (
        "100",
        (
            "pay 100 ref=a",
            "refund 100 ref=a tx=r1",
            "unpay 100 ref=a tx=d1 by=gateway",
            "refund_failed 100 tx=r1",
            "pay 100",
        ),
    ),
    "another currency": (
        "100",
        (
            "pay 50 of=EUR",
            "pay of=EUR",
            "unpay 10 of=EUR",
            "restore_payment 20 of=EUR",
            "refund 60 of=EUR",
            "refund of=EUR",
            "pay 100",
            "pay 7 of=USD ref=u",
            "refund 9 of=USD ref=u",
            "refund 7 of=USD ref=u",
        ),
    ),
    "a credit": (
        "100",
        (
            "pay 100",
            "refund 30",
            "refund 20 credit=no",
            "pay 20",
            "refund 10 credit=yes",
            "invoice",
            "dispatch",
            "refund 60",
            "undispatch",
        ),
    ),
    "a credit beyond the cost": (
        "100",
        (
            "pay 150",
            "refund 120 credit=yes",
            "refund 100 credit=yes",
            "refund",
        ),
    ),
    "a failed refund is due again": (
        "100",
        (
            "pay 100 ref=a",
            "refund 30 ref=a tx=r1",
            "refund 20 ref=a tx=r2",
            "refund_failed 10 tx=r1",
            "refund_failed 20 tx=r1",
            "refund_failed 20 tx=r2",
        ),
    ),
    "cancelled and reinstated": (
        "100",
        (
            "pay 20",
            "pay 10 ref=a",
            "cancel",
            "refund",
            "pay 5 ref=b",
            "refund_failed 30",
            "unpay ref=a",
            "refund 10",
            "reinstate",
            "cancel",
            "reinstate",
        ),
    ),
    "refund after dispatch": (
        "100",
        (
            "pay 60",
            "dispatch override",
            "refund 10",
            "pay 120",
            "refund 90",
            "refund",
            "undispatch",
        ),
    ),
    "paid in part and refunded in part": (
        "100",
        (
            "pay 60",
            "refund 10",
            "refund 10 credit=yes",
            "pay",
            "refund 100",
        ),
    ),
    "an adopted capture": (
        "100",
        (
            "pay 50 ref=a",
            "pay 50 ref=a tx=1 from=acme",
            "pay 50 ref=a tx=1 from=acme",
            "pay 50 ref=a tx=2",
            "pay 40 ref=a tx=1",
            "pay 50 ref=a",
            "pay 50 ref=b from=acme",
            "pay 50 ref=b tx=3 from=other",
            "refund 10 ref=a",
            "unpay ref=b",
        ),
    ),
    "two captures under an id of two providers": (
        "100",
        (
            "pay 50 tx=1 from=acme",
            "pay 50 tx=1 from=other",
            "pay 50 tx=1",
            "pay 60 tx=1",
            "pay 60 of=EUR tx=1 from=acme",
            "refund 20 tx=1",
        ),
    ),
    "payments by mistake": (
        "100",
        (
            "pay 100",
            "unpay",
            "unpay 1",
            "restore_payment 100",
            "pay 10 ref=a",
            "refund 110",
        ),
    ),
    "a failed refund gives its credits back": (
        "100",
        (
            "pay 100 ref=a",
            "refund 30 ref=a tx=r1",
            "refund 70 ref=a tx=r2",
            "refund_failed 70 ref=a tx=r2",
            "refund_failed 30 ref=a tx=r1",
        ),
    ),
    "invoiced by hand": (
        "100",
        (
            "pay 40 ref=a",
            "invoice",
            "pay 60 ref=b",
            "unpay 10 ref=b",
            "dispatch",
            "pay 10",
            "undispatch",
        ),
    ),
    "a gateway refunds more than is held": (
        "100",
        (
            "pay 100 ref=a",
            "dispatch",
            "refund 60",
            "refund 100 ref=a tx=r1 by=gateway",
            "refund",
        ),
    ),
    "a loss of a cancelled order": (
        "100",
        (
            "pay 100 ref=a",
            "refund 100 ref=a tx=r1",
            "unpay 100 ref=a tx=d1 by=gateway",
            "refund",
            "cancel",
            "refund",
            "pay 150",
        ),
    ),
    "a loss in another currency": (
        "100",
        (
            "pay 50 of=EUR ref=e",
            "refund 50 of=EUR",
            "unpay 50 of=EUR ref=e by=gateway",
            "refund of=EUR",
        ),
    ),
    "a gateway's refund is bounded by its payment": (
        "100",
        (
            "pay 60 ref=a",
            "pay 90 ref=b",
            "refund 70 ref=a tx=r1 by=gateway",
            "refund 60 ref=a tx=r1 by=gateway",
            "refund 1 ref=a tx=r2 by=gateway",
            "refund_failed 60 tx=r1",
            "refund 61 ref=a tx=r3 by=gateway",
            "refund 60 ref=a tx=r3 by=gateway",
            "refund 1 ref=a tx=r4 by=gateway",
        ),
    ),
    "a refund by hand fails in parts": (
        "100",
        (
            "pay 100",
            "refund 30",
            "refund 70",
            "refund_failed 30",
            "refund_failed 40",
            "refund_failed 30",
            "refund_failed 1",
        ),
    ),
    "a dispute that names its reversal": (
        "100",
        (
            "pay 100 ref=a tx=1",
            "unpay 60 ref=a tx=d1 by=gateway",
            "unpay 40 ref=a tx=d2 by=gateway",
            "restore_payment 70 ref=a tx=d1 by=gateway",
            "restore_payment 100 ref=a tx=1 by=gateway",
        ),
    ),
    "identified captures of one amount": (
        "200",
        (
            "pay 50 ref=a tx=1",
            "unpay 50 ref=a by=gateway",
            "pay 50 ref=a tx=2",
            "pay 50 ref=a tx=3",
            "pay 50 of=EUR ref=a tx=3",
        ),
    ),
    "captures that adopt nothing": (
        "200",
        (
            "pay 50",
            "pay 50 tx=9",
            "pay 30 ref=b",
            "pay 50 ref=a",
            "pay 40 ref=a tx=1",
            "pay 50 ref=a tx=2",
            "pay 50 ref=a tx=2",
            "pay 40 ref=a tx=2",
        ),
    ),
    "one reference of two providers": (
        "200",
        (
            "pay 50 ref=a tx=1 from=acme",
            "refund 10 ref=a from=acme",
            "pay 40 ref=a from=other",
            "pay 40 ref=a tx=2 from=other",
            "pay 40 ref=a tx=2 from=other",
        ),
    ),
    "one reference of two providers without ids": (
        "200",
        (
            "pay 50 ref=a from=acme",
            "pay 40 ref=a from=other",
            "pay 50 ref=a tx=1 from=acme",
            "pay 40 ref=a tx=2 from=other",
            "pay 50 ref=a tx=1 from=acme",
            "pay 40 ref=a tx=2 from=other",
        ),
    ),
    "a credit beyond the reduced cost": (
        "100",
        (
            "pay 150",
            "refund 30 credit=yes",
            "refund 80 credit=yes",
            "refund 70 credit=yes",
        ),
    ),
    "a failed refund pays a dispatched order": (
        "100",
        (
            "pay 60 ref=a",
            "pay 40 ref=b",
            "refund 40 ref=b tx=r1 credit=no",
            "dispatch override",
            "refund_failed tx=r1",
        ),
    ),
    "a failed refund pays an invoiced order": (
        "100",
        (
            "pay 60 ref=a",
            "pay 40 ref=b",
            "refund 40 ref=b tx=r1 credit=no",
            "invoice",
            "refund_failed tx=r1",
        ),
    ),
    "a failed refund by hand pays a dispatched order": (
        "100",
        (
            "pay 100",
            "dispatch",
            "refund 50",
            "refund 20",
            "refund_failed",
            "unpay 50",
            "restore_payment",
        ),
    ),
    "a failed refund by hand pays an unpaid order": (
        "100",
        (
            "pay 100",
            "refund 50 credit=no",
            "dispatch override",
            "refund_failed",
            "unpay",
            "restore_payment",
        ),
    ),
    "a won dispute pays a dispatched order": (
        "100",
        (
            "pay 100 ref=a",
            "unpay ref=a tx=d1 by=gateway",
            "dispatch override",
            "restore_payment tx=d1",
        ),
    ),
    "a won dispute pays an invoiced order": (
        "100",
        (
            "pay 100 ref=a",
            "unpay ref=a tx=d1 by=gateway",
            "invoice",
            "restore_payment tx=d1",
        ),
    ),
    "several failed refunds": (
        "100",
        (
            "pay 60 ref=a",
            "pay 60 ref=b",
            "refund 30 ref=a tx=r1 credit=no",
            "refund 20 ref=b tx=r2 credit=no",
            "refund_failed",
            "refund_failed override",
            "refund 60 ref=b tx=r3 by=gateway",
            "refund_failed 1",
            "refund_failed 1 override",
            "cancel",
            "refund_failed 1",
            "refund_failed 1 override",
        ),
    ),
    "several failed refunds of money by hand": (
        "100",
        (
            "pay 100",
            "refund 70 tx=r1 credit=no",
            "refund 30 tx=r2",
            "refund_failed 1",
            "refund_failed 1 override",
            "pay 30",
            "refund_failed",
            "refund_failed override",
        ),
    ),
    "several won disputes": (
        "100",
        (
            "pay 60 ref=a",
            "pay 60 ref=b",
            "unpay ref=a tx=d1 by=gateway",
            "unpay 20 ref=b tx=d2 by=gateway",
            "restore_payment",
            "restore_payment override",
            "restore_payment 1",
            "restore_payment 1 override",
            "cancel",
            "restore_payment 1",
            "restore_payment 1 override",
        ),
    ),
    "several won disputes of money by hand": (
        "100",
        (
            "pay 100",
            "unpay 70 tx=d1",
            "unpay 30 tx=d2",
            "restore_payment 1",
            "restore_payment 1 override",
            "pay 30",
            "restore_payment",
            "restore_payment override",
        ),
    ),
    "a refund leaves an invoice by hand": (
        "100",
        (
            "pay 40 ref=a",
            "invoice",
            "pay 60 ref=b",
            "refund 100",
        ),
    ),
    "a credit of a cancelled order": (
        "100",
        (
            "pay 150",
            "cancel",
            "refund 120 credit=yes",
            "refund 120 credit=yes override",
        ),
    ),
    "a reversal of a cancelled order": (
        "100",
        (
            "pay 100 ref=a",
            "cancel",
            "unpay ref=a silent",
            "unpay ref=a silent by=gateway",
        ),
    ),
    "a charge-back after dispatch": (
        "100",
        (
            "pay 100 ref=a",
            "dispatch",
            "unpay ref=a silent by=gateway",
            "undispatch",
        ),
    ),
    "paid while cancelled": (
        "100",
        (
            "pay 50 ref=a",
            "cancel",
            "pay 50 ref=b",
            "reinstate",
        ),
    ),
    "refunded while cancelled": (
        "100",
        (
            "pay 100 ref=a",
            "cancel",
            "refund 60",
            "reinstate",
        ),
    ),
    "refunded while cancelled, and invoiced by hand": (
        "100",
        (
            "pay 40 ref=a",
            "invoice",
            "pay 60 ref=b",
            "cancel",
            "refund 60",
            "reinstate",
        ),
    ),
    "one reference of another provider": (
        "200",
        (
            "pay 30 ref=b from=acme",
            "pay 50 ref=a from=acme",
            "pay 50 ref=a tx=1 from=acme",
            "pay 50 ref=a tx=1 from=acme",
        ),
    ),
    "a refund by hand fails in parts, with a credit": (
        "100",
        (
            "pay 100 ref=a",
            "refund 30 ref=a tx=r1",
            "refund 70",
            "refund_failed 30 of=GBP tx=r1",
            "refund_failed 20",
            "refund_failed 50",
        ),
    ),
    "money beyond the cost comes back": (
        "100",
        (
            "pay 100",
            "pay 50 ref=a",
            "unpay ref=a tx=d1 by=gateway",
            "restore_payment tx=d1",
            "refund 50 ref=a tx=r1",
            "refund_failed tx=r1",
        ),
    ),
    "an amended total": (
        "100",
        (
            "amend total=90",
            "pay 90 ref=a",
            "amend total=120",
            "amend total=80",
            "refund ref=a",
            "dispatch",
            "amend total=100",
            "pay 20",
            "cancel",
            "amend total=130",
            "undispatch",
            "cancel",
            "amend total=140",
            "reinstate",
        ),
    ),
    "an amended total of an order in parts": (
        "100",
        (
            "pay 30 ref=a",
            "pay 20",
            "amend total=50",
            "uninvoice",
            "amend total=60",
            "amend total=40",
            "unpay ref=a",
            "amend total=20",
            "amend total=0",
        ),
    ),
    "amended credits": (
        "100",
        (
            "pay 100 ref=a tx=1",
            "refund 30 ref=a tx=r1 credit=no by=gateway",
            "amend credited=30",
            "amend credited=20",
            "amend credited=0",
            "amend credited=100",
            "amend total=60",
        ),
    ),
    "amended credits, and a refund by hand that fails": (
        "100",
        (
            "place",
            "amend credited=20",
            "pay",
            "refund",
            "refund_failed",
            "amend credited=5",
        ),
    ),
}
"""By name, the total in GBP and the requests of a history. `tests/golden/ledger.txt` has the results."""


def request_of(text: str) -> Request:
    """Read a request such as `pay 50 ref=a tx=1`. `override` passes policy guards, `silent` gives no reason."""
    trigger, *words = text.split()
    facts: dict[str, Any] = {}
    said: dict[str, Any] = {"comment": "a reason"}
    for word in words:
        name, given, value = word.partition("=")
        if name in ("total", "credited"):
            facts[name] = Decimal(value)
        elif given and name in FACTS:
            facts[FACTS[name]] = value == "yes" if name == "credit" else value
        elif given:
            said[name] = value
        elif word in ("override", "silent"):
            said |= {"override": True} if word == "override" else {"comment": ""}
        else:
            facts["amount"] = Decimal(word)
    return Request(trigger, NOW, facts, **said)


def identity_of(row: Payment) -> tuple[str | None, ...]:
    return row.currency, row.reference, row.transaction_id, row.provider


def figures(order: Order) -> str:
    """Return the amounts of an order that are not zero, and all money in other currencies."""
    names = ("captured", "refunded", "reversed", "held", "held_online", "held_by_hand", "credited", "outstanding")
    amounts = {name: getattr(order, name) for name in (*names, "overpaid", "refund_due")}
    told = [f"{name} {amount}" for name, amount in amounts.items() if amount]
    told += [f"unmatched {amount} {currency}" for currency, amount in order.unmatched.items()]
    return ", ".join(told + (["by payment"] if order.invoiced_by_payment else []))


def run(workflow: Workflow, total: str, requests: Sequence[str]) -> list[str]:
    """Fire requests one after another on a new order over a total in GBP. Return the results."""
    order = Order(
        id="1",
        state="unfinished",
        counted=False,
        version=1,
        total=Decimal(total),
        currency="GBP",
        lines=(),
        customer=None,
        email=None,
        payments=(),
        created_at=NOW,
        updated_at=NOW,
    )
    outcomes = []
    for text in requests:
        request = request_of(text)
        kind = workflow.ledger_of(request.trigger)
        try:
            row = None if kind is None else recorded_before(order, kind, request.facts)
        except KeyReused:
            outcomes.append("key reused")
            continue
        if row is not None:
            outcomes.append(f"recorded in version {row.version}")
            continue
        seen = order
        if request.trigger == AMEND:
            request = replace(request, facts=difference(order, request.facts))
            seen = amended(order, request.facts)
        outcome = decide(workflow, seen, request)
        if isinstance(outcome, Refused):
            outcomes.append("refused: " + ", ".join(reason.code for reason in outcome.reasons))
            continue
        before, order = order, outcome.order
        assert outcome.edge is not None
        rows = [
            " ".join(
                filter(
                    None, (row.kind, str(row.amount), *identity_of(row), f"credit {row.credit}" if row.credit else None)
                )
            )
            for row in order.payments[len(before.payments) :]
        ]
        outcomes.append("; ".join(filter(None, (order.state, *rows, figures(order), outcome.edge.rule.announces))))
    return outcomes


def written() -> str:
    lines = []
    for name, (total, requests) in EXAMPLES.items():
        lines += [f"{name}: an order over {total}"]
        outcomes = run(shop_workflow(), total, requests)
        lines += [f"  {request:<41}  {outcome}" for request, outcome in zip(requests, outcomes, strict=True)]
    return "\n".join(lines) + "\n"


def test_each_step_has_the_outcome_of_the_golden_file() -> None:
    text = written()
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text.splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines()

"""Many payments with refunds and disputes, sent repeatedly to two shops on one store, in random order.

Each event is sent eight times. Everything is real: two processes of `examples/payment_callback/shop.py`, local HTTP,
and a store on disk. The browser of each customer races with the events. ORDER_FSM_STRESS=1 sends the events of 1,000
payments.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from examples.payment_callback.gateway import Answer, Gateway, Shop, new_secret, running_shop
from order_fsm import Line, Message, Order, Orders
from order_fsm.testing.store_contract.harness import stressed
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore

ROOT = Path(__file__).parent.parent
PAYMENTS = 1000 if stressed() else 12
REPORTED = 8
SHOPS = 2
AT_ONCE = 16
"""The number of concurrent requests. Requests of a payment race with each other and with those of the next one."""
ROUNDS = 10
"""The number of rounds in which the gateway repeats parked events. Each round records at least one kind of event."""


class Fact(NamedTuple):
    """One movement of money of a payment at the gateway."""

    kind: str
    amount: str
    transaction_id: str


class Call(NamedTuple):
    """One request: an event under one of two ids, or a browser's request without a fact."""

    number: int
    shop: int
    fact: Fact | None = None
    event_id: str = ""


class Answered(NamedTuple):
    call: Call
    answer: Answer


@pytest.fixture(scope="module", autouse=True)
def shops_of_this_checkout() -> Iterator[None]:
    """Run the shops on the code of this checkout, not on an installed one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "adapters")]))
        yield


@contextmanager
def opened(spec: str) -> Iterator[Orders]:
    kind, _, place = spec.partition(":")
    with JsonStore(place) if kind == "json" else SqliteStore(place) as store:
        yield Orders(store)


def order_id(number: int) -> str:
    return f"order-{number}"


def reference(number: int) -> str:
    return f"ch_{number}"


def facts_of(number: int) -> list[Fact]:
    """Return all facts of a payment. Payments differ in them."""
    facts = [Fact("captured", "49.90", f"cap_{number}")]
    if number % 2:
        facts.append(Fact("refunded", "9.90", f"re_{number}"))
    if number % 4 == 1:
        facts.append(Fact("refund_failed", "9.90", f"re_{number}"))
    if number % 3:
        facts.append(Fact("reversed", "49.90", f"dp_{number}"))
    if number % 3 == 1:
        facts.append(Fact("restored", "49.90", f"dp_{number}"))
    return facts


def calls_of(number: int) -> list[Call]:
    """Return all requests about one payment in random order. A quarter of its reports have another id."""
    dice = random.Random(number)  # noqa: S311
    calls = [Call(number, dice.randrange(SHOPS))]
    for fact in facts_of(number):
        for turn in range(REPORTED):
            event_id = f"evt_{fact.kind}_{number}{'_again' if turn % 4 == 3 else ''}"
            calls.append(Call(number, turn % SHOPS, fact, event_id))
    dice.shuffle(calls)
    return calls


def report(number: int, fact: Fact) -> dict[str, Any]:
    """Return the body of an event. Those about disputes do not name the order."""
    about = {"order_id": order_id(number), "reference": reference(number), "currency": "GBP"}
    if fact.kind in ("reversed", "restored"):
        del about["order_id"]
    about |= {"amount": fact.amount, "transaction_id": fact.transaction_id}
    return {"type": f"payment.{fact.kind}", "data": about}


def storm(gateway: Gateway, shops: list[Shop]) -> list[Answered]:
    """Send all requests, and parked ones again. Return the responses."""

    def sent(call: Call) -> Answered:
        shop = shops[call.shop]
        if call.fact is None:
            return Answered(call, shop.thanks(order_id(call.number), reference=reference(call.number)))
        return Answered(call, shop.webhook(gateway.sign(call.event_id, report(call.number, call.fact))))

    answers: list[Answered] = []
    waiting = [call for number in range(PAYMENTS) for call in calls_of(number)]
    with ThreadPoolExecutor(AT_ONCE) as senders:
        for _ in range(ROUNDS):
            answered = list(senders.map(sent, waiting))
            waiting = [one.call for one in answered if one.answer.status == 503]
            answers += [one for one in answered if one.answer.status != 503]
            if not waiting:
                return answers
    raise AssertionError(f"{len(waiting)} events are parked for ever, such as {waiting[0]}")


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_every_ledger_matches_the_gateway_after_a_storm(kind: str, tmp_path: Path) -> None:
    """One request records each fact, all others are duplicates, and every item is taken once."""
    spec = f"{kind}:{tmp_path / 'shop'}"
    with opened(spec) as orders:
        for number in range(PAYMENTS):
            orders.set_stock(f"CUP-{number}", 1)
            orders.create(order_id(number), total="49.90", currency="GBP", lines=[Line(f"CUP-{number}", 1)])

    secret = new_secret()
    gateway = Gateway(secret)
    for number in range(PAYMENTS):
        gateway.capture(order_id(number), reference(number), "49.90")
    log = tmp_path / "shops.log"
    with ExitStack() as running:
        running.enter_context(gateway.open())
        shops = [running.enter_context(running_shop(spec, secret, gateway.address, log)) for _ in range(SHOPS)]
        answers = storm(gateway, shops)

    outcomes: dict[tuple[int, Fact], Counter[str]] = {}
    for call, answer in answers:
        assert answer.status == 200, (call, answer, log.read_text(encoding="utf-8")[-2000:])
        if call.fact is not None:
            outcomes.setdefault((call.number, call.fact), Counter())[answer.content["outcome"]] += 1

    with opened(spec) as orders:
        for number in range(PAYMENTS):
            assert_as_at_the_gateway(orders.get(order_id(number)), number)
            first = next(entry for entry in orders.history(order_id(number)) if entry.trigger == "pay")
            for fact in facts_of(number):
                # If the browser was first, the event adds the id of the capture.
                once = 0 if fact.kind == "captured" and first.by == "redirect" else 1
                counted = outcomes[number, fact]
                assert counted["applied"] + counted["recorded"] == once, (number, fact, counted)
                assert counted["duplicate"] == REPORTED - once, (number, fact, counted)
            assert orders.stock(f"CUP-{number}") == 0
        messages: list[Message] = []
        while orders.deliver(messages.append, limit=1000):
            pass
    told = Counter(message.topic for message in messages)
    assert told["payment.unmatched"] == 0
    assert told["order.paid"] >= PAYMENTS


def assert_as_at_the_gateway(order: Order, number: int) -> None:
    facts = facts_of(number)
    moved = Counter((row.kind, row.amount) for row in order.payments if row.amount)
    assert moved == Counter((fact.kind, Decimal(fact.amount)) for fact in facts), order
    known = {(row.kind, row.transaction_id) for row in order.payments if row.transaction_id is not None}
    assert known == {(fact.kind, fact.transaction_id) for fact in facts}, order
    assert {row.reference for row in order.payments} == {reference(number)}
    signs = {"captured": 1, "refunded": -1, "refund_failed": 1, "reversed": -1, "restored": 1}
    assert order.held == sum(signs[fact.kind] * Decimal(fact.amount) for fact in facts)
    assert ("paid" in order.statuses) == (not order.outstanding)

"""Many payments, each reported eight times to two shops on one store, with the browser racing each.

All of it is real: two processes of `examples/payment_callback/shop.py`, HTTP on this machine, the store on the disk.
The number of payments is STORM_PAYMENTS, 150 where it is not set:

    STORM_PAYMENTS=1000 python -m pytest tests/test_storm.py
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from examples.payment_callback.gateway import Answer, Gateway, Shop, new_secret, running_shop
from order_fsm import Line, Message, Orders
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore

ROOT = Path(__file__).parent.parent
PAYMENTS = int(os.environ.get("STORM_PAYMENTS", "150"))
REPORTED = 8
SHOPS = 2
AT_ONCE = 16
"""How many requests are under way: those of two payments, so that each payment races with itself and with another."""
TRIES = 20
"""How often a gateway sends a report for which the shop answers that it cannot take it now."""


class Call(NamedTuple):
    """One request: the browser's, or a report of the gateway under one of two event ids."""

    number: int
    by_browser: bool
    shop: int
    event_id: str


class Answered(NamedTuple):
    call: Call
    answer: Answer
    tries: int


@pytest.fixture(scope="module", autouse=True)
def shops_of_this_checkout() -> Iterator[None]:
    """Whatever is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "adapters")]))
        yield


@contextmanager
def opened(store: str) -> Iterator[Orders]:
    kind, _, place = store.partition(":")
    if kind == "json":
        yield Orders(JsonStore(place))
    else:
        with closing(SqliteStore(place)) as file:
            yield Orders(file)


def order_id(number: int) -> str:
    return f"order-{number}"


def reference(number: int) -> str:
    return f"ch_{number}"


def calls_of(number: int) -> list[Call]:
    """All requests about one payment, the browser's anywhere among them; a quarter of the reports has another id."""
    calls = [
        Call(number, False, (number + turn) % SHOPS, f"evt_{number}{'_again' if turn % 4 == 3 else ''}")
        for turn in range(REPORTED)
    ]
    dice = random.Random(number)  # noqa: S311
    dice.shuffle(calls)
    calls.insert(dice.randrange(REPORTED + 1), Call(number, True, dice.randrange(SHOPS), ""))
    return calls


def storm(gateway: Gateway, shops: list[Shop]) -> list[Answered]:
    events = [gateway.capture(order_id(number), reference(number), "49.90") for number in range(PAYMENTS)]

    def sent(call: Call) -> Answer:
        shop = shops[call.shop]
        if call.by_browser:
            return shop.thanks(order_id(call.number), reference=reference(call.number))
        return shop.webhook(gateway.sign(call.event_id, events[call.number]))

    def answered(call: Call) -> Answered:
        for tries in range(1, TRIES):
            answer = sent(call)
            if call.by_browser or answer.status != 503:
                return Answered(call, answer, tries)
        return Answered(call, sent(call), TRIES)

    calls = [call for number in range(PAYMENTS) for call in calls_of(number)]
    with ThreadPoolExecutor(AT_ONCE) as senders:
        return list(senders.map(answered, calls))


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_a_storm_of_callbacks_pays_every_order_once(kind: str, tmp_path: Path) -> None:
    """And takes every item once, and confirms once; each payment is `applied` by one request, and seen by the rest."""
    store = f"{kind}:{tmp_path / 'shop'}"
    with opened(store) as orders:
        orders.set_stock("TEAPOT", PAYMENTS)
        for number in range(PAYMENTS):
            orders.set_stock(f"CUP-{number}", 1)
            orders.create(
                order_id(number),
                total="49.90",
                currency="GBP",
                lines=[Line("TEAPOT", 1), Line(f"CUP-{number}", 1)],
                email="ann@example.com",
            )

    secret = new_secret()
    gateway = Gateway(secret)
    log = tmp_path / "shops.log"
    with ExitStack() as running:
        running.enter_context(gateway.open())
        shops = [running.enter_context(running_shop(store, secret, gateway.address, log)) for _ in range(SHOPS)]
        all_answered = storm(gateway, shops)

    outcomes: dict[int, Counter[str]] = {number: Counter() for number in range(PAYMENTS)}
    for call, answer, _ in all_answered:
        assert answer.status == 200, (call, answer, log.read_text(encoding="utf-8"))
        if not call.by_browser:
            outcomes[call.number][answer.content["outcome"]] += 1

    with opened(store) as orders:
        paid_by: Counter[str | None] = Counter()
        for number in range(PAYMENTS):
            order = orders.get(order_id(number))
            assert order.state == "sent+invoiced+paid"
            assert [(payment.kind, payment.reference) for payment in order.payments] == [
                ("captured", reference(number))
            ]
            created, paid = orders.history(order.id)
            assert (created.trigger, paid.trigger) == ("create", "pay")
            by_webhook = paid.by == "gateway"
            assert outcomes[number] == Counter(applied=by_webhook, duplicate=REPORTED - by_webhook)
            assert orders.stock(f"CUP-{number}") == 0
            paid_by[paid.by] += 1
        assert orders.stock("TEAPOT") == 0

        told: list[Message] = []
        orders.deliver(told.append, limit=REPORTED * PAYMENTS)
    assert Counter((message.order_id, message.topic) for message in told) == Counter(
        (order_id(number), "order.paid") for number in range(PAYMENTS)
    )
    sent_again = sum(answered.tries - 1 for answered in all_answered)
    print(f"{kind}: {len(all_answered)} requests, {sent_again} sent again after a 503; paid by {dict(paid_by)}")

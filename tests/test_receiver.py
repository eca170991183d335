"""The receiver with the verifiers and parsers of gateways: cases of real shops, arrivals, forgeries."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from http.client import IncompleteRead
from itertools import permutations
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_fsm import InvalidInput, Order, OrderNotFound, Rule, Status, StoreFull, StoreUnavailable, shop_workflow
from order_fsm.payments import (
    HmacSignature,
    Ignore,
    Outcome,
    PaymentEvent,
    PaymentReceiver,
    StripeSignature,
    TryAgain,
    Verified,
    decode,
    standard_event,
)
from order_fsm.testing.store_contract.harness import stressed
from order_fsm_adapters.gateways import adyen, gocardless, mollie, paypal, razorpay, stripe
from tests.gateways.fuzzing import GATEWAYS, forgeries
from tests.gateways.samples import (
    ADYEN_KEY,
    ADYEN_OTHERS,
    SECRET,
    adyen_body,
    adyen_item,
    adyen_signed,
    encoded,
    gocardless_event,
    hex_hmac,
    mollie_part,
    mollie_payment,
    paypal_event,
    paypal_refund,
    razorpay_event,
    recorded,
    stripe_dispute,
    stripe_event,
    stripe_headers,
    stripe_intent,
    stripe_refund,
)
from tests.gateways.test_gocardless import Api
from tests.stores import interrupted, opened

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Shop

FORGERIES = 30_000 if stressed() else 300
DAY = timedelta(hours=24)


class Trusting:
    """A verifier that accepts every body, for tests of the steps after it."""

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:  # noqa: ARG002
        return Verified(headers)


class Answering:
    """A verifier that returns or raises a given value."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Any:  # noqa: ARG002
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer() if callable(self._answer) else self._answer


def receiver_of(shop: Shop, verifier: Any = None, parse: Any = standard_event, **options: Any) -> PaymentReceiver:
    return PaymentReceiver(shop.orders, verifier or Trusting(), parse, shop.clock, **options)


def event(kind: str = "captured", **members: Any) -> PaymentEvent:
    """Return an event about 10.00 GBP for order 1001 of payment pi_1. `...` leaves a member out."""
    about: dict[str, Any] = {
        "order_id": "1001",
        "reference": "pi_1",
        "transaction_id": f"{kind}_1",
        "amount": "10.00",
        "currency": "GBP",
        "id": f"evt_{kind}",
        "provider": "stripe",
    } | members
    return PaymentEvent(kind, **{name: value for name, value in about.items() if value is not ...})


def named(outcome: Outcome) -> tuple[str, int]:
    return outcome.outcome, outcome.http_status


def sent_by_stripe(receiver: PaymentReceiver, body: dict[str, Any], headers: Any = None) -> Outcome:
    return receiver.receive(encoded(body), headers or stripe_headers(encoded(body)))


def ledger(order: Order) -> list[tuple[str, Decimal, str, str | None]]:
    return [(row.kind, row.amount, row.currency, row.transaction_id) for row in order.payments]


def notes(shop: Shop, order_id: str = "1001") -> list[str]:
    return [entry.comment for entry in shop.orders.history(order_id) if entry.trigger == "comment"]


# The cases


def test_g1_a_real_event_of_stripe_pays_its_order_in_whole_units(any_shop: Shop) -> None:
    """Stripe's 4990 are 49.90."""
    any_shop.create(total="49.90")
    receiver = receiver_of(any_shop, StripeSignature(SECRET), stripe.parse, live=True)
    body = stripe_event("payment_intent.succeeded", stripe_intent())
    assert named(sent_by_stripe(receiver, body)) == ("applied", 200)
    order = any_shop.orders.get("1001")
    assert (order.state, order.outstanding) == ("sent+invoiced+paid", Decimal(0))
    assert ledger(order) == [("captured", Decimal("49.90"), "GBP", "ch_1")]
    assert named(sent_by_stripe(receiver, body)) == ("duplicate", 200)


def test_g1_a_recorded_event_of_stripe_pays_its_order(any_shop: Shop) -> None:
    body = recorded("stripe.payment_intent.succeeded")["body"]
    body["data"]["object"]["metadata"]["order_id"] = "1001"
    (found,) = [stripe.parse(body, {})]
    assert isinstance(found, PaymentEvent)
    any_shop.orders.create("1001", total=found.amount or 0, currency=found.currency or "")
    assert named(sent_by_stripe(receiver_of(any_shop, StripeSignature(SECRET), stripe.parse), body)) == ("applied", 200)
    assert "paid" in any_shop.orders.get("1001").statuses


async def _accepts() -> Verified:
    return Verified({})


ANSWERS: list[Any] = [False, True, None, {}, {"verified": True}, "ok", b"", 1, [], Verified, _accepts, object()]


@pytest.mark.parametrize("answer", ANSWERS, ids=[f"{n} {type(one).__name__}" for n, one in enumerate(ANSWERS)])
def test_g2_anything_but_verified_is_a_rejection(any_shop: Shop, answer: Any) -> None:
    """This includes the results of some SDKs for a forged body, and a coroutine that nobody awaits."""
    any_shop.create()
    before = any_shop.dump()
    body = encoded({"type": "payment.captured", "data": {"order_id": "1001", "amount": "10", "currency": "GBP"}})
    given = answer if answer is _accepts else (lambda: answer)
    assert named(receiver_of(any_shop, Answering(given)).receive(body, {})) == ("rejected", 401)
    assert any_shop.dump() == before


def test_g3_an_event_of_another_shop_is_ignored_on_request(any_shop: Shop) -> None:
    """Nothing of it is stored."""
    any_shop.create()
    before = any_shop.dump()
    receiver = receiver_of(any_shop, ignore_unknown_orders=True)
    for other in (event(order_id="9009"), event("reversed", order_id=..., reference="pi_of_others")):
        assert named(receiver.record(other)) == ("ignored", 200)
    assert any_shop.dump() == before
    assert named(receiver.record(event())) == ("applied", 200)


def test_g3_an_event_of_another_account_is_ignored(any_shop: Shop) -> None:
    any_shop.create()
    before = any_shop.dump()
    receiver = receiver_of(any_shop, account="acct_ours")
    assert named(receiver.record(event(account="acct_theirs"))) == ("ignored", 200)
    assert any_shop.dump() == before
    assert named(receiver.record(event(account="acct_ours"))) == ("applied", 200)
    assert named(receiver.record(event("refunded"))) == ("applied", 200), "one without an account is accepted"


def test_g3_an_unknown_order_is_unmatched_after_a_day(any_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The gateway therefore does not repeat it for ever and disable the endpoint."""
    receiver = receiver_of(any_shop)
    for hours in (0, 12, 11.9):
        any_shop.clock.pass_by(hours=hours)
        assert named(receiver.record(event(order_id="9009"))) == ("parked", 503)
    any_shop.clock.pass_by(hours=0.1)
    for _ in range(2):
        assert named(receiver.record(event(order_id="9009"))) == ("unmatched", 200)
    assert "stripe:evt_captured" in caplog.text, "the log is the only trace of it"
    any_shop.create("9009")
    assert named(receiver.record(event(order_id="9009"))) == ("applied", 200), "it is not used up"


@pytest.mark.parametrize("age", [2 * DAY, -1000 * DAY])
def test_g3_the_wait_for_an_order_starts_with_the_first_arrival(any_shop: Shop, age: timedelta) -> None:
    """The time at the gateway does not count, because the endpoint may have been down for days."""
    receiver = receiver_of(any_shop)
    early = event(order_id="9009", occurred_at=any_shop.clock.now - age)
    assert named(receiver.record(early)) == ("parked", 503)
    any_shop.clock.pass_by(hours=23)
    assert named(receiver.record(early)) == ("parked", 503)
    any_shop.clock.pass_by(hours=1)
    assert named(receiver.record(early)) == ("unmatched", 200)
    any_shop.create("9009")
    assert named(receiver.record(early)) == ("applied", 200), "it is not used up"


@pytest.mark.parametrize("live", [True, False])
def test_g4_an_event_of_the_other_mode_is_ignored(any_shop: Shop, live: bool) -> None:
    any_shop.create(total="49.90")
    receiver = receiver_of(any_shop, StripeSignature(SECRET), stripe.parse, live=live)
    before = any_shop.dump()
    test = stripe_event("payment_intent.succeeded", stripe_intent(), livemode=not live)
    assert named(sent_by_stripe(receiver, test)) == ("ignored", 200)
    assert any_shop.dump() == before
    assert named(sent_by_stripe(receiver, test | {"livemode": live})) == ("applied", 200)


def test_g5_several_events_of_one_body_are_recorded_separately(any_shop: Shop) -> None:
    """If one is parked, the gateway repeats all. The others are duplicates then."""
    any_shop.create(total="49.90")
    receiver = receiver_of(any_shop, adyen.AdyenSignature(ADYEN_KEY), adyen.AdyenEvents(automatic_capture=True))
    capture = adyen_item()
    refund = adyen_item("REFUND", pspReference="PSP2", originalReference="PSP9", merchantReference="refund 7")
    report = adyen_item("REPORT_AVAILABLE", merchantReference="", pspReference="PSP3")
    body = encoded(adyen_body(capture, refund, report))
    outcome = receiver.receive(body, {})
    assert named(outcome) == ("parked", 503)
    assert [named(one) for one in outcome.outcomes] == [("applied", 200), ("parked", 503), ("ignored", 200)]
    assert outcome.receipt is None
    receiver.record(event(reference="PSP9", transaction_id="PSP9", amount="49.90", provider="adyen"))
    again = receiver.receive(body, {})
    assert [one.outcome for one in again.outcomes] == ["duplicate", "recorded", "ignored"]
    assert named(again) == ("recorded", 200)
    assert [one.outcome for one in receiver.receive(body, {}).outcomes] == ["duplicate", "duplicate", "ignored"]


@pytest.mark.parametrize("place", range(3))
def test_g5_a_batch_with_one_forged_item_records_nothing(any_shop: Shop, place: int) -> None:
    any_shop.create(total="49.90")
    before = any_shop.dump()
    items = [adyen_signed(adyen_item(pspReference=f"PSP{number}")) for number in range(3)]
    items[place] = adyen_signed(adyen_item(pspReference="PSP9"), ADYEN_OTHERS)
    body = encoded({"live": "true", "notificationItems": [{"NotificationRequestItem": item} for item in items]})
    assert named(receiver_of(any_shop, adyen.AdyenSignature(ADYEN_KEY), adyen.parse).receive(body, {})) == (
        "rejected",
        401,
    )
    assert any_shop.dump() == before


def test_g5_one_unreadable_event_does_not_block_the_others(any_shop: Shop) -> None:
    """The status is 2xx, because a repeated body would still be unreadable."""
    any_shop.create()

    def parse(item: Any, headers: Mapping[str, str]) -> PaymentEvent:  # noqa: ARG001
        return event(**item)

    good, bad = {"amount": "10.00"}, {"kind": "refunded", "amount": "ten"}
    for items, wanted in (([bad, good], ("applied", 200)), ([bad], ("rejected", 400)), ([bad, bad], ("rejected", 400))):
        assert named(receiver_of(any_shop, Answering(Verified({}, items)), parse).receive(b"", {})) == wanted
    assert named(receiver_of(any_shop, Answering(Verified({}, [])), parse).receive(b"", {})) == ("ignored", 200)


def test_g5_a_body_that_is_only_an_id_is_fetched(any_shop: Shop) -> None:
    any_shop.orders.create("1001", total="49.90", currency="EUR")
    payment = mollie_payment(_embedded={"refunds": [mollie_part("re_1", status="refunded")]})
    answers: list[Any] = [TimeoutError(), payment, payment]

    def fetch(payment_id: str) -> Any:
        assert payment_id == "tr_1"
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    receiver = receiver_of(any_shop, mollie.MollieBody(), mollie.MollieEvents(fetch), live=True)
    outcomes = [receiver.receive(b"id=tr_1", {}) for _ in range(3)]
    assert [named(one) for one in outcomes] == [("parked", 503), ("applied", 200), ("duplicate", 200)]
    order = any_shop.orders.get("1001")
    assert (order.captured, order.refunded) == (Decimal("49.90"), Decimal(10))


def test_g5_a_dispute_that_names_the_payment_only_finds_its_order(any_shop: Shop) -> None:
    any_shop.create(total="49.90")
    any_shop.create("1002", total="49.90")
    receiver = receiver_of(any_shop, StripeSignature(SECRET), stripe.parse)
    for order_id, payment in (("1002", "pi_2"), ("1001", "pi_1")):
        intent = stripe_intent(id=payment, latest_charge=f"of {payment}", metadata={"order_id": order_id})
        sent_by_stripe(receiver, stripe_event("payment_intent.succeeded", intent, id=f"evt_{payment}"))
    dispute = stripe_event("charge.dispute.funds_withdrawn", stripe_dispute(payment_intent="pi_2"), id="evt_dispute")
    assert named(sent_by_stripe(receiver, dispute)) == ("applied", 200)
    assert [any_shop.orders.get(order_id).reversed for order_id in ("1001", "1002")] == [0, Decimal("49.90")]


def test_g5_a_refund_that_names_an_unknown_order_finds_the_order_of_its_payment(any_shop: Shop) -> None:
    """Some gateways send the number of the credit note instead."""
    any_shop.create()
    receiver = receiver_of(any_shop)
    receiver.record(event())
    assert named(receiver.record(event("refunded", order_id="credit-note-7", amount="2"))) == ("recorded", 200)
    assert any_shop.orders.get("1001").refunded == 2


def test_g5_a_payment_of_several_orders_is_unmatched_on_each(any_shop: Shop) -> None:
    receiver = receiver_of(any_shop)
    for order_id in ("1001", "1002", "1003"):
        any_shop.create(order_id)
    for order_id in ("1001", "1003"):
        receiver.record(event(order_id=order_id, id=f"evt_{order_id}"))
    dispute = event("reversed", order_id=...)
    for outcome in ("recorded", "duplicate"):
        assert named(receiver.record(dispute)) == (outcome, 200)
    assert [len(notes(any_shop, order_id)) for order_id in ("1001", "1002", "1003")] == [1, 0, 1]
    assert [one.order_id for one in any_shop.messages("payment.unmatched")] == ["1001", "1003"]
    assert any_shop.orders.get("1001").reversed == 0


def test_g5_equal_references_of_two_gateways_are_different_payments(any_shop: Shop) -> None:
    receiver = receiver_of(any_shop)
    for order_id, provider in (("1001", "stripe"), ("1002", "paypal")):
        any_shop.create(order_id)
        receiver.record(event(order_id=order_id, provider=provider))
    assert named(receiver.record(event("reversed", order_id=..., provider="paypal"))) == ("applied", 200)
    assert [any_shop.orders.get(order_id).reversed for order_id in ("1001", "1002")] == [0, 10]


PASSING = [
    *(TimeoutError(), ConnectionResetError(), OSError(), IncompleteRead(b""), TryAgain("later")),
    *(StoreUnavailable("away"), StoreFull("full"), OrderNotFound("not yet")),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: type(fault).__name__)
def test_g6_a_temporary_fault_has_status_503(any_shop: Shop, fault: Exception) -> None:
    """The fault may be in the verifier or the parser. The key stays free."""
    any_shop.create()
    before = any_shop.dump()

    def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent:  # noqa: ARG001
        raise fault

    body = encoded({"id": "evt_1"})
    assert named(receiver_of(any_shop, Answering(fault)).receive(body, {})) == ("parked", 503)
    assert named(receiver_of(any_shop, parse=parse).receive(body, {})) == ("parked", 503)
    assert any_shop.dump() == before


def test_g6_try_again_may_be_returned(any_shop: Shop) -> None:
    answer = TryAgain("the gateway is away")
    assert named(receiver_of(any_shop, Answering(lambda: answer)).receive(b"{}", {})) == ("parked", 503)
    assert named(receiver_of(any_shop, parse=lambda *_: answer).receive(b"{}", {})) == ("parked", 503)
    assert named(receiver_of(any_shop, parse=lambda *_: Ignore("a report")).receive(b"{}", {})) == ("ignored", 200)


class Away(TryAgain):
    """An exception of the shop that has no reason."""

    def __init__(self) -> None:
        Exception.__init__(self)


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (TryAgain("the gateway is away"), "the gateway is away"),
        (TryAgain("line\nFAKE LINE"), "line?FAKE LINE"),
        (TryAgain(""), "TryAgain"),
        (Away(), "Away"),
        (TimeoutError("ann@example.com"), "TimeoutError"),
    ],
)
def test_g6_reason_and_log_have_the_reason_to_try_again(
    shop: Shop, caplog: pytest.LogCaptureFixture, fault: Exception, shown: str
) -> None:
    def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent:  # noqa: ARG001
        raise fault

    for receiver in (receiver_of(shop, Answering(fault)), receiver_of(shop, parse=parse)):
        outcome = receiver.receive(b"{}", {})
        assert outcome.reason.endswith(f"now ({shown})")
        assert outcome.reason in caplog.text


def test_g6_fault_of_a_gateways_api_is_named(shop: Shop) -> None:
    def away(asked: str) -> Any:
        raise ValueError(asked)

    receiver = receiver_of(shop, mollie.MollieBody(), mollie.MollieEvents(away))
    assert (
        receiver.receive(b"id=tr_1", {}).reason
        == "the body cannot be read now (the payment cannot be fetched (ValueError))"
    )


@pytest.mark.parametrize(
    ("parse", "body", "missing"),
    [
        (standard_event, {"type": "payment.captured", "secret": "x"}, "data"),
        (standard_event, {"type": "payment.captured", "data": {"order_id": "x", "secret": "x"}}, "amount, currency"),
        (stripe.parse, stripe_event("payment_intent.succeeded", {"secret": 1}), "data.object|id|amount_received"),
        (lambda data, _: data["data"]["order_number"], {"data": {"secret": "x"}}, "order_number"),
    ],
)
def test_g6_the_log_names_the_missing_member(
    any_shop: Shop, caplog: pytest.LogCaptureFixture, parse: Any, body: dict[str, Any], missing: str
) -> None:
    outcome = receiver_of(any_shop, parse=parse).receive(encoded(body), {})
    assert named(outcome) == ("rejected", 400)
    assert any(f"{name}" in caplog.text for name in missing.split("|"))
    assert "secret" not in caplog.text


def test_g6_the_log_holds_no_value_of_the_body(any_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """This includes the argument of a KeyError."""
    caplog.set_level(logging.DEBUG)

    def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent:  # noqa: ARG001
        return {}[data["email"].upper()]

    outcome = receiver_of(any_shop, parse=parse).receive(encoded({"email": "ann@example.com"}), {})
    assert "ANN" not in caplog.text.upper() + outcome.reason.upper()


def test_g6_a_body_may_be_nested_as_deep_as_json_allows(any_shop: Shop) -> None:
    body = b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}"
    assert named(receiver_of(any_shop, parse=lambda data, _: data["order"]).receive(body, {})) == ("rejected", 400)


def test_g7_a_key_of_a_form_is_not_an_event_id(any_shop: Shop) -> None:
    """A key of another gateway and the id of a noted event are not either."""
    any_shop.create()
    any_shop.orders.comment("1001", "called", key="evt_captured")
    any_shop.orders.adjust_stock("TEAPOT", 1, key="evt_refunded")
    receiver = receiver_of(any_shop)
    assert named(receiver.record(event("failed", provider="adyen", id="evt_captured"))) == ("recorded", 200)
    assert named(receiver.record(event())) == ("applied", 200)
    assert named(receiver.record(event("refunded"))) == ("applied", 200)
    any_shop.orders.comment("1001", "called", key="evt_captured")


def test_g7_long_names_have_a_key(any_shop: Shop) -> None:
    any_shop.create()
    receiver = receiver_of(any_shop, provider="p" * 200)
    for kind, own_id in (("captured", "e" * 200), ("refunded", "e" * 199 + "f")):
        one = event(kind, id=own_id, provider=...)
        assert receiver.record(one).outcome != "rejected"
        assert named(receiver.record(one)) == ("duplicate", 200)
    assert any_shop.orders.get("1001").held == 0


def _wsgi(headers: Mapping[str, str]) -> Any:
    environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    return {"REQUEST_METHOD": "POST", "wsgi.version": (1, 0), **environ}


FORMS: dict[str, Callable[[Mapping[str, str]], Any]] = {
    "mapping": dict,
    "title case": lambda headers: {name.title(): value for name, value in headers.items()},
    "ASGI": lambda headers: [(name.encode(), value.encode()) for name, value in headers.items()],
    "pairs": lambda headers: list(headers.items()),
    "WSGI": _wsgi,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_g8_headers_come_in_every_form(any_shop: Shop, form: Callable[[Mapping[str, str]], Any]) -> None:
    any_shop.create(total="49.90")
    receiver = receiver_of(any_shop, StripeSignature(SECRET), stripe.parse)
    body = stripe_event("payment_intent.succeeded", stripe_intent())
    headers = form({"content-type": "application/json", **stripe_headers(encoded(body))})
    assert named(sent_by_stripe(receiver, body, headers)) == ("applied", 200)


HOLDING = shop_workflow().extend(
    statuses=[Status("authorised", tick="authorise", untick="void")],
    rules=[
        Rule("authorise", forbids={"authorised", "cancelled"}, adds={"sent", "authorised"}),
        Rule("void", needs={"authorised"}, drops={"authorised"}),
    ],
    forbids={"expire": {"authorised"}, "unplace": {"authorised"}},
)


@pytest.mark.parametrize(
    ("facts", "expires"),
    [
        (["authorised"], False),
        (["authorised", "voided"], True),
        (["voided", "authorised"], True),
        (["authorised", "failed"], True),
        (["failed", "authorised"], False),
        (["failed"], True),
    ],
)
def test_g9_an_authorisation_holds_expiry_without_a_box_too(any_shop: Shop, facts: list[str], expires: bool) -> None:
    any_shop.bring("sent")
    receiver = receiver_of(any_shop)
    for kind in facts:
        assert named(receiver.record(event(kind, transaction_id=...))) == ("recorded", 200)
    any_shop.clock.pass_by(days=30)
    assert bool(any_shop.orders.expire(timedelta(days=7))) == expires


@pytest.mark.parametrize("kind", ["failed", "voided"])
def test_g9_a_trigger_of_the_shop_ends_an_authorisation_that_is_noted(new_shop: type[Shop], kind: str) -> None:
    shop = new_shop(shop_workflow().extend(rules=[Rule("ended")]))
    shop.bring("sent")
    receiver = receiver_of(shop, triggers={kind: "ended"})
    receiver.record(event("authorised", transaction_id=...))
    shop.clock.pass_by(days=30)
    assert shop.orders.expire(timedelta(days=7)) == []
    receiver.record(event(kind, transaction_id=...))
    assert len(shop.orders.expire(timedelta(days=7))) == 1


@pytest.mark.parametrize(("minutes", "expires"), [(-5, False), (5, True), (None, True)])
def test_g9_only_a_later_failure_ends_an_authorisation(any_shop: Shop, minutes: int | None, expires: bool) -> None:
    """The failure of an earlier attempt may arrive after the authorisation."""
    any_shop.bring("sent")
    receiver = receiver_of(any_shop)
    receiver.record(event("authorised", transaction_id=..., occurred_at=any_shop.clock.now))
    failed_at = None if minutes is None else any_shop.clock.now + timedelta(minutes=minutes)
    receiver.record(event("failed", transaction_id=..., occurred_at=failed_at))
    any_shop.clock.pass_by(days=30)
    assert bool(any_shop.orders.expire(timedelta(days=7))) == expires


@pytest.mark.parametrize(
    ("arrivals", "expires"),
    [
        (("authorised 10", "authorised 1", "failed 5"), False),
        (("authorised 1", "authorised 10", "failed 5"), False),
        (("failed 5", "authorised 1"), True),
        (("failed 5", "failed 1", "authorised 3"), True),
        (("authorised 1", "failed 5", "failed 3"), True),
    ],
)
def test_g9_newest_attempt_decides_in_any_order_of_arrival(
    any_shop: Shop, arrivals: tuple[str, ...], expires: bool
) -> None:
    any_shop.bring("sent")
    receiver = receiver_of(any_shop)
    for number, arrival in enumerate(arrivals):
        kind, minute = arrival.split()
        at = any_shop.clock.now + timedelta(minutes=int(minute))
        receiver.record(event(kind, transaction_id=..., id=f"evt_{number}", occurred_at=at))
    any_shop.clock.pass_by(days=30)
    assert bool(any_shop.orders.expire(timedelta(days=7))) == expires


def test_g9_erasure_keeps_the_time_of_an_authorisation(any_shop: Shop) -> None:
    any_shop.bring("sent")
    receiver = receiver_of(any_shop)
    receiver.record(event("authorised", transaction_id=..., occurred_at=any_shop.clock.now))
    any_shop.orders.erase_order("1001")
    receiver.record(event("failed", transaction_id=..., occurred_at=any_shop.clock.now - timedelta(minutes=5)))
    any_shop.clock.pass_by(days=30)
    assert any_shop.orders.expire(timedelta(days=7)) == []


@pytest.mark.parametrize(
    "noted",
    [event("authorised"), event(currency="PTS"), event(amount="10.001"), event("refunded", currency="PTS")],
)
def test_order_with_noted_money_is_not_purged(any_shop: Shop, noted: PaymentEvent) -> None:
    """K9: nothing with money is purged, also if no ledger could take it."""
    any_shop.create()
    assert named(receiver_of(any_shop).record(noted)) == ("recorded", 200)
    any_shop.clock.pass_by(days=60)
    assert any_shop.orders.purge(timedelta(days=30)) == []
    assert any_shop.orders.get("1001").state == "unfinished"


def test_capture_of_zero_does_not_prevent_expiry(any_shop: Shop) -> None:
    any_shop.bring("sent")
    receiver_of(any_shop).record(event(amount="0"))
    any_shop.clock.pass_by(days=30)
    assert len(any_shop.orders.expire(timedelta(days=7))) == 1


def test_g9_one_of_two_authorisations_that_is_voided_does_not_end_the_other(any_shop: Shop) -> None:
    any_shop.bring("sent")
    receiver = receiver_of(any_shop)
    for reference in ("pi_1", "pi_2"):
        receiver.record(event("authorised", reference=reference, id=reference, transaction_id=...))
    receiver.record(event("voided", transaction_id=...))
    any_shop.clock.pass_by(days=30)
    assert any_shop.orders.expire(timedelta(days=7)) == []


@pytest.mark.parametrize("money", [{"currency": "XBT"}, {"amount": "100.001"}])
def test_m9_money_that_the_ledger_cannot_take_holds_expiry(any_shop: Shop, money: dict[str, str]) -> None:
    any_shop.bring("sent")
    assert named(receiver_of(any_shop).record(event(**money))) == ("recorded", 200)
    any_shop.clock.pass_by(days=30)
    assert any_shop.orders.expire(timedelta(days=7)) == []


@pytest.mark.parametrize("kind", ["memory", "sqlite", "json"])
def test_g9_an_authorisation_ticks_a_box_of_the_shop_and_holds_expiry(
    new_shop: type[Shop], kind: str, tmp_path: Path
) -> None:
    """A part is captured later, and the rest is released."""
    with opened(kind, tmp_path) as store:
        shop = new_shop(HOLDING, store)
        shop.create()
        receiver = receiver_of(shop, triggers={"authorised": "authorise", "voided": "void"})
        money = {"transaction_id": ...}
        for outcome in ("applied", "duplicate"):
            assert named(receiver.record(event("authorised", **money))) == (outcome, 200)
        entry = shop.orders.history("1001")[-1]
        assert (entry.trigger, entry.by, entry.facts) == ("authorise", "gateway", {})
        shop.clock.pass_by(days=30)
        assert shop.orders.expire(timedelta(days=7)) == []
        assert named(receiver.record(event("authorised", id="evt_again", **money))) == ("recorded", 200)
        assert notes(shop) == ["gateway: authorised, 10.00 GBP, pi_1"]
        for part in ("6.00", "4.00"):
            receiver.record(event(amount=part, transaction_id=f"part {part}", id=f"evt {part}"))
        assert shop.orders.get("1001").captured == 10
        receiver.record(event("voided", amount=..., currency=..., **money))
        assert shop.orders.get("1001").state == "sent+invoiced+paid"


# Facts of money


def test_m5_a_refund_that_the_shop_recorded_counts_once(any_shop: Shop) -> None:
    any_shop.create()
    receiver = receiver_of(any_shop)
    receiver.record(event())
    any_shop.orders.fire("1001", "refund", amount="3", reference="pi_1", transaction_id="re_1", by="bob")
    assert named(receiver.record(event("refunded", amount="3", transaction_id="re_1"))) == ("duplicate", 200)
    assert any_shop.orders.get("1001").refunded == 3


@pytest.mark.parametrize("first", ["reversed", "restored"])
def test_m6_a_dispute_that_is_won_after_it_was_lost_counts_again(any_shop: Shop, first: str) -> None:
    """The order does not matter, and no refund is due at any time."""
    any_shop.create()
    receiver = receiver_of(any_shop)
    receiver.record(event())
    events = {"reversed": event("reversed"), "restored": event("restored")}
    waiting = [events.pop(first), *events.values()]
    while waiting:
        waiting = [one for one in waiting if receiver.record(one).http_status == 503]
    order = any_shop.orders.get("1001")
    assert (order.held, order.state) == (Decimal(10), "sent+invoiced+paid")
    assert "refund.due" not in any_shop.topics()


def test_m7_two_captures_of_one_payment_both_count(any_shop: Shop) -> None:
    any_shop.create()
    receiver = receiver_of(any_shop)
    for part in ("6", "4"):
        for number in range(2):
            receiver.record(event(amount=part, transaction_id=f"cap_{part}", id=f"evt_{part}_{number}"))
    order = any_shop.orders.get("1001")
    assert (order.captured, order.state) == (Decimal(10), "sent+invoiced+paid")


def test_m7_fetched_events_repair_missed_callbacks_in_any_order(any_shop: Shop) -> None:
    """A refund and its failure come before the payment. Facts that were recorded before are duplicates."""
    any_shop.create()
    receiver = receiver_of(any_shop)
    fetched = [event("refund_failed", transaction_id="re_1"), event("refunded", transaction_id="re_1"), event()]
    outcome = receiver.reconcile(fetched)
    assert (outcome.http_status, [one.outcome for one in outcome.outcomes].count("parked")) == (200, 0)
    order = any_shop.orders.get("1001")
    assert (order.captured, order.refunded, order.held) == (Decimal(10), Decimal(10), Decimal(10))
    assert {one.outcome for one in receiver.reconcile(fetched).outcomes} == {"duplicate"}
    lost = receiver.reconcile([event(order_id="9009", reference="pi_9", id="evt_9")])
    assert named(lost) == ("parked", 503)
    assert receiver.reconcile([]).outcome == "ignored"


@pytest.mark.parametrize("kind", ["refunded", "reversed"])
def test_unmatched_fact_is_recorded_if_its_payment_is_fetched_later(any_shop: Shop, kind: str) -> None:
    """The payment's callback never came, so the fact was only noted. The gateway's list contains both."""
    any_shop.create()
    receiver = receiver_of(any_shop)
    late = event(kind, amount="8.00")
    assert named(receiver.record(late)) == ("parked", 503)
    any_shop.clock.pass_by(hours=24)
    for outcome in ("recorded", "duplicate"):
        assert named(receiver.record(late)) == (outcome, 200)
    receiver.reconcile([event(), late])
    order = any_shop.orders.get("1001")
    assert (order.captured, order.held) == (Decimal(10), Decimal(2))
    assert named(receiver.record(late)) == ("duplicate", 200)
    assert len(any_shop.messages("payment.unmatched")) == 1
    assert any_shop.orders.audit().ok


def test_fact_is_recorded_if_its_payment_comes_while_it_is_noted(any_shop: Shop) -> None:
    any_shop.create()
    receiver = receiver_of(any_shop)
    late = event("refunded", amount="8.00")
    receiver.record(late)
    any_shop.clock.pass_by(hours=24)
    interrupted(any_shop.store).append(lambda: receiver.record(event()))
    assert receiver.record(late).http_status == 200
    assert any_shop.orders.get("1001").held == 2


def test_list_with_the_newest_fact_first_leaves_no_comment_about_early_facts(any_shop: Shop) -> None:
    any_shop.create()
    kinds = (("refund_failed", "re_1"), ("refunded", "re_1"), ("captured", "ch_1"))
    fetched = [event(kind, transaction_id=one, occurred_at=any_shop.clock.now) for kind, one in kinds]
    assert receiver_of(any_shop).reconcile(fetched).outcome == "applied"
    assert [entry.trigger for entry in any_shop.orders.history("1001")] == ["create", "pay", "refund", "refund_failed"]


CORRECTED = ("captured ch_1 10", "refunded re_1 3", "refund_failed re_1 3", "refunded re_2 3")
WON = ("captured ch_1 10", "reversed dp_1 10", "restored dp_1 10", "refunded re_1 3")


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(("facts", "cost"), [(CORRECTED, 7), (WON, 7)], ids=["corrected", "won"])
def test_list_is_recorded_by_its_times_or_in_its_sequence(
    any_shop: Shop, facts: tuple[str, ...], cost: int, newest_first: bool, timed: bool
) -> None:
    if newest_first and not timed:
        return  # Nothing tells the sequence of these facts.
    any_shop.create()
    fetched = []
    for minute, fact in enumerate(facts):
        kind, transaction_id, amount = fact.split()
        at = any_shop.clock.now + timedelta(minutes=minute) if timed else None
        fetched.append(event(kind, transaction_id=transaction_id, amount=amount, id=f"evt_{minute}", occurred_at=at))
    receiver_of(any_shop).reconcile(fetched[::-1] if newest_first else fetched)
    order = any_shop.orders.get("1001")
    assert (order.held, order.cost, order.outstanding, order.refund_due) == tuple(map(Decimal, (7, cost, 0, 0)))


def test_reason_of_an_ignored_event_is_one_line(shop: Shop) -> None:
    outcome = receiver_of(shop, parse=lambda data, headers: Ignore("a type\nFAKE LINE\x1b[1m")).receive(b"{}", {})
    assert outcome.reason == "a type?FAKE LINE?[1m"


@pytest.mark.parametrize(
    ("about", "noted"),
    [
        ({"amount": "5"}, True),
        ({"amount": {"value": 5}, "currency": "GBP"}, True),
        ({"amount": "5", "currency": "GBP"}, True),
        ({"reference": 5}, False),
    ],
)
def test_event_of_another_type_is_noted_if_it_can_be(shop: Shop, about: dict[str, Any], noted: bool) -> None:
    shop.create()
    body = encoded({"type": "order.updated", "data": {"order_id": "1001", **about}})
    assert receiver_of(shop).receive(body, {}).http_status == 200
    kinds = [entry.facts["kind"] for entry in shop.orders.history("1001")[1:]]
    assert kinds == ["note:order.updated"] * noted


@pytest.mark.parametrize("kind", ["captured", "refunded"])
def test_unmatched_money_is_resent_as_the_event_with_money(any_shop: Shop, kind: str) -> None:
    any_shop.create()
    receiver = receiver_of(any_shop)
    receiver.record(event(amount="10.001"))
    any_shop.clock.pass_by(seconds=1)
    receiver.record(event(kind, amount="0", currency="PTS", id="evt_0", transaction_id="t_0"))
    (first,) = any_shop.messages("payment.unmatched")
    any_shop.orders.resend("1001", "payment.unmatched")
    assert [message.payload for message in any_shop.messages("payment.unmatched")] == [first.payload] * 2


def test_money_of_several_orders_is_resent(any_shop: Shop) -> None:
    for order_id in ("1001", "1002"):
        any_shop.create(order_id)
        any_shop.orders.fire(order_id, "pay", amount="10", reference="pi_1")
    receiver_of(any_shop).record(event("refunded", order_id=...))
    first = any_shop.messages("payment.unmatched")[0]
    any_shop.orders.resend(first.order_id, "payment.unmatched")
    assert any_shop.messages("payment.unmatched")[-1].payload == first.payload


def test_g4_test_events_are_ignored_by_default(any_shop: Shop) -> None:
    any_shop.create()
    assert named(receiver_of(any_shop).record(event(live=False))) == ("ignored", 200)
    assert any_shop.orders.get("1001").captured == 0
    assert named(receiver_of(any_shop, live=None).record(event(live=False))) == ("applied", 200)


def test_m8_a_refund_that_is_pending_and_done_counts_once_and_is_due_again_if_it_fails(any_shop: Shop) -> None:
    any_shop.create(total="49.90")
    receiver = receiver_of(any_shop, StripeSignature(SECRET), stripe.parse)
    sent_by_stripe(receiver, stripe_event("payment_intent.succeeded", stripe_intent(), id="evt_0"))
    for number, (name, status) in enumerate(
        [("created", "pending"), ("updated", "succeeded"), ("updated", "succeeded"), ("failed", "failed")], 1
    ):
        body = stripe_event(f"refund.{name}", stripe_refund(status=status), id=f"evt_{number}")
        assert sent_by_stripe(receiver, body).http_status == 200
        assert any_shop.orders.get("1001").refunded == 10
    assert any_shop.orders.get("1001").held == Decimal("49.90")
    assert "refund.due" in any_shop.topics()


def test_m14_a_debit_that_fails_later_is_reversed_and_one_that_fails_at_once_is_noted(any_shop: Shop) -> None:
    any_shop.create()
    receiver = receiver_of(any_shop)
    assert named(receiver.record(event("failed"))) == ("recorded", 200)
    receiver.record(event())
    assert named(receiver.record(event("reversed"))) == ("applied", 200)
    assert any_shop.orders.get("1001").outstanding == 10


# Arrivals


def _of_stripe() -> list[PaymentEvent]:
    def moved(number: int, sign: int) -> list[dict[str, Any]]:
        return [{"id": f"txn_{number}", "amount": sign * 4990, "currency": "gbp"}]

    bodies = [
        stripe_event("payment_intent.succeeded", stripe_intent()),
        stripe_event("refund.created", stripe_refund()),
        stripe_event("refund.failed", stripe_refund(status="failed")),
        stripe_event("charge.dispute.funds_withdrawn", stripe_dispute(balance_transactions=moved(1, -1))),
        stripe_event("charge.dispute.funds_reinstated", stripe_dispute(balance_transactions=moved(2, 1))),
    ]
    return _parsed(stripe.parse, [body | {"id": f"evt_{number}"} for number, body in enumerate(bodies)])


def _of_adyen() -> list[PaymentEvent]:
    items = [
        adyen_item(),
        adyen_item("CAPTURE", pspReference="CAP1", originalReference="PSP1"),
        adyen_item("REFUND", pspReference="REF1", originalReference="PSP1", merchantReference="refund 7"),
        adyen_item("REFUND_FAILED", pspReference="REF1", originalReference="PSP1", merchantReference="refund 7"),
        adyen_item("CHARGEBACK", pspReference="DIS1", originalReference="PSP1"),
        adyen_item("CHARGEBACK_REVERSED", pspReference="DIS1", originalReference="PSP1"),
    ]
    return _parsed(adyen.AdyenEvents(), items)


def _of_mollie() -> list[PaymentEvent]:
    embedded = {
        "refunds": [mollie_part("re_1", status="failed"), mollie_part("re_2", "5.00", status="refunded")],
        "chargebacks": [mollie_part("chb_1", "20.00", reversedAt="2026-01-07T09:00:00Z")],
    }
    payment = mollie_payment(_embedded=embedded)
    return _parsed(mollie.MollieEvents(lambda _: payment), [{"id": "tr_1"}])


def _of_paypal() -> list[PaymentEvent]:
    reversal = paypal_refund("PAYMENT.CAPTURE.REVERSED", id="REV1", amount={"currency_code": "GBP", "value": "20.00"})
    bodies = [paypal_event(), paypal_refund(), paypal_refund(id="REF2"), reversal]
    return _parsed(paypal.parse, [body | {"id": f"WH-{number}"} for number, body in enumerate(bodies)])


def _of_razorpay() -> list[PaymentEvent]:
    refund = {"id": "rfnd_1", "payment_id": "pay_1", "amount": 10_00, "currency": "INR"}
    dispute = {"id": "disp_1", "payment_id": "pay_1", "amount": 499_00, "currency": "INR", "amount_deducted": 499_00}
    bodies = [
        razorpay_event("payment.captured"),
        razorpay_event("refund.created", refund=refund),
        razorpay_event("refund.processed", refund=refund),
        razorpay_event("refund.failed", refund=refund),
        razorpay_event("payment.dispute.lost", dispute=dispute),
    ]
    return _parsed(razorpay.parse, bodies)


def _of_gocardless() -> list[PaymentEvent]:
    """The debit fails late, succeeds on retry, and is charged back until the charge-back is cancelled."""
    actions = ["confirmed", "failed", "confirmed", "charged_back", "chargeback_cancelled"]
    history = [gocardless_event("payments", action, f"EV{number}") for number, action in enumerate(actions, 1)]
    refund = [
        gocardless_event("refunds", action, f"EV{number}") for number, action in enumerate(("created", "failed"), 6)
    ]
    return _parsed(gocardless.GoCardlessEvents(Api(*history)), [{"events": [*history, *refund]}])


def _parsed(parse: Any, items: Sequence[Any]) -> list[PaymentEvent]:
    found: list[PaymentEvent] = []
    for item in items:
        answer = parse(item, {})
        found += [answer] if isinstance(answer, PaymentEvent) else answer
    return found


LIVES: dict[str, Callable[[], list[PaymentEvent]]] = {
    "stripe": _of_stripe,
    "adyen": _of_adyen,
    "mollie": _of_mollie,
    "paypal": _of_paypal,
    "razorpay": _of_razorpay,
    "gocardless": _of_gocardless,
}
"""Return all facts of one payment from the parser of a gateway."""


def deliver(receiver: PaymentReceiver, events: Sequence[PaymentEvent]) -> None:
    """Report each event twice, and parked events again until no event is parked."""
    waiting = list(events)
    while waiting:
        parked = [one for one in waiting if receiver.record(one).http_status == 503]
        for one in waiting:
            assert (receiver.record(one).outcome == "duplicate") or one in parked
        assert len(parked) < len(waiting), "a parked event must be recorded in the end"
        waiting = parked


def ended(shop: Shop, events: Sequence[PaymentEvent]) -> tuple[Any, ...]:
    """Return the order after these events."""
    money = next(one for one in events if one.kind == "captured")
    shop.orders.create("1001", total=money.amount or 0, currency=money.currency or "")
    deliver(receiver_of(shop), events)
    order = shop.orders.get("1001")
    assert not order.counted or ("paid" in order.statuses) == (not order.outstanding)
    return sorted(ledger(order), key=repr), order.held


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_every_order_of_arrival_ends_with_the_same_ledger(
    new_shop: type[Shop], life: Callable[[], list[PaymentEvent]]
) -> None:
    """The test covers all orders of the facts of one payment, each fact twice or more."""
    events = life()
    wanted = ended(new_shop(), events)
    every = list(permutations(events))
    for arriving in every if stressed() else Random(2026).sample(every, min(len(every), 60)):  # noqa: S311
        assert ended(new_shop(), arriving) == wanted, [one.kind for one in arriving]


@pytest.mark.parametrize("kind", ["sqlite", "json"])
@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_an_order_of_arrival_ends_with_the_same_ledger_on_disk(
    new_shop: type[Shop], life: Callable[[], list[PaymentEvent]], kind: str, tmp_path: Path
) -> None:
    events = life()
    with opened(kind, tmp_path) as store:
        assert ended(new_shop(store=store), events[::-1]) == ended(new_shop(), events)


RECORDED = {
    "stripe": (
        stripe.parse,
        ["payment_intent.succeeded", "refund.created", "refund.failed"]
        + [f"charge.dispute.funds_{name}" for name in ("withdrawn", "reinstated")],
    ),
    "adyen": (adyen.AdyenEvents(), ["authorisation-true", "capture-true", "refund-true", "chargeback"]),
    "paypal": (paypal.parse, ["capture.completed", "capture.refunded", "capture.reversed"]),
}


@pytest.mark.parametrize("gateway", RECORDED)
def test_recorded_events_end_with_the_same_ledger_in_every_order(new_shop: type[Shop], gateway: str) -> None:
    """The test changes events of different payments to facts of one payment."""
    parse, names = RECORDED[gateway]
    found = _parsed(parse, [_item(recorded(f"{gateway}.{name}")) for name in names])
    events = [_of_one_payment(one) for one in found if one.moves_money]
    assert {one.kind for one in events} >= {"captured", "refunded", "reversed"}
    wanted = ended(new_shop(), events)
    for arriving in permutations(events):
        assert ended(new_shop(), arriving) == wanted


def _item(sample: Any) -> Any:
    """Return the input of the parser: the item of a body of Adyen, or the body."""
    body = decode(sample["raw_body"].encode()) if "raw_body" in sample else sample["body"]
    items = body.get("notificationItems")
    return body if items is None else items[0]["NotificationRequestItem"]


def _of_one_payment(one: PaymentEvent) -> PaymentEvent:
    amount = "100.00" if one.kind == "captured" else "10.00"
    own_id = "re_1" if one.kind in ("refunded", "refund_failed") else one.transaction_id
    return PaymentEvent(one.kind, "1001", "pi_1", own_id, amount, "GBP", one.id, one.provider)


def test_fetched_events_repair_missed_callbacks(any_shop: Shop) -> None:
    """A late callback is a duplicate."""
    any_shop.create(total="49.90")
    receiver = receiver_of(any_shop, StripeSignature(SECRET), stripe.parse)
    events = _of_stripe()
    receiver.record(events[0])
    outcome = receiver.record(*events)
    assert outcome.http_status == 200
    assert outcome.outcomes[0].outcome == "duplicate"
    assert any_shop.orders.get("1001").held == Decimal("49.90")
    assert named(receiver.record(*events)) == ("duplicate", 200)
    assert named(receiver.record()) == ("ignored", 200)


def test_events_without_ids_are_known_by_their_content(any_shop: Shop) -> None:
    any_shop.create()
    receiver = receiver_of(any_shop)
    plain: dict[str, Any] = {"id": ..., "transaction_id": ...}
    assert named(receiver.record(event(**plain))) == ("applied", 200)
    for amount in ("1", "2"):
        for outcome in ("recorded", "duplicate"):
            assert named(receiver.record(event("refunded", amount=amount, **plain))) == (outcome, 200)
    assert named(receiver.record(event("refunded", amount="1.00", **plain))) == ("duplicate", 200)
    assert any_shop.orders.get("1001").refunded == 3


def test_audit_accepts_everything_that_callbacks_leave(any_shop: Shop) -> None:
    any_shop.create()
    receiver = receiver_of(any_shop)
    facts = [event(), event("refunded", amount="4"), event("refund_failed", amount="4", transaction_id="refunded_1")]
    facts += [event("reversed"), event("restored"), event("failed"), event("authorised"), event("note:other")]
    facts += [event(currency="EUR", id="evt_e", transaction_id="e"), event(currency="XBT", id="evt_x")]
    for one in facts:
        receiver.record(one)
    assert any_shop.orders.audit().findings == ()


# Wrong calls


@pytest.mark.parametrize(
    ("options", "named_mistake"),
    [
        ({"live": "true"}, "live"),
        ({"live": 1}, "live"),
        ({"account": ""}, "account"),
        ({"provider": 7}, "provider"),
        ({"ignore_unknown_orders": None}, "ignore_unknown_orders"),
        ({"triggers": ["authorised"]}, "triggers must be a mapping"),
        ({"triggers": {"authorized": "place"}}, "did you mean 'authorised'"),
        ({"triggers": {"authorised": "authorise"}}, "the trigger of 'authorised' must be one of"),
        ({"triggers": {"authorised": "plce"}}, "did you mean 'place'"),
        ({"triggers": {"authorised": "pay"}}, "moves no money"),
        ({"triggers": {"authorised": "amend"}}, "the trigger of 'authorised' must be one of"),
        ({"triggers": {"captured": "pay"}}, "leave it out"),
    ],
)
def test_a_wrong_option_is_named(shop: Shop, options: dict[str, Any], named_mistake: str) -> None:
    with pytest.raises(InvalidInput, match=named_mistake):
        receiver_of(shop, **options)


@pytest.mark.parametrize("headers", [None, 7, "x: y", b"", [1], ["ab", "cd", "efg"]])
def test_headers_of_another_form_are_the_callers_mistake(shop: Shop, headers: Any) -> None:
    with pytest.raises(InvalidInput, match="headers"):
        receiver_of(shop).receive(b"{}", headers)


def test_only_events_are_recorded(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="PaymentEvents, not dict"):
        receiver_of(shop).record({"kind": "captured"})  # type: ignore[arg-type]


# Anything at all


@pytest.mark.parametrize("name", GATEWAYS)
def test_no_forged_callback_raises_or_moves_money(new_shop: type[Shop], name: str) -> None:
    """ORDER_FSM_STRESS=1 tries 30,000 for each verifier."""
    shop = new_shop()
    shop.create()
    gateway = GATEWAYS[name]
    parse = {"stripe": stripe.parse, "paypal": paypal.parse, "adyen": adyen.AdyenEvents(automatic_capture=True)}
    receiver = receiver_of(shop, gateway.verifier, parse.get(name, standard_event))
    genuine = gateway.genuine(gateway.body)[0]
    forged = forgeries(gateway, Random(7))  # noqa: S311
    before = shop.dump()
    for _ in range(FORGERIES):
        body, headers = next(forged)
        outcome = receiver.receive(body, headers)
        assert isinstance(outcome, Outcome)
        if outcome.outcome != "rejected":  # Padding that base64 and headers allow does not make another callback.
            assert _essence(body) <= _essence(genuine)
            shop = new_shop()
            shop.create()
            receiver, before = receiver_of(shop, gateway.verifier), shop.dump()
        else:
            assert shop.dump() == before


def test_no_body_to_mollie_raises_or_moves_money(new_shop: type[Shop]) -> None:
    """Nothing is signed, so only the payments that the shop fetches count. No body names one."""
    shop = new_shop()
    shop.create()
    asked: list[str] = []
    dice = Random(7)  # noqa: S311
    before = shop.dump()
    receiver = receiver_of(shop, mollie.MollieBody(), mollie.MollieEvents(asked.append))
    for _ in range(FORGERIES):
        noise = dice.randbytes(dice.randrange(40))
        letters = bytes(dice.choice(b"abcXYZ019%/.&=;+_") for _ in range(dice.randrange(20)))
        body = dice.choice(
            [noise, letters, b"id=" + noise, b"id=" + letters, b"id=tr_" + letters, b"x=1&id=tr_a" + noise]
        )
        assert receiver.receive(body, {"x": "y"}).outcome in {"rejected", "ignored"}
    assert asked
    assert all(one.startswith("tr_") and one[3:].isalnum() for one in asked)
    assert shop.dump() == before


def _essence(body: bytes) -> set[str]:
    """Return the signed part of a body. Adyen signs members of its items, not the bytes."""
    data = decode(body)
    if "notificationItems" not in data:
        return {body.decode()}
    names = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference", "eventCode", "success")
    items = [one["NotificationRequestItem"] for one in data["notificationItems"]]
    return {json.dumps([*(item.get(name) or "" for name in names), item["amount"]]) for item in items}


class Deceiving(Verified):
    """A subclass of `Verified`, as a shop's SDK may have."""


VERIFIER_ANSWERS = (
    st.sampled_from(ANSWERS)
    | st.none()
    | st.booleans()
    | st.text()
    | st.binary()
    | st.dictionaries(st.text(), st.text())
    | st.lists(st.text())
    | st.builds(lambda: _accepts)
    | st.sampled_from([ValueError(), KeyError("x"), RecursionError(), AssertionError(), TimeoutError(), TryAgain("x")])
)


@pytest.mark.no_cover
@settings(max_examples=FORGERIES, deadline=None)
@given(answer=VERIFIER_ANSWERS, body=st.binary() | st.just(b'{"type": "payment.captured"}'))
def test_only_verified_of_a_verifier_moves_money(new_shop: type[Shop], answer: Any, body: bytes) -> None:
    shop = new_shop()
    shop.create()
    before = shop.dump()

    def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent:  # noqa: ARG001
        return event()

    outcome = receiver_of(shop, Answering(answer), parse).receive(body, {})
    assert named(outcome) in {("rejected", 401), ("parked", 503)}
    assert shop.dump() == before


def test_a_subclass_of_verified_is_accepted(shop: Shop) -> None:
    shop.create()
    receiver = receiver_of(shop, Answering(Deceiving({}, [event()])), lambda item, _: item)
    assert named(receiver.receive(b"", {})) == ("applied", 200)


PARSER_ANSWERS: list[Any] = [None, True, {}, "x", b"x", 7, [None], [event(), None], {event()}, Ignore, TryAgain, object]


@pytest.mark.parametrize(
    "answer", PARSER_ANSWERS, ids=[type(one).__name__ + str(n) for n, one in enumerate(PARSER_ANSWERS)]
)
def test_a_parser_that_returns_something_else_is_a_rejection(shop: Shop, answer: Any) -> None:
    """One invalid event of several rejects the whole callback."""
    shop.create()
    before = shop.dump()
    assert named(receiver_of(shop, parse=lambda *_: answer).receive(b"{}", {})) == ("rejected", 400)
    assert shop.dump() == before


async def _parses(data: Any, headers: Mapping[str, str]) -> PaymentEvent:  # noqa: ARG001
    return event()


def test_parser_that_returns_a_coroutine_is_a_rejection(shop: Shop) -> None:
    shop.create()
    assert named(receiver_of(shop, parse=lambda *about: _parses(*about)).receive(b"{}", {})) == ("rejected", 400)
    assert shop.orders.get("1001").payments == ()


def test_parser_gets_only_signed_headers(shop: Shop) -> None:
    """An unsigned header does not reach the parser."""
    seen: list[Mapping[str, str]] = []

    def parse(data: Any, headers: Mapping[str, str]) -> Ignore:  # noqa: ARG001
        seen.append(headers)
        return Ignore("seen")

    body = b"{}"
    receiver = receiver_of(shop, HmacSignature(SECRET, header="x-signature"), parse)
    receiver.receive(body, {"X-Signature": hex_hmac(body), "webhook-id": "evt_1"})
    assert seen == [{}]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "a parser must return PaymentEvents, Ignore or TryAgain, not NoneType"),
        ([event(), event(amount="1.00")], "two events of one body have the same id"),
    ],
)
def test_wrong_answer_of_a_parser_is_named(shop: Shop, answer: Any, said: str) -> None:
    shop.create()
    outcome = receiver_of(shop, parse=lambda *_: answer).receive(b"{}", {})
    assert named(outcome) == ("rejected", 400)
    assert said in outcome.reason


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"order_id": 1001}, "order_id must be a string of one line with 1 to 200 characters"),
        ({"reference": ["ann@example.com"]}, "reference must be a string of one line with 1 to 200 characters"),
        ({"currency": "ann@example.com"}, "currency must be three upper-case letters such as 'GBP'"),
        ({"amount": "ann@example.com"}, "amount must be a number such as '49.90'"),
    ],
)
def test_reason_and_log_name_the_member_that_is_not_valid(
    shop: Shop, caplog: pytest.LogCaptureFixture, about: dict[str, Any], said: str
) -> None:
    data = {"order_id": "1001", "reference": "ch_1", "amount": "10.00", "currency": "GBP"} | about
    outcome = receiver_of(shop).receive(encoded({"type": "payment.captured", "data": data}), {})
    assert named(outcome) == ("rejected", 400)
    assert said in outcome.reason
    assert said in caplog.text
    for private in ("ann", "1001"):
        assert private not in outcome.reason + caplog.text


def test_parser_that_fails_on_a_value_of_the_body_does_not_show_it(shop: Shop) -> None:
    def parse(data: Any, headers: Mapping[str, str]) -> PaymentEvent:  # noqa: ARG001
        raise InvalidInput(f"not an order: {data}")

    outcome = receiver_of(shop, parse=parse).receive(b'"ann@example.com"', {})
    assert outcome.reason == "the body is not a payment event (InvalidInput)"


def test_the_same_event_twice_in_one_body_counts_once(any_shop: Shop) -> None:
    any_shop.create()
    outcome = receiver_of(any_shop, parse=lambda *_: [event(), event()]).receive(b"{}", {})
    assert [one.outcome for one in outcome.outcomes] == ["applied", "duplicate"]


def test_wrong_answer_of_a_verifier_and_a_missing_header_are_named(shop: Shop) -> None:
    assert "must return Verified, not bool" in receiver_of(shop, Answering(True)).receive(b"{}", {}).reason
    outcome = receiver_of(shop, StripeSignature(SECRET)).receive(b"{}", {})
    assert "the header stripe-signature is missing" in outcome.reason


@pytest.mark.parametrize("error", [KeyError, ValueError, InvalidInput, RuntimeError])
def test_verifier_that_fails_on_a_value_of_the_body_does_not_show_it(
    shop: Shop, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    """A shop's own verifier or an SDK may put anything into the text of its exceptions."""
    outcome = receiver_of(shop, Answering(error("ann@example.com"))).receive(b"to=ann%40example.com", {})
    assert named(outcome) == ("rejected", 401)
    assert f"({error.__name__})" in outcome.reason
    assert "ann" not in outcome.reason + caplog.text


@pytest.mark.parametrize(
    ("headers", "hours", "said"),
    [
        (stripe_headers(b"other"), 0, "no signature matches"),
        (stripe_headers(b"{}"), 1, "the time of the signature is more than 5 minutes from now"),
        ({"stripe-signature": "t=soon,v1=0"}, 0, "the time of the signature is not a number of seconds"),
        ({"stripe-signature": f"t={'9' * 30},v1=0"}, 0, "the time of the signature is not a number of"),
        ({"stripe-signature": "t=01,v1=0"}, 0, "the time of the signature is not a plain number"),
        ({"stripe-signature": "v1=0"}, 0, "the header stripe-signature needs one time"),
    ],
)
def test_reason_and_log_name_the_fault_of_a_signature(
    shop: Shop, caplog: pytest.LogCaptureFixture, headers: Mapping[str, str], hours: int, said: str
) -> None:
    receiver = receiver_of(shop, StripeSignature(SECRET))
    shop.clock.pass_by(hours=hours)
    outcome = receiver.receive(b"{}", headers)
    assert named(outcome) == ("rejected", 401)
    assert said in outcome.reason
    assert said in caplog.text
    assert SECRET not in outcome.reason + caplog.text


def test_header_values_may_be_lists(any_shop: Shop) -> None:
    """Some API gateways send lists."""
    any_shop.create()
    body = encoded(stripe_event("payment_intent.succeeded", stripe_intent()))
    headers = {name: [value] for name, value in stripe_headers(body).items()}
    outcome = receiver_of(any_shop, StripeSignature(SECRET), stripe.parse).receive(body, headers)
    assert outcome.outcome != "rejected", outcome.reason


@pytest.mark.parametrize("fetched", [None, 7, event()])
def test_fetched_events_are_a_list(shop: Shop, fetched: Any) -> None:
    with pytest.raises(InvalidInput, match="events must be a list of PaymentEvents, not"):
        receiver_of(shop).reconcile(fetched)


@pytest.mark.parametrize("reason", [None, 7, ConnectionError("away"), "\ud800", "x" * 100_001])
def test_any_reason_of_a_parser_keeps_its_result(shop: Shop, reason: Any) -> None:
    for kind, outcome in ((TryAgain, ("parked", 503)), (Ignore, ("ignored", 200))):
        assert named(receiver_of(shop, parse=lambda *_, kind=kind: kind(reason)).receive(b"{}", {})) == outcome
    assert named(receiver_of(shop, Answering(TryAgain(reason))).receive(b"{}", {})) == ("parked", 503)


def test_mollie_capture_that_is_shown_later_counts_once(any_shop: Shop) -> None:
    """At first the payment is only paid. Later Mollie shows the capture of the same money."""
    any_shop.create(total="49.90")
    capture = mollie_part("cpt_1", "49.90", status="succeeded")
    payments = iter([mollie_payment(), mollie_payment(_embedded={"captures": [capture]})])
    receiver = receiver_of(any_shop, mollie.MollieBody(), mollie.MollieEvents(lambda _: next(payments)))
    for _ in range(2):
        assert receiver.receive(b"id=tr_1", {}).http_status == 200
    assert any_shop.orders.get("1001").unmatched == {"EUR": Decimal("49.90")}


def test_gocardless_event_that_cannot_be_read_does_not_stop_the_others(any_shop: Shop) -> None:
    any_shop.create(total="49.90")
    bad = {**gocardless_event("payments", "confirmed", "EV2"), "links": {}}
    batch = encoded({"events": [bad, gocardless_event("payments", "confirmed", "EV3")]})
    verifier = gocardless.GoCardlessSignature(SECRET)
    headers = {"Webhook-Signature": hex_hmac(batch)}
    outcome = receiver_of(any_shop, verifier, gocardless.GoCardlessEvents(Api())).receive(batch, headers)
    assert [one.outcome for one in outcome.outcomes] == ["rejected", "applied"]
    assert any_shop.orders.get("1001").held == Decimal("49.90")

"""Adyen: every item of a batch has its own signature, and `success` can be false."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import InvalidInput
from order_fsm.payments import Ignore, PaymentEvent, PaymentReceiver, verified
from order_fsm_adapters.gateways.adyen import AdyenEvents, AdyenSignature, parse
from tests.gateways.samples import (
    ADYEN_KEY,
    ADYEN_OTHERS,
    NOW,
    adyen_body,
    adyen_item,
    adyen_signed,
    encoded,
    recorded,
)

if TYPE_CHECKING:
    from tests.conftest import Shop


def accepts(body: bytes, *keys: str) -> bool:
    try:
        verified(AdyenSignature(*(keys or (ADYEN_KEY,))).verify(body, {}, NOW))
    except Exception:
        return False
    return True


def parsed(item: Any, parser: AdyenEvents = parse) -> PaymentEvent:
    answer = parser(item, {})
    assert isinstance(answer, list)
    (event,) = answer
    return event


@pytest.mark.parametrize("name", ["backslash", "colon", "mixed"])
def test_recorded_item_is_verified(name: str) -> None:
    sample = recorded(f"adyen.item-{name}")
    key = sample["_from"].rpartition("key ")[2]
    body = {"live": "false", "notificationItems": [{"NotificationRequestItem": sample["body"]}]}
    assert accepts(encoded(body), key)
    assert not accepts(encoded(body), ADYEN_KEY)
    sample["body"]["amount"]["value"] += 1
    assert not accepts(encoded(body), key)


@pytest.mark.parametrize(
    ("name", "kind", "amount", "live"),
    [
        ("authorisation-true", "authorised", "101.00", False),
        ("capture-true", "captured", "236.23", False),
        ("capture-false", "note:CAPTURE:false", None, False),
        ("refund-true", "refunded", "15.00", False),
        ("refund-false", "note:REFUND:false", None, False),
        ("cancellation-true", "voided", None, False),
        ("chargeback", "reversed", "10.00", True),
    ],
)
def test_recorded_notification_has_its_kind(name: str, kind: str, amount: str | None, live: bool) -> None:
    event = parsed(recorded(f"adyen.{name}")["body"])
    assert (event.kind, event.live) == (kind, live)
    assert event.amount == (None if amount is None else Decimal(amount))


def test_only_live_keys_verify_an_item() -> None:
    ours, others = encoded(adyen_body(adyen_item())), encoded(adyen_body(adyen_item(), key=ADYEN_OTHERS))
    assert accepts(ours, ADYEN_OTHERS, ADYEN_KEY)
    assert accepts(ours, ADYEN_KEY.lower())
    assert not accepts(others)


def test_reordered_json_is_the_same_notification() -> None:
    """The signature is over members, not over bytes."""
    body = adyen_body(adyen_item())
    assert accepts(json.dumps(body, sort_keys=True, indent=2).encode())
    assert accepts(encoded({name: body[name] for name in reversed(body)}))


def test_batch_hands_on_its_items_with_the_mode() -> None:
    body = adyen_body(adyen_item(), adyen_item("CAPTURE", pspReference="PSP2", originalReference="PSP1"))
    items = AdyenSignature(ADYEN_KEY).verify(encoded(body), {}, NOW).items
    assert items is not None
    assert [item["pspReference"] for item in items] == ["PSP1", "PSP2"]
    events = [parsed(item) for item in items]
    assert [(event.kind, event.live) for event in events] == [("authorised", True), ("captured", True)]
    whole = parse(body, {})
    assert whole == events


def test_batch_with_one_forged_item_is_rejected() -> None:
    good, forged = adyen_item(), adyen_signed(adyen_item(pspReference="PSP2"), ADYEN_OTHERS)
    body = adyen_body(good)
    assert accepts(encoded(body))
    body["notificationItems"].append({"NotificationRequestItem": forged})
    assert not accepts(encoded(body))
    body["notificationItems"].reverse()
    assert not accepts(encoded(body))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pspReference", "PSP9"),
        ("originalReference", "PSP9"),
        ("merchantAccountCode", "TeapotsDE"),
        ("merchantReference", "1002"),
        ("amount", {"value": 4991, "currency": "GBP"}),
        ("amount", {"value": 4990, "currency": "EUR"}),
        ("amount", {"value": "4990", "currency": "GBP"}),
        ("amount", {"value": 4990.0, "currency": "GBP"}),
        ("amount", None),
        ("eventCode", "CAPTURE"),
        ("success", "false"),
        ("success", True),
        ("success", None),
        ("additionalData", {}),
        ("additionalData", {"hmacSignature": ""}),
        ("additionalData", {"hmacSignature": None}),
        ("additionalData", None),
    ],
)
def test_item_with_a_changed_signed_member_is_rejected(name: str, value: Any) -> None:
    body = adyen_body(adyen_item())
    body["notificationItems"][0]["NotificationRequestItem"][name] = value
    assert not accepts(encoded(body))


def test_members_cannot_be_shifted_over_the_separator() -> None:
    """The signed text has no escapes, so `1:2` in one member could become `1` in it and `2` in the next."""
    body = adyen_body(adyen_item(merchantReference="A:1001"))
    assert accepts(encoded(body))
    item = body["notificationItems"][0]["NotificationRequestItem"]
    item["merchantAccountCode"], item["merchantReference"] = "TeapotsUK:A", "1001"
    assert not accepts(encoded(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"notificationItems": []}',
        b'{"notificationItems": {}}',
        b'{"notificationItems": 1}',
        b'{"notificationItems": [{}]}',
        b'{"notificationItems": [null]}',
        b"\xff",
        b"[" * 100000,
    ],
)
def test_body_without_items_is_rejected(body: bytes) -> None:
    assert not accepts(body)


def test_item_with_a_member_twice_is_rejected() -> None:
    """Two readers could take different values."""
    body = encoded(adyen_body(adyen_item()))
    assert not accepts(body.replace(b'"success": "true"', b'"success": "false", "success": "true"'))


@pytest.mark.parametrize("keys", [(), ("",), ("xyz",), (None,), (ADYEN_KEY, "0")])
def test_verifier_needs_hexadecimal_keys(keys: Any) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        AdyenSignature(*keys)


@pytest.mark.parametrize("given", ["false", "", 0, None])
def test_capture_mode_is_a_bool(given: Any) -> None:
    """A setting such as "false" would count money that was only authorised."""
    with pytest.raises(InvalidInput, match="automatic_capture must be True or False"):
        AdyenEvents(automatic_capture=given)


def test_authorisation_has_every_value() -> None:
    item = adyen_item() | {"live": "true"}
    assert parsed(item) == PaymentEvent(
        "authorised",
        order_id="1001",
        reference="PSP1",
        transaction_id="PSP1",
        amount="49.90",
        currency="GBP",
        id="PSP1:AUTHORISATION:true",
        provider="adyen",
        live=True,
        account="TeapotsUK",
        occurred_at=NOW,
    )


def test_automatic_capture_counts_the_authorisation_and_no_capture() -> None:
    parser = AdyenEvents(automatic_capture=True)
    assert parsed(adyen_item(), parser).kind == "captured"
    capture = adyen_item("CAPTURE", pspReference="PSP2", originalReference="PSP1")
    assert parsed(capture, parser).kind == "note:CAPTURE"


@pytest.mark.parametrize(
    "cancelled",
    [
        adyen_item("CANCELLATION", pspReference="PSP2", originalReference="PSP1"),
        adyen_item("TECHNICAL_CANCEL", pspReference="PSP2", originalReference="PSP1"),
        adyen_item(
            "CANCEL_OR_REFUND",
            pspReference="PSP2",
            originalReference="PSP1",
            additionalData={"modification.action": "cancel"},
        ),
    ],
)
def test_cancellation_before_an_automatic_capture_gives_the_money_back(shop: Shop, cancelled: Any) -> None:
    """The capture may have a delay, and the shop may cancel the payment before it ends."""
    shop.create(total="49.90")
    parser = AdyenEvents(automatic_capture=True)
    receiver = PaymentReceiver(shop.orders, AdyenSignature(ADYEN_KEY), parser, clock=shop.clock)
    assert receiver.receive(encoded(adyen_body(adyen_item())), {}).outcome == "applied"
    assert receiver.receive(encoded(adyen_body(cancelled)), {}).outcome == "applied"
    order = shop.orders.get("1001")
    assert (order.state, order.held, order.outstanding) == ("sent", Decimal(0), Decimal("49.90"))


def test_end_of_an_authorisation_that_counted_as_the_capture_moves_no_money() -> None:
    """Its amount is that of the authorisation, not the rest that was not captured."""
    assert parsed(adyen_item("EXPIRE"), AdyenEvents(automatic_capture=True)).kind == "voided"


def test_two_captures_of_one_authorisation_are_two_transactions() -> None:
    items = [
        adyen_item("CAPTURE", pspReference=psp, originalReference="PSP1", amount={"value": value, "currency": "GBP"})
        for psp, value in (("PSP2", 3000), ("PSP3", 1990))
    ]
    events = [parsed(item) for item in items]
    assert [(event.reference, event.transaction_id, event.amount) for event in events] == [
        ("PSP1", "PSP2", 30),
        ("PSP1", "PSP3", Decimal("19.90")),
    ]
    assert {event.order_id for event in events} == {"1001"}


@pytest.mark.parametrize(
    ("code", "success", "kind"),
    [
        ("AUTHORISATION", "false", "failed"),
        ("CAPTURE", "false", "note:CAPTURE:false"),
        ("CAPTURE_FAILED", "true", "reversed"),
        ("CANCELLATION", "true", "voided"),
        ("EXPIRE", "true", "voided"),
        ("CANCELLATION", "false", "note:CANCELLATION:false"),
        ("TECHNICAL_CANCEL", "true", "voided"),
        ("REFUND", "true", "refunded"),
        ("REFUND", "false", "note:REFUND:false"),
        ("REFUND_FAILED", "true", "refund_failed"),
        ("REFUNDED_REVERSED", "true", "refund_failed"),
        ("NOTIFICATION_OF_CHARGEBACK", "true", "note:NOTIFICATION_OF_CHARGEBACK"),
        ("CHARGEBACK", "true", "reversed"),
        ("CHARGEBACK", "false", "note:CHARGEBACK:false"),
        ("CHARGEBACK_REVERSED", "true", "restored"),
        ("SECOND_CHARGEBACK", "true", "reversed"),
        ("CANCEL_OR_REFUND", "true", "note:CANCEL_OR_REFUND"),
        ("SOMETHING_NEW", "true", "note:SOMETHING_NEW"),
    ],
)
def test_event_code_and_success_give_the_kind(code: str, success: str, kind: str) -> None:
    event = parsed(adyen_item(code, success=success, originalReference="PSP0"))
    assert event.kind == kind
    assert event.id == f"PSP1:{code}:{success}"


@pytest.mark.parametrize(
    ("action", "kind", "order_id"),
    [("refund", "refunded", None), ("cancel", "voided", "1001"), ("x", "note:CANCEL_OR_REFUND", None)],
)
def test_reversal_has_the_kind_of_its_outcome(action: str, kind: str, order_id: str | None) -> None:
    item = adyen_item("CANCEL_OR_REFUND", originalReference="PSP0", additionalData={"modification.action": action})
    event = parsed(item)
    assert (event.kind, event.order_id, event.reference) == (kind, order_id, "PSP0")


@pytest.mark.parametrize(
    ("item", "expires"),
    [
        (adyen_item("CAPTURE", pspReference="PSP2", originalReference="PSP1", success="false"), False),
        (adyen_item("CANCELLATION", pspReference="PSP2", originalReference="PSP1", success="false"), False),
        (adyen_item("CANCELLATION", pspReference="PSP2", originalReference="PSP1"), True),
        (
            adyen_item(
                "CANCEL_OR_REFUND",
                pspReference="PSP2",
                originalReference="PSP1",
                additionalData={"modification.action": "cancel"},
            ),
            True,
        ),
        (adyen_item("EXPIRE", pspReference="PSP2", originalReference="PSP1"), True),
        (adyen_item("EXPIRE"), True),
    ],
)
def test_only_the_end_of_an_authorisation_lets_its_order_expire(shop: Shop, item: Any, expires: bool) -> None:
    """A failed request leaves the authorisation as it was. EXPIRE may have only the pspReference of the payment."""
    shop.bring("sent")
    receiver = PaymentReceiver(shop.orders, AdyenSignature(ADYEN_KEY), parse, clock=shop.clock)
    for notification in (adyen_item(), item):
        assert receiver.receive(encoded(adyen_body(notification)), {}).outcome == "recorded"
    shop.clock.pass_by(days=8)
    assert bool(shop.orders.expire(timedelta(days=7))) is expires


def test_refund_that_fails_later_is_one_transaction() -> None:
    made, failed = (
        parsed(adyen_item(code, pspReference="PSP2", originalReference="PSP1", merchantReference="refund-7"))
        for code in ("REFUND", "REFUND_FAILED")
    )
    assert (made.transaction_id, made.reference) == (failed.transaction_id, failed.reference) == ("PSP2", "PSP1")
    assert made.order_id is None


def test_dispute_lost_won_and_lost_again_is_three_facts() -> None:
    codes = ["CHARGEBACK", "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK"]
    events = [parsed(adyen_item(code, pspReference="DISPUTE1", originalReference="PSP1")) for code in codes]
    assert [event.kind for event in events] == ["reversed", "restored", "reversed"]
    assert len({(event.kind, event.transaction_id) for event in events}) == 3
    assert len({event.id for event in events}) == 3


def test_authorisation_of_nothing_is_a_note() -> None:
    """A zero amount only stores a card."""
    assert parsed(adyen_item(amount={"value": 0, "currency": "GBP"})).kind == "note:AUTHORISATION"


def test_report_is_ignored() -> None:
    assert isinstance(parse(adyen_item("REPORT_AVAILABLE", merchantReference=""), {}), Ignore)


@pytest.mark.parametrize(
    ("currency", "value", "money"),
    [("JPY", 500, "500"), ("KWD", 5120, "5.120"), ("ISK", 500, "5.00"), ("CLP", 500, "5.00"), ("IDR", 500, "500")],
)
def test_amount_has_the_digits_of_its_currency(currency: str, value: int, money: str) -> None:
    assert str(parsed(adyen_item(amount={"value": value, "currency": currency})).amount) == money


@pytest.mark.parametrize(("live", "expected"), [("true", True), ("false", False), (None, None), ("yes", None)])
def test_mode_is_that_of_the_body(live: Any, expected: bool | None) -> None:
    assert parsed(adyen_item() | {"live": live}).live is expected


@pytest.mark.parametrize("name", ["eventCode", "pspReference", "success", "amount"])
def test_item_without_a_member_is_refused_by_name(name: str) -> None:
    item = adyen_item()
    del item[name]
    with pytest.raises(InvalidInput, match=name):
        parse(item, {})

"""Mollie: the callback has only an id, so the facts come from the payment that the shop fetches."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from order_fsm import InvalidInput
from order_fsm.payments import Ignore, PaymentEvent, TryAgain
from order_fsm_adapters.gateways.mollie import MollieBody, MollieEvents
from tests.gateways.samples import NOW, mollie_part, mollie_payment, recorded


def events_of(payment: Any) -> list[PaymentEvent]:
    answer = MollieEvents(lambda payment_id: payment)({"id": payment["id"]}, {})
    assert isinstance(answer, list)
    return answer


def kinds_of(payment: Any) -> list[str]:
    return [event.kind for event in events_of(payment)]


def embedded(payment: dict[str, Any], **parts: list[dict[str, Any]]) -> dict[str, Any]:
    return payment | {"_embedded": parts}


def test_body_gives_the_id_as_its_only_item() -> None:
    answer = MollieBody().verify(b"id=tr_7UhSN1zuXS", {}, NOW)
    assert answer.items == ({"id": "tr_7UhSN1zuXS"},)
    assert not answer.headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"id=",
        b"id",
        b"id=tr_1&id=tr_2",
        b"id=../tr_1",
        b"id=tr_1%2F..",
        b"id=tr_1?x=1",
        b"id=tr_%C3%A9",
        b"ID=tr_1",
        b'{"id": "tr_1"}',
        b"id=tr_" + b"x" * 100,
        b"\xff",
        b"id=tr_1\x00",
        b"id=tr_1%0A",
        b"&" * 100000,
    ],
)
def test_body_of_another_form_is_rejected(body: bytes) -> None:
    with pytest.raises(Exception, match=r".*"):
        MollieBody().verify(body, {}, NOW)


def test_paid_payment_is_a_capture_with_every_value() -> None:
    assert events_of(mollie_payment()) == [
        PaymentEvent(
            "captured",
            order_id="1001",
            reference="tr_1",
            amount="49.90",
            currency="EUR",
            id="tr_1:captured",
            provider="mollie",
            live=True,
            account="pfl_1",
            occurred_at=NOW,
        )
    ]


def test_test_mode_is_reported() -> None:
    assert [event.live for event in events_of(mollie_payment(mode="test"))] == [False]


@pytest.mark.parametrize(
    ("status", "kind"),
    [("authorized", "authorised"), ("canceled", "voided"), ("expired", "failed"), ("failed", "failed")],
)
def test_status_gives_the_kind(status: str, kind: str) -> None:
    assert kinds_of(mollie_payment(status=status)) == [kind]


@pytest.mark.parametrize("status", ["open", "pending", None])
def test_open_payment_is_ignored(status: str | None) -> None:
    assert isinstance(MollieEvents(lambda _: mollie_payment(status=status))({"id": "tr_1"}, {}), Ignore)


def test_each_part_capture_counts_by_itself() -> None:
    captures = [mollie_part("cpt_1", "30.00", status="succeeded"), mollie_part("cpt_2", "19.90", status="succeeded")]
    captures.append(mollie_part("cpt_3", status="pending"))
    events = events_of(embedded(mollie_payment(captureMode="manual"), captures=captures))
    assert [(event.transaction_id, event.amount) for event in events] == [("cpt_1", 30), ("cpt_2", Decimal("19.90"))]


def test_manual_capture_without_its_captures_is_refused() -> None:
    with pytest.raises(InvalidInput, match="embed=captures"):
        events_of(mollie_payment(captureMode="manual"))


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        ("queued", []),
        ("pending", []),
        ("canceled", []),
        ("processing", ["refunded"]),
        ("refunded", ["refunded"]),
        ("failed", ["refunded", "refund_failed"]),
    ],
)
def test_refund_counts_by_its_state(status: str, kinds: list[str]) -> None:
    """A failed refund was a refund first, and Mollie may have sent no callback about it."""
    events = events_of(embedded(mollie_payment(), refunds=[mollie_part("re_1", status=status)]))
    assert [event.kind for event in events] == ["captured", *kinds]
    assert {event.transaction_id for event in events[1:]} <= {"re_1"}
    assert len({event.id for event in events}) == len(events)


def test_chargeback_that_is_lost_then_won_is_two_facts() -> None:
    lost = mollie_part("chb_1", "49.90")
    assert kinds_of(embedded(mollie_payment(), chargebacks=[lost])) == ["captured", "reversed"]
    won = lost | {"reversedAt": "2026-01-09T09:00:00Z"}
    events = events_of(embedded(mollie_payment(), chargebacks=[won]))
    assert [event.kind for event in events] == ["captured", "reversed", "restored"]
    assert len({event.id for event in events}) == 3


def test_recorded_parts_are_read_in_their_payment() -> None:
    payment = recorded("mollie.payment_single")["body"] | {"status": "paid"}
    parts = {
        "captures": [recorded("mollie.capture_single")["body"]],
        "refunds": [recorded("mollie.refund_single")["body"] | {"status": "refunded"}],
        "chargebacks": [recorded("mollie.payment_chargeback_single")["body"]],
    }
    events = events_of(embedded(payment, **parts))
    assert [(event.kind, event.amount, event.currency) for event in events] == [
        ("captured", Decimal("1027.99"), "EUR"),
        ("refunded", Decimal("5.95"), "EUR"),
        ("reversed", Decimal("43.38"), "USD"),
        ("restored", Decimal("43.38"), "USD"),
    ]
    assert {(event.order_id, event.reference, event.live) for event in events} == {("12345", "tr_7UhSN1zuXS", False)}


def test_recorded_open_payment_is_ignored() -> None:
    payment = recorded("mollie.payment_single")["body"]
    assert isinstance(MollieEvents(lambda _: payment)({"id": payment["id"]}, {}), Ignore)


def test_repeated_callback_reports_the_same_ids() -> None:
    payment = embedded(mollie_payment(), refunds=[mollie_part("re_1", status="refunded")])
    assert [event.id for event in events_of(payment)] == [event.id for event in events_of(payment)]


def test_payment_that_cannot_be_fetched_is_a_temporary_fault() -> None:
    def fetch(payment_id: str) -> Any:
        raise TimeoutError(payment_id)

    with pytest.raises(TryAgain, match="TimeoutError"):
        MollieEvents(fetch)({"id": "tr_1"}, {})


def test_payment_of_another_shop_is_ignored() -> None:
    assert isinstance(MollieEvents(lambda _: None)({"id": "tr_9"}, {}), Ignore)


def test_callback_about_another_resource_is_ignored_without_a_request() -> None:
    assert isinstance(MollieEvents(lambda _: pytest.fail("fetched"))({"id": "ord_9"}, {}), Ignore)


def test_another_payment_than_the_one_asked_for_is_refused() -> None:
    with pytest.raises(InvalidInput, match="another payment"):
        MollieEvents(lambda _: mollie_payment(id="tr_2"))({"id": "tr_1"}, {})


@pytest.mark.parametrize("metadata", [None, [], "1001", {}, {"order_id": None}, {"order_id": True}])
def test_payment_without_order_number_names_the_payment(metadata: Any) -> None:
    assert [event.order_id for event in events_of(mollie_payment(metadata=metadata))] == [None]


def test_whole_number_is_an_order_number() -> None:
    assert [event.order_id for event in events_of(mollie_payment(metadata={"order_id": 1001}))] == ["1001"]

"""A payment event is validated when it is built, so a parser cannot report an invalid fact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from order_fsm import InvalidInput
from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.payments import Ignore, InvalidCallback, TryAgain
from order_fsm.payments.events import KINDS, PaymentEvent, standard_event

CAPTURE: dict[str, Any] = {"order_id": "1001", "reference": "ch_1", "amount": "49.90", "currency": "GBP"}


class Text(str):
    """A subclass like those of template engines."""

    def __str__(self) -> str:
        return "something else"


def test_event_keeps_every_value() -> None:
    at = datetime(2026, 1, 5, 10, 0, tzinfo=timezone(timedelta(hours=1)))
    event = PaymentEvent(
        "captured",
        transaction_id="tx_1",
        id="evt_1",
        provider="stripe",
        live=True,
        account="acct_1",
        occurred_at=at,
        **CAPTURE,
    )
    assert (event.kind, event.order_id, event.reference, event.transaction_id) == ("captured", "1001", "ch_1", "tx_1")
    assert (event.amount, event.currency, event.id) == (Decimal("49.90"), "GBP", "evt_1")
    assert (event.provider, event.live, event.account) == ("stripe", True, "acct_1")
    assert event.occurred_at == at
    assert event.occurred_at is not None
    assert event.occurred_at.tzinfo is UTC


@pytest.mark.parametrize("kind", [*KINDS, "note:charge.refunded"])
def test_every_kind_can_be_built(kind: str) -> None:
    assert PaymentEvent(kind, **CAPTURE).kind == kind


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("capture", "did you mean 'captured'"),
        ("refund", "did you mean 'refunded'"),
        ("authorized", "did you mean 'authorised'"),
        ("xyz", "captured, refunded, refund_failed, reversed, restored, authorised, voided, failed"),
        ("note:", "note:"),
        ("note: ", "note:"),
        ("Captured", "kind must be one of"),
    ],
)
def test_unknown_kind_is_refused_with_all_kinds(kind: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match="kind must be one of captured,") as refusal:
        PaymentEvent(kind, **CAPTURE)
    assert hint in str(refusal.value)


@pytest.mark.parametrize("kind", PAYMENT_KINDS)
@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (("amount",), "amount"),
        (("reference",), "reference or transaction_id"),
        (("amount", "currency"), "amount, currency"),
    ],
)
def test_money_event_without_a_needed_value_is_refused(kind: str, missing: tuple[str, ...], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        PaymentEvent(kind, **{name: value for name, value in CAPTURE.items() if name not in missing})


def test_transaction_id_alone_identifies_money() -> None:
    event = PaymentEvent("captured", order_id="1001", transaction_id="tx_1", amount=1, currency="GBP")
    assert event.reference is None


def test_event_without_order_and_payment_is_refused() -> None:
    with pytest.raises(InvalidInput, match="order_id or a reference"):
        PaymentEvent("failed", transaction_id="tx_1")


def test_amount_without_currency_is_refused() -> None:
    with pytest.raises(InvalidInput, match="currency"):
        PaymentEvent("authorised", order_id="1001", amount=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", 12.5),
        ("amount", True),
        ("amount", "-1"),
        ("amount", "NaN"),
        ("currency", "gbp"),
        ("order_id", ""),
        ("order_id", 1001),
        ("order_id", "../1001"),
        ("reference", "a\nb"),
        ("transaction_id", "x" * 201),
        ("id", b"evt"),
        ("live", "true"),
        ("live", 1),
        ("account", ""),
        ("occurred_at", datetime(2026, 1, 5, 9, 0)),
    ],
)
def test_value_that_is_not_valid_is_refused(name: str, value: Any) -> None:
    """The message names the member and the expected form, and not the value, because it is logged."""
    with pytest.raises(InvalidCallback, match=f"^{name} must be ") as refusal:
        PaymentEvent("captured", **CAPTURE | {name: value})
    assert not value or str(value) not in str(refusal.value)
    assert isinstance(refusal.value.__cause__, InvalidInput), "the cause has the value"


def test_subclasses_of_str_become_str() -> None:
    event = PaymentEvent(
        Text("captured"),
        order_id=Text("1001"),
        reference=Text("ch_1"),
        transaction_id=Text("tx_1"),
        amount=Text("49.90"),
        currency=Text("GBP"),
        id=Text("evt_1"),
        provider=Text("stripe"),
        account=Text("acct_1"),
    )
    texts = [event.kind, event.order_id, event.reference, event.transaction_id, event.currency, event.id]
    assert texts == ["captured", "1001", "ch_1", "tx_1", "GBP", "evt_1"]
    assert {type(text) for text in [*texts, event.provider, event.account]} == {str}
    assert type(event.amount) is Decimal


def test_standard_event_reads_every_member() -> None:
    data = {"type": "payment.refunded", "data": CAPTURE | {"transaction_id": "re_1"}}
    assert standard_event(data, {"webhook-id": "evt_1"}) == PaymentEvent(
        "refunded", transaction_id="re_1", id="evt_1", **CAPTURE
    )
    assert standard_event(data | {"id": "evt_2"}, {}) == PaymentEvent(
        "refunded", transaction_id="re_1", id="evt_2", **CAPTURE
    )


@pytest.mark.parametrize("name", ["payment.disputed", "captured", "order.created", "payment."])
def test_standard_event_of_another_type_is_a_note(name: str) -> None:
    event = standard_event({"type": name, "data": {"order_id": "1001"}}, {})
    assert event == PaymentEvent(f"note:{name}", order_id="1001")


def test_standard_event_of_another_type_without_order_is_ignored() -> None:
    assert isinstance(standard_event({"type": "customer.created", "data": {"email": "a@b.example"}}, {}), Ignore)


@pytest.mark.parametrize(
    ("data", "missing"),
    [({}, "type"), ({"type": "payment.captured"}, "data"), ([], "type"), (None, "type"), ("x", "type")],
)
def test_standard_event_names_the_missing_member(data: Any, missing: str) -> None:
    with pytest.raises(InvalidInput, match=f"no member '{missing}'"):
        standard_event(data, {})


def test_standard_money_event_without_order_and_payment_is_refused() -> None:
    with pytest.raises(InvalidInput, match="order_id or a reference"):
        standard_event({"type": "payment.captured", "data": {"amount": "1", "currency": "GBP"}}, {})


def test_try_again_can_be_returned_or_raised() -> None:
    answer = TryAgain("a timeout")
    assert answer.reason == str(answer) == "a timeout"
    with pytest.raises(TryAgain, match="a timeout"):
        raise answer

"""GoCardless: batches without amounts, and debits that fail late."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from order_fsm import InvalidInput
from order_fsm.payments import Ignore, PaymentEvent, TryAgain, decode
from order_fsm_adapters.gateways.gocardless import GoCardlessEvents
from tests.gateways.samples import NOW, gocardless_event, recorded


class Api:
    """The results of the shop's `lookup`: one payment, one refund, and the history of the payment."""

    def __init__(self, *history: dict[str, Any]) -> None:
        payment = {"id": "PM1", "amount": 4990, "currency": "GBP", "metadata": {"order_id": "1001"}}
        refund = {"id": "RF1", "amount": 1000, "currency": "GBP", "links": {"payment": "PM1"}, "metadata": {}}
        self.answers: dict[str, Any] = {
            "payments/PM1": {"payments": payment},
            "refunds/RF1": {"refunds": refund},
            "events?payment=PM1": {"events": list(history)},
        }

    def __call__(self, path: str) -> Any:
        return self.answers.get(path)


def events_of(*batch: dict[str, Any], api: Api | None = None) -> list[PaymentEvent]:
    answer = GoCardlessEvents(api or Api(*batch))({"events": list(batch)}, {})
    assert isinstance(answer, list)
    return answer


def test_confirmed_payment_is_a_capture_with_every_value() -> None:
    (event,) = events_of(gocardless_event("payments", "confirmed", "EV0", organisation="OR1"))
    assert event == PaymentEvent(
        "captured",
        order_id="1001",
        reference="PM1",
        transaction_id="EV0",
        amount="49.90",
        currency="GBP",
        id="EV0",
        provider="gocardless",
        account="OR1",
        occurred_at=NOW,
    )


def test_batch_gives_its_events_about_money_in_order() -> None:
    batch = [
        gocardless_event("mandates", "created", "EV1", mandate="MD1"),
        gocardless_event("payments", "submitted", "EV2"),
        gocardless_event("payments", "confirmed", "EV3"),
        gocardless_event("refunds", "created", "EV4"),
        gocardless_event("payments", "paid_out", "EV5"),
    ]
    assert [(event.kind, event.id) for event in events_of(*batch)] == [("captured", "EV3"), ("refunded", "EV4")]


def test_recorded_batch_about_other_things_is_ignored() -> None:
    data = decode(recorded("gocardless.webhook")["body"].encode())
    assert isinstance(GoCardlessEvents(lambda path: pytest.fail(path))(data, {}), Ignore)


def test_debit_that_fails_at_once_is_a_failed_attempt() -> None:
    history = [gocardless_event("payments", "submitted", "EV1"), gocardless_event("payments", "failed", "EV2")]
    (event,) = events_of(history[-1], api=Api(*history))
    assert (event.kind, event.amount) == ("failed", None)


@pytest.mark.parametrize("before", [["confirmed"], ["confirmed", "paid_out"]])
def test_debit_that_fails_late_is_reversed(before: list[str]) -> None:
    actions = [*before, "failed", "late_failure_settled"]
    history = [gocardless_event("payments", action, f"EV{place}") for place, action in enumerate(actions, 1)]
    (event,) = events_of(history[len(before)], api=Api(*reversed(history)))
    assert (event.kind, event.amount, event.reference) == ("reversed", Decimal("49.90"), "PM1")


def test_debit_that_is_tried_again_counts_again() -> None:
    """The payment keeps its id, so only the event distinguishes the second confirmation."""
    actions = ["confirmed", "failed", "resubmission_requested", "confirmed", "failed", "failed"]
    history = [gocardless_event("payments", action, f"EV{place}") for place, action in enumerate(actions, 1)]
    events = events_of(*history)
    assert [event.kind for event in events] == ["captured", "reversed", "captured", "reversed", "failed"]
    assert len({(event.kind, event.transaction_id) for event in events}) == 5


def test_chargeback_that_is_lost_then_won_is_two_facts() -> None:
    events = events_of(
        gocardless_event("payments", "charged_back", "EV1"), gocardless_event("payments", "chargeback_cancelled", "EV2")
    )
    assert [(event.kind, event.reference) for event in events] == [("reversed", "PM1"), ("restored", "PM1")]


def test_refund_that_fails_is_one_transaction() -> None:
    actions = ["created", "paid", "failed"]
    events = events_of(*(gocardless_event("refunds", action, f"EV{n}") for n, action in enumerate(actions, 1)))
    assert [event.kind for event in events] == ["refunded", "refunded", "refund_failed"]
    assert {(event.reference, event.transaction_id, event.amount) for event in events} == {("PM1", "RF1", Decimal(10))}


def test_cancelled_payment_is_voided() -> None:
    assert [event.kind for event in events_of(gocardless_event("payments", "cancelled"))] == ["voided"]


def test_unreachable_api_is_a_temporary_fault() -> None:
    def lookup(path: str) -> Any:
        raise ConnectionError(path)

    with pytest.raises(TryAgain, match="ConnectionError"):
        GoCardlessEvents(lookup)({"events": [gocardless_event("payments", "confirmed")]}, {})


def test_payment_of_another_account_is_ignored() -> None:
    batch = {"events": [gocardless_event("payments", "confirmed", payment="PM9")]}
    assert isinstance(GoCardlessEvents(Api())(batch, {}), Ignore)


@pytest.mark.parametrize("own_id", ["", "../creditors", "PM1?x=1", "PM1/actions/cancel", None, 1, "PM\n1"])
def test_id_that_is_not_an_id_never_reaches_the_api(own_id: Any) -> None:
    batch = {"events": [gocardless_event("payments", "confirmed", payment=own_id)]}
    with pytest.raises(InvalidInput):
        GoCardlessEvents(lambda path: pytest.fail(path))(batch, {})


@pytest.mark.parametrize("data", [{}, {"events": {}}, {"events": [{}]}, {"events": [None]}, [], None])
def test_batch_of_another_form_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput):
        GoCardlessEvents(Api())(data, {})


@pytest.mark.parametrize(("currency", "money"), [("JPY", "4990"), ("EUR", "49.90")])
def test_amount_has_the_digits_of_its_currency(currency: str, money: str) -> None:
    api = Api()
    api.answers["payments/PM1"]["payments"]["currency"] = currency
    (event,) = events_of(gocardless_event("payments", "confirmed"), api=api)
    assert str(event.amount) == money

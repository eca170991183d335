"""A gateway's callback: verified, parsed, and recorded on its order once, in whatever order callbacks arrive.

The checks come in this order: the signature over the raw bytes, the time window, the shape of the body, the key (the
event's id) and the payment's reference in the commit itself, amount and currency against the order's.

A payment counts once by its reference, under however many event ids it is announced. A refund or reversal is told
apart by the id of its event alone, as one payment may be given back in several parts that are equal.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from attrs import Attribute, field, frozen
from attrs.validators import optional

from order_fsm import validation
from order_fsm.errors import InvalidInput, KeyReused, OrderNotFound, Refused, StoreError
from order_fsm.model import Order, Receipt
from order_fsm.money import ZERO, minus, plus
from order_fsm.orders.service import Orders
from order_fsm.payments.signatures import StandardWebhooks, StripeSignature, Verifier

__all__ = [
    "Outcome",
    "PaymentEvent",
    "PaymentReceiver",
    "StandardWebhooks",
    "StripeSignature",
    "Verifier",
    "standard_event",
]

_log = logging.getLogger(__name__)

OutcomeName = Literal["applied", "duplicate", "recorded", "parked", "rejected"]


def _name(_: object, attribute: Attribute[str], value: object) -> None:
    validation.name(value, attribute.name)


def _money(value: Decimal | str | int | None) -> Decimal | None:
    return None if value is None else validation.money(value)


@frozen
class PaymentEvent:
    """What a gateway reports.

    Attributes:
        id: of the event: its idempotency key.
        kind: `captured`, `refunded` or `reversed` move money, spelled so; `failed` and anything else is only noted.
        order_id: the shop's order number.
        reference: of the payment that it is about, of a refund or reversal too.
        amount: what was moved; None where the event is about no money.
        currency: of the amount; None likewise.

    Raises:
        InvalidInput: a value that no event could have, such as a float as the amount.
    """

    id: str = field(validator=_name)
    kind: str = field(validator=_name)
    order_id: str = field(validator=lambda _, attribute, value: validation.identifier(value, attribute.name))
    reference: str | None = field(default=None, validator=optional(_name))
    amount: Decimal | None = field(default=None, converter=_money)
    currency: str | None = field(default=None, validator=optional(lambda _, __, value: validation.currency(value)))


@frozen
class Outcome:
    """What came of a callback.

    Attributes:
        outcome: `applied` (a box changed as the event says), `duplicate` (seen before), `recorded` (a fact that the
            shop has to look at, or that changes nothing), `parked` (to be sent again: the order is not here yet, or
            the payment that is given back, or the store), `rejected` (forged, unreadable, or at odds with what was
            recorded under its id or reference; nothing is kept of it).
        http_status: to answer with.
        reason: for the log and the gateway's console; it holds nothing of the body.
        receipt: of the change, where there was one.
    """

    outcome: OutcomeName
    http_status: int
    reason: str
    receipt: Receipt | None = None


def standard_event(data: Any, headers: Mapping[str, str]) -> PaymentEvent:
    """The event in `{"type": "payment.captured", "data": {"order_id", "reference", "amount", "currency"}}`.

    Its id is the header `webhook-id` where that is signed, or else `id` of the body. A body without one stands for
    itself: the same body is the same event.

    Args:
        data: the decoded body; its fractions are Decimals.
        headers: those that are signed, with lower-case names.
    """
    about = data["data"]
    return PaymentEvent(
        id=headers.get("webhook-id") or data.get("id") or _digest(data),
        kind=data["type"].removeprefix("payment."),
        order_id=about["order_id"],
        reference=about.get("reference"),
        amount=about.get("amount"),
        currency=about.get("currency"),
    )


class PaymentReceiver:
    """What a web handler calls with every callback."""

    def __init__(
        self,
        orders: Orders,
        verifier: Verifier,
        parse: Callable[[Any, Mapping[str, str]], PaymentEvent] = standard_event,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Put the parts together.

        Args:
            orders: where payments are recorded.
            verifier: tells the gateway's bodies from others.
            parse: makes the event of a decoded JSON body and the signed headers (lower-case names).
            clock: gives the time, with a time zone.
        """
        self._orders = orders
        self._verifier = verifier
        self._parse = parse
        self._clock = clock

    def receive(self, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Verify a callback and record it. Never raises for what was sent; answer with `http_status`.

        Args:
            body: the raw bytes of the request.
            headers: its headers, names in any case.

        Raises:
            InvalidInput: the body is not given as bytes, the clock gives no time zone. Correct the call.
        """
        if not isinstance(body, bytes):
            raise InvalidInput(f"body must be the raw bytes of the request, not {type(body).__name__}")
        lowered = {name.lower(): value for name, value in headers.items()}
        now = validation.instant(self._clock(), "what the clock gives")
        try:
            signed = self._verifier.verify(body, lowered, now)
        except Exception as error:
            return _rejected(401, f"the signature does not hold ({type(error).__name__})")
        try:
            event = self._parse(_decoded(body), signed)
            if not isinstance(event, PaymentEvent):
                raise TypeError("parse must make a PaymentEvent")
        except Exception as error:
            return _rejected(400, f"the body is no payment event ({type(error).__name__})")
        try:
            return self._record(event)
        except OrderNotFound:
            return _parked("there is no such order yet")
        except KeyReused:
            return _rejected(409, "its id or payment reference stands for something else already")
        except StoreError as error:
            return _parked(f"the store cannot take it now ({type(error).__name__})")

    def _record(self, event: PaymentEvent) -> Outcome:
        trigger = self._orders.workflow.trigger_of(event.kind)
        if trigger is None:
            return self._note(event, "it moves no money")
        if event.amount is None or event.currency is None or event.reference is None:
            # Without a reference it could not be told from its second announcement, under another event id.
            return _rejected(400, "it moves money, and does not say how much, in which currency, of which payment")
        try:
            receipt = self._orders.fire(
                event.order_id,
                trigger,
                amount=event.amount,
                currency=event.currency,
                reference=event.reference,
                key=event.id,
                by="gateway",
                comment="reversed by the bank" if event.kind == "reversed" else None,
                visible=event.kind != "reversed",
            )
        except Refused as refused:
            if _is_early(self._orders.get(event.order_id), event):
                return self._wait(event)
            return self._note(event, ", ".join(reason.code for reason in refused.reasons))
        except KeyReused:
            # Where it could not be applied when it came first, its id stands for the note that was made of it.
            history = self._orders.history(event.order_id)
            if not any((entry.key, entry.comment) == (event.id, _told(event)) for entry in history):
                raise
            return self._note(event, "it could not be applied")
        if receipt.duplicate:
            return Outcome("duplicate", 200, "seen before", receipt)
        (entry,), order = receipt.entries, receipt.order
        short_of_paying = event.kind == "captured" and (not order.counted or order.outstanding > 0)
        if entry.before == entry.after or short_of_paying:
            return Outcome("recorded", 200, f"the order is {order.state}", receipt)
        return Outcome("applied", 200, f"the order is {order.state}", receipt)

    def _note(self, event: PaymentEvent, why: str) -> Outcome:
        """A comment for the shop, under the event's id. Its text depends on the event alone, so that it comes once."""
        receipt = self._orders.comment(event.order_id, _told(event), key=event.id, by="gateway")
        if receipt.duplicate:
            return Outcome("duplicate", 200, "seen before", receipt)
        _log.info("a callback was noted only: %s", why)
        return Outcome("recorded", 200, f"noted only: {why}", receipt)

    def _wait(self, event: PaymentEvent) -> Outcome:
        """Park an event whose payment is still to come; one comment says so, should the payment never come.

        The event's own id stays free for when it is applied.
        """
        told = f"{_told(event)}: its payment has not come yet"
        self._orders.comment(event.order_id, told, key=f"early {_digest(event.id)}", by="gateway")
        return _parked("the payment that it gives back has not come yet")


def _decoded(body: bytes) -> Any:
    """A JSON body, its fractions exact; one that can be read in two ways is refused."""
    return json.loads(body, parse_float=Decimal, object_pairs_hook=_members)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member of an object comes twice")
    return members


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _is_early(order: Order, event: PaymentEvent) -> bool:
    """Whether a refund or reversal that was refused has only come too early: before the payment that it gives back.

    So it has where that payment is not in the ledger; and where enough of it is left, and was counted for what another
    payment, which is still to come, gave back before it. More than is left of its payment it can never give back.
    """
    if event.kind == "captured" or not event.amount or event.currency != order.currency:
        return False
    captured = gone = ZERO
    for payment in order.payments:
        if payment.reference == event.reference:
            if payment.kind == "captured":
                captured = plus(captured, payment.amount)
            elif event.kind == "refunded" or payment.kind == "reversed":
                gone = plus(gone, payment.amount)
    return not captured or event.amount <= minus(captured, gone)


def _told(event: PaymentEvent) -> str:
    """An event for the order's history."""
    about = [f"gateway: {event.kind}"]
    if event.amount is not None:
        about.append(f"{event.amount:f} {event.currency or 'of no currency'}")
    if event.reference is not None:
        about.append(event.reference)
    return ", ".join(about)


def _rejected(http_status: int, reason: str) -> Outcome:
    _log.warning("a callback was rejected: %s", reason)
    return Outcome("rejected", http_status, reason)


def _parked(reason: str) -> Outcome:
    _log.warning("a callback was parked: %s", reason)
    return Outcome("parked", 503, reason)

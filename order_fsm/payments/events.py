"""The events that a gateway reports, and the results of a parser.

A parser takes the decoded body, or one item of a batch, and the signed headers. It returns one `PaymentEvent`, a
sequence of them, `Ignore` or `TryAgain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from attrs import field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput, OrderFsmError
from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.payments.payload import InvalidCallback, MissingMember, member, optional_member

T = TypeVar("T")

KINDS = (*PAYMENT_KINDS, "authorised", "voided", "failed")
"""All kinds except notes. A note is `note:` and any text."""

_NAME = f"a string of one line with 1 to {validation.ID_LENGTH} characters"
_PATHLESS = f"{_NAME}, without '.' and '..' as a part between slashes"
_AMOUNT = "a number such as '49.90' as a string, Decimal or int, and not negative"
_CURRENCY = "three upper-case letters such as 'GBP'"


def _kind(value: str) -> str:
    kind = _name(value, "kind")
    if kind in KINDS or (kind.startswith("note:") and kind.removeprefix("note:").strip()):
        return kind
    hint = validation.did_you_mean(kind, KINDS)
    raise InvalidCallback(f"kind must be one of {', '.join(KINDS)}, or 'note:...'{hint}")


def _order_id(value: str | None) -> str | None:
    return None if value is None else _valid(validation.identifier, value, "order_id", _PATHLESS)


def _reference(value: str | None) -> str | None:
    return None if value is None else _name(value, "reference")


def _transaction_id(value: str | None) -> str | None:
    return None if value is None else _name(value, "transaction_id")


def _amount(value: Decimal | str | int | None) -> Decimal | None:
    return None if value is None else _valid(validation.money, value, "amount", _AMOUNT)


def _currency(value: str | None) -> str | None:
    return None if value is None else _valid(validation.currency, value, "currency", _CURRENCY)


def _id(value: str | None) -> str | None:
    return None if value is None else _name(value, "id")


def _provider(value: str | None) -> str | None:
    return None if value is None else _name(value, "provider")


def _account(value: str | None) -> str | None:
    return None if value is None else _name(value, "account")


def _live(value: bool | None) -> bool | None:
    return None if value is None else _valid(validation.flag, value, "live", "True or False")


def _occurred_at(value: datetime | None) -> datetime | None:
    return None if value is None else _valid(validation.instant, value, "occurred_at", "a datetime with a time zone")


def _name(value: object, member: str) -> str:
    return _valid(validation.name, value, member, _NAME)


def _valid(check: Callable[[object, str], T], value: object, member: str, form: str) -> T:
    """Return a checked value.

    Raises:
        InvalidCallback: if the value is not valid. Its message does not show the value, because the receiver shows the
            message. Its cause does.
    """
    try:
        return check(value, member)
    except InvalidInput as error:
        given = "" if isinstance(value, str) else f" (given: {type(value).__name__})"
        raise InvalidCallback(f"{member} must be {form}{given}") from error


def _reason(value: object) -> str:
    """Return a reason as one line for the log. It accepts any value, because an error here would change the result."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value)[:1000])


@frozen
class PaymentEvent:
    """One fact that a gateway reports.

    Attributes:
        kind: `captured`, `refunded`, `refund_failed`, `reversed` and `restored` move money. `authorised`, `voided` and
            `failed` move no money. `note:...` is for the order's history only.
        order_id: the shop's order number. None if the event names only the payment, as disputes do.
        reference: the gateway's id of the payment, even in an event about a refund or a dispute.
        transaction_id: the gateway's id of the capture, refund or dispute. Each id counts once.
        amount: the money that moved, in whole currency units: 49.90, not 4990.
        currency: the currency of the amount.
        id: the gateway's id of the event, or None. Redeliveries have the same id.
        provider: the name of the gateway.
        live: whether real money moved, None if the gateway does not report it.
        account: the gateway's id of the receiving account, None if the gateway does not report it.
        occurred_at: the time at the gateway.

    Raises:
        InvalidCallback: if the kind is unknown, the event has no `order_id` and no `reference`, the kind moves money
            and the amount, the currency, or both reference and transaction_id are missing, the amount is a float or has
            no currency, or a value is not valid. It is an `InvalidInput`, and its message holds no value.
    """

    kind: str = field(converter=_kind)
    order_id: str | None = field(default=None, converter=_order_id)
    reference: str | None = field(default=None, converter=_reference)
    transaction_id: str | None = field(default=None, converter=_transaction_id)
    amount: Decimal | None = field(default=None, converter=_amount)
    currency: str | None = field(default=None, converter=_currency)
    id: str | None = field(default=None, converter=_id)
    provider: str | None = field(default=None, converter=_provider)
    live: bool | None = field(default=None, converter=_live)
    account: str | None = field(default=None, converter=_account)
    occurred_at: datetime | None = field(default=None, converter=_occurred_at)

    def __attrs_post_init__(self) -> None:
        if self.order_id is None and self.reference is None:
            raise MissingMember("an event needs an order_id or a reference")
        if self.amount is not None and self.currency is None:
            raise MissingMember("an amount needs a currency")
        if self.moves_money:
            missing = [name for name in ("amount", "currency") if getattr(self, name) is None]
            if self.reference is None and self.transaction_id is None:
                missing.append("reference or transaction_id")
            if missing:
                raise MissingMember(f"an event of kind {self.kind!r} moves money and needs {', '.join(missing)}")

    @property
    def moves_money(self) -> bool:
        """Whether the kind is a kind of the ledger."""
        return self.kind in PAYMENT_KINDS


@frozen
class Ignore:
    """A parser's result for a callback that is not about an order of this shop.

    The receiver answers the callback with 2xx and records nothing.

    Attributes:
        reason: the reason for the log.
    """

    reason: str = field(converter=_reason)


class TryAgain(OrderFsmError):
    """A temporary fault, such as a timeout of a request to the gateway.

    A parser or verifier returns or raises it. The receiver answers the callback with 503, so the gateway sends it
    again.

    Attributes:
        reason: the reason for the log.
    """

    def __init__(self, reason: str) -> None:
        self.reason = _reason(reason)
        super().__init__(self.reason)


Parsed = PaymentEvent | Sequence[PaymentEvent] | Ignore | TryAgain
"""The result of a parser."""

Parser = Callable[[Any, Mapping[str, str]], Parsed]
"""Parses the decoded body, or one item of it, with the signed headers."""


def standard_event(data: Any, headers: Mapping[str, str]) -> PaymentEvent | Ignore:
    """Parse the payload `{"type": "payment.<kind>", "data": {...}}`.

    `data` has `order_id`, `reference`, `transaction_id`, `amount` and `currency`. Other types become notes, and
    the log has a warning if such a note has an amount. The id is the signed header `webhook-id`, or the body's `id`.

    Args:
        data: the decoded body.
        headers: the signed headers.

    Returns:
        The event. `Ignore` if the type is different, and the body names no order and no payment or a member is not
        valid.

    Raises:
        InvalidCallback: if `type` or `data` is missing or not valid, or if the event is about a payment and another
            member is missing or not valid.
    """
    name = member(data, "type")
    if not isinstance(name, str):
        raise InvalidCallback(f"type must be a string, not {type(name).__name__}")
    about = member(data, "data")
    order_id, reference = optional_member(about, "order_id"), optional_member(about, "reference")
    event_id = headers.get("webhook-id") or optional_member(data, "id")
    money = {part: optional_member(about, part) for part in ("transaction_id", "amount", "currency")}
    kind = name.removeprefix("payment.")
    if kind in KINDS and kind != name:
        return PaymentEvent(kind, order_id=order_id, reference=reference, id=event_id, **money)
    if order_id is None and reference is None:
        return Ignore("the event names no order and no payment")
    note = _kind(f"note:{name}")
    # In an event of another type these members may mean something else.
    for more in (money, {}):
        with suppress(InvalidCallback):
            return PaymentEvent(note, order_id=order_id, reference=reference, id=event_id, **more)
    return Ignore("the event is of another type, and a member is not valid")

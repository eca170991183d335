"""The events that a gateway reports, and the answers of a parser.

A parser takes the decoded body, or one item of a batch, and the signed headers. It returns one `PaymentEvent`, a
sequence of them, `Ignore` or `TryAgain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from attrs import field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput, OrderFsmError
from order_fsm.payments.payload import MissingMember, member, optional_member

MONEY_KINDS = ("captured", "refunded", "refund_failed", "reversed", "restored")
"""The kinds that move money: the kinds of the ledger."""

KINDS = (*MONEY_KINDS, "authorised", "voided", "failed")
"""All kinds, except notes: `note:` and any text."""


def _kind(value: str) -> str:
    kind = validation.name(value, "kind")
    if kind in KINDS or (kind.startswith("note:") and kind.removeprefix("note:").strip()):
        return kind
    hint = validation.did_you_mean(kind, KINDS)
    raise InvalidInput(f"kind must be one of {', '.join(KINDS)}, or 'note:...', not {kind!r}{hint}")


def _order_id(value: str | None) -> str | None:
    return None if value is None else validation.identifier(value, "order_id")


def _reference(value: str | None) -> str | None:
    return validation.optional_name(value, "reference")


def _transaction_id(value: str | None) -> str | None:
    return validation.optional_name(value, "transaction_id")


def _amount(value: Decimal | str | int | None) -> Decimal | None:
    return None if value is None else validation.money(value)


def _currency(value: str | None) -> str | None:
    return None if value is None else validation.currency(value)


def _id(value: str | None) -> str | None:
    return validation.optional_name(value, "id")


def _provider(value: str | None) -> str | None:
    return validation.optional_name(value, "provider")


def _account(value: str | None) -> str | None:
    return validation.optional_name(value, "account")


def _live(value: bool | None) -> bool | None:
    return None if value is None else validation.flag(value, "live")


def _occurred_at(value: datetime | None) -> datetime | None:
    return None if value is None else validation.instant(value, "occurred_at")


def _reason(value: object) -> str:
    """Return a reason as text that can be logged. Nothing is refused: that would turn it into another answer."""
    return str(value)[:1000].encode(errors="replace").decode()


@frozen
class PaymentEvent:
    """One fact that a gateway reports.

    Attributes:
        kind: `captured`, `refunded`, `refund_failed`, `reversed` and `restored` move money. `authorised`, `voided` and
            `failed` move none. `note:...` is for the order's history only.
        order_id: the shop's order number. None if the gateway names the payment only, as disputes do.
        reference: the gateway's id of the payment, also in an event about a refund or a dispute.
        transaction_id: the gateway's id of the one capture, refund or dispute. It counts once.
        amount: the money that moved, in whole currency units: 49.90, not 4990.
        currency: of the amount.
        id: the gateway's id of the event, None if it has none. Redeliveries have the same.
        provider: the name of the gateway.
        live: whether real money moved, None if the gateway does not report it.
        account: the gateway's id of the receiving account, None if the gateway does not report it.
        occurred_at: the time at the gateway.

    Raises:
        InvalidInput: if the kind is unknown; if the event has neither `order_id` nor `reference`; if it moves money
            without an amount, a currency, or a reference or transaction_id; if the amount is a float, or comes without
            a currency; if a value is not valid.
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
            raise MissingMember("an event needs an order_id or a reference; this one has neither")
        if self.amount is not None and self.currency is None:
            raise MissingMember("an amount needs a currency; the event has none")
        if self.moves_money:
            missing = [name for name in ("amount", "currency") if getattr(self, name) is None]
            if self.reference is None and self.transaction_id is None:
                missing.append("reference or transaction_id")
            if missing:
                raise MissingMember(f"an event of kind {self.kind!r} moves money and needs {', '.join(missing)}")

    @property
    def moves_money(self) -> bool:
        """Whether the kind is one of the ledger's."""
        return self.kind in MONEY_KINDS


@frozen
class Ignore:
    """A parser's answer for a callback that is not about an order of this shop.

    The callback is answered with 2xx, and nothing is recorded.

    Attributes:
        reason: for the log.
    """

    reason: str = field(converter=_reason)


class TryAgain(OrderFsmError):
    """A passing fault, such as a timeout of a request to the gateway. A parser or verifier returns or raises it.

    The callback is answered with 503, so the gateway sends it again.

    Attributes:
        reason: for the log.
    """

    def __init__(self, reason: str) -> None:
        self.reason = _reason(reason)
        super().__init__(self.reason)


Parsed = PaymentEvent | Sequence[PaymentEvent] | Ignore | TryAgain
"""Every answer of a parser."""

Parser = Callable[[Any, Mapping[str, str]], Parsed]
"""Takes the decoded body, or one item of it, and the signed headers."""


def standard_event(data: Any, headers: Mapping[str, str]) -> PaymentEvent | Ignore:
    """Parse the payload `{"type": "payment.<kind>", "data": {...}}`.

    `data` has `order_id`, `reference`, `transaction_id`, `amount` and `currency`. Other types become notes. The id is
    the signed header `webhook-id`, or the body's `id`.

    Args:
        data: the decoded body.
        headers: the signed headers.

    Returns:
        The event; `Ignore` if the type is another one and the body names no order and no payment.

    Raises:
        InvalidInput: if a member is missing or not valid.
    """
    name = member(data, "type")
    if not isinstance(name, str):
        raise InvalidInput(f"type must be a string, not {type(name).__name__}")
    about = member(data, "data")
    order_id, reference = optional_member(about, "order_id"), optional_member(about, "reference")
    kind = name.removeprefix("payment.")
    if kind not in KINDS or kind == name:
        if order_id is None and reference is None:
            return Ignore("the event names no order and no payment")
        kind = f"note:{name}"
    return PaymentEvent(
        kind,
        order_id=order_id,
        reference=reference,
        transaction_id=optional_member(about, "transaction_id"),
        amount=optional_member(about, "amount"),
        currency=optional_member(about, "currency"),
        id=headers.get("webhook-id") or optional_member(data, "id"),
    )

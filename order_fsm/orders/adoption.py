"""Check the arguments of `Orders.adopt`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from order_fsm import validation
from order_fsm.currencies import check_units
from order_fsm.errors import InvalidInput
from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.model import Fact, Order
from order_fsm.rules.adoption import PastPayment
from order_fsm.rules.request import facts_content
from order_fsm.rules.rule import MONEY_FACTS

_MEMBERS = frozenset({"kind", "at", "credit"}) | MONEY_FACTS


class Given(NamedTuple):
    """A past payment as the caller gave it.

    A payment without a time gets the time of the placing.
    """

    at: datetime | None
    facts: Mapping[str, Fact]

    @property
    def content(self) -> object:
        """The content for the fingerprint of the request."""
        at = None if self.at is None else self.at.isoformat()
        return [at, sorted(facts_content(self.facts, ledger=False).items())]


def payments_of(payments: object) -> list[Given]:
    """Check the payments of an adopted order.

    Raises:
        InvalidInput: if a payment is not valid. The message has its index.
    """
    example = "[{'kind': 'captured', 'amount': '49.90', 'reference': 'ch_1', 'at': at}]"
    if isinstance(payments, str | Mapping) or not isinstance(payments, Iterable):
        raise InvalidInput(f"payments must be a list of dicts such as {example}, not {validation.shown(payments)}")
    given: list[Given] = []
    for number, payment in enumerate(payments):
        what = f"payments[{number}]"
        if not isinstance(payment, Mapping):
            raise InvalidInput(f"{what} must be a dict such as {example[1:-1]}, not {validation.shown(payment)}")
        for name in payment:
            if name not in _MEMBERS:
                hint = validation.did_you_mean(name, _MEMBERS)
                raise InvalidInput(f"{what} has the members {', '.join(sorted(_MEMBERS))}, not {name!r:.80}{hint}")
        given.append(_payment(payment, what))
    return given


def _payment(payment: Mapping[str, object], what: str) -> Given:
    kind, at, credit = payment.get("kind"), payment.get("at"), payment.get("credit")
    if kind not in PAYMENT_KINDS:
        hint = validation.did_you_mean(kind, PAYMENT_KINDS)
        known = ", ".join(PAYMENT_KINDS)
        raise InvalidInput(f"{what}: kind must be one of {known}, not {validation.shown(kind)}{hint}")
    money = {name: payment[name] for name in payment if name in MONEY_FACTS}
    try:
        facts = validation.facts(money, MONEY_FACTS, "adopt", validation.MONEY_CHECKS)
        if credit is not None and kind != "refunded":
            raise InvalidInput("only a refund has a credit")
        if isinstance(credit, bool):
            facts["credit"] = credit
        elif credit is not None:
            facts["credit"] = validation.money(credit, "credit")
    except InvalidInput as error:
        raise InvalidInput(f"{what}: {error}") from None
    facts["kind"] = PAYMENT_KINDS[PAYMENT_KINDS.index(kind)]
    return Given(None if at is None else validation.instant(at, f"{what}: at"), facts)


def by_time(
    given: Iterable[Given], placed: datetime, order: Order, units: Mapping[str, int], now: datetime
) -> list[PastPayment]:
    """Return the payments sorted by time.

    Payments with equal times keep their sequence.

    Args:
        given: the checked payments.
        placed: the time of payments without a time.
        order: gives the currency of payments without a currency.
        units: the fraction digits of the shop's own currencies.
        now: the time of the adoption.

    Raises:
        InvalidInput: if a time is in the future, or an amount is finer than the smallest unit of its currency.
    """
    payments = [
        PastPayment(placed if one.at is None else one.at, one.facts, number) for number, one in enumerate(given)
    ]
    for what, at in (
        ("placed_at", placed),
        *((f"payments[{one.number}]: at", one.at) for one in payments),
    ):
        if at > now:
            raise InvalidInput(
                f"{what} must not be in the future: it is {at.isoformat()}, and now is {now.isoformat()}"
            )
    for _, facts, number in payments:
        for name in ("amount", "credit"):
            amount = facts.get(name)
            if isinstance(amount, Decimal):
                try:
                    check_units(amount, str(facts.get("currency", order.currency)), units)
                except InvalidInput as error:
                    raise InvalidInput(f"payments[{number}]: {error}") from None
    return sorted(payments, key=lambda payment: payment.at)

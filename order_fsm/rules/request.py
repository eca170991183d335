"""A request to change an order, and its fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache

from msgspec import Struct

from order_fsm.model import Fact, quantities_of
from order_fsm.money import EXACT
from order_fsm.validation import GATEWAY


class Request(Struct, frozen=True, eq=False):
    """A checked request to change an order.

    Attributes:
        trigger: the event.
        at: the time, in UTC.
        facts: the keyword arguments of the trigger.
        by, comment, visible, notify, key: as in `Entry`.
        override: whether the request may pass policy guards. The comment is the reason.
    """

    trigger: str
    at: datetime
    facts: dict[str, Fact]
    by: str | None = None
    comment: str = ""
    visible: bool = False
    notify: bool = False
    key: str | None = None
    override: bool = False

    @property
    def reasoned(self) -> bool:
        """Whether the request gives a reason: a comment that is not blank."""
        return bool(self.comment) and not self.comment.isspace()

    @property
    def gateway(self) -> bool:
        """Whether a payment gateway reports the fact.

        Then the rules require no reason.
        """
        return self.by == GATEWAY


def facts_content(facts: Mapping[str, Fact], *, ledger: bool) -> Mapping[str, object]:
    """Prepare facts for a fingerprint.

    Decimals are marked, because a string may look the same.

    The sequence of the pieces of a shipment does not matter.

    Args:
        facts: the checked facts.
        ledger: whether the trigger records money. Then `amount` is always a Decimal and needs no mark.
    """
    return {
        name: {"decimal": value}
        if isinstance(value, Decimal) and not (ledger and name == "amount")
        else {"lines": quantities_of(value)}
        if isinstance(value, tuple)
        else value
        for name, value in facts.items()
    }


def request_fingerprint(order_id: str | None, operation: str, content: object) -> str:
    """Return the fingerprint of a request, for its idempotency key.

    It is equal for the same operation and content on the same order.

    It does not include `by` and comments, because a webhook and a redirect may word one event differently.
    """
    return _digester()([order_id, operation, content])


@cache
def _digester() -> Callable[[object], str]:
    # Imported with the first key, to keep the import of the library fast.
    from hashlib import sha256
    from json import JSONEncoder

    encode = JSONEncoder(sort_keys=True, check_circular=False, default=_plain).encode
    return lambda content: sha256(encode(content).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value.normalize(EXACT):f}"
    raise TypeError(f"a fingerprint cannot include {type(value).__name__}")

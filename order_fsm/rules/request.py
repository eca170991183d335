"""What somebody asks of an order: checked when it is made, and digested to tell the same request from another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache

from attrs import define, field, setters

from order_fsm import validation
from order_fsm.model import Fact
from order_fsm.money import EXACT


@define(eq=False, repr=False, on_setattr=setters.NO_OP)
class Request:
    """What somebody asks of an order. It lives no longer than the call, so it is not frozen.

    Attributes:
        trigger: what shall happen.
        at: now, in UTC.
        facts: what the trigger comes with.
        by, comment, visible, notify, key: as in `Entry`.
        override: whether policy guards may be passed; the comment is the reason.

    Raises:
        InvalidInput: a value that no request could have.
    """

    trigger: str
    at: datetime
    facts: Mapping[str, Fact] = field(factory=dict)
    by: str | None = None
    comment: str = field(default="", converter=validation.comment)
    visible: bool = False
    notify: bool = False
    key: str | None = None
    override: bool = False

    def __attrs_post_init__(self) -> None:
        # What is as by default, as most of it is, needs no look.
        if self.by is not None:
            validation.name(self.by, "by")
        if self.key is not None:
            validation.name(self.key, "key")
        if self.visible is not False:
            validation.flag(self.visible, "visible")
        if self.notify is not False:
            validation.flag(self.notify, "notify")
        if self.override is not False:
            validation.flag(self.override, "override")

    def content(self, order_id: str, asked: object) -> str | None:
        """What is kept with its key to tell it from another request under the same key; None where it has no key.

        Args:
            order_id: of which order it is asked.
            asked: what the request has of its own, beside the trigger.
        """
        return None if self.key is None else digest(order_id, self.trigger, asked)

    @property
    def reasoned(self) -> bool:
        """Whether it gives a reason: a comment that is not blank."""
        return bool(self.comment.strip())


def money_facts(facts: Mapping[str, object]) -> dict[str, Fact]:
    """The facts of a trigger that records money, checked; those that are None are left out.

    Raises:
        InvalidInput: an amount, currency or reference that is none.
    """
    checked: dict[str, Fact] = {}
    for name, value in facts.items():
        check = _MONEY_CHECKS.get(name)
        if check is None:
            checked[name] = validation.fact(value, name)
        elif value is not None:
            checked[name] = check(value, name)
    return checked


_MONEY_CHECKS: dict[str, Callable[[object, str], Fact]] = {
    "amount": validation.money,
    "currency": validation.currency,
    "reference": validation.name,
}


def told_apart(facts: Mapping[str, Fact], ledger: str | None) -> Mapping[str, object]:
    """The facts of a trigger as their digest takes them: a Decimal of a shop's own is marked, as a string may look so.

    Args:
        facts: as checked.
        ledger: what the trigger records, if anything. Then its amount is always a Decimal, and needs no mark.
    """
    return {
        name: {"decimal": value} if isinstance(value, Decimal) and (ledger is None or name != "amount") else value
        for name, value in facts.items()
    }


def digest(order_id: str, operation: str, asked: object) -> str:
    """What stands for a request under its key: equal for the same operation with the same content on the same order.

    Who asks, and comments beside a trigger, are not part of it: a webhook and a redirect may tell one event
    differently.
    """
    return _digester()([order_id, operation, asked])


@cache
def _digester() -> Callable[[object], str]:
    # Made when the first key comes, to keep the library quick to import.
    from hashlib import sha256
    from json import JSONEncoder

    encode = JSONEncoder(sort_keys=True, check_circular=False, default=_plain).encode
    return lambda content: sha256(encode(content).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value.normalize(EXACT):f}"
    raise TypeError(f"no content of a request: {type(value).__name__}")

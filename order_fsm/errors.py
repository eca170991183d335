"""One tree of exceptions: the library raises an `OrderFsmError` for every expected failure.

Each message names the fault and the expected value. If a call about one order raises, nothing changed, except after
`StoreUnavailable`. The descriptions of calls about several orders say which changes stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Self

from attrs import frozen


@frozen
class Reason:
    """Why something is not allowed: a `code` for programs and a `message` for people."""

    code: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """Return the reason as a dict of JSON types."""
        return {"code": self.code, "message": self.message}

    @classmethod
    def from_dict(cls, value: Mapping[str, str]) -> Reason:
        """Return the reason for a dict that `to_dict` returned.

        Raises:
            InvalidInput: if a member is missing, unknown or not a string. The message names it.
        """
        if not isinstance(value, Mapping):
            raise InvalidInput(f"Reason must be a dict, not {type(value).__name__}")
        for name in ("code", "message"):
            if name not in value:
                raise InvalidInput(f"Reason: the member {name!r} is missing")
        for name, text in value.items():
            if name not in ("code", "message"):
                raise InvalidInput(f"Reason has no member {name!r:.80}")
            if not isinstance(text, str):
                raise InvalidInput(f"Reason.{name} must be a string, not {type(text).__name__}")
        return cls(value["code"], value["message"])


class OrderFsmError(Exception):
    """The base of all errors of the library."""


class WorkflowError(OrderFsmError):
    """The workflow is not valid. It is raised while the workflow is built. Correct the table.

    Attributes:
        findings: all faults of the table, one sentence per fault.
    """

    def __init__(self, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__(self.findings)

    def __str__(self) -> str:
        return "the workflow is not valid:\n" + "\n".join(f"- {finding}" for finding in self.findings)


class InvalidInput(OrderFsmError, ValueError):
    """The value is not valid for any order (a float as money, an empty id). Correct the call."""


class UnknownTrigger(OrderFsmError):
    """The workflow has no such trigger. Use one of the triggers in the message."""


class Refused(OrderFsmError):
    """The rules do not allow the change now. Show the reasons. Do not retry the same call.

    Attributes:
        order_id: the order.
        trigger: the trigger that was fired (`save` for a form).
        state: the state of the order.
        reasons: every reason, as `Reason` values with `code` and `message`.
    """

    def __init__(self, order_id: str, trigger: str, state: str, reasons: Iterable[Reason]) -> None:
        self.order_id = order_id
        self.trigger = trigger
        self.state = state
        self.reasons = tuple(reasons)
        super().__init__(order_id, trigger, state, self.reasons)

    def __str__(self) -> str:
        why = "; ".join(f"{reason.message} ({reason.code})" for reason in self.reasons)
        return f"order {self.order_id!r}: {self.trigger} is refused in state {self.state}: {why}"


class KeyReused(OrderFsmError):
    """The idempotency key or payment reference was used for a different request. Check which request is wrong."""


class Undelivered(OrderFsmError):
    """A message did not reach some recipients, and reached all others. A handler of messages raises it.

    `Orders.deliver` retries the message for these recipients alone. No other message of its order waits for it.

    Attributes:
        recipients: names such as `customer`, never addresses, because names are stored and logged.
        reason: a short text for the log, without personal data.
        permanent: whether another attempt is useless. The message becomes a dead letter at once.
    """

    def __init__(self, recipients: Iterable[str], reason: str = "", *, permanent: bool = False) -> None:
        is_list = isinstance(recipients, Iterable) and not isinstance(recipients, str | Mapping)
        names = tuple(recipients) if is_list else ()
        if not names or not all(isinstance(name, str) and name.strip() for name in names):
            raise InvalidInput(f"recipients must be a list of names such as ['customer'], not {recipients!r:.80}")
        self.recipients = tuple([str.__str__(name) for name in names])
        self.reason = reason
        self.permanent = permanent
        super().__init__(self.recipients, reason)

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), permanent=self.permanent), (self.recipients, self.reason)

    def __str__(self) -> str:
        return f"not delivered to {', '.join(self.recipients)}{self.reason and ': '}{self.reason}"


class MissingDependency(OrderFsmError, ImportError):
    """An optional library or program is not installed. The message names it and the command that installs it."""

    @classmethod
    def of_extra(cls, user: str, library: str, extra: str) -> Self:
        """Return the error about a library of an extra.

        Args:
            user: the part of order_fsm that needs the library.
            library: the name of the library.
            extra: the extra of order-fsm that has the library.
        """
        command = f"pip install 'order-fsm[{extra}]', or '.[{extra}]' in a checkout"
        return cls(f"{user} needs {library}, of the extra {extra!r}: {command}")


class StoreError(OrderFsmError):
    """The base of the errors that a store raises."""


class OrderNotFound(StoreError):
    """The store has no order with this id. Check the id. In a callback, answer "try again later"."""


class OrderExists(StoreError):
    """The store already has an order with this id. Use another id, or load the order."""


class VersionConflict(StoreError):
    """The order changed since the caller read it. Load it again and decide again."""


class StoreUnavailable(StoreError):
    """The store is not usable now, or it is unknown whether it wrote. Repeat the call with the same key."""


class TransactionLost(StoreError):
    """The database rolled back the host's whole transaction. Nothing is written: restart that transaction."""


class StoreFull(StoreError):
    """The store has no room to write. Make room, then retry."""


class StoreCorrupt(StoreError):
    """The store's content is damaged or was edited. Restore it from a backup."""

"""One tree of exceptions: everything that the library raises on purpose is an `OrderFsmError`.

Each one says what was wrong, what was expected, and so what the caller should do. An operation that raises has
changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen


@frozen
class Reason:
    """Why something is not allowed: a `code` for programs and a `message` for people."""

    code: str
    message: str


class OrderFsmError(Exception):
    """The base of all errors of the library."""


class WorkflowError(OrderFsmError):
    """A workflow that cannot be right; raised while it is built. Mend the table.

    Attributes:
        findings: everything that is wrong with it, one sentence each.
    """

    def __init__(self, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__(self.findings)

    def __str__(self) -> str:
        return "the workflow is not valid:\n" + "\n".join(f"- {finding}" for finding in self.findings)


class InvalidInput(OrderFsmError, ValueError):
    """A value that no order could take (a float as money, an empty id). Correct the call."""


class UnknownTrigger(OrderFsmError):
    """A trigger that the workflow does not have. Use one of those that the message lists."""


class Refused(OrderFsmError):
    """The rules do not allow this now. Show the reasons; do not retry the same call.

    Attributes:
        order_id: the order that it was asked of.
        trigger: what was asked for (`save` for a form).
        state: the state in which it was refused.
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
    """A key or payment reference that already stands for other content. Find out which of the two is wrong."""


class ToolMissing(OrderFsmError):
    """A program that is not part of the library is not installed. The message says which, and what to install."""


class StoreError(OrderFsmError):
    """The base of what a store raises."""


class OrderNotFound(StoreError):
    """The store has no order of this id. Check the id; for a callback: answer "try again later"."""


class OrderExists(StoreError):
    """An order of this id exists already. Take another id, or load the order."""


class VersionConflict(StoreError):
    """The order is no longer what the caller saw. Load it again and decide again."""


class StoreUnavailable(StoreError):
    """The store cannot be read or written now. Retry later, with the same key if there is one."""


class StoreFull(StoreError):
    """No room to write. Make room, then retry."""


class StoreCorrupt(StoreError):
    """What the store holds is not what it wrote. Restore it from a backup."""

"""Many changes in one commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any

from order_fsm import validation
from order_fsm.errors import InvalidInput, OrderFsmError
from order_fsm.model import Line, Receipt
from order_fsm.orders.commands import Commands
from order_fsm.orders.contents import UNCHANGED, Keep
from order_fsm.orders.executor import Executor
from order_fsm.rules.decide import Call


class Batch:
    """Collects changes in a `with` block and commits them together.

    The end of the block decides the changes in sequence, each on the result of the changes before it. A refused change
    does not undo the others. A call with invalid arguments raises at once. If anything raises in the block, nothing
    changes. A call outside of the block, and a second block, raise InvalidInput.

    Attributes:
        results: after the block, for each call in sequence, its receipt or the error that `Orders` would have raised.

    The end of the block raises StoreUnavailable or StoreFull if the store fails. Then any of the changes may be
    committed: repeat the batch with the same keys. If the shop's own code raises another exception, such as in a guard,
    the batch commits the other changes and then raises that exception.
    """

    def __init__(self, commands: Commands, executor: Executor) -> None:
        """Start without changes. See `Orders.batch`."""
        self.results: list[Receipt | Exception] = []
        self._commands = commands
        self._executor = executor
        self._calls: list[Call] = []
        self._entered = False
        self._open = False

    def __enter__(self) -> Batch:
        if self._entered:
            raise InvalidInput("a batch has one block: start another batch with orders.batch()")
        self._entered = self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        if kind is None:
            self.results = self._executor.execute_all(self._calls)
            for result in self.results:
                if isinstance(result, Exception) and not isinstance(result, OrderFsmError):
                    raise result

    def fire(
        self,
        order_id: str,
        trigger: str,
        *,
        key: str | None = None,
        by: str | None = None,
        comment: str | None = None,
        visible: bool = False,
        notify: bool = False,
        override: bool = False,
        **facts: object,
    ) -> None:
        """Fire a trigger at the end of the block. See `Orders.fire`."""
        self._add(self._commands.fire(order_id, trigger, facts, key, by, comment, visible, notify, override))

    def save(
        self,
        order_id: str,
        statuses: Iterable[str],
        *,
        version: int,
        key: str | None = None,
        by: str | None = None,
        comment: str | None = None,
        visible: bool = False,
        notify: bool = False,
        override: bool = False,
    ) -> None:
        """Save a form at the end of the block. See `Orders.save`."""
        call = self._commands.save(order_id, statuses, version, key, by, comment, visible, notify, override)
        self._add(call)

    def comment(
        self,
        order_id: str,
        comment: str,
        *,
        key: str | None = None,
        by: str | None = None,
        visible: bool = False,
        notify: bool = False,
    ) -> None:
        """Add a comment at the end of the block. See `Orders.comment`."""
        self._add(self._commands.comment(order_id, comment, key, by, visible, notify))

    def amend(
        self,
        order_id: str,
        *,
        version: int,
        lines: Iterable[Line] | Keep | None = UNCHANGED,
        total: Decimal | str | int | Keep = UNCHANGED,
        credited: Decimal | str | int | Keep = UNCHANGED,
        email: str | Keep | None = UNCHANGED,
        customer: str | Keep | None = UNCHANGED,
        data: Mapping[str, Any] | Keep | None = UNCHANGED,
        by: str | None = None,
        comment: str | None = None,
        visible: bool = False,
        notify: bool = False,
        key: str | None = None,
        override: bool = False,
    ) -> None:
        """Amend an order at the end of the block. See `Orders.amend`."""
        parts = {
            "lines": lines,
            "total": total,
            "credited": credited,
            "email": email,
            "customer": customer,
            "data": data,
        }
        version = validation.whole(version, "version", 1)
        self._add(self._commands.amend(order_id, parts, version, key, by, comment, visible, notify, override))

    def _add(self, call: Call) -> None:
        if not self._entered:
            raise InvalidInput("a batch takes calls in its block: use it as: with orders.batch() as batch: ...")
        if not self._open:
            raise InvalidInput("this batch has ended: start another one with orders.batch()")
        self._calls.append(call)

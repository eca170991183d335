"""Many changes of orders that are committed together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from order_fsm.errors import InvalidInput, OrderFsmError
from order_fsm.model import Receipt
from order_fsm.orders.commands import Changes
from order_fsm.orders.executor import Call, Commits
from order_fsm.rules.workflow import Workflow


class Batch(Changes[None]):
    """Changes that are collected in a `with` block, and done at its end.

    They are decided in their sequence, and committed at once as far as they are about different orders: of one order
    only the first change is, and each further one after it. One that is refused does not undo the others. A call that
    is wrong in itself raises at once, and then, as where anything else raises in the block, nothing is done.

    Attributes:
        results: after the block, for each call in its sequence: the receipt, or the error that `Orders` would have
            raised.

    What is no error of this library, such as one of a shop's own guard, is raised at the end, after the others are
    done. At its end the block also raises StoreUnavailable or StoreFull where the store fails: then any of the changes
    may have been done, or not; repeat the batch, with keys.
    """

    def __init__(self, workflow: Workflow, now: Callable[[], datetime], commits: Commits) -> None:
        """Begin with no changes: see `Orders.batch`."""
        super().__init__(workflow, now, commits, self._collect)
        self.results: list[Receipt | Exception] = []
        self._calls: list[Call] = []
        self._open = True

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: object) -> None:
        self._open = False
        if kind is None:
            self.results = self._commits.change_all(self._calls)
            for result in self.results:
                if isinstance(result, Exception) and not isinstance(result, OrderFsmError):
                    raise result

    def _collect(self, call: Call) -> None:
        if not self._open:
            raise InvalidInput("this batch is over: begin another one with orders.batch()")
        self._calls.append(call)

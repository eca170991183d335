"""The service that a shop embeds: all that can be done to its orders. What can be asked of them is in `queries`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from order_fsm import validation
from order_fsm.errors import InvalidInput, KeyReused, OrderExists
from order_fsm.model import UNFINISHED, Entry, Line, Message, Order, Receipt
from order_fsm.orders import expiry
from order_fsm.orders import relay as outbox
from order_fsm.orders.batch import Batch
from order_fsm.orders.commands import Changes
from order_fsm.orders.queries import Queries
from order_fsm.rules.request import Request, digest
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Change

if TYPE_CHECKING:
    from order_fsm.store import Store


class Orders(Queries, Changes[Receipt]):
    """The orders of a shop, in a store, under the rules of a workflow.

    One instance serves all threads if its store does; it keeps nothing itself. All operations raise InvalidInput for
    values that no order could take, and the store's errors (StoreUnavailable, StoreFull, StoreCorrupt) where it fails;
    what raises has changed nothing, but for StoreUnavailable, after which a commit may or may not have been written:
    repeat the call with the same key.
    """

    def __init__(
        self,
        store: Store,
        workflow: Workflow | None = None,
        clock: Callable[[], datetime] | None = None,
        *,
        group_commit: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            store: where the orders are kept.
            workflow: the rules; `shop_workflow()` where not given.
            clock: gives the time, with a time zone; the system's where not given.
            group_commit: whether changes (`fire`, `save`, `comment`) that threads make at the same time are committed
                together: for hosts with many threads over a store that waits for a disk. One thread gains nothing.
        """
        Queries.__init__(self, store, workflow, clock)
        change = self._commits.change
        if validation.flag(group_commit, "group_commit"):
            from order_fsm.orders.group_commit import GroupCommit

            change = GroupCommit(self._commits).change
        Changes.__init__(self, self._workflow, self._now, self._commits, change)

    # Changing orders; what changes one is in `changes`

    def batch(self) -> Batch:
        """Many changes in one commit, which takes little longer than one change: see `Batch`.

        with orders.batch() as batch:
            for order_id in ready:
                batch.fire(order_id, "dispatch", by="bob")
        batch.results  # a Receipt, or the error, for each
        """
        return Batch(self._workflow, self._now, self._commits)

    def create(
        self,
        order_id: str,
        *,
        total: Decimal | str | int,
        currency: str,
        lines: Iterable[Line] = (),
        customer: str | None = None,
        email: str | None = None,
        data: Mapping[str, Any] | None = None,
        by: str | None = None,
        key: str | None = None,
    ) -> Order:
        """Begin an order: unfinished, with no box ticked.

        Args:
            order_id: the shop's order number, at most 200 characters of one line.
            total: what it costs, in `currency`.
            currency: three upper-case letters.
            lines: what is ordered; may be empty.
            customer: whose order it is, for `find` and `totals`.
            email: where messages to the customer go.
            data: whatever the shop wants to keep with it, of JSON values.
            by: who creates it.
            key: idempotency key; the same call with the same key answers with the order as it was created.

        Returns:
            The order, at version 1.

        Raises:
            OrderExists: there is an order of this id.
            KeyReused: the key stands for something else.
        """
        order_id = validation.identifier(order_id, "order id")
        request = Request("create", self._now(), by=by, key=key)
        order = Order(
            id=order_id,
            state=UNFINISHED,
            counted=self._workflow.counts_in(UNFINISHED),
            version=1,
            total=validation.money(total, "total"),
            currency=validation.currency(currency),
            lines=_lines(lines),
            customer=validation.optional_name(customer, "customer"),
            email=None if email is None else validation.email(email),
            payments=(),
            created_at=request.at,
            updated_at=request.at,
            data=validation.json_object(data, "data"),
        )
        asked = [order.total, order.currency, [[line.sku, line.quantity] for line in order.lines]]
        content = digest(order_id, "create", [*asked, order.customer, order.email, order.data])
        first = self._commits.first_receipt(order_id, request.key, content)
        if first is not None:
            return first.order
        entry = Entry(1, "create", UNFINISHED, UNFINISHED, request.at, request.by, key=request.key)
        try:
            self._store.commit(Change(order, 0, (entry,), key=request.key, content=content))
        except (KeyReused, OrderExists):
            # The same call may have been committed meanwhile by another worker.
            first = self._commits.first_receipt(order_id, request.key, content)
            if first is None:
                raise
            return first.order
        return order

    # Stock and messages

    def set_stock(self, sku: str, on_hand: int) -> None:
        """Track an item from now on, with so many on hand (0 or more). Items that were never set are not counted."""
        self._store.set_stock(validation.identifier(sku, "sku"), validation.whole(on_hand, "on_hand", 0))

    def deliver(self, handler: Callable[[Message], object], limit: int = 100) -> int:
        """Hand the messages of past commits to a handler: each at least once, in order per order; see `outbox`.

        Args:
            handler: tells the world. What it raises is logged, and the message tried again later.
            limit: how many to try at the most.

        Returns:
            How many were delivered.
        """
        if not callable(handler):
            raise InvalidInput(f"handler must be a function of a message, not {validation.shown(handler)}")
        return outbox.deliver(self._store, handler, self._now, validation.whole(limit, "limit", 1))

    def dead_letters(self, limit: int = 50) -> list[Message]:
        """The messages whose delivery was given up after many failures, oldest first.

        Args:
            limit: how many at the most.
        """
        return self._store.dead_letters(validation.whole(limit, "limit", 1))

    def revive(self, message: Message) -> None:
        """Have a dead letter delivered after all, once what was wrong is mended.

        Args:
            message: as `dead_letters` gave it.
        """
        if not isinstance(message, Message):
            raise InvalidInput(f"message must be one of dead_letters(), not {validation.shown(message)}")
        self._store.revive(message)

    # Time

    def expire(self, older_than: timedelta, limit: int = 100) -> list[Receipt]:
        """Cancel orders that were placed long ago, and never paid, invoiced or dispatched; their stock comes back.

        Each is decided by the rule `expire` when it is committed, so one that is paid meanwhile stays. One that cannot
        be changed is logged by its id, and does not stop the rest.

        Args:
            older_than: how long ago an order must have been placed.
            limit: how many to cancel at the most.

        Returns:
            The receipts of those that were cancelled.
        """
        before = self._now() - _age(older_than)
        return expiry.expire(self._workflow, self._store, self.fire, before, validation.whole(limit, "limit", 1))

    def purge(self, older_than: timedelta, limit: int = 100) -> list[str]:
        """Remove orders that nobody ever placed: unfinished, with no box ever ticked and no money ever recorded.

        Args:
            older_than: how long ago the last thing must have happened to an order.
            limit: how many to remove at the most.

        Returns:
            The ids of those that were removed.
        """
        before = self._now() - _age(older_than)
        return expiry.purge(self._workflow, self._store, before, validation.whole(limit, "limit", 1))

    # A changed table

    def migrate(
        self, mapping: Mapping[str, str | Iterable[str]], *, comment: str, by: str | None = None, limit: int = 100
    ) -> list[Receipt]:
        """Move orders out of states that the workflow does not know, because its table was changed.

        Each is moved in a commit of its own, by an entry `migrate` in its history; stock follows the state, and never
        has to wait. Call it again until it moves none: what is moved is not moved twice. `audit` lists those that are
        left.

        Args:
            mapping: from the name of an old state to the name, or the set of statuses, of one that the workflow knows.
                A state that it knows may only be mapped to itself: that moves the orders in it for which it has become
                different whether they count in totals.
            comment: why; not blank.
            by: who does it.
            limit: how many to move at the most.

        Returns:
            The receipts of those that were moved.

        Raises:
            InvalidInput: a state that is none, or one that orders may leave by a trigger.
        """
        request = Request("migrate", self._now(), {}, by, comment)
        if not request.reasoned:
            raise InvalidInput("comment must not be blank: say why the orders are moved")
        from order_fsm.orders.migration import migrate

        return migrate(
            self._workflow, self._store, self._commits, mapping, request, validation.whole(limit, "limit", 1)
        )


def _lines(lines: object) -> tuple[Line, ...]:
    if isinstance(lines, str) or not isinstance(lines, Iterable):
        raise InvalidInput("lines must be a list of Line(sku, quantity)")
    checked = tuple(lines)
    wanted: dict[str, int] = {}
    for line in checked:
        if not isinstance(line, Line):
            raise InvalidInput(f"lines must be a list of Line(sku, quantity), not of {type(line).__name__}")
        wanted[line.sku] = validation.whole(wanted.get(line.sku, 0) + line.quantity, f"the quantity of {line.sku!r}", 1)
    return checked


def _age(older_than: object) -> timedelta:
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        raise InvalidInput(f"older_than must be a timedelta, not negative, not {validation.shown(older_than)}")
    return older_than

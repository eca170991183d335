"""The part of `Orders` that a shop runs from jobs.

These are stock, delivery, expiry, migration and audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from order_fsm import validation
from order_fsm.erasure import ERASE
from order_fsm.errors import InvalidInput, KeyReused, VersionConflict
from order_fsm.model import Message, Receipt
from order_fsm.orders import expiry, relay
from order_fsm.orders.executor import Executor, attempts_on
from order_fsm.rules.permissions import Permissions
from order_fsm.rules.request import Request, request_fingerprint
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Change, Need, StockLevel, StockMove, Store

if TYPE_CHECKING:
    from order_fsm.audit import Audit


class Maintenance:
    """Jobs on the orders of a store. See `Orders`."""

    def __init__(
        self,
        store: Store,
        workflow: Workflow,
        now: Callable[[], datetime],
        executor: Executor,
        permissions: Permissions | None,
    ) -> None:
        self._store = store
        self._workflow = workflow
        self._now = now
        self._executor = executor
        self._permissions = permissions

    # Stock

    def stock(self, sku: str) -> int | None:
        """Return the available pieces of an item.

        The result is None if the item is not tracked. The number is below zero if paid orders wait for pieces.
        """
        sku = validation.identifier(sku, "sku")
        return self._store.stock([sku]).get(sku)

    def stock_level(self, sku: str) -> StockLevel | None:
        """Return the available, held, out and lost pieces of an item.

        The result is None if the item is unknown.

        An item that is no longer tracked keeps its level, with `available` None.
        """
        sku = validation.identifier(sku, "sku")
        return self._store.stock_levels([sku]).get(sku)

    def set_stock(
        self, sku: str, available: int, *, expected: int | None = None, backorder: bool | None = None
    ) -> None:
        """Track an item, with this number of available pieces.

        Orders keep the pieces that they hold.

        Args:
            sku: the item.
            available: the number of available pieces, 0 or more.
            expected: the number that the form showed. None accepts any present number.
            backorder: whether orders may take pieces that are not available. The number then falls below zero, and a
                message `stock.short` is queued. None keeps the present setting, which is False at first.

        Raises:
            VersionConflict: if `expected` is given and is not the number of available pieces. Then nothing changes.
        """
        self._store.set_stock(
            validation.identifier(sku, "sku"),
            validation.whole(available, "available", 0),
            expected=None if expected is None else validation.whole(expected, "expected", -(2**63)),
            backorder=None if backorder is None else validation.flag(backorder, "backorder"),
        )

    def stop_tracking(self, sku: str) -> None:
        """Stop tracking an item, so that any order may take it.

        The store still counts the pieces that orders hold.

        `set_stock` tracks the item again. It does not add pieces that came back in between: set the number on the
        shelf.
        """
        self._store.set_stock(validation.identifier(sku, "sku"), None)

    def adjust_stock(self, sku: str, by: int, *, key: str | None = None) -> int:
        """Add pieces of an item to its stock, or take some out.

        Args:
            sku: a tracked item.
            by: the number of pieces to add. A negative number takes pieces out.
            key: the idempotency key. The same call with the same key changes the stock once.

        Returns:
            The available pieces after the change.

        Raises:
            InvalidInput: if the item is not tracked, or fewer pieces are available than the call takes out.
            KeyReused: if the key was used for a different request.
        """
        sku = validation.identifier(sku, "sku")
        by = validation.whole(by, "by", -(2**63) + 1)
        key = validation.optional_name(key, "key")
        fingerprint = None if key is None else request_fingerprint(None, "adjust_stock", [sku, by])
        change = Change(None, 0, (), (StockMove(sku, by, strict=by < 0),), key=key, request_fingerprint=fingerprint)
        for left in reversed(range(attempts_on(self._store))):
            snapshot = self._store.prepare_many((Need(None, key, (sku,)),))[0].checked()
            available = snapshot.stock.get(sku)
            if snapshot.record is not None:
                record = snapshot.record
                if (record.order_id, record.request_fingerprint) != (None, fingerprint):
                    raise KeyReused(f"idempotency key {key!r} was already used for a different request")
                return 0 if available is None else available
            if available is None:
                raise InvalidInput(f"the stock of {sku!r} is not tracked: call set_stock first")
            if by < 0 and available + by < 0:
                raise InvalidInput(f"the stock of {sku!r} is {available}, so {-by} pieces cannot be taken out")
            try:
                self._store.commit(change)
            except (VersionConflict, KeyReused):
                if not left:
                    raise
            else:
                return available + by
        raise AssertionError("the last attempt returns or raises")

    # Messages

    def deliver(self, handler: Callable[[Message], object], limit: int = 100) -> int:
        """Deliver the messages of past commits to a handler.

        The handler gets each message at least once, in sequence per order.

        A message holds ids and facts. The handler reads names, addresses and comments from the order at delivery:
        `orders.get(message.order_id)`, `orders.history(message.order_id)[message.version - 1]`.

        Args:
            handler: delivers a message. If it raises, the message is logged by its id and retried later. If it raises
                `Undelivered`, the message is retried only for the recipients named there. To end the call, a time limit
                must raise a BaseException.
            limit: the largest number of messages to try.

        Returns:
            The number of delivered messages.

        Raises:
            InvalidInput: if the store is joined to an open transaction of the host, or the handler left one open.
        """
        validation.function_of(handler, "handler", "message")
        return relay.deliver(self._store, handler, self._now, validation.whole(limit, "limit", 1))

    def dead_letters(self, limit: int = 50) -> list[Message]:
        """Return the dead letters: messages that failed too often, oldest first.

        Args:
            limit: the largest number of messages to return.
        """
        return self._store.dead_letters(validation.whole(limit, "limit", 1))

    def requeue(self, message: Message) -> None:
        """Return a dead letter to the outbox, once its cause is fixed.

        Args:
            message: one of `dead_letters()`.
        """
        if not isinstance(message, Message):
            raise InvalidInput(f"message must be one of dead_letters(), not {validation.shown(message)}")
        self._store.requeue(message)

    # Time

    def now(self) -> datetime:
        """Return the time of the shop's clock, in UTC."""
        return self._now()

    def first_seen(self, key: str) -> datetime:
        """Return the time of the first call with this key.

        The first call stores the present time.

        Raises:
            KeyReused: if the key was used for a change.
        """
        key = validation.name(key, "key")
        if (first := self._first_seen(key)) is not None:
            return first
        now = self._now()
        try:
            self._store.commit(Change(None, 0, (), key=key, request_fingerprint=now.isoformat()))
        except KeyReused:
            # Another worker stored the key first.
            return self._first_seen(key) or now
        return now

    def _first_seen(self, key: str) -> datetime | None:
        snapshot = self._store.prepare_many((Need(None, key),))[0].checked()
        if snapshot.record is None:
            return None
        try:
            return datetime.fromisoformat(snapshot.record.request_fingerprint)
        except ValueError:
            raise KeyReused(f"idempotency key {key!r} was already used for a change") from None

    def expire(
        self,
        older_than: timedelta,
        limit: int = 100,
        *,
        comment: str | None = None,
        visible: bool = False,
        notify: bool = False,
    ) -> list[Receipt]:
        """Cancel old orders that were never paid, invoiced or dispatched.

        Their stock is released.

        An order does not expire if a gateway holds an authorisation for it, or reported money that the ledger could not
        take. The rule `expire` decides each order at its commit, for the version that was found due. So an order that
        is paid or placed again at the same moment does not expire. An order that cannot be changed is logged by its id,
        and does not stop the others. So to end the call, a time limit must raise a BaseException. If `Orders` has
        `allow`, an order expires only if `allow(CLOCK, "expire", order)` is True. A separate commit cancels each order:
        if the call raises, the orders that it cancelled before stay cancelled.

        Args:
            older_than: the least age of the placing.
            limit: the largest number of orders to cancel.
            comment: the comment for the history of each cancelled order.
            visible: whether the customer may read the entry.
            notify: whether to queue a mail to the customer.

        Returns:
            The receipts of the cancelled orders.

        Raises:
            InvalidInput: if an argument is not valid, or the workflow has no rule `expire`.
        """
        request = Request(
            expiry.TRIGGER,
            self._now(),
            {},
            by=validation.actor(validation.CLOCK),
            comment=validation.comment(comment),
            visible=validation.flag(visible, "visible"),
            notify=validation.flag(notify, "notify"),
        )
        before = expiry.moment_before(request.at, _age(older_than))
        limit = validation.whole(limit, "limit", 1)
        return expiry.expire(self._workflow, self._store, self._executor, request, before, limit, self._permissions)

    def purge(self, older_than: timedelta, limit: int = 100) -> list[str]:
        """Remove orders that were never placed.

        No box was ever ticked, no money was ever recorded, and the order holds no stock. A separate commit removes each
        order: if the call raises, the orders that it removed before stay removed.

        Args:
            older_than: the least age of the last change.
            limit: the largest number of orders to remove.

        Returns:
            The ids of the removed orders.
        """
        before = expiry.moment_before(self._now(), _age(older_than))
        return expiry.purge(self._workflow, self._store, before, validation.whole(limit, "limit", 1))

    # Personal values

    def erase_customer(self, customer: str, *, by: str | None = None, limit: int | None = None) -> list[str]:
        """Erase the personal values of a customer's orders.

        The call erases each order as `erase_order` does, in a separate commit. If it raises, the orders that it erased
        before stay erased.

        If a call is interrupted, the next call completes it. A damaged order is logged by its id and not erased, and
        its id is not returned: repair it and call again. If an order was amended to another customer, its history still
        has the earlier customer. A call for the earlier customer does not find that order: erase it by its id.

        Args:
            customer: the customer.
            by: the person or program.
            limit: the largest number of orders to erase. None erases all.

        Returns:
            The ids of the orders that this call erased. Keep them: if you restore a backup from before the erasure,
            erase these orders again.

        Raises:
            StoreUnavailable: if `erase_order` raises it. The message or a note of the exception has the ids.
        """
        checked = validation.name(customer, "customer")
        request = self._erasing(by)
        limit = None if limit is None else validation.whole(limit, "limit", 1)
        from order_fsm.orders.erasure import erase_customer  # Imported on demand: few processes erase.

        return erase_customer(self._store, self._executor, checked, request, limit, self._permissions)

    def erase_order(self, order_id: str, *, by: str | None = None) -> list[str]:
        """Erase the personal values of an order.

        The rest stays: ids, keys, states, money, goods, stock and `by`.

        The call blanks the customer, the email and the data of the order. It blanks the comments of its history and all
        facts except `LASTING_FACTS`, also in undelivered messages. It adds an entry `erase` to the history. Then the
        store removes the erased bytes from its files. A store on a server or in the shop's database leaves that to the
        database. A request that is repeated under an old key of the order gets the first receipt, even if its content
        differs.

        Args:
            order_id: the order.
            by: the person or program.

        Returns:
            A list with the id. It is empty if there was nothing to erase.

        Raises:
            OrderNotFound: if there is no such order.
            StoreCorrupt: if the order is damaged. Then nothing is erased.
            StoreUnavailable: if the store fails. The values may be erased while their bytes are still in the files:
                call again.
        """
        order_id = validation.identifier(order_id, "order id")
        request = self._erasing(by)
        from order_fsm.orders.erasure import erase_order  # Imported on demand: few processes erase.

        return erase_order(self._store, self._executor, order_id, request, self._permissions)

    def _erasing(self, by: str | None) -> Request:
        return Request(ERASE, self._now(), {}, validation.actor(by))

    # A changed table

    def migrate(
        self, mapping: Mapping[str, str | Iterable[str]], *, comment: str, by: str | None = None, limit: int = 100
    ) -> list[Receipt]:
        """Move orders out of states that a changed table no longer has.

        A separate commit moves each order, with an entry `migrate` in its history. Its stock follows the state, even if
        pieces are missing. Call it again until it returns no receipt: no order moves twice. If it raises, the orders
        that it moved before stay moved. `audit` lists the remaining orders.

        Args:
            mapping: by the name of an old state, the name or the set of statuses of a state of the workflow. A state of
                the workflow may only map to itself. That updates its orders if the table changed whether they count in
                totals or hold stock.
            comment: the reason, not blank.
            by: the person or program.
            limit: the largest number of orders to move.

        Returns:
            The receipts of the moved orders.

        Raises:
            InvalidInput: if a state is not valid, or the workflow still has an old state.
        """
        request = Request("migrate", self._now(), {}, validation.actor(by), validation.comment(comment))
        if not request.reasoned:
            raise InvalidInput("comment must not be blank: give the reason for the migration")
        limit = validation.whole(limit, "limit", 1)
        from order_fsm.orders.migration import migrate  # Imported on demand: only a changed table needs it.

        return migrate(self._workflow, self._store, self._executor, mapping, request, limit)

    def audit(
        self,
        progress: Callable[[int, int | None], object] | None = None,
        *,
        workflows: Iterable[Workflow] = (),
    ) -> Audit:
        """Check the store against the rules.

        The audit compares every order with its history, its ledger, its keys and the rules.

        It reads everything and changes nothing. Other processes may work at the same time. See `order_fsm.audit`.

        Args:
            progress: is called after each order, with the number of checked orders, and the number of all orders or
                None.
            workflows: the earlier rules, if the table was changed. The audit judges each entry by the rules with its
                fingerprint, present or earlier. It counts entries of unknown rules as `unjudged`.

        Returns:
            The findings. `ok` is True if there is no finding.
        """
        from order_fsm.audit import audit  # Imported on demand: only an audit needs it.

        return audit(self._store, self._workflow, progress, workflows=workflows)


def _age(older_than: object) -> timedelta:
    if not isinstance(older_than, timedelta):
        raise InvalidInput(
            f"older_than must be a timedelta such as timedelta(days=14), not {validation.shown(older_than)}"
        )
    if older_than < timedelta(0):
        raise InvalidInput(
            f"older_than must be a timedelta such as timedelta(days=14), not a negative timedelta ({older_than})"
        )
    return older_than

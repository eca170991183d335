"""The part of `Orders` that amends, adopts and resends.

It amends orders, adopts orders of an older system, and resends messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from order_fsm import validation
from order_fsm.currencies import check_units
from order_fsm.errors import InvalidInput, KeyReused, OrderExists, OrderNotFound, VersionConflict
from order_fsm.model import ADOPT, UNFINISHED, Entry, Line, Order, Receipt
from order_fsm.orders.adoption import by_time, payments_of
from order_fsm.orders.calls import Resend
from order_fsm.orders.commands import Commands
from order_fsm.orders.contents import UNCHANGED, Keep, lines_content, lines_of
from order_fsm.orders.executor import Executor, attempts_on
from order_fsm.orders.maintenance import Maintenance
from order_fsm.rules.adoption import adopted
from order_fsm.rules.permissions import Permissions
from order_fsm.rules.request import Request, request_fingerprint
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Change, Need, Store


class Corrections(Maintenance):
    """Amends and adopts orders, and resends messages. See `Orders`."""

    def __init__(
        self,
        store: Store,
        workflow: Workflow,
        now: Callable[[], datetime],
        executor: Executor,
        commands: Commands,
        currencies: Mapping[str, int],
        permissions: Permissions | None,
    ) -> None:
        super().__init__(store, workflow, now, executor, permissions)
        self._commands = commands
        self._currencies = currencies

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
    ) -> Receipt:
        """Change the contents of an order.

        One `amend` entry stores the old and the new values.

        An argument that is not given keeps its part unchanged. None clears `lines`, `email`, `customer` and `data`. The
        rules of `amend` update `paid` for the new total. An order that holds stock takes the further pieces and gives
        back the pieces that it no longer needs. If nothing differs, the call still records a comment.

        Args:
            order_id: the order.
            version: the order's version when the caller read it.
            lines: the ordered items.
            total: the price, not finer than the smallest unit of the order's currency.
            credited: the amount by which the order costs less than `total`, from 0 to `total`. Use it if a gateway's
                refund did not carry the credit.
            email: the address for messages to the customer.
            customer: the customer, for `find` and `totals`.
            data: all of the shop's own JSON values. They replace the present ones.
            by, comment, visible, notify, key, override: as in `fire`.

        Returns:
            The receipt, without entries if nothing differs and there is no comment.

        Raises:
            VersionConflict: if the order changed since the caller read it.
            Refused: if the rules do not allow the amendment, for example because stock is missing. It has every reason.
            UnknownTrigger: if the workflow has no rule `amend`.
            OrderNotFound, KeyReused: as in `fire`.
        """
        parts = {
            "lines": lines,
            "total": total,
            "credited": credited,
            "email": email,
            "customer": customer,
            "data": data,
        }
        version = validation.whole(version, "version", 1)
        return self._executor.execute(
            self._commands.amend(order_id, parts, version, key, by, comment, visible, notify, override)
        )

    def assign_customer(
        self, ids: Iterable[str], *, customer: str | None, by: str | None = None, comment: str | None = None
    ) -> list[Receipt]:
        """Assign orders to a customer.

        For example, assign a guest's orders to an account.

        Each assignment is an amendment of `customer` alone, on the present version. One commit writes all of them. If
        an order has this customer already, it only gets the comment, if any.

        Args:
            ids: the orders.
            customer: the new customer of the orders. None removes their customer.
            by: the person or program.
            comment: the reason.

        Returns:
            A receipt for each id.

        Raises:
            OrderNotFound: if one of the ids has no order. Then nothing has changed.
            Refused, UnknownTrigger: as in `amend`.
            OrderFsmError: if one of the orders cannot be changed. The other orders are changed.
        """
        if isinstance(ids, str | Mapping) or not isinstance(ids, Iterable):
            raise InvalidInput(f"ids must be a list of order ids, not {validation.shown(ids)}")
        parts = {"customer": customer}
        calls = [self._commands.amend(one, parts, None, None, by, comment, False, False, False) for one in ids]
        for snapshot, call in zip(
            self._store.prepare_many([Need(call.order_id) for call in calls]), calls, strict=True
        ):
            if snapshot.order is None and snapshot.fault is None:
                raise OrderNotFound(f"there is no order {call.order_id!r}")
        receipts: list[Receipt] = []
        for result in self._executor.execute_all(calls):
            if isinstance(result, Exception):
                raise result
            receipts.append(result)
        return receipts

    def resend(self, order_id: str, topic: str, *, by: str | None = None, key: str | None = None) -> Receipt:
        """Queue the last message of a topic again, under a new id.

        Use it if a handler lost the message.

        The message is rebuilt from the history and the ledger. Its id has the version of the entry that it is about,
        and its `state` is the state after that entry. After a form, the first message had those of the last step.
        `refund.due` can be resent if money is due back now. `stock.short` cannot be resent.

        Args:
            order_id: the order.
            topic: the topic, such as `order.paid`.
            by: the person or program.
            key: idempotency key.

        Returns:
            The receipt of the entry `resend`.

        Raises:
            InvalidInput: if the order cannot resend such a message. The error lists the topics that it can resend.
            OrderNotFound, KeyReused, VersionConflict: as in `fire`.
        """
        from order_fsm.orders.resending import rebuilt_message  # Imported on demand: few calls need it.

        order_id, key, by, _ = validation.call(order_id, key, by, None, False, False, False)
        topic = validation.name(topic, "topic")
        fingerprint = None if key is None else request_fingerprint(order_id, "resend", topic)
        for left in reversed(range(attempts_on(self._store))):
            if key is not None and (first := self._first_receipt(order_id, key, fingerprint)) is not None:
                return first
            order, history = self._store.load(order_id), self._store.history(order_id)
            if len(history) == order.version or not left:
                now = self._now()
                message = rebuilt_message(self._workflow, order, history, topic, now)
                request = Request("resend", now, {"topic": topic}, by, key=key)
                try:
                    return self._executor.execute(Resend(order_id, request, message, order.version, fingerprint))
                except VersionConflict:
                    if not left:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def adopt(
        self,
        order_id: str,
        *,
        statuses: Iterable[str],
        total: Decimal | str | int,
        currency: str,
        placed_at: datetime | None = None,
        payments: Iterable[Mapping[str, Any]] = (),
        lines: Iterable[Line] = (),
        customer: str | None = None,
        email: str | None = None,
        data: Mapping[str, Any] | None = None,
        comment: str | None = None,
        by: str | None = None,
        key: str | None = None,
    ) -> Order:
        """Take over an order of an older system, with boxes and payments.

        The call queues no message and moves no stock.

        The order took no pieces from this stock, so it never gives any back, even if it is cancelled. Its `created_at`
        is `placed_at`, or the time of the first payment if that is earlier. `expire` counts from `placed_at`.

        Args:
            order_id: the shop's order number.
            statuses: its boxes. They must be a state of the workflow. If the order counts in totals, `paid` is one of
                them if and only if nothing is outstanding.
            total, currency, lines, customer, email, data: as in `create`.
            placed_at: the time at which it was placed. The present time if not given.
            payments: its ledger as dicts with `kind` (`captured`, `refunded`, `refund_failed`, `reversed`, `restored`),
                `amount`, and if known `currency`, `reference`, `transaction_id`, `provider` and `at` (`placed_at` if
                not given). A refund may have a `credit`: True if it lowered the price by its whole amount, False if it
                did not, or the amount by which it did. The payments are recorded in sequence of their times.
            comment: the reason.
            by: the person or program.
            key: idempotency key. The same call with the same key returns the order as it was adopted.

        Returns:
            The order.

        Raises:
            InvalidInput: if the boxes are not a state of the workflow or contradict the payments, a payment exceeds its
                bound or is given twice, or a time is in the future.
            OrderExists, KeyReused: as in `create`.
        """
        order_id, key, by, text = validation.call(order_id, key, by, comment, False, False, False)
        now = self._now()
        boxes = self._workflow.known_statuses(statuses)
        given = payments_of(payments)
        placed = now if placed_at is None else validation.instant(placed_at, "placed_at")
        created = min([placed, *(one.at for one in given if one.at is not None)])
        new = self._new(order_id, total, currency, lines, customer, email, data, created)
        fingerprint = None
        if key is not None:
            since = None if placed_at is None else placed.isoformat()
            content = [*content_of(new), sorted(boxes), since, [one.content for one in given], text]
            fingerprint = request_fingerprint(order_id, ADOPT, content)
            if (done := self._first_receipt(order_id, key, fingerprint)) is not None:
                return done.order
        rows = by_time(given, placed, new, self._currencies, now)
        last = Request(ADOPT, now, {"placed_at": placed.isoformat()}, by, text, key=key)
        order, entries = adopted(self._workflow, new, boxes, rows, last)
        first = Entry(1, "create", UNFINISHED, UNFINISHED, created, by, key=key)
        return self._begin(order, (first, *entries), key, fingerprint)

    def _new(
        self,
        order_id: str,
        total: Decimal | str | int,
        currency: str,
        lines: Iterable[Line],
        customer: str | None,
        email: str | None,
        data: Mapping[str, Any] | None,
        at: datetime,
    ) -> Order:
        """Return a new order with checked contents."""
        order = Order(
            id=order_id,
            state=UNFINISHED,
            counted=self._workflow.counts_in(UNFINISHED),
            version=1,
            total=validation.money(total, "total"),
            currency=validation.currency(currency),
            lines=lines_of(lines),
            customer=validation.optional_name(customer, "customer"),
            email=None if email is None else validation.email(email),
            payments=(),
            created_at=at,
            updated_at=at,
            data=validation.json_object(data, "data"),
        )
        check_units(order.total, order.currency, self._currencies)
        return order

    def _begin(self, order: Order, entries: tuple[Entry, ...], key: str | None, fingerprint: str | None) -> Order:
        """Commit a new order, or return the one committed under its key.

        Another worker may have committed that one.
        """
        try:
            self._store.commit(Change(order, 0, entries, key=key, request_fingerprint=fingerprint))
        except (KeyReused, OrderExists):
            if key is None or (first := self._first_receipt(order.id, key, fingerprint)) is None:
                raise
            return first.order
        return order

    def _first_receipt(self, order_id: str, key: str, fingerprint: str | None) -> Receipt | None:
        """Return the receipt of the call committed under a key, if any."""
        snapshot = self._store.prepare_many((Need(order_id, key),))[0].checked()
        if snapshot.record is None:
            return None
        return self._executor.first_receipt(order_id, key, fingerprint, snapshot)


def content_of(order: Order) -> list[object]:
    """Return the contents of a new order for a request fingerprint."""
    return [order.total, order.currency, lines_content(order.lines), order.customer, order.email, order.data]

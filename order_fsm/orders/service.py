"""`Orders`, the service that a shop embeds: changes orders and finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self

from msgspec.structs import replace

from order_fsm import validation
from order_fsm.currencies import units_of
from order_fsm.errors import InvalidInput, OrderNotFound, Reason, Refused
from order_fsm.model import UNFINISHED, Entry, Line, Order, Receipt, When
from order_fsm.money import ZERO, plus
from order_fsm.orders.batch import Batch
from order_fsm.orders.commands import Commands
from order_fsm.orders.corrections import Corrections, content_of
from order_fsm.orders.executor import Executor
from order_fsm.orders.paging import cursor_of
from order_fsm.orders.reports import Reports
from order_fsm.rules.decide import Call, decide
from order_fsm.rules.holding import Supply
from order_fsm.rules.permissions import Allow, Permissions
from order_fsm.rules.request import Request, request_fingerprint
from order_fsm.rules.shop import shop_workflow
from order_fsm.rules.workflow import LEDGER_QUEUES, PART_DISPATCHED, REFUND_DUE, UNMATCHED, Workflow, check_workflow
from order_fsm.store import Need, Query, Store


class Orders(Reports, Corrections):
    """The orders of a shop: a store and a workflow.

    One instance serves all threads if its store does. It keeps no state. All methods raise InvalidInput if a value is
    not valid. They also raise the store's errors (StoreUnavailable, StoreFull, StoreCorrupt). If a call about one order
    raises, nothing changed, except after StoreUnavailable: then the commit may be written, so repeat the call with the
    same key. The descriptions of calls about several orders say which changes stay.
    """

    def __init__(
        self,
        store: Store,
        workflow: Workflow | None = None,
        clock: Callable[[], datetime] | None = None,
        *,
        group_commit: bool = False,
        currencies: Mapping[str, int] | None = None,
        allow: Allow | None = None,
    ) -> None:
        """Create the service.

        Args:
            store: the store of the orders.
            workflow: the rules. `shop_workflow()` if not given.
            clock: returns the time, with a time zone. The system's clock if not given.
            group_commit: whether to commit simultaneous changes of threads together. Use it for hosts with many threads
                if the store waits for a disk.
            currencies: the fraction digits of the shop's own currencies, such as `{"PTS": 0}` for points. They take
                precedence over those of ISO 4217.
            allow: a function of (actor, action, order) that returns whether the actor may do the action. Only True
                allows. A `Reason` refuses, and becomes a reason of `Refused`. Any other value refuses with the code
                `not_permitted`. The actor is `by`, or `GATEWAY` or `CLOCK` if the engine itself acts. The action is a
                trigger, `save`, `override`, `amend` or `erase`. The function runs in the caller's thread, on the loaded
                order, before the commit, and again after a conflict. It does not run for `create`, `adopt`, `resend`,
                `purge`, comments, migrations, stock or reads. It does not run for a repeated call, which gets its first
                receipt again. If it raises, nothing changes. If it is not given, everyone may do everything. The logger
                `order_fsm.permissions` logs refused attempts.

        Raises:
            InvalidInput: if an argument has the wrong type, or `clock` or `allow` is async or takes other arguments.
        """
        _check_store(store)
        if workflow is None:
            workflow = shop_workflow()
        check_workflow(workflow)
        if clock is not None:
            validation.clock(clock)
        writer: Any = store
        if validation.flag(group_commit, "group_commit"):
            from order_fsm.orders.group_commit import GroupCommit  # Imported on demand: few hosts need it.

            writer = GroupCommit(store)
        now = _utc_now if clock is None else _checked(clock)
        units = units_of(currencies)
        permissions = None if allow is None else Permissions(allow)
        commands = Commands(workflow, now, units, permissions)
        super().__init__(store, workflow, now, Executor(store, workflow, writer), commands, units, permissions)

    @property
    def workflow(self) -> Workflow:
        """The rules."""
        return self._workflow

    @property
    def commands(self) -> Commands:
        """The factory of the calls that `execute` runs."""
        return self._commands

    def within(self, host: object) -> Self:
        """Return the same service, joined to a transaction of the shop.

        The call is cheap enough for every request. For example::

            with Session(engine) as session, session.begin():
                session.add(Parcel(order="1001"))
                orders.within(session).fire("1001", "dispatch")

        Its changes commit and roll back with the shop's own rows. It never begins, commits, rolls back or retries a
        transaction that the shop has open: after VersionConflict or TransactionLost the shop restarts its own
        transaction.

        Args:
            host: a session or connection to the store's database, of a type that the store's `within` takes.

        Raises:
            InvalidInput: if the store cannot join a transaction, or `host` has another type.
        """
        join = getattr(self._store, "within", None)
        if not callable(join):
            raise InvalidInput(
                f"{type(self._store).__name__} cannot join a transaction of the shop: use a store in its database, such"
                " as SqlAlchemyStore"
            )
        joined = copy(self)
        store: Any = join(host)
        joined._store = store
        joined._executor = Executor(store, self._workflow, store)
        return joined

    # Changes

    def create(
        self,
        order_id: str,
        total: Decimal | str | int,
        currency: str,
        lines: Iterable[Line] = (),
        *,
        customer: str | None = None,
        email: str | None = None,
        data: Mapping[str, Any] | None = None,
        by: str | None = None,
        key: str | None = None,
    ) -> Order:
        """Create an order: unfinished, with no box ticked.

        Args:
            order_id: the shop's order number, at most 200 characters of one line.
            total: the price, in `currency`, not finer than its smallest unit.
            currency: a code of three upper-case letters of ISO 4217, or one of the shop's own currencies.
            lines: the ordered items. May be empty.
            customer: the customer, for `find` and `totals`.
            email: the address for messages to the customer.
            data: the shop's own JSON values.
            by: the person or program.
            key: the idempotency key. The same call with the same key returns the order as it was created.

        Returns:
            The order, at version 1.

        Raises:
            OrderExists: if the store already has an order with this id.
            KeyReused: if the key was used for a different request.
        """
        order_id, key, by, _ = validation.call(order_id, key, by, None, False, False, False)
        now = self._now()
        order = self._new(order_id, total, currency, lines, customer, email, data, now)
        fingerprint = None
        if key is not None:
            fingerprint = request_fingerprint(order_id, "create", content_of(order))
            if (first := self._first_receipt(order_id, key, fingerprint)) is not None:
                return first.order
        return self._begin(order, (Entry(1, "create", UNFINISHED, UNFINISHED, now, by, key=key),), key, fingerprint)

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
    ) -> Receipt:
        """Fire a trigger on an order.

        Args:
            order_id: the order.
            trigger: the event, such as `pay`.
            key: the idempotency key, such as the id of a gateway's event. The same call with the same key takes effect
                once.
            by: the person or program.
            comment: the reason, or any note of at most 100,000 characters.
            visible: whether the customer may read the entry and its comment.
            notify: whether to queue one `order.updated` message to the customer.
            override: whether to pass policy guards that fail. It requires `comment` as the reason.
            facts: the arguments of the trigger. If you pass them as `**facts`, annotate the dict as `dict[str, Any]`,
                because type checkers take it for the other arguments too. With money: `amount` (Decimal, string or int;
                if not given, all that is outstanding, due back or else held, or left to reverse), `currency` (the
                order's if not given), `reference` (the gateway's id of the payment; money without one was recorded by
                hand), `transaction_id` (the gateway's id of this capture, refund or dispute: it counts once, under any
                key), `provider` (the gateway). If the gateway will report the same fact, give `transaction_id` together
                with `reference`. A payment that is recorded with its `transaction_id` alone never learns its reference,
                so refunds of it that the gateway reports do not find it.
                With `refund` also `credit`: True if it lowers the price by its whole amount, False if it does not. If
                not given, a refund of a paid live order lowers the price.
                With `dispatch`: `items` (the pieces that leave, such as `{"TEAPOT": 1}`; if not given, all that are
                left) and `parcel` (the parcel number). With `return_items`: `items` (the pieces that came back; if not
                given, all that are out) and `restock` (False if they do not go back on the shelf).

        Returns:
            The receipt. If the same call was committed already, the first receipt again, with `duplicate` True.

        Raises:
            UnknownTrigger: if the workflow has no such trigger.
            Refused: if the rules or permissions do not allow the trigger now. It has every reason.
            OrderNotFound: if there is no such order.
            KeyReused: if the key or the payment reference was used for a different request.
            VersionConflict: if other calls changed the order during each of 100 attempts.
        """
        return self._executor.execute(
            self._commands.fire(order_id, trigger, facts, key, by, comment, visible, notify, override)
        )

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
    ) -> Receipt:
        """Save the admin's form: tick exactly these boxes, in one commit.

        For every difference, the call fires the trigger that ticks or unticks the box, with its guards. It finds a
        sequence in which each step is legal. Each step is an entry with the comment. The last entry has `visible` and
        `notify`. Ticking paid by hand records a payment of all that is outstanding. If nothing differs, the call still
        records a comment.

        Args:
            order_id: the order.
            statuses: the set of boxes that the form ticks. A mapping is refused.
            version: the order's version when the form was loaded.
            key, by, visible, notify, override: as in `fire`.
            comment: the reason, for steps that require one.

        Returns:
            The receipt, without entries if nothing differs and there is no comment.

        Raises:
            VersionConflict: if the order changed since the form was loaded. Reload it.
            Refused: if no legal and permitted sequence leads to these boxes. It has every reason.
            OrderNotFound, KeyReused: as in `fire`.
        """
        return self._executor.execute(
            self._commands.save(order_id, statuses, version, key, by, comment, visible, notify, override)
        )

    def preview(
        self,
        order_id: str,
        statuses: Iterable[str],
        *,
        version: int,
        by: str | None = None,
        comment: str | None = None,
        override: bool = False,
    ) -> Receipt:
        """Return the receipt that `save` would return now.

        The call writes nothing, and logs no refused attempt.

        Args:
            order_id, statuses, version, by, comment, override: as in `save`.

        Returns:
            The receipt, with the order and the new entries that `save` would write.

        Raises:
            VersionConflict, Refused, OrderNotFound: as in `save`.
        """
        call = self._commands.save(order_id, statuses, version, None, by, comment, False, False, override)
        if call.permissions is not None:
            call = replace(call, permissions=call.permissions.quiet())
        return self._executor.preview(call)

    def comment(
        self,
        order_id: str,
        comment: str,
        *,
        key: str | None = None,
        by: str | None = None,
        visible: bool = False,
        notify: bool = False,
    ) -> Receipt:
        """Add a comment to an order's history, without changing a box.

        Args:
            order_id: the order.
            comment: any Unicode text, not blank, at most 100,000 characters.
            key, by, visible, notify: as in `fire`.

        Returns:
            The receipt.

        Raises:
            OrderNotFound, KeyReused, VersionConflict: as in `fire`.
        """
        return self._executor.execute(self._commands.comment(order_id, comment, key, by, visible, notify))

    def execute(self, call: Call) -> Receipt:
        """Run a checked call, such as one made from a gateway's event.

        Args:
            call: a call of `commands`.

        Raises:
            InvalidInput: if `call` is not a call.
            OrderFsmError: as in `fire`.
        """
        if isinstance(call, type) or not callable(getattr(call, "decide", None)):
            raise InvalidInput(f"call must be one that orders.commands created, not {validation.shown(call)}")
        return self._executor.execute(call)

    def batch(self) -> Batch:
        """Return a batch, which commits many changes together.

        Its commit takes little longer than one change.

        For example::

            with orders.batch() as batch:
                for order_id in ready:
                    batch.fire(order_id, "dispatch", by="bob")
            batch.results  # a Receipt, or the error, for each
        """
        return Batch(self._commands, self._executor)

    # Reading

    def get(self, order_id: str) -> Order:
        """Return an order.

        Raises:
            OrderNotFound: if there is no such order.
        """
        return self._store.load(validation.identifier(order_id, "order id"))

    def history(self, order_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        """Return the history of an order, oldest entry first.

        Args:
            order_id: the order.
            after: the version of the last entry of the previous page.
            limit: the largest number of entries to return. None returns all.

        Raises:
            OrderNotFound: if there is no such order.
        """
        after = validation.whole(after, "after", 0)
        limit = None if limit is None else validation.whole(limit, "limit", 1)
        return self._store.history(validation.identifier(order_id, "order id"), after, limit)

    def progress(self, order_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        """Return the entries that the customer may read, oldest first.

        Args:
            order_id, after, limit: as in `history`.

        Raises:
            OrderNotFound: if there is no such order.
        """
        limit = None if limit is None else validation.whole(limit, "limit", 1)
        return tuple([entry for entry in self.history(order_id, after=after) if entry.visible][:limit])

    def explain(self, order_id: str, *, by: str | None = None) -> dict[str, tuple[Reason, ...]]:
        """Return the reasons against each trigger, without side effects.

        The triggers have no facts and no comment.

        Args:
            order_id: the order.
            by: the person or program that would fire the trigger, for `allow`.

        Returns:
            By trigger, every reason of the rules and permissions. The tuple is empty if the trigger is allowed.

        Raises:
            OrderNotFound: if there is no such order.
        """
        by = validation.actor(by)
        need = Need(validation.identifier(order_id, "order id"))
        snapshot = self._store.prepare_many((need,))[0].checked()
        order = snapshot.order
        if order is None:
            raise OrderNotFound(f"there is no order {order_id!r}")
        missing = Supply(snapshot.stock, snapshot.backorder).shortages(order)
        now = self._now()
        explained: dict[str, tuple[Reason, ...]] = {}
        for trigger in self._workflow.triggers:
            decision = decide(self._workflow, order, Request(trigger, now, {}, by), missing)
            reasons = decision.reasons if isinstance(decision, Refused) else ()
            refusal = None if self._permissions is None else self._permissions.refusal(by, trigger, order)
            explained[trigger] = reasons if refusal is None else (*reasons, refusal)
        return explained

    def find(
        self,
        *,
        has: Iterable[str] = (),
        lacks: Iterable[str] = (),
        customer: str | None = None,
        reference: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> list[Order]:
        """Return the orders that match all conditions, oldest first.

        They are sorted by time of creation, then by id.

        With `since` or `until`, the call returns only orders that were placed in the interval, sorted by the time of
        placing.

        A damaged order is logged and left out. `audit` reports it.

        Args:
            has: statuses that the orders must all have.
            lacks: statuses that the orders must not have.
            customer: only this customer's orders.
            reference: only orders with a payment that has this reference.
            since: only orders that were placed at this time or later, with a time zone.
            until: only orders that were placed before this time.
            after: the id of the last order of the previous page.
            limit: the largest number of orders to return.

        Raises:
            InvalidInput: if `until` is before `since`, or the order `after` is no longer placed.
            OrderNotFound: if there is no order `after`.
        """
        known = self._workflow.known_statuses
        when = When(has=known(has, "has"), lacks=known(lacks, "lacks"))
        customer = validation.optional_name(customer, "customer")
        reference = validation.optional_name(reference, "reference")
        return self._page(when, after, limit, customer=customer, reference=reference, since=since, until=until)

    def queue(
        self,
        name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> list[Order]:
        """Return the orders in a queue, in pages as in `find`.

        Args:
            name: a queue of the workflow, or `refund_due`, `unmatched` or `part_dispatched`.
            since, until, after, limit: as in `find`.

        Raises:
            InvalidInput: if there is no such queue. The message lists them.
            OrderNotFound: if there is no order `after`.
        """
        queues = {**self._workflow.queues, **dict.fromkeys(LEDGER_QUEUES, When())}
        if not isinstance(name, str) or name not in queues:
            hint = validation.did_you_mean(name, queues)
            raise InvalidInput(f"queue must be one of {', '.join(queues)}, not {validation.shown(name)}{hint}")
        return self._page(
            queues[name],
            after,
            limit,
            refund_due=name == REFUND_DUE,
            unmatched=name == UNMATCHED,
            part_dispatched=name == PART_DISPATCHED,
            since=since,
            until=until,
        )

    def counts(self) -> dict[str, int]:
        """Return the number of orders in each queue.

        An order may be in several queues.
        """
        counts = dict.fromkeys((*self._workflow.queues, *LEDGER_QUEUES), 0)
        for tally in self._store.tally(None):
            for name in self._workflow.queues_of(tally.state):
                counts[name] += tally.orders
            counts[REFUND_DUE] += tally.orders * tally.refund_due
            counts[UNMATCHED] += tally.orders * tally.unmatched
            counts[PART_DISPATCHED] += tally.orders * tally.part_dispatched
        return counts

    def totals(
        self, customer: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> dict[str, Decimal]:
        """Return the total of all counted orders, by currency.

        Orders count if they are sent and not cancelled.

        Args:
            customer: only this customer's orders.
            since, until: only orders that were placed in this interval, as in `find`.
        """
        customer = validation.optional_name(customer, "customer")
        since, until = validation.interval(since, until)
        if since is not None or until is not None:
            return self._store.totals(since, until, customer)
        totals: dict[str, Decimal] = {}
        for tally in self._store.tally(customer):
            if self._workflow.counts_in(tally.state):
                totals[tally.currency] = plus(totals.get(tally.currency, ZERO), tally.total)
        return totals

    def _page(
        self,
        when: When,
        after: str | None,
        limit: int,
        *,
        customer: str | None = None,
        refund_due: bool = False,
        unmatched: bool = False,
        reference: str | None = None,
        part_dispatched: bool = False,
        since: datetime | None,
        until: datetime | None,
    ) -> list[Order]:
        limit = validation.whole(limit, "limit", 1)
        since, until = validation.interval(since, until)
        query = Query(when, customer, refund_due, None, limit, unmatched, reference, since, until, part_dispatched)
        if after is not None:
            last = self._store.load(validation.identifier(after, "after"))
            query = query._replace(after=cursor_of(last, dated=query.is_dated))
        return self._store.find(query)


def _utc_now() -> datetime:
    return validation.exact_datetime(datetime.now(UTC))


def _checked(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    return lambda: validation.instant(clock(), "the clock's time")


def _check_store(store: object) -> None:
    if isinstance(store, type):
        raise InvalidInput(f"store must be an instance, not {validation.shown(store)}: create it first")
    if not callable(getattr(store, "prepare_many", None)) or not callable(getattr(store, "commit_all", None)):
        raise InvalidInput(f"store must be a store such as SqliteStore('shop.db'), not {validation.shown(store)}")

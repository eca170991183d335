"""What can be asked of the orders in a store; nothing here changes any."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from order_fsm import validation
from order_fsm.errors import InvalidInput, Reason, Refused
from order_fsm.model import Entry, Order, When
from order_fsm.money import ZERO, plus
from order_fsm.orders.executor import Commits
from order_fsm.rules.decide import decide
from order_fsm.rules.request import Request
from order_fsm.rules.shop import shop_workflow
from order_fsm.rules.workflow import REFUND_DUE, Workflow
from order_fsm.store import Query

if TYPE_CHECKING:
    from order_fsm.audit.auditor import Audit
    from order_fsm.store import Store


def _utc_now() -> datetime:
    return validation.exact_datetime(datetime.now(UTC))


def _checked(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    return lambda: validation.instant(clock(), "what the clock gives")


class Queries:
    """The half of `Orders` that only asks."""

    def __init__(
        self, store: Store, workflow: Workflow | None = None, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._store = store
        self._workflow = shop_workflow() if workflow is None else workflow
        self._now = _utc_now if clock is None else _checked(clock)
        self._commits = Commits(store, self._workflow)

    @property
    def workflow(self) -> Workflow:
        """The rules."""
        return self._workflow

    def explain(self, order_id: str) -> dict[str, tuple[Reason, ...]]:
        """Why each trigger would be refused now if it came without facts and comment. Changes nothing.

        Returns:
            By trigger, every reason; none means that it would be allowed.

        Raises:
            OrderNotFound: there is no such order.
        """
        order = self.get(order_id)
        short = self._commits.short(order)
        now = self._now()
        decisions = {
            trigger: decide(self._workflow, order, Request(trigger, now), short) for trigger in self._workflow.triggers
        }
        return {
            trigger: decision.reasons if isinstance(decision, Refused) else ()
            for trigger, decision in decisions.items()
        }

    def get(self, order_id: str) -> Order:
        """An order as it stands.

        Raises:
            OrderNotFound: there is no such order.
        """
        return self._store.load(validation.identifier(order_id, "order id"))

    def history(self, order_id: str) -> tuple[Entry, ...]:
        """All that happened to an order, oldest first.

        Raises:
            OrderNotFound: there is no such order.
        """
        return self._store.history(validation.identifier(order_id, "order id"))

    def progress(self, order_id: str) -> tuple[Entry, ...]:
        """What the customer may read of it: the visible entries, oldest first.

        Raises:
            OrderNotFound: there is no such order.
        """
        return tuple(entry for entry in self.history(order_id) if entry.visible)

    def find(
        self,
        *,
        has: Iterable[str] = (),
        lacks: Iterable[str] = (),
        customer: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> list[Order]:
        """The orders with these statuses, oldest first by time of creation, then by id.

        Args:
            has: statuses that they have, all of these.
            lacks: statuses that they have none of.
            customer: only this customer's.
            after: the id of the last order of the page before.
            limit: how many at the most.

        Raises:
            OrderNotFound: there is no order `after`.
        """
        when = When(has=self._workflow.known_statuses(has), lacks=self._workflow.known_statuses(lacks))
        return self._page(when, after, limit, customer=validation.optional_name(customer, "customer"))

    def queue(self, name: str, *, after: str | None = None, limit: int = 50) -> list[Order]:
        """The orders that stand in a queue of the workflow, or in `refund_due`; in pages as `find`.

        Raises:
            InvalidInput: there is no such queue; the message lists them.
            OrderNotFound: there is no order `after`.
        """
        queues = {**self._workflow.queues, REFUND_DUE: When()}
        if not isinstance(name, str) or name not in queues:
            raise InvalidInput(f"queue must be one of {', '.join(queues)}, not {validation.shown(name)}")
        return self._page(queues[name], after, limit, refund_due=name == REFUND_DUE)

    def counts(self) -> dict[str, int]:
        """How many orders stand in each queue. An order may stand in several."""
        counts = dict.fromkeys((*self._workflow.queues, REFUND_DUE), 0)
        for tally in self._store.tally(None):
            for name in self._workflow.queues_of(tally.state):
                counts[name] += tally.orders
            counts[REFUND_DUE] += tally.orders * tally.refund_due
        return counts

    def totals(self, customer: str | None = None) -> dict[str, Decimal]:
        """What the orders come to that count (sent and not cancelled), by currency.

        Args:
            customer: only this customer's.
        """
        totals: dict[str, Decimal] = {}
        for tally in self._store.tally(validation.optional_name(customer, "customer")):
            if self._workflow.counts_in(tally.state):
                totals[tally.currency] = plus(totals.get(tally.currency, ZERO), tally.total)
        return totals

    def stock(self, sku: str) -> int | None:
        """The number on hand of an item, below zero where paid orders wait for it; None where it is not tracked."""
        sku = validation.identifier(sku, "sku")
        return self._store.stock([sku]).get(sku)

    def audit(self, progress: Callable[[int, int | None], object] | None = None) -> Audit:
        """See whether the store holds together: every order against its history, its ledger, its keys and the rules.

        Reads everything and changes nothing; others may go on working meanwhile. See `order_fsm.audit`.

        Args:
            progress: is called after each order with how many are done, and of how many, or None.

        Returns:
            What was found; `ok` where nothing was.
        """
        from order_fsm.audit.auditor import audit

        return audit(self._store, self._workflow, progress)

    def _page(
        self, when: When, after: str | None, limit: int, *, customer: str | None = None, refund_due: bool = False
    ) -> list[Order]:
        place = None if after is None else validation.identifier(after, "after")
        return self._store.find(Query(when, customer, refund_due, place, validation.whole(limit, "limit", 1)))

"""What can be asked of one order: the calls that change it, checked and made ready for deciding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from order_fsm import validation
from order_fsm.errors import InvalidInput, Refused, UnknownTrigger, VersionConflict
from order_fsm.model import Entry, Fact, Order
from order_fsm.orders.executor import Call, Commits, noted
from order_fsm.rules.decide import Decision, decide
from order_fsm.rules.form import fill
from order_fsm.rules.request import Request, money_facts, told_apart
from order_fsm.rules.workflow import Workflow

Answer = TypeVar("Answer")


class Changes(Generic[Answer]):
    """The three calls that change an order. `Orders` does each at once; a `Batch` collects them."""

    def __init__(
        self, workflow: Workflow, now: Callable[[], datetime], commits: Commits, done: Callable[[Call], Answer]
    ) -> None:
        """Put the parts together.

        Args:
            workflow: the rules.
            now: gives the time, in UTC.
            commits: the store's.
            done: does a call, or sees to it that it is done.
        """
        self._workflow = workflow
        self._now = now
        self._commits = commits
        self._done = done

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
    ) -> Answer:
        """Let a trigger happen to an order.

        Args:
            order_id: which order.
            trigger: the name of what happens, such as `pay`.
            key: idempotency key, such as the id of a gateway's event: the same call under it is done once.
            by: who does it.
            comment: why, or anything to note; at most 100,000 characters.
            visible: whether the customer may read the entry and its comment.
            notify: whether to queue one `order.updated` message to the customer.
            override: whether to pass policy guards that do not hold; `comment` is the reason, and required.
            facts: what the trigger comes with. With money: `amount` (Decimal, string or int; without it, all that is
                outstanding, held or captured), `currency` (the order's where not given), `reference` (of a payment: it
                counts once, under whatever key; a payment with one is an online payment).

        Returns:
            The receipt; the first one again, with `duplicate` true, where the same was done before. (Nothing in a
            batch: see `Batch.results`. So with the other calls.)

        Raises:
            UnknownTrigger: the workflow has no such trigger.
            Refused: the rules do not allow it now; it lists every reason.
            OrderNotFound: there is no such order.
            KeyReused: the key or payment reference stands for something else.
            VersionConflict: others kept changing the order all through a hundred attempts.
        """
        order_id = validation.identifier(order_id, "order id")
        if not isinstance(trigger, str) or not self._workflow.rules_of(trigger):
            triggers = ", ".join(self._workflow.triggers)
            raise UnknownTrigger(f"trigger must be one of {triggers}, not {validation.shown(trigger)}")
        request = Request(
            trigger,
            self._now(),
            self._facts(trigger, facts) if facts else {},
            by,
            comment,
            visible,
            notify,
            key,
            override,
        )

        def decided(order: Order, short: frozenset[str]) -> Sequence[Decision] | Refused | Entry:
            if request.facts:
                recorded = self._commits.recorded(order, request)
                if recorded is not None:
                    return recorded
            decision = decide(self._workflow, order, request, short)
            return decision if isinstance(decision, Refused) else [decision]

        content = None
        if key is not None:
            content = request.content(order_id, told_apart(request.facts, self._workflow.ledger_of(trigger)))
        return self._done(Call(order_id, request, content, decided))

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
    ) -> Answer:
        """Save the admin's form: leave the order with exactly these boxes ticked, by legal steps, in one commit.

        Every difference runs as the trigger that ticks or unticks its box, with its guards, in an order in which each
        is legal. Each step is an entry with the comment; the last one carries `visible` and `notify`. Ticking paid by
        hand records a payment of what is outstanding. Where nothing differs a comment is still recorded.

        Args:
            order_id: which order.
            statuses: the boxes that the form ticks.
            version: the version of the order that the form was filled from.
            key, by, visible, notify, override: as in `fire`.
            comment: why; the reason for steps that require one.

        Returns:
            The receipt; without entries where nothing differs and there is no comment.

        Raises:
            VersionConflict: the order has changed since; show the form anew.
            Refused: there is no legal way; it lists every reason.
            OrderNotFound, KeyReused: as in `fire`.
        """
        order_id = validation.identifier(order_id, "order id")
        wanted = self._workflow.known_statuses(statuses)
        version = validation.whole(version, "version", 1)
        request = Request("save", self._now(), {}, by, comment, visible, notify, key, override)

        def decided(order: Order, short: frozenset[str]) -> Sequence[Decision] | Refused:
            if order.version != version:
                raise VersionConflict(
                    f"order {order_id!r} is at version {order.version}, the form shows {version}: show it anew"
                )
            if order.statuses == wanted:
                return [noted(order, request)] if request.reasoned else []
            return fill(self._workflow, order, wanted, request, short)

        content = request.content(order_id, [sorted(wanted), request.comment])
        return self._done(Call(order_id, request, content, decided))

    def comment(
        self,
        order_id: str,
        comment: str,
        *,
        key: str | None = None,
        by: str | None = None,
        visible: bool = False,
        notify: bool = False,
    ) -> Answer:
        """Add a comment to an order's history; no box changes.

        Args:
            order_id: which order.
            comment: any Unicode text, not blank, at most 100,000 characters.
            key, by, visible, notify: as in `fire`.

        Returns:
            The receipt.

        Raises:
            OrderNotFound, KeyReused, VersionConflict: as in `fire`.
        """
        order_id = validation.identifier(order_id, "order id")
        request = Request("comment", self._now(), {}, by, comment, visible, notify, key)
        if not request.reasoned:
            raise InvalidInput("comment must not be blank")
        content = request.content(order_id, request.comment)
        return self._done(Call(order_id, request, content, lambda order, _: [noted(order, request)]))

    # Checks of the input

    def _facts(self, trigger: str, facts: Mapping[str, object]) -> dict[str, Fact]:
        known = self._workflow.facts_of(trigger)
        if not known.issuperset(facts):
            unknown = min(facts.keys() - known)
            raise InvalidInput(f"{trigger} knows the facts {', '.join(sorted(known)) or '(none)'}, not {unknown!r:.80}")
        if self._workflow.ledger_of(trigger) is not None:
            return money_facts(facts)
        return {name: validation.fact(value, name) for name, value in facts.items()}

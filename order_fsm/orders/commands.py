"""The calls that change one order. A call is a checked request and the way to decide it.

`Commands` checks the arguments of `Orders.fire`, `save` and `comment` and makes the call. The executor runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from attrs import evolve

from order_fsm import validation
from order_fsm.currencies import whole_units
from order_fsm.errors import InvalidInput, Refused, UnknownTrigger, VersionConflict
from order_fsm.model import Entry, Fact, Order
from order_fsm.rules.booking import recorded_before
from order_fsm.rules.decide import Decision, Outcome, Recorded, decide
from order_fsm.rules.form import fill
from order_fsm.rules.request import Request, facts_content, request_fingerprint
from order_fsm.rules.workflow import Workflow

NO_CURRENCIES: Mapping[str, int] = MappingProxyType({})
"""The currencies of a shop that uses those of ISO 4217 alone."""

UNMATCHED = "payment.unmatched"
"""The topic of a message about money that the ledger of no order covers."""


class Fire(NamedTuple):
    """Fires a trigger."""

    workflow: Workflow
    order_id: str
    request: Request
    request_fingerprint: str | None = None
    currencies: Mapping[str, int] = NO_CURRENCIES

    def decide(self, order: Order, shortages: Collection[str]) -> Outcome:
        """Decide the trigger. A payment, refund or dispute with a known id was recorded before.

        Raises:
            KeyReused: if it was recorded with another amount or currency.
            InvalidInput: if the amount is finer than the smallest unit of its currency.
        """
        facts = self.request.facts
        kind = self.workflow.ledger_of(self.request.trigger)
        if facts and kind is not None:
            amount: Any = facts.get("amount")
            if amount is not None:
                whole_units(amount, str(facts.get("currency", order.currency)), self.currencies)
            recorded = recorded_before(order, kind, facts)
            if recorded is not None:
                return Recorded(recorded.version)
        decision = decide(self.workflow, order, self.request, shortages)
        return decision if isinstance(decision, Refused) else (decision,)


class Report(NamedTuple):
    """Records one fact of a payment gateway: fires a trigger, or adds a comment if the rules refuse it.

    One call decides both, under one key, so that a redelivery gets the first receipt again in either case.

    Attributes:
        request: the comment, with the fact as its facts.
        fire: fires the trigger. None if the fact only becomes a comment.
        final: whether a fact beyond its bound becomes a comment too. Otherwise it is refused, because an earlier fact
            may still come.
        unmatched: whether the comment is about money, so that the shop gets a message.
    """

    order_id: str
    request: Request
    request_fingerprint: str
    fire: Fire | None = None
    final: bool = False
    unmatched: bool = False

    def decide(self, order: Order, shortages: Collection[str]) -> Outcome:
        """Decide the trigger, or the comment.

        Returns:
            The decisions, or `Refused` if the fact may be early.

        Raises:
            KeyReused: if the fact was recorded with another amount or currency.
        """
        if self.fire is None:
            return self._noted(order, None)
        try:
            outcome = self.fire.decide(order, shortages)
        except InvalidInput:  # The shop does not know the currency, or the amount is finer than its smallest unit.
            return self._noted(order, "unknown_money")
        if not isinstance(outcome, Refused) or (not self.final and self._may_be_early(outcome)):
            return outcome
        return self._noted(order, ", ".join(reason.code for reason in outcome.reasons))

    def _noted(self, order: Order, reasons: str | None) -> Outcome:
        request = self.request
        if reasons is not None:
            request = evolve(request, facts={**request.facts, "reasons": reasons})
        decision = noted(order, request)
        return (decision._replace(announces=UNMATCHED) if self.unmatched else decision,)

    def _may_be_early(self, refused: Refused) -> bool:
        return self.unmatched and any(reason.code == "beyond_bound" for reason in refused.reasons)


class Expire(NamedTuple):
    """Fires the trigger that time fires, if the order has not changed since it was found due."""

    workflow: Workflow
    order_id: str
    request: Request
    version: int
    request_fingerprint: None = None

    def decide(self, order: Order, shortages: Collection[str]) -> Outcome:
        """Decide the trigger. There is nothing to do if the order has another version."""
        if order.version != self.version:
            return ()
        decision = decide(self.workflow, order, self.request, shortages)
        return decision if isinstance(decision, Refused) else (decision,)


class Save(NamedTuple):
    """Saves the admin's form."""

    workflow: Workflow
    order_id: str
    request: Request
    statuses: frozenset[str]
    version: int
    request_fingerprint: str | None = None

    def decide(self, order: Order, shortages: Collection[str]) -> Outcome:
        """Decide the steps from the order's statuses to those of the form.

        Raises:
            VersionConflict: if the order changed since the form was loaded.
        """
        if order.version != self.version:
            raise VersionConflict(
                f"order {order.id!r} changed since the form was loaded (version {order.version}, form has"
                f" {self.version}): reload it"
            )
        if order.statuses == self.statuses:
            return (noted(order, self.request),) if self.request.reasoned else ()
        return fill(self.workflow, order, self.statuses, self.request, shortages)


class Comment(NamedTuple):
    """Adds a comment to the history."""

    order_id: str
    request: Request
    request_fingerprint: str | None = None

    def decide(self, order: Order, shortages: Collection[str]) -> Outcome:  # noqa: ARG002 - as in `Call`
        """Decide the comment. It is always allowed."""
        return (noted(order, self.request),)


class Migrate(NamedTuple):
    """Moves an order to a state of a changed table."""

    workflow: Workflow
    order_id: str
    request: Request
    targets: Mapping[str, str]
    request_fingerprint: None = None

    def decide(self, order: Order, shortages: Collection[str]) -> Outcome:  # noqa: ARG002 - as in `Call`
        """Decide the move. There is nothing to do if the order fits the table."""
        target = self.targets.get(order.state)
        if target is None or not needs_migration(self.workflow, order, target):
            return ()
        entry = _entry(order, self.request, target)
        return (Decision(order.after(entry, order.payments, self.workflow.counts_in(target)), entry, None),)


def needs_migration(workflow: Workflow, order: Order, target: str) -> bool:
    """Return whether an order differs from what the table says of a state: name, totals or stock."""
    wanted = (target, workflow.counts_in(target), bool(order.lines) and workflow.holds(target))
    return wanted != (order.state, order.counted, order.reserved is not None)


def noted(order: Order, request: Request) -> Decision:
    """Return a comment as a decision: an entry that changes no box."""
    entry = _entry(order, request, order.state, trigger="comment")
    return Decision(order.after(entry, order.payments, order.counted), entry, None)


def _entry(order: Order, request: Request, target: str, trigger: str | None = None) -> Entry:
    return Entry(
        version=order.version + 1,
        trigger=request.trigger if trigger is None else trigger,
        state_before=order.state,
        state_after=target,
        at=request.at,
        by=request.by,
        comment=request.comment,
        visible=request.visible,
        notify=request.notify,
        key=request.key,
        facts=request.facts,
    )


class Commands:
    """Checks arguments and makes calls."""

    def __init__(
        self, workflow: Workflow, now: Callable[[], datetime], currencies: Mapping[str, int] = NO_CURRENCIES
    ) -> None:
        """Create the factory of calls.

        Args:
            workflow: the rules.
            now: returns the time, in UTC.
            currencies: fraction digits of the shop's own currencies.
        """
        self._workflow = workflow
        self._now = now
        self._currencies = currencies

    def fire(
        self,
        order_id: str,
        trigger: str,
        facts: Mapping[str, object],
        key: str | None = None,
        by: str | None = None,
        comment: str | None = None,
        visible: bool = False,
        notify: bool = False,
        override: bool = False,
    ) -> Fire:
        """Make the call of `Orders.fire`.

        Raises:
            UnknownTrigger: if the workflow has no such trigger.
            InvalidInput: if an argument is not valid.
        """
        workflow = self._workflow
        order_id, key, by, text = validation.call(order_id, key, by, comment, visible, notify, override)
        if not isinstance(trigger, str) or not workflow.rules_of(trigger):
            raise self._unknown(trigger)
        trigger = str.__str__(trigger)
        ledger = workflow.ledger_of(trigger) is not None
        checked = validation.facts(facts, workflow.facts_of(trigger), trigger, ledger=ledger) if facts else {}
        request = Request(trigger, self._now(), checked, by, text, visible, notify, key, override)
        fingerprint = None
        if key is not None:
            fingerprint = request_fingerprint(order_id, trigger, facts_content(checked, ledger=ledger))
        return Fire(workflow, order_id, request, fingerprint, self._currencies)

    def save(
        self,
        order_id: str,
        statuses: Iterable[str],
        version: int,
        key: str | None = None,
        by: str | None = None,
        comment: str | None = None,
        visible: bool = False,
        notify: bool = False,
        override: bool = False,
    ) -> Save:
        """Make the call of `Orders.save`.

        Raises:
            InvalidInput: if an argument is not valid.
        """
        order_id, key, by, text = validation.call(order_id, key, by, comment, visible, notify, override)
        wanted = self._workflow.known_statuses(statuses)
        version = validation.whole(version, "version", 1)
        request = Request("save", self._now(), {}, by, text, visible, notify, key, override)
        fingerprint = None if key is None else request_fingerprint(order_id, "save", [sorted(wanted), text])
        return Save(self._workflow, order_id, request, wanted, version, fingerprint)

    def comment(
        self,
        order_id: str,
        comment: str,
        key: str | None = None,
        by: str | None = None,
        visible: bool = False,
        notify: bool = False,
    ) -> Comment:
        """Make the call of `Orders.comment`.

        Raises:
            InvalidInput: if an argument is not valid, or the comment is blank.
        """
        order_id, key, by, text = validation.call(order_id, key, by, comment, visible, notify, False)
        request = Request("comment", self._now(), {}, by, text, visible, notify, key)
        if not request.reasoned:
            raise InvalidInput("comment must not be blank")
        fingerprint = None if key is None else request_fingerprint(order_id, "comment", text)
        return Comment(order_id, request, fingerprint)

    def report(
        self,
        order_id: str,
        kind: str,
        facts: Mapping[str, Fact],
        key: str,
        told: str,
        *,
        trigger: str | None = None,
        comment: str = "",
        visible: bool = False,
        final: bool = False,
        unmatched: bool = False,
    ) -> Report:
        """Make the call that records a fact of a payment gateway. Its arguments are checked before.

        Args:
            order_id: the order.
            kind: of the fact.
            facts: about the money.
            key: idempotency key.
            told: the comment if the rules refuse the fact.
            trigger: the event that it fires, if any.
            comment, visible: of the trigger's entry.
            final, unmatched: as in `Report`.
        """
        workflow, now, by = self._workflow, self._now(), validation.actor(validation.GATEWAY)
        fire = None
        if trigger is not None:
            accepted = workflow.facts_of(trigger)
            known = {name: value for name, value in facts.items() if name in accepted}
            request = Request(trigger, now, known, by, comment, visible, key=key)
            fire = Fire(workflow, order_id, request, None, self._currencies)
        note = Request("comment", now, {"kind": kind, **facts}, by, told, key=key)
        fingerprint = request_fingerprint(order_id, "report", [kind, facts_content(facts, ledger=True)])
        return Report(order_id, note, fingerprint, fire, final, unmatched)

    def _unknown(self, trigger: object) -> UnknownTrigger:
        triggers = self._workflow.triggers
        ticks = {status.name: status.tick for status in self._workflow.statuses}
        tick = ticks.get(trigger) if isinstance(trigger, str) else None
        hint = validation.did_you_mean(trigger, triggers) if tick is None else f" (did you mean {tick!r}?)"
        return UnknownTrigger(f"trigger must be one of {', '.join(triggers)}, not {validation.shown(trigger)}{hint}")

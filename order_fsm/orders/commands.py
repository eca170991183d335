"""Check the arguments of `Orders` and create calls.

The executor runs the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from order_fsm import validation
from order_fsm.erasure import ERASE
from order_fsm.errors import InvalidInput, UnknownTrigger
from order_fsm.model import Fact
from order_fsm.orders.calls import Amend, Comment, Fire, GatewayFact, Save
from order_fsm.orders.contents import lines_content, parts_of
from order_fsm.rules.permissions import Permissions
from order_fsm.rules.request import Request, facts_content, request_fingerprint
from order_fsm.rules.rule import AMEND
from order_fsm.rules.workflow import Workflow


class Commands:
    """Checks arguments and creates calls."""

    def __init__(
        self,
        workflow: Workflow,
        now: Callable[[], datetime],
        currencies: Mapping[str, int],
        permissions: Permissions | None,
    ) -> None:
        """Create the factory of calls.

        Args:
            workflow: the rules.
            now: returns the time, in UTC.
            currencies: fraction digits of the shop's own currencies.
            permissions: the permissions of the shop. None allows everything.
        """
        self._workflow = workflow
        self._now = now
        self._currencies = currencies
        self._permissions = permissions

    def fire(
        self,
        order_id: str,
        trigger: str,
        facts: Mapping[str, object],
        key: str | None,
        by: str | None,
        comment: str | None,
        visible: bool,
        notify: bool,
        override: bool,
    ) -> Fire:
        """Create the call of `Orders.fire`.

        Raises:
            UnknownTrigger: if the workflow has no such trigger.
            InvalidInput: if an argument is not valid.
        """
        workflow = self._workflow
        order_id, key, by, text = validation.call(order_id, key, by, comment, visible, notify, override)
        if not isinstance(trigger, str) or trigger == AMEND or not workflow.rules_of(trigger):
            raise self._unknown(trigger)
        trigger = str.__str__(trigger)
        checked = workflow.checked_facts(trigger, facts) if facts else {}
        request = Request(trigger, self._now(), checked, by, text, visible, notify, key, override)
        fingerprint = None
        if key is not None:
            ledger = workflow.ledger_of(trigger) is not None
            fingerprint = request_fingerprint(order_id, trigger, facts_content(checked, ledger=ledger))
        return Fire(workflow, order_id, request, fingerprint, self._currencies, self._permissions)

    def save(
        self,
        order_id: str,
        statuses: Iterable[str],
        version: int,
        key: str | None,
        by: str | None,
        comment: str | None,
        visible: bool,
        notify: bool,
        override: bool,
    ) -> Save:
        """Create the call of `Orders.save`.

        Raises:
            InvalidInput: if an argument is not valid.
        """
        order_id, key, by, text = validation.call(order_id, key, by, comment, visible, notify, override)
        wanted = self._workflow.known_statuses(statuses)
        version = validation.whole(version, "version", 1)
        request = Request("save", self._now(), {}, by, text, visible, notify, key, override)
        fingerprint = None if key is None else request_fingerprint(order_id, "save", [sorted(wanted), text])
        return Save(self._workflow, order_id, request, wanted, version, fingerprint, self._permissions)

    def amend(
        self,
        order_id: str,
        parts: Mapping[str, object],
        version: int | None,
        key: str | None,
        by: str | None,
        comment: str | None,
        visible: bool,
        notify: bool,
        override: bool,
    ) -> Amend:
        """Create the call of `Orders.amend`.

        Args:
            order_id: the order.
            parts: the new values by name. UNCHANGED keeps a part.
            version: the checked version that the caller saw. None accepts any version.
            key, by, comment, visible, notify, override: as in `Orders.amend`.

        Raises:
            UnknownTrigger: if the workflow has no rule `amend`.
            InvalidInput: if an argument is not valid.
        """
        order_id, key, by, text = validation.call(order_id, key, by, comment, visible, notify, override)
        if not self._workflow.rules_of(AMEND):
            raise UnknownTrigger("the workflow has no rule 'amend', so its orders cannot be amended: add one")
        wanted = parts_of(parts)
        request = Request(AMEND, self._now(), {}, by, text, visible, notify, key, override)
        fingerprint = None
        if key is not None:
            content = [
                [name, lines_content(value) if isinstance(value, tuple) else value]
                for name, value in sorted(wanted.items())
            ]
            fingerprint = request_fingerprint(order_id, AMEND, [content, text])
        return Amend(
            self._workflow, order_id, request, wanted, version, fingerprint, self._currencies, self._permissions
        )

    def comment(
        self,
        order_id: str,
        comment: str,
        key: str | None,
        by: str | None,
        visible: bool,
        notify: bool,
    ) -> Comment:
        """Create the call of `Orders.comment`.

        Raises:
            InvalidInput: if an argument is not valid, or the comment is blank.
        """
        order_id, key, by, text = validation.call(order_id, key, by, comment, visible, notify, False)
        request = Request("comment", self._now(), {}, by, text, visible, notify, key)
        if not request.reasoned:
            raise InvalidInput("comment must not be blank")
        fingerprint = None if key is None else request_fingerprint(order_id, "comment", text)
        return Comment(order_id, request, fingerprint)

    def gateway_fact(
        self,
        order_id: str,
        kind: str,
        facts: Mapping[str, Fact],
        key: str,
        refused_comment: str,
        *,
        trigger: str | None = None,
        comment: str = "",
        visible: bool = False,
        occurred_at: datetime | None = None,
        unmatched: bool = False,
        reasons: str = "not_recorded",
    ) -> GatewayFact:
        """Create the call that records a fact of a payment gateway.

        The caller has checked the arguments.

        Args:
            order_id: the order.
            kind: the kind of the fact.
            facts: the facts about the money.
            key: the idempotency key.
            refused_comment: the comment if the rules refuse the fact.
            trigger: the trigger to fire, if any.
            comment, visible: the comment of the trigger's entry, and whether the customer may read it.
            occurred_at: the time at the gateway, which only a comment stores.
            unmatched, reasons: as in `GatewayFact`.
        """
        workflow, now, by = self._workflow, self._now(), str(validation.GATEWAY)
        fire = None
        if trigger is not None:
            accepted = workflow.facts_of(trigger)
            known = {name: value for name, value in facts.items() if name in accepted}
            request = Request(trigger, now, known, by, comment, visible, key=key)
            fire = Fire(workflow, order_id, request, None, self._currencies, self._permissions)
        noted: dict[str, Fact] = {"kind": kind, **facts}
        if occurred_at is not None:
            noted["occurred_at"] = occurred_at.isoformat()
        note = Request("comment", now, noted, by, refused_comment, key=key)
        fingerprint = request_fingerprint(order_id, "report", [kind, facts_content(facts, ledger=True)])
        return GatewayFact(order_id, note, fingerprint, fire, unmatched, reasons)

    def _unknown(self, trigger: object) -> UnknownTrigger:
        triggers = self._workflow.fired_triggers
        ticks = {status.name: status.tick for status in self._workflow.statuses}
        tick = ticks.get(trigger) if isinstance(trigger, str) else None
        hint = validation.did_you_mean(trigger, triggers) if tick is None else f" (did you mean {tick!r}?)"
        if trigger in ("create", "comment", "save", "preview", "amend", "adopt", "resend", "migrate"):
            hint = f" (call Orders.{trigger})"
        elif trigger == ERASE:
            hint = " (call Orders.erase_order)"
        return UnknownTrigger(f"trigger must be one of {', '.join(triggers)}, not {validation.shown(trigger)}{hint}")

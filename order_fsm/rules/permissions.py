"""Permissions: who may do what to an order, as the shop's function `allow` answers. Only `True` allows.

Every trigger, form, override, amendment and erasure is asked for, also those of the gateway and the clock. Creations,
adoptions, comments, messages that are sent again, migrations, purges, stock and reads are not: a host that restricts
them does so before it calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import MappingProxyType

from order_fsm import validation
from order_fsm.errors import InvalidInput, Reason, Refused
from order_fsm.model import Order
from order_fsm.rules.decide import Decision
from order_fsm.rules.request import Request

Allow = Callable[[str | None, str, Order], object]
"""Answers whether an actor may do something to an order: a function of (actor, action, order).

- The actor is `by` of the call: a name or None. It is the object `GATEWAY` for the facts of a gateway, and `CLOCK` for
  `Orders.expire`.
- The action is the name of a trigger, or one of `ACTIONS`.
- The order is the one before the action. For a step of a form, it is the one after the steps before it.

`True` allows. A `Reason` refuses, and is shown to the caller. Everything else refuses with the code `not_permitted`.
"""

SAVE, OVERRIDE, AMEND, ERASE = "save", "override", "amend", "erase"
ACTIONS = (SAVE, OVERRIDE, AMEND, ERASE)
"""The actions that are asked for besides triggers."""

NOT_PERMITTED = "not_permitted"
"""The code of a refusal for which `allow` gave no reason."""

_ENGINE: Mapping[str | None, validation.Actor] = MappingProxyType(
    {str(actor): actor for actor in (validation.GATEWAY, validation.CLOCK)}
)
_log = logging.getLogger("order_fsm.permissions")


class Permissions:
    """The permissions of a shop."""

    def __init__(self, allow: Allow, *, logs: bool = True) -> None:
        """Take the shop's function.

        Args:
            allow: answers who may do what.
            logs: whether refused attempts are logged.

        Raises:
            InvalidInput: if `allow` is not callable.
        """
        if not callable(allow):
            raise InvalidInput(f"allow must be a function of (actor, action, order), not {validation.shown(allow)}")
        self._allow = allow
        self.logs = logs

    def quiet(self) -> Permissions:
        """Return the same permissions for questions that are no attempts, such as a preview."""
        return Permissions(self._allow, logs=False)

    def refusal(self, actor: str | None, action: str, order: Order) -> Reason | None:
        """Return why an actor may not do something, None if it may.

        Args:
            actor: `by` of a checked call. The names of the engine become `GATEWAY` and `CLOCK` again.
            action: a trigger, or one of `ACTIONS`.
            order: the order before the action.

        Raises:
            Exception: any that `allow` raises.
        """
        answer = self._allow(_ENGINE.get(actor, actor), action, order)
        if answer is True:
            return None
        if isinstance(answer, Coroutine):
            answer.close()  # Otherwise Python warns that it was never awaited.
        if isinstance(answer, Reason):
            return answer
        who = "an unnamed actor" if actor is None else str(actor)
        return Reason(NOT_PERMITTED, f"{who} is not permitted to {action}")

    def inquiry(self, request: Request) -> Inquiry:
        """Return the questions about one request."""
        return Inquiry(self, request)


class Inquiry:
    """The questions about one request. A refused attempt is logged once, when the whole request is refused."""

    def __init__(self, permissions: Permissions, request: Request) -> None:
        """Start with no questions. See `Permissions.inquiry`."""
        self._permissions = permissions
        self._request = request
        self._refused: dict[tuple[str, Reason], None] = {}

    def refusals(self, order: Order, *actions: str) -> list[Reason]:
        """Return why the actor of the request may not do something, [] if it may do all of it."""
        found = []
        for action in actions:
            reason = self._permissions.refusal(self._request.by, action, order)
            if reason is not None:
                found.append(reason)
                self._refused[action, reason] = None
        return found

    def judged(
        self, order: Order, outcome: Sequence[Decision] | Refused, action: str | None = None
    ) -> Sequence[Decision] | Refused:
        """Return what the rules decided if it is permitted too, or else `Refused` with all reasons of both.

        Args:
            order: the order before the request.
            outcome: what the rules decided.
            action: what to ask for. By default the trigger, and the override if the rules were passed by one. A form
                gives its own action: its steps were asked for one by one.

        Raises:
            Exception: any that `allow` raises.
        """
        actions = [self._request.trigger if action is None else action]
        rules: Iterable[Reason] = ()
        if isinstance(outcome, Refused):
            rules = outcome.reasons
        elif action is None and any(decision.entry.override for decision in outcome):
            actions.append(OVERRIDE)
        refusals = self.refusals(order, *actions)
        if refusals:
            outcome = Refused(order.id, self._request.trigger, order.state, dict.fromkeys((*rules, *refusals)))
        if isinstance(outcome, Refused):
            self._log(order)
        return outcome

    def _log(self, order: Order) -> None:
        for action, reason in self._refused if self._permissions.logs else ():
            # Only the code: the shop's own message may hold customer data.
            _log.warning("order %r: %r was not permitted to %s: %r", order.id, self._request.by, action, reason.code)

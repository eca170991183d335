"""Ask the shop's function `allow` for permission to change an order.

Only the answer `True` allows.

Every trigger, form, override, amendment and erasure needs permission, also if the gateway or the clock acts. Creations,
adoptions, comments, resent messages, migrations, purges, stock and reads need no permission: a host that restricts them
checks before it calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from order_fsm import validation
from order_fsm.errors import Reason, Refused
from order_fsm.model import Order
from order_fsm.rules.decide import Decision
from order_fsm.rules.request import Request

Allow = Callable[[str | None, str, Order], object]
"""A function of (actor, action, order) that returns whether the actor may do the action.

- The actor is `by` of the call: a name or None. It is the object `GATEWAY` for the facts of a gateway, and `CLOCK` for
  `Orders.expire`.
- The action is the name of a trigger, or one of `ACTIONS`.
- The order is the one before the action. For a step of a form, it is the one after the steps before it.

`True` allows. A `Reason` refuses, and the caller gets it. Any other value refuses with the code `not_permitted`.
"""

SAVE, OVERRIDE, AMEND, ERASE = "save", "override", "amend", "erase"
ACTIONS = (SAVE, OVERRIDE, AMEND, ERASE)
"""The actions that need permission, in addition to triggers."""

NOT_PERMITTED = "not_permitted"
"""The code of a refusal without a reason from `allow`."""

_ENGINE: Mapping[str | None, validation.Actor] = MappingProxyType(
    {str(actor): actor for actor in (validation.GATEWAY, validation.CLOCK)}
)
_log = logging.getLogger("order_fsm.permissions")


class Permissions:
    """The permissions of a shop."""

    def __init__(self, allow: Allow, *, logs: bool = True) -> None:
        """Use the shop's function.

        Args:
            allow: returns whether an actor may do an action.
            logs: whether to log refused attempts.

        Raises:
            InvalidInput: if `allow` is not callable.
        """
        validation.function_of(allow, "allow", "actor", "action", "order")
        self._allow = allow
        self.logs = logs

    def quiet(self) -> Permissions:
        """Return the same permissions without logging, for previews."""
        return Permissions(self._allow, logs=False)

    def refusal(self, actor: str | None, action: str, order: Order) -> Reason | None:
        """Return the reason against an action, or None if it is allowed.

        Args:
            actor: `by` of a checked call. The engine's stored names become `GATEWAY` and `CLOCK` again.
            action: a trigger, or one of `ACTIONS`.
            order: the order before the action.

        Raises:
            Exception: if `allow` raises.
        """
        answer = self._allow(_ENGINE.get(actor, actor), action, order)
        if answer is True:
            return None
        if isinstance(answer, Reason):
            return answer
        validation.close_unfinished(answer)
        who = "an unnamed actor" if actor is None else str(actor)
        return Reason(NOT_PERMITTED, f"{who} is not permitted to {action}")

    def inquiry(self, request: Request) -> Inquiry:
        """Start the permission checks of one request."""
        return Inquiry(self, request)


class Inquiry:
    """The permission checks of one request.

    A refused request logs each missing permission once.
    """

    def __init__(self, permissions: Permissions, request: Request) -> None:
        """Start without checks. See `Permissions.inquiry`."""
        self._permissions = permissions
        self._request = request
        self._refused: dict[tuple[str, Reason], None] = {}

    def refusals(self, order: Order, *actions: str) -> list[Reason]:
        """Return the reasons against some actions, empty if all are allowed."""
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
        """Return the outcome if it is permitted, otherwise `Refused`.

        `Refused` has all reasons of the rules and of the permissions.

        Args:
            order: the order before the request.
            outcome: the outcome of the rules.
            action: the action to check. By default the trigger, and also `override` if a decision used one. A form
                passes its own action, because its steps were checked one by one.

        Raises:
            Exception: if `allow` raises.
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
            # Log only the code: the shop's own message may hold customer data.
            _log.warning("order %r: %r was not permitted to %s: %r", order.id, self._request.by, action, reason.code)

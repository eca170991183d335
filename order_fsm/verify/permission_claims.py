"""Claims about permissions, proved over all orders with money and stock that the rules allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import UNFINISHED, Order, When
from order_fsm.rules.permissions import ACTIONS, OVERRIDE, Permissions
from order_fsm.rules.workflow import Workflow
from order_fsm.verify.claim import Claim, check_statuses, condition_text
from order_fsm.verify.failures import Failure
from order_fsm.verify.ledger import EveryChange, EveryOrder, LedgerClaim
from order_fsm.verify.worlds import Step, World

Actors = Mapping[str, str | None]
"""The actors that `allow` gets, by their names in claims."""


def _actor(value: str) -> str:
    return validation.name(value, "the actor of a claim")


def _action(value: str) -> str:
    return validation.name(value, "the action of a claim")


def _when(_: object, __: object, value: object) -> None:
    if not isinstance(value, When):
        raise InvalidInput(f"where must be a condition such as When(has={{'paid'}}), not {validation.shown(value)}")


@frozen(eq=False, repr=False)
class PermissionClaim(Claim):
    """A claim about an actor and an action.

    The proof covers the orders of `order_fsm.verify.ledger`: every state, with any money and stock within the bounds
    there. These orders have no customer, no data, and only two totals. If `allow` reads these fields, test it with
    other values too.

    Attributes:
        actor: the name of the actor, one of `actors` of `prove`.
        action: a trigger, or `save`, `override`, `amend` or `erase`.
        where: the claim is only about orders in states that match this condition.
    """

    actor: str = field(converter=_actor)
    action: str = field(converter=_action)
    where: When = field(factory=When, validator=_when, kw_only=True)

    def _known_triggers(self, workflow: Workflow) -> Iterable[str]:
        return dict.fromkeys((*workflow.triggers, *ACTIONS))  # `amend` is in both.

    def _triggers(self) -> Iterable[str]:
        return (self.action,)

    def check_names(self, workflow: Workflow) -> None:
        super().check_names(workflow)
        check_statuses(self, workflow, self.where)

    @property
    def place(self) -> str:
        """Return the condition in words, or "" if the claim has no condition."""
        return "" if self.where == When() else f" if {condition_text(self.where)}"


@frozen(eq=False, repr=False)
class May(PermissionClaim):
    """The actor may take the action whenever the rules allow it. Fails too if the rules never allow it."""

    def __str__(self) -> str:
        return f"{self.actor} may {self.action}{self.place}"


@frozen(eq=False, repr=False)
class MayNot(PermissionClaim):
    """The actor may do it to no order, whether or not the rules allow it."""

    def __str__(self) -> str:
        return f"{self.actor} may not {self.action}{self.place}"


class Asked:
    """A permission claim, and the function `allow` that it is about.

    Attributes:
        claim: the claim.
        test: the same as a claim about orders with money and stock.
    """

    def __init__(self, claim: PermissionClaim, permissions: Permissions, actors: Actors) -> None:
        """Bind a claim.

        Raises:
            InvalidInput: if its actor is not one of the actors.
        """
        if claim.actor not in actors:
            hint = validation.did_you_mean(claim.actor, actors)
            raise InvalidInput(
                f"claim {str(claim)!r}: an actor must be one of {', '.join(actors)}, not {claim.actor!r}{hint}"
            )
        self.claim = claim
        self.test: LedgerClaim
        self._permissions = permissions
        self._actor = actors[claim.actor]
        self._happened = False
        self._why = self._state = ""
        sentence = type(claim).__name__
        if isinstance(claim, MayNot):
            self.test = EveryOrder(sentence, self._is_refused)
        elif claim.action == OVERRIDE:
            self.test = EveryChange(sentence, self._is_permitted_step)
        elif claim.action in ACTIONS:
            self.test = EveryOrder(sentence, self._is_permitted)
        else:
            self.test = EveryChange(sentence, self._is_permitted_step, of=(claim.action,))

    def failure(self, found: Failure | None) -> Failure | None:
        """Return how the claim fails, None if it holds.

        Args:
            found: how its test failed.
        """
        claim = self.claim
        if found is None:
            if self._happened or isinstance(claim, MayNot):
                return None
            hint = f"the rules: they never allow {claim.action}{claim.place}, so the claim is about no order"
            return Failure(claim, UNFINISHED, (), (), (hint,))
        path, steps = found.path, found.steps
        if not isinstance(self.test, EveryChange):
            path, steps = (*path, claim.action), (*steps, f"{claim.action} by {claim.actor}")
        return Failure(claim, self._state, path, steps, (f"allow: {self._why}", found.hints[-1]))

    def _is_refused(self, world: World) -> bool:
        return not self._applies(world.order) or not self._permits(world.order)

    def _is_permitted(self, world: World) -> bool:
        if not self._applies(world.order):
            return True
        self._happened = True
        return self._permits(world.order)

    def _is_permitted_step(self, step: Step) -> bool:
        order = step.before.order
        by_another = step.ask.gateway and self._actor != validation.GATEWAY
        no_override = self.claim.action == OVERRIDE and not step.overridden
        if step.duplicate or by_another or no_override or not self._applies(order):
            return True
        self._happened = True
        return self._permits(order)

    def _applies(self, order: Order) -> bool:
        return self.claim.where.matches(order.statuses)

    def _permits(self, order: Order) -> bool:
        claim = self.claim
        reason = self._permissions.refusal(self._actor, claim.action, order)
        self._state = order.state
        self._why = f"it lets {claim.actor} {claim.action}"
        if reason is not None:
            self._why = f"it does not let {claim.actor} {claim.action}: {reason.message} ({reason.code})"
        return reason is None


def asked(claims: Iterable[PermissionClaim], allow: Any, actors: object) -> list[Asked]:
    """Bind claims to the function that they are about.

    Args:
        claims: about permissions.
        allow: the shop's function.
        actors: as in `prove`.

    Raises:
        InvalidInput: if `allow` is missing, or the actors do not fit the claims.
    """
    if actors is not None and not isinstance(actors, Mapping):
        raise InvalidInput(f"actors must be a dict such as {{'clerk': 'bob'}}, not {validation.shown(actors)}")
    known: dict[str, str | None] = {_actor(name): validation.actor(one) for name, one in (actors or {}).items()}
    known |= {str(one): one for one in (validation.GATEWAY, validation.CLOCK) if one not in known}
    bound = []
    for claim in claims:
        if allow is None:
            raise InvalidInput(f"claim {str(claim)!r} is about permissions: give prove the function allow=")
        bound.append(Asked(claim, Permissions(allow), known))
    return bound

"""Save the admin's form as a sequence of legal steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from order_fsm.errors import Reason, Refused
from order_fsm.model import Fact, Order, quantities_of
from order_fsm.rules.decide import Decision, decide, unknown_state
from order_fsm.rules.permissions import OVERRIDE, Inquiry
from order_fsm.rules.request import Request
from order_fsm.rules.workflow import Workflow


def fill(
    workflow: Workflow,
    order: Order,
    wanted: frozenset[str],
    request: Request,
    shortages: Collection[str],
    tracked: Collection[str] = (),
    inquiry: Inquiry | None = None,
) -> list[Decision] | Refused:
    """Find legal steps that leave an order with exactly these statuses.

    The search tries the differences in declared order first, then in every other order.

    Args:
        workflow: the rules, and the triggers that tick and untick each box.
        order: the order before the form.
        wanted: the statuses that the form ticks.
        request: the actor, the time, the reason and the trigger of the whole form. `visible` and `notify` apply to the
            last step alone.
        shortages, tracked: as in `decide`.
        inquiry: checks the permission for each step. A step without permission is not legal.

    Returns:
        The decisions, empty if nothing differs. Otherwise the `Refused` to raise. It has every reason that blocks the
        states closest to the wanted one.
    """
    if not workflow.has_state(order.state):
        return Refused(order.id, request.trigger, order.state, [unknown_state(order.state)])
    # The steps may give back the pieces of the order and take them again. Its snapshot may leave out these items.
    own = quantities_of(order.reserved or ()).keys() | order.goods.drawn.keys()
    silent = replace(request, visible=False, notify=False)
    search = _Search(workflow, wanted, silent, shortages, own.union(tracked), inquiry)
    steps = search.steps_from(order)
    if steps is None:
        return Refused(order.id, request.trigger, order.state, search.reasons)
    if steps:
        last = steps[-1]
        steps[-1] = replace(
            last, entry=replace(last.entry, visible=request.visible or last.entry.visible, notify=request.notify)
        )
    return steps


NOTHING_BY_HAND = Reason(
    "nothing_by_hand", "the order holds no money that was recorded by hand: refund money that came online"
)
"""Unticking `paid` on the form reverses only money that was recorded by hand."""


class _Search:
    """Searches depth first over the sequences of triggers."""

    def __init__(
        self,
        workflow: Workflow,
        wanted: frozenset[str],
        request: Request,
        shortages: Collection[str],
        tracked: Collection[str],
        inquiry: Inquiry | None,
    ) -> None:
        self._workflow = workflow
        self._wanted = wanted
        self._request = request
        self._shortages = shortages
        self._tracked = tracked
        self._inquiry = inquiry
        self._seen: set[str] = set()
        self._nearest = len(workflow.statuses) + 1
        self.reasons: tuple[Reason, ...] = ()

    def steps_from(self, order: Order) -> list[Decision] | None:
        if order.statuses == self._wanted:
            return []
        if order.state in self._seen:
            return None
        self._seen.add(order.state)
        refused: list[Reason] = []
        for trigger, reason in self._triggers(order):
            if trigger is None:
                refused.append(reason)
                continue
            decision = self._decided(order, trigger)
            not_permitted = self._not_permitted(order, trigger, decision)
            if isinstance(decision, Refused):
                refused += [Reason(reason.code, f"{trigger}: {reason.message}") for reason in decision.reasons]
            refused += not_permitted
            if isinstance(decision, Refused) or not_permitted:
                continue
            if decision.order.state == order.state:
                refused.append(Reason("no_effect", f"{trigger}: the order would stay {order.state}"))
                continue
            rest = self.steps_from(decision.order)
            if rest is not None:
                return [decision, *rest]
        distance = len(order.statuses ^ self._wanted)
        if refused and distance < self._nearest:
            self._nearest = distance
            self.reasons = ()
        if distance == self._nearest:
            self.reasons = tuple(dict.fromkeys((*self.reasons, *refused)))
        return None

    def _decided(self, order: Order, trigger: str) -> Decision | Refused:
        request = replace(self._request, trigger=trigger)
        if self._workflow.ledger_of(trigger) == "reversed":
            if not order.held_by_hand:
                return Refused(order.id, trigger, order.state, [NOTHING_BY_HAND])
            facts: Mapping[str, Fact] = {"amount": order.held_by_hand, "currency": order.currency, "reference": None}
            request = replace(request, facts=facts)
        return decide(self._workflow, order, request, self._shortages, self._tracked)

    def _not_permitted(self, order: Order, trigger: str, decision: Decision | Refused) -> list[Reason]:
        if self._inquiry is None:
            return []
        overridden = not isinstance(decision, Refused) and decision.entry.override
        return self._inquiry.refusals(order, trigger, *[OVERRIDE] * overridden)

    def _triggers(self, order: Order) -> list[tuple[str | None, Reason]]:
        """Return the trigger of each difference, and the reason against it."""
        return [
            (status.untick, Reason(f"no_untick_{status.name}", f"{status.name} cannot be unticked by hand"))
            if status.name in order.statuses
            else (status.tick, Reason(f"no_tick_{status.name}", f"{status.name} cannot be ticked by hand"))
            for status in self._workflow.statuses
            if status.name in order.statuses ^ self._wanted
        ]

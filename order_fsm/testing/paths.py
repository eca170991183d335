"""Paths through a table of rules that together take every edge, with the arguments of each step.

Guards are plain functions, so the table does not show which arguments pass them. The search makes real decisions: it
tries each trigger on an order with the arguments that a shop has (a reason, an override, more or less money, with a
reference or by hand) and records the edge that it takes. It then walks to the nearest edge that no path has taken. If
that edge is nearer from the empty state, a new path starts there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any, Literal

from attrs import field, frozen
from msgspec.structs import replace

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import UNFINISHED, Line, Order, Receipt
from order_fsm.orders.service import Orders
from order_fsm.rules.amendment import amended, difference
from order_fsm.rules.decide import Decision, decide
from order_fsm.rules.request import Request
from order_fsm.rules.rule import AMEND, Edge
from order_fsm.rules.workflow import Workflow, check_workflow

START = datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC)
"""The time of all steps."""

TOTAL = Decimal("10.00")
"""The total of the order on the paths."""

LINES = (Line("TEAPOT", 2),)
"""The lines of that order. The paths assume a store that does not track the item, so stock never runs out."""

LONGEST = 16
"""The largest number of steps of a path, unless an edge is farther away. Short paths make readable test names."""

Arguments = Mapping[str, object]
Force = Literal["never", "last", "anywhere"]

_SAID: tuple[Arguments, ...] = ({}, {"comment": "a reason"}, {"comment": "a reason", "override": True})
_AMOUNTS: tuple[Arguments, ...] = ({}, {"amount": "1.00"}, {"amount": "11.00"})
_REFERENCES: tuple[Arguments, ...] = ({}, {"reference": "payment"})
_CREDITS: tuple[Arguments, ...] = ({"credit": False},)
_ITEMS: tuple[Arguments, ...] = ({}, {"items": {"TEAPOT": 1}})
_TOTALS: tuple[Arguments, ...] = ({}, *[{"total": total} for total in ("11.00", "10.00", "1.00")])
_LINES: tuple[Arguments, ...] = ({}, *[{"lines": (Line("TEAPOT", number),)} for number in (1, 3)])


@frozen
class Step:
    """One edge of a path.

    Attributes:
        trigger: the trigger to fire.
        source, target: the names of the states before and after it.
        row: the number of the row of the table that is taken, from 1. Several rows of one trigger may be open.
        arguments: the arguments of `Orders.fire` after the order's id and the trigger, or of `Orders.amend` for
            `amend`. None if no arguments that were tried make the trigger take this row here.
    """

    trigger: str
    source: str
    target: str
    row: int
    arguments: Arguments | None = field(hash=False)

    def play(self, orders: Orders, order_id: str) -> Receipt:
        """Take the step on an order.

        Raises:
            InvalidInput: if the step has no arguments.
            OrderFsmError: if `Orders.fire` or `Orders.amend` raises it.
        """
        if self.arguments is None:
            raise InvalidInput(f"{self.trigger}: no arguments that were tried take this row from {self.source}")
        arguments: dict[str, Any] = dict(self.arguments)
        if self.trigger == AMEND:
            return orders.amend(order_id, version=orders.get(order_id).version, **arguments)
        return orders.fire(order_id, self.trigger, **arguments)


class Path(tuple[Step, ...]):
    """The steps of one path. Its text lists the triggers, each with the row that it takes."""

    __slots__ = ()

    def __str__(self) -> str:
        return "-".join(f"{step.trigger}.{step.row}" for step in self)


def paths(
    workflow: Workflow,
    cover: Literal["edges", "states"] = "edges",
    facts: Mapping[str, Iterable[Arguments]] | None = None,
) -> list[Path]:
    """Return a small set of paths that takes every edge or reaches every state.

    Each path starts in the empty state. Use them with `pytest.mark.parametrize("path", paths(workflow), ids=str)`. To
    play a path, create an order over `TOTAL` with `LINES`, and play each step::

        orders.create("1001", total=TOTAL, currency="GBP", lines=LINES)
        for step in path:
            assert step.play(orders, "1001").order.state == step.target

    A step whose `arguments` are None cannot be played. Either its guards never hold there (only a free order is paid as
    soon as it is placed), or they need facts that `facts` should have. Such a step is the last one of its path, and
    these paths come after all others. Play the steps before it, and test that the trigger is refused or takes another
    row.

    Args:
        workflow: the rules.
        cover: `edges`, or `states` for fewer and shorter paths.
        facts: further facts to try, by trigger, for guards that read a shop's own facts, such as
            `{"wrap": [{"card": "Happy birthday"}]}`.

    Returns:
        The paths. Equal rules have equal paths.

    Raises:
        InvalidInput: if `workflow` is not a Workflow, `cover` is not valid, or `facts` has another form or names an
            unknown trigger or a fact that its trigger does not accept.
    """
    check_workflow(workflow)
    if cover not in ("edges", "states"):
        raise InvalidInput(f"cover must be 'edges' or 'states', not {validation.shown(cover)}")
    walk = _Walk(workflow, cover == "states", _known(workflow, facts))
    ways: tuple[Force, ...] = ("never", "last", "anywhere")
    for force in ways:
        walk.cover(force)
    return walk.paths


def _known(workflow: Workflow, facts: object) -> dict[str, tuple[Arguments, ...]]:
    if facts is None:
        return {}
    if not isinstance(facts, Mapping):
        raise InvalidInput(f"facts must be a dict such as {_FACTS}, not {validation.shown(facts)}")
    known: dict[str, tuple[Arguments, ...]] = {}
    for trigger, several in facts.items():
        if not isinstance(trigger, str) or not workflow.rules_of(trigger):
            raise InvalidInput(
                f"facts must be a dict such as {_FACTS}, and a trigger one of {', '.join(workflow.triggers)}, not"
                f" {validation.shown(trigger)}"
            )
        known[trigger] = tuple(_each(several, trigger))
    for trigger, several in known.items():
        unknown = sorted(frozenset().union(*several) - workflow.facts_of(trigger))
        if unknown:
            raise InvalidInput(f"{trigger} does not accept the fact {unknown[0]!r}")
    return known


_FACTS = "{'wrap': [{'card': 'Happy birthday'}]}"


def _each(several: object, trigger: str) -> Iterator[Arguments]:
    wanted = f"facts of {trigger!r} must be a list of dicts, as in {_FACTS}"
    if isinstance(several, str | Mapping) or not isinstance(several, Iterable):
        raise InvalidInput(wanted)
    for one in several:
        if not isinstance(one, Mapping):
            raise InvalidInput(wanted)
        yield one


@frozen(eq=False)
class _Move:
    """One step from an order to the order after it. Without arguments the step is forced."""

    edge: Edge
    arguments: Arguments | None
    after: Order
    look: tuple[object, ...]


class _Walk:
    """The paths so far, and the edges or states that they do not cover yet."""

    def __init__(self, workflow: Workflow, states: bool, facts: Mapping[str, tuple[Arguments, ...]]) -> None:
        self._workflow = workflow
        self._facts = facts
        self._states = states
        self._force: Force = "never"
        self._moves: dict[tuple[object, ...], list[_Move]] = {}
        self._left = {self._aim(edge) for edge in workflow.edges} - {workflow.states[0]}
        self.paths: list[Path] = []

    def _aim(self, edge: Edge) -> object:
        return edge.target if self._states else edge

    def cover(self, force: Force) -> None:
        """Walk until no remaining edge or state is reachable.

        Args:
            force: whether to take steps without arguments if no arguments that were tried take the edge.
        """
        self._force = force
        start = _begun(self._workflow)
        while self._left:
            order, steps = start, list[Step]()
            while (route := self._nearest(order)) is not None:
                if steps and (len(steps) + len(route) > LONGEST or self._nearest(start, len(route) - 1)):
                    break
                steps += (self._step(move, number) for number, move in enumerate(route, start=len(steps) + 1))
                order = route[-1].after
                if steps[-1].arguments is None:
                    break
            if not steps:
                return
            self.paths.append(Path(steps))

    def _nearest(self, order: Order, within: int | None = None) -> list[_Move] | None:
        """Return the shortest path to a remaining edge or state within a number of steps, or None."""
        if not self._left or within == 0:
            return None
        seen = {_look(order)}
        ahead = deque([(order, list[_Move]())])
        while ahead:
            here, route = ahead.popleft()
            for move in self._moves_from(here):
                if self._aim(move.edge) in self._left:
                    return [*route, move]
                if within is not None and len(route) + 1 >= within:
                    continue
                if move.look not in seen and (move.arguments is not None or self._force == "anywhere"):
                    seen.add(move.look)
                    ahead.append((move.after, [*route, move]))
        return None

    def _step(self, move: _Move, number: int) -> Step:
        self._left.discard(self._aim(move.edge))
        edge, arguments = move.edge, move.arguments
        if arguments is not None and "reference" in arguments:
            # Each payment needs a new reference, because the same reference is the same payment.
            arguments = {**arguments, "reference": f"payment {number}"}
        return Step(edge.rule.trigger, edge.source, edge.target, edge.row, arguments)

    def _moves_from(self, order: Order) -> list[_Move]:
        rows = ((row.kind, row.amount, row.reference is None, row.credit) for row in order.payments)
        goods = order.goods
        shape = (order.state, order.total, order.lines, order.invoiced_by_payment)
        place = (*shape, *goods.shipped.values(), *goods.out.values(), *rows)
        if place not in self._moves:
            self._moves[place] = list(self._tried(order))
        moves = self._moves[place]
        return moves if self._force == "never" else [*moves, *self._forced(order, {move.edge for move in moves})]

    def _forced(self, order: Order, taken: set[Edge]) -> Iterator[_Move]:
        """Yield a step without arguments for each edge that no arguments took."""
        for edge in self._workflow.edges:
            if edge.source == order.state and edge not in taken:
                after = replace(order, state=edge.target, counted=self._workflow.counts_in(edge.target))
                yield _Move(edge, None, after, _look(after))

    def _tried(self, order: Order) -> Iterator[_Move]:
        for trigger in self._workflow.triggers:
            outcomes = set()
            if not self._workflow.edges_from(order.state, trigger):
                continue
            policy = any(guard.policy for rule in self._workflow.rules_of(trigger) for guard in rule.guards)
            for arguments in self._ways(trigger, order):
                decision = None
                # The search adds a reason and an override only if the trigger is refused without them.
                for said in _SAID if policy else _SAID[:2]:
                    arguments = {**arguments, **said}
                    decision = _decided(self._workflow, order, trigger, arguments)
                    if decision is not None:
                        break
                if decision is not None and decision.edge is not None:
                    look = _look(decision.order)
                    outcome = (decision.edge, look)
                    if outcome not in outcomes:
                        outcomes.add(outcome)
                        yield _Move(decision.edge, arguments, decision.order, look)

    def _ways(self, trigger: str, order: Order) -> Iterator[Arguments]:
        """Yield the arguments to try a trigger with, except a reason, the simplest first."""
        kind = self._workflow.ledger_of(trigger)
        totals: tuple[Arguments, ...] = _TOTALS if trigger == AMEND else ({},)
        amounts: tuple[Arguments, ...] = ({},) if kind is None else _AMOUNTS if kind == "captured" else _AMOUNTS[:2]
        references = _REFERENCES if kind == "captured" else ({},)
        own = ({}, *(_CREDITS if "credit" in self._workflow.facts_of(trigger) else ()), *self._facts.get(trigger, ()))
        items = _ITEMS if "items" in self._workflow.facts_of(trigger) else ({},)
        lines = _LINES if trigger == AMEND and order.shipments else ({},)
        for parts in product(own, totals, lines, amounts, references, items):
            yield {name: value for part in parts for name, value in part.items()}


def _begun(workflow: Workflow) -> Order:
    return Order(
        id="1001",
        state=UNFINISHED,
        counted=workflow.counts_in(UNFINISHED),
        version=1,
        total=TOTAL,
        currency="GBP",
        lines=LINES,
        customer=None,
        email=None,
        payments=(),
        created_at=START,
        updated_at=START,
    )


def _look(order: Order) -> tuple[object, ...]:
    """Return the key of an order in the search. Without it the sums of money would make the search endless."""
    money = order.balance
    level = (money.held > 0) + (money.held >= money.cost) + (money.held > money.cost)
    kinds = {row.kind for row in order.payments if row.amount}
    some = (money.online > 0, "refunded" in kinds, "reversed" in kinds, money.credited > 0)
    return (order.state, order.invoiced_by_payment, level, *some, bool(order.out))


def _decided(workflow: Workflow, order: Order, trigger: str, arguments: Arguments) -> Decision | None:
    given = dict(arguments)
    said = {name: given.pop(name) for name in ("comment", "override") if name in given}
    if trigger == AMEND:
        parts: dict[str, Any] = {"total": order.total, "lines": order.lines, **given}
        changes = difference(order, parts | {"total": validation.money(parts["total"])})
        if not changes:
            return None
        outcome = decide(workflow, amended(order, changes), Request(AMEND, START, changes, **said))  # type: ignore[arg-type]
        return outcome if isinstance(outcome, Decision) else None
    facts = workflow.checked_facts(trigger, given)
    outcome = decide(workflow, order, Request(trigger, START, facts, **said))  # type: ignore[arg-type]
    return outcome if isinstance(outcome, Decision) else None

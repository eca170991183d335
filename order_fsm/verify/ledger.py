"""Claims about one order with money and goods, proved over all bounded histories.

The first search is about the money of an order for the only piece of an item:

- An order over 2.00 has up to three ledger rows: at most two payments, and refunds, reversals and their failures.
- A free order has one row at most.
- The total of an order with up to two rows is amended to 1.00 and back, that of a free one to 1.00. The credits of a
  counted order with at most one row are amended too. The lines of an order without rows are amended to no line, one
  piece or two pieces. Goods are shipped whole, and only `undispatch` brings them back.
- An amount is a part of the total, the total, or more, in the order's currency or in another one.
- The shop has one piece of the item that the order wants. Another buyer takes it and returns it, also during a
  decision, as long as the ledger has at most one row.

The second search is about the goods of an order for both pieces of an item:

- The shop ships one piece, all that is left, or more. Pieces come back to the shelf or are lost, are recalled by
  `undispatch`, and are shipped again. At most one piece is lost.
- The order is paid once, in full, by hand. Its lines are amended to one, two or three pieces.
- Another buyer takes a piece and returns it.

Within these bounds `Orders.fire` and `Orders.amend` process every request of `asks`, with the decisions, guards, stock
moves and messages of a real shop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from attrs import Attribute, field, frozen

from order_fsm import validation
from order_fsm.rules.workflow import Workflow
from order_fsm.verify.asks import TOTALS, asks, bought_elsewhere
from order_fsm.verify.claim import Claim
from order_fsm.verify.failures import Failure, named
from order_fsm.verify.goods_asks import GOODS_TOTAL, PIECES, goods_asks
from order_fsm.verify.worlds import Simulator, Step, World


@frozen(eq=False, repr=False)
class LedgerClaim(Claim):
    """A claim about an order with its money and stock.

    Attributes:
        sentence: the claim in words.
    """

    sentence: str = field(validator=lambda _, attribute, value: validation.name(value, attribute.name))

    def __str__(self) -> str:
        return self.sentence


def _of_order(_: object, attribute: Attribute[Callable[[World], object]], value: object) -> None:
    validation.function_of(value, attribute.name, "world")


def _of_step(_: object, attribute: Attribute[Callable[[Step], object]], value: object) -> None:
    validation.function_of(value, attribute.name, "step")


@frozen(eq=False, repr=False)
class EveryOrder(LedgerClaim):
    """A condition holds for every order, with any money and stock.

    Attributes:
        test: a pure function of the order's world, not async. Its result is read as true or false.
    """

    test: Callable[[World], object] = field(validator=_of_order)

    def holds(self, world: World) -> bool:
        """Return whether an order meets the condition.

        Raises:
            InvalidInput: if the test returns a coroutine or a generator, which would count as true.
            Exception: if the test raises.
        """
        return validation.truth_of(self.test(world), "claim", self.sentence)


def _triggers(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(validation.names(value, "the triggers of a claim")))


@frozen(eq=False, repr=False)
class EveryStep(LedgerClaim):
    """A condition holds for every request, accepted or refused.

    Attributes:
        test: a pure function of the step, not async. Its result is read as true or false.
        of: the triggers of the steps. Empty means all.
    """

    test: Callable[[Step], object] = field(validator=_of_step)
    of: tuple[str, ...] = field(default=(), converter=_triggers)

    def holds(self, step: Step) -> bool:
        """Return whether a step meets the condition. It raises as in `EveryOrder.holds`."""
        return validation.truth_of(self.test(step), "claim", self.sentence)

    def _triggers(self) -> Iterable[str]:
        return self.of


@frozen(eq=False, repr=False)
class EveryChange(EveryStep):
    """A condition holds for every request that is not refused. Attributes as in `EveryStep`."""


class Ledger:
    """All worlds that an order can reach under a workflow, within the bounds.

    Attributes:
        worlds: the number of worlds that the last proof visited.
    """

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._simulator = Simulator(workflow)
        self._by: dict[World, Step | World] = {}
        self.worlds = 0

    def failures(self, claims: Sequence[LedgerClaim]) -> dict[Claim, Failure]:
        """Return the failures of claims, each with the shortest path to it.

        The search ends early if every claim has failed.

        Args:
            claims: the conditions on every order and every step.
        """
        of_orders = [claim for claim in claims if isinstance(claim, EveryOrder)]
        of_steps = [claim for claim in claims if isinstance(claim, EveryStep)]
        by_trigger = {
            trigger: [claim for claim in of_steps if trigger in (claim.of or [trigger])]
            for trigger in self._workflow.triggers
        }
        of_refusals = {
            trigger: [claim for claim in among if not isinstance(claim, EveryChange)]
            for trigger, among in by_trigger.items()
        }
        found: dict[Claim, Failure] = {}
        worlds = [*(self._simulator.new(total, 1) for total in TOTALS), self._simulator.new(GOODS_TOTAL, PIECES)]
        seen = {world.place for world in worlds}
        for world in worlds:  # Breadth first: the loop appends to the list that it reads.
            if len(found) == len(claims):
                break
            for of_order in of_orders:
                if of_order not in found and not of_order.holds(world):
                    found[of_order] = self._failure(of_order, world)
            for step in self._next(world):
                if isinstance(step, Step):
                    for of_step in (by_trigger if step.done else of_refusals)[step.ask.trigger]:
                        if of_step not in found and not of_step.holds(step):
                            found[of_step] = self._failure(of_step, world, step)
                after = step.after if isinstance(step, Step) else step
                if after is not world and (place := after.place) not in seen:
                    seen.add(place)
                    self._by[after] = step if isinstance(step, Step) else world
                    worlds.append(after)
        self.worlds = len(worlds)
        return found

    def _next(self, world: World) -> Iterator[Step | World]:
        """Yield the next steps of the order, and the worlds after a move of the other buyer."""
        yield from bought_elsewhere(world)
        for ask in asks(world) if world.pieces == 1 else goods_asks(world):
            yield self._simulator.take(world, ask)

    def _failure(self, claim: LedgerClaim, world: World, last: Step | None = None) -> Failure:
        path: list[str] = []
        steps: list[str] = []
        hints: list[str] = []
        if last is not None:
            path.append(last.ask.trigger)
            steps.append(_step_text(last))
            hints += _rows(last)
        state = world.order.state if last is None else last.after.order.state
        figures = _figures(world if last is None else last.after)
        while world in self._by:
            by = self._by[world]
            if isinstance(by, Step):
                path.append(by.ask.trigger)
                steps.append(_step_text(by))
                hints = hints or _rows(by)
                world = by.before
            else:
                steps.append("(another buyer takes the item)" if world.taken else "(the other buyer returns it)")
                world = by
        item = "the only piece" if world.pieces == 1 else f"all {world.pieces} pieces"
        steps.append(f"an order over {world.order.total:.2f}, for {item} of an item")
        return Failure(claim, state, tuple(reversed(path)), tuple(reversed(steps)), (*hints, figures))


def _step_text(step: Step) -> str:
    if step.refused is not None:
        return f"{step.ask}: refused, {'; '.join(reason.message for reason in step.refused.reasons)}"
    return f"{step.ask}  -> {step.after.order.state}"


def _rows(step: Step) -> list[str]:
    """Return the rules that took a step or could have taken it."""
    edges = step.before.workflow.edges_from(step.before.order.state, step.ask.trigger)
    rows = [edge for edge in edges if not step.done or edge.target == step.after.order.state]
    return [named(edge.row, edge.rule) for edge in rows]


def _figures(world: World) -> str:
    order = world.order
    shipped, out = sum(order.goods.shipped.values()), sum(order.goods.out.values())
    return (
        f"the ledger: captured {order.captured}, refunded {order.refunded}, reversed {order.reversed} of a total of "
        f"{order.total}, refund due {order.refund_due}; on hand {world.on_hand}, held by the order {world.holds}, "
        f"shipped {shipped}, out {out}, lost {world.stock.lost}"
    )

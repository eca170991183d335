"""The words in which a table of rules is written: Status, Guard and Rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from attrs import Attribute, field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput, Reason
from order_fsm.model import Order, PaymentKind

MONEY_FACTS = frozenset({"amount", "currency", "reference"})
"""The facts that every trigger with a ledger row knows."""

Facts = Mapping[str, Any]
"""What a guard may look at beside the order: the facts of the trigger (amounts resolved to a Decimal, and the order's
currency where none was given), `comment` (str), and `short` (the SKUs of which there is not enough on hand)."""


def _names(value: object) -> frozenset[str]:
    return validation.names(value, "statuses or facts of a rule")


def _name(_: object, attribute: Attribute[str], value: object) -> None:
    validation.name(value, attribute.name)


@frozen(eq=False, repr=False)
class Guard:
    """A named condition beyond the statuses, on the order and the facts.

    Attributes:
        code: its name, for programs; the code of the Reason when it fails.
        message: what is wrong when it fails, for people.
        test: a pure function of (order, facts); what it returns is read as true or false. Facts that a trigger may
            come without are read with `facts.get`. What it raises goes up to the caller.
        policy: whether an override with a reason may pass it.
    """

    code: str
    message: str
    test: Callable[[Order, Facts], object]
    policy: bool = False

    @property
    def reason(self) -> Reason:
        return Reason(self.code, self.message)


STOCK_SUFFICES = Guard("out_of_stock", "there is not enough stock", lambda order, facts: not facts["short"])
"""For rules that wait for stock. It counts only where the rule makes the order take its stock."""

REASONED = Guard(
    "reason_required",
    "a reason is required: give a comment that is not blank",
    lambda order, facts: facts["comment"].strip(),
)
"""For rules that require a reason; an override requires one too."""


@frozen(eq=False, repr=False)
class Status:
    """One tick box of the order.

    Attributes:
        name: any text without `+`.
        tick: the trigger that ticks it on the admin's form; None where no hand may.
        untick: the trigger that unticks it there; None where no hand may.
    """

    name: str = field(validator=_name)
    tick: str | None = None
    untick: str | None = None


def _guards(_: object, attribute: Attribute[tuple[Guard, ...]], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(guard, Guard) for guard in value):
        raise InvalidInput(f"{attribute.name} must be a tuple of Guard, not {validation.shown(value)}")


def _kind(_: object, attribute: Attribute[PaymentKind | None], value: object) -> None:
    if value is not None and value not in get_args(PaymentKind):
        known = ", ".join(get_args(PaymentKind))
        raise InvalidInput(f"{attribute.name} must be one of {known}, or None, not {validation.shown(value)}")


@frozen(eq=False, repr=False)
class Rule:
    """One row of the table.

    Where several rules of one trigger are open, the first whose guards all hold is taken.

    Attributes:
        trigger: the name of what happens.
        needs: the order must have all of these.
        needs_any: and one of these, where there are any.
        forbids: and none of these.
        adds: ticked by it.
        drops: unticked by it.
        guards: all must hold.
        ledger: the kind of ledger row that it records, if any; its triggers then know `MONEY_FACTS`.
        facts: the names of further facts that the trigger may come with.
        announces: the topic of a message that it queues; its entry is then a line that the customer may read.
    """

    trigger: str = field(validator=_name)
    needs: frozenset[str] = field(default=frozenset(), converter=_names)
    needs_any: frozenset[str] = field(default=frozenset(), converter=_names)
    forbids: frozenset[str] = field(default=frozenset(), converter=_names)
    adds: frozenset[str] = field(default=frozenset(), converter=_names)
    drops: frozenset[str] = field(default=frozenset(), converter=_names)
    guards: tuple[Guard, ...] = field(default=(), validator=_guards)
    ledger: PaymentKind | None = field(default=None, validator=_kind)
    facts: frozenset[str] = field(default=frozenset(), converter=_names)
    announces: str | None = None

    def opens(self, statuses: frozenset[str]) -> bool:
        """Whether an order with these statuses may take it, guards aside."""
        return (
            self.needs <= statuses
            and self.forbids.isdisjoint(statuses)
            and (not self.needs_any or not self.needs_any.isdisjoint(statuses))
        )

    def unmet(self, statuses: frozenset[str]) -> list[Reason]:
        """What of the statuses is in its way."""
        reasons = [Reason(f"needs_{name}", f"the order is not {name}") for name in sorted(self.needs - statuses)]
        if self.needs_any and self.needs_any.isdisjoint(statuses):
            wanted = sorted(self.needs_any)
            reasons.append(Reason("needs_any_" + "_".join(wanted), f"the order is neither {' nor '.join(wanted)}"))
        reasons += [Reason(f"forbids_{name}", f"the order is {name}") for name in sorted(self.forbids & statuses)]
        return reasons

    def target(self, statuses: frozenset[str]) -> frozenset[str]:
        """The statuses after it."""
        return statuses - self.drops | self.adds


@frozen(eq=False, repr=False)
class Edge:
    """A rule in one state where it may be taken.

    Attributes:
        row: the rule's number in the table, from 1.
        counted: whether the order counts in totals after it.
        guards: those of the rule that count here.
    """

    row: int
    rule: Rule
    source: str
    target: str
    counted: bool
    guards: tuple[Guard, ...]

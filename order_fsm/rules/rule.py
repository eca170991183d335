"""The parts of a table of rules: Status, Guard, Rule, and the Edge that a rule becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from attrs import Attribute, field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput, Reason
from order_fsm.model import GoodsKind, Order, PaymentKind

AMEND = "amend"
"""The trigger of `Orders.amend`. Its guards see the order as amended, and facts `X` and `X_before` for every part."""

MONEY_FACTS = frozenset({"amount", "currency", "reference", "transaction_id", "provider"})
"""The facts that every trigger with a ledger row accepts."""

GOODS_FACTS: Mapping[GoodsKind | None, frozenset[str]] = {
    None: frozenset(),
    "shipped": frozenset({"items", "parcel"}),
    "returned": frozenset({"items", "restock"}),
    "recalled": frozenset(),
}
"""The facts that every trigger accepts that records goods, by kind."""

Facts = Mapping[str, Any]
"""The input of a guard, besides the order:

- the facts of the trigger, `comment` (str), and `gateway` (whether a payment gateway reports it);
- `shortages`: the SKUs with fewer available pieces than the order needs;
- `outstanding` and `online`: the money that is missing after the entry, for an order that is not cancelled, and
  whether money that came online is held then;
- if the trigger records money: `amount`, `currency`, `bound` (the largest allowed amount, or None), and `several`
  (whether the request does not say which of several payments it is about);
- if the trigger records goods: `pieces` (how many), `beyond` (the SKUs of which it names more than the order has left
  to ship, or out), and `goods_left` (whether something is left to ship after the entry).
"""


def _names(value: object) -> frozenset[str]:
    return validation.names(value, "statuses or facts of a rule")


# Converters, because a subclass of str becomes a plain one: the names are stored.


def _code(value: str) -> str:
    return validation.name(value, "code")


def _status_name(value: str) -> str:
    return validation.name(value, "name")


def _tick(value: str | None) -> str | None:
    return validation.optional_name(value, "tick")


def _untick(value: str | None) -> str | None:
    return validation.optional_name(value, "untick")


def _trigger(value: str) -> str:
    return validation.name(value, "trigger")


def _announces(value: str | None) -> str | None:
    return validation.optional_name(value, "announces")


def _optional_name(_: object, attribute: Attribute[str | None], value: object) -> None:
    validation.optional_name(value, attribute.alias or attribute.name)


def _message(_: object, attribute: Attribute[str], value: object) -> None:
    validation.text(value, attribute.name, validation.COMMENT_LENGTH)


def _flag(_: object, attribute: Attribute[bool], value: object) -> None:
    validation.flag(value, attribute.name)


def _test(_: object, attribute: Attribute[Callable[[Order, Facts], object]], value: object) -> None:
    if not callable(value):
        raise InvalidInput(f"{attribute.name} must be a function of (order, facts), not {validation.shown(value)}")


@frozen(eq=False, repr=False)
class Guard:
    """A named condition beyond the statuses, on the order and the facts.

    The code stands for the test: a workflow's fingerprint has the code and not the test. So a guard whose test changes
    needs a new code. Otherwise an audit judges old entries by the new test.

    Attributes:
        code: its name, for programs; the code of the Reason when it fails.
        message: what is wrong when it fails, for people.
        test: a pure function of (order, facts); what it returns is read as true or false. Facts that a trigger may
            come without are read with `facts.get`. What it raises goes up to the caller.
        policy: whether an override with a reason may pass it.
    """

    code: str = field(converter=_code)
    message: str = field(validator=_message)
    test: Callable[[Order, Facts], object] = field(validator=_test)
    policy: bool = field(default=False, validator=_flag)

    @property
    def reason(self) -> Reason:
        return Reason(self.code, self.message)


STOCK_SUFFICES = Guard("out_of_stock", "there is not enough stock", lambda order, facts: not facts["shortages"])
"""For rules that wait for stock. It counts only if the rule makes the order take stock."""

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
        label: the words for the shop's owner. By default the name, with spaces for underscores.
        customer_label: the words for the customer. By default `label`.
    """

    name: str = field(converter=_status_name)
    tick: str | None = field(default=None, converter=_tick)
    untick: str | None = field(default=None, converter=_untick)
    _label: str | None = field(default=None, validator=_optional_name, kw_only=True, alias="label")
    _customer_label: str | None = field(default=None, validator=_optional_name, kw_only=True, alias="customer_label")

    @property
    def label(self) -> str:
        return self.name.replace("_", " ") if self._label is None else self._label

    @property
    def customer_label(self) -> str:
        return self.label if self._customer_label is None else self._customer_label


def _guards(_: object, attribute: Attribute[tuple[Guard, ...]], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(guard, Guard) for guard in value):
        raise InvalidInput(f"{attribute.name} must be a tuple of Guard, not {validation.shown(value)}")


def _one_of(kinds: Any) -> Callable[[object, Attribute[Any], object], None]:
    """Return the validator of a field that is one of the texts of a Literal, or None."""
    known = get_args(kinds)

    def validate(_: object, attribute: Attribute[Any], value: object) -> None:
        if value is not None and value not in known:
            listed = ", ".join(known)
            raise InvalidInput(f"{attribute.name} must be one of {listed}, or None, not {validation.shown(value)}")

    return validate


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
        lapses: whether it ends credits: if the order holds no money, a refund of 0 is recorded that takes them back.
        facts: the names of further facts that the trigger may come with.
        announces: the topic of a message that it queues; its entry is then a line that the customer may read.
        goods: the kind of shipment that it records, if any; its triggers then know `GOODS_FACTS`.
    """

    trigger: str = field(converter=_trigger)
    needs: frozenset[str] = field(default=frozenset(), converter=_names)
    needs_any: frozenset[str] = field(default=frozenset(), converter=_names)
    forbids: frozenset[str] = field(default=frozenset(), converter=_names)
    adds: frozenset[str] = field(default=frozenset(), converter=_names)
    drops: frozenset[str] = field(default=frozenset(), converter=_names)
    guards: tuple[Guard, ...] = field(default=(), validator=_guards)
    ledger: PaymentKind | None = field(default=None, validator=_one_of(PaymentKind))
    facts: frozenset[str] = field(default=frozenset(), converter=_names)
    announces: str | None = field(default=None, converter=_announces)
    lapses: bool = False
    goods: GoodsKind | None = field(default=None, validator=_one_of(GoodsKind))

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

"""The parts of a table of rules: Status, Guard, Rule, Edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import Attribute, field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput, Reason
from order_fsm.goods import GOODS_KINDS
from order_fsm.ledger import PAYMENT_KINDS
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
"""The facts that a trigger accepts if it records goods, by the kind of shipment."""

Facts = Mapping[str, Any]
"""The second argument of a guard, after the order:

- the facts of the trigger, `comment` (str), and `gateway` (whether a payment gateway reports it);
- `shortages`: the SKUs with fewer available pieces than the order needs;
- `outstanding`: the money that is missing after the entry, if the order is not cancelled;
- `online`: whether the order then holds money that came online;
- if the trigger records money: `amount`, `currency`, `bound` (the largest allowed amount, or None), and `several`
  (whether the request matches several payments);
- if the trigger records goods: `pieces` (how many), `beyond` (the SKUs with more pieces than the order has left to
  ship, or has out), and `goods_left` (whether something is left to ship after the entry).
"""


_Kind = TypeVar("_Kind", bound=str)


# Converters, not validators: names are stored, so a subclass of str must become a plain str.


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


def _needs(value: object) -> frozenset[str]:
    return validation.names(value, "needs")


def _needs_any(value: object) -> frozenset[str]:
    return validation.names(value, "needs_any")


def _forbids(value: object) -> frozenset[str]:
    return validation.names(value, "forbids")


def _adds(value: object) -> frozenset[str]:
    return validation.names(value, "adds")


def _drops(value: object) -> frozenset[str]:
    return validation.names(value, "drops")


def _facts(value: object) -> frozenset[str]:
    return validation.names(value, "facts")


def _announces(value: str | None) -> str | None:
    return validation.optional_name(value, "announces")


def _optional_name(_: object, attribute: Attribute[str | None], value: object) -> None:
    validation.optional_name(value, attribute.alias or attribute.name)


def _message(_: object, attribute: Attribute[str], value: object) -> None:
    if not validation.text(value, attribute.name, validation.COMMENT_LENGTH).strip():
        raise InvalidInput(f"{attribute.name} must not be blank: a refusal shows it")


def _flag(_: object, attribute: Attribute[bool], value: object) -> None:
    validation.flag(value, attribute.name)


def _test(_: object, attribute: Attribute[Callable[[Order, Facts], object]], value: object) -> None:
    validation.function_of(value, attribute.name, "order", "facts")


@frozen(eq=False, repr=False)
class Guard:
    """A named condition on the order and the facts.

    A workflow's fingerprint includes the code and not the test. So give a guard a new code if its test changes.
    Otherwise an audit judges old entries by the new test.

    Attributes:
        code: its name, for programs. If the guard fails, it is the code of the Reason.
        message: the explanation of a failure, for people.
        test: a pure function of (order, facts), not async. Its result counts as true or false. Use `facts.get` for
            facts that a caller may leave out. The caller gets every exception that it raises.
        policy: whether an override with a reason may pass the guard.
    """

    code: str = field(converter=_code)
    message: str = field(validator=_message)
    test: Callable[[Order, Facts], object] = field(validator=_test)
    policy: bool = field(default=False, validator=_flag)

    @property
    def reason(self) -> Reason:
        """The reason of a refusal by this guard."""
        return Reason(self.code, self.message)

    def holds(self, order: Order, facts: Facts) -> bool:
        """Return whether the order and the facts meet the condition.

        Raises:
            InvalidInput: if the test returns a coroutine or a generator, which would count as true.
            Exception: if the test raises.
        """
        answer = self.test(order, facts)
        if answer is True or answer is False:  # Most tests return one, and every change asks several guards.
            return answer
        return validation.truth_of(answer, "guard", self.code)


STOCK_SUFFICES = Guard("out_of_stock", "there is not enough stock", lambda order, facts: not facts["shortages"])
"""The guard for rules that need stock. It applies only if the rule makes the order take stock."""

REASONED = Guard(
    "reason_required",
    "a reason is required: give a comment that is not blank",
    lambda order, facts: facts["comment"].strip(),
)
"""The guard for rules that require a reason. An override requires one too."""


@frozen(eq=False, repr=False)
class Status:
    """One tick box of the order.

    Attributes:
        name: any text without `+`.
        tick: the trigger that ticks it on the admin's form. None if it cannot be ticked by hand.
        untick: the trigger that unticks it there. None if it cannot be unticked by hand.
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
        """The words for the shop's owner."""
        return self.name.replace("_", " ") if self._label is None else self._label

    @property
    def customer_label(self) -> str:
        """The words for the customer."""
        return self.label if self._customer_label is None else self._customer_label


def _guards(_: object, attribute: Attribute[tuple[Guard, ...]], value: object) -> None:
    wanted = f"{attribute.name} must be a tuple of Guard such as (guard,)"
    if not isinstance(value, tuple):
        raise InvalidInput(f"{wanted}, not {validation.shown(value)}")
    for guard in value:
        if not isinstance(guard, Guard):
            raise InvalidInput(f"{wanted}, not of {validation.shown(guard)}")


def _ledger(value: PaymentKind | None) -> PaymentKind | None:
    return _one_of(PAYMENT_KINDS, value, "ledger")


def _goods(value: GoodsKind | None) -> GoodsKind | None:
    return _one_of(GOODS_KINDS, value, "goods")


def _one_of(known: tuple[_Kind, ...], value: _Kind | None, what: str) -> _Kind | None:
    """Return the known kind that equals an input, or None for None."""
    if value is None:
        return None
    if value not in known:
        raise InvalidInput(f"{what} must be one of {', '.join(known)}, or None, not {validation.shown(value)}")
    return known[known.index(value)]


@frozen(eq=False, repr=False)
class Rule:
    """One row of the table.

    If several rules of one trigger are open, the first one whose guards all hold fires.

    Attributes:
        trigger: the name of the event.
        needs: the order must have all of these.
        needs_any: the order must have at least one of these, unless it is empty.
        forbids: the order must have none of these.
        adds: the statuses that it ticks.
        drops: the statuses that it unticks.
        guards: the guards that must all hold.
        ledger: the kind of ledger row that it records, if any. The trigger then accepts the facts `amount`, `currency`,
            `reference`, `transaction_id` and `provider`.
        lapses: whether it ends credits. If the order holds no money, the rule records a refund of 0 that revokes them.
        facts: the names of further facts that the trigger accepts.
        announces: the topic of a message that it queues. The customer may then read its entry.
        goods: the kind of shipment that it records, if any. The trigger then accepts the facts `items` and `parcel` if
            goods are shipped, and `items` and `restock` if they are returned.
    """

    trigger: str = field(converter=_trigger)
    needs: frozenset[str] = field(default=frozenset(), converter=_needs)
    needs_any: frozenset[str] = field(default=frozenset(), converter=_needs_any)
    forbids: frozenset[str] = field(default=frozenset(), converter=_forbids)
    adds: frozenset[str] = field(default=frozenset(), converter=_adds)
    drops: frozenset[str] = field(default=frozenset(), converter=_drops)
    guards: tuple[Guard, ...] = field(default=(), validator=_guards)
    ledger: PaymentKind | None = field(default=None, converter=_ledger)
    facts: frozenset[str] = field(default=frozenset(), converter=_facts)
    announces: str | None = field(default=None, converter=_announces)
    lapses: bool = field(default=False, validator=_flag)
    goods: GoodsKind | None = field(default=None, converter=_goods)

    def opens(self, statuses: frozenset[str]) -> bool:
        """Return whether these statuses allow the rule, without its guards."""
        return (
            self.needs <= statuses
            and self.forbids.isdisjoint(statuses)
            and (not self.needs_any or not self.needs_any.isdisjoint(statuses))
        )

    def unmet(self, statuses: frozenset[str]) -> list[Reason]:
        """Return a reason for each status that blocks the rule."""
        reasons = [Reason(f"needs_{name}", f"the order is not {name}") for name in sorted(self.needs - statuses)]
        if self.needs_any and self.needs_any.isdisjoint(statuses):
            wanted = sorted(self.needs_any)
            reasons.append(Reason("needs_any_" + "_".join(wanted), f"the order is not {' or '.join(wanted)}"))
        reasons += [Reason(f"forbids_{name}", f"the order is {name}") for name in sorted(self.forbids & statuses)]
        return reasons

    def target(self, statuses: frozenset[str]) -> frozenset[str]:
        """Return the statuses after the rule fires."""
        return statuses - self.drops | self.adds


@frozen(eq=False, repr=False)
class Edge:
    """A rule in one state that allows it.

    Attributes:
        row: the rule's number in the table, from 1.
        counted: whether the order counts in totals after the rule fires.
        guards: the guards of the rule that apply in this state.
    """

    row: int
    rule: Rule
    source: str
    target: str
    counted: bool
    guards: tuple[Guard, ...]

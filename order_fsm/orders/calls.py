"""The calls that change one order.

A call is a checked request and the way to decide it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from order_fsm.currencies import check_units
from order_fsm.errors import InvalidInput, OrderFsmError, Refused, VersionConflict
from order_fsm.model import Entry, Fact, Line, Message, Order
from order_fsm.rules.amendment import amended, difference
from order_fsm.rules.booking import recorded_before
from order_fsm.rules.decide import Answer, Call, Decision, Recorded, decide
from order_fsm.rules.form import fill
from order_fsm.rules.holding import Supply, further, held_as_amended, held_as_migrated
from order_fsm.rules.permissions import SAVE, Permissions
from order_fsm.rules.request import Request
from order_fsm.rules.workflow import Workflow

UNMATCHED = "payment.unmatched"
"""The topic of a message about money that no ledger covers."""


class Fire(Struct, frozen=True):
    """A call that fires a trigger.

    Attributes:
        version: do nothing if the order has another version. None accepts any version.
    """

    workflow: Workflow
    order_id: str
    request: Request
    request_fingerprint: str | None
    currencies: Mapping[str, int]
    permissions: Permissions | None
    version: int | None = None

    def decide(self, order: Order, supply: Supply) -> Answer:
        """Decide the trigger under the rules and the permissions.

        If the ledger has the id of the payment, refund or dispute already, the call is a duplicate.

        Raises:
            KeyReused: if the ledger has that id with another amount or currency.
            InvalidInput: if the amount is finer than the smallest unit of its currency.
        """
        if self.version not in (None, order.version):
            return ()
        facts = self.request.facts
        kind = self.workflow.ledger_of(self.request.trigger)
        if facts and kind is not None:
            amount: Any = facts.get("amount")
            if amount is not None:
                check_units(amount, str(facts.get("currency", order.currency)), self.currencies)
            recorded = recorded_before(order, kind, facts)
            if recorded is not None:
                return Recorded(recorded.version)
        decision = decide(self.workflow, order, self.request, supply.shortages(order), supply.available)
        answer = decision if isinstance(decision, Refused) else (decision,)
        return answer if self.permissions is None else self.permissions.inquiry(self.request).judged(order, answer)


class GatewayFact(Struct, frozen=True):
    """A call that records one fact of a payment gateway.

    It fires a trigger, or adds a comment if the rules or permissions refuse the trigger.

    The same call and key cover both cases. So a redelivery always gets the first receipt again.

    Attributes:
        request: the comment, with the fact as its facts.
        fire: fires the trigger. None if the fact only becomes a comment.
        unmatched: whether the comment is about money, so that the shop gets a message.
        reasons: the reasons for such a comment if no trigger is fired.
    """

    order_id: str
    request: Request
    request_fingerprint: str
    fire: Fire | None
    unmatched: bool
    reasons: str

    def decide(self, order: Order, supply: Supply) -> Answer:
        """Decide the trigger or the comment.

        Returns:
            The decisions, or `Refused` if the fact may be early.

        Raises:
            KeyReused: if the fact was recorded with another amount or currency.
        """
        if self.fire is None:
            return self._as_comment(order, self.reasons if self.unmatched else None)
        try:
            answer = self.fire.decide(order, supply)
        except InvalidInput:  # The shop does not know the currency, or the amount is finer than its smallest unit.
            return self._as_comment(order, "unknown_money")
        if not isinstance(answer, Refused) or self._may_be_early(answer):
            return answer
        return self._as_comment(order, ", ".join(reason.code for reason in answer.reasons))

    def _as_comment(self, order: Order, reasons: str | None) -> Answer:
        request = self.request
        if reasons is not None:
            request = replace(request, facts={**request.facts, "reasons": reasons})
        decision = comment_decision(order, request)
        return (replace(decision, announces=UNMATCHED) if self.unmatched else decision,)

    def _may_be_early(self, refused: Refused) -> bool:
        return self.unmatched and any(reason.code == "beyond_bound" for reason in refused.reasons)


class ShopError(Exception):
    """Wraps an exception of the shop's own code, such as a guard.

    Attributes:
        error: the exception.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(error)


class IsolatedCall(Struct, frozen=True):
    """A call of a batch that must not fail the other calls.

    Only exceptions of its decision belong to the call. Any other exception, such as a time limit, goes to the caller.
    """

    call: Call

    @property
    def order_id(self) -> str:
        """As in the call."""
        return self.call.order_id

    @property
    def request(self) -> Request:
        """As in the call."""
        return self.call.request

    @property
    def request_fingerprint(self) -> str | None:
        """As in the call."""
        return self.call.request_fingerprint

    def decide(self, order: Order, supply: Supply) -> Answer:
        """Decide the call.

        Raises:
            OrderFsmError: if the call raises it.
            ShopError: if the call raises another exception.
        """
        try:
            return self.call.decide(order, supply)
        except OrderFsmError:
            raise
        except Exception as error:
            raise ShopError(error) from error


class Save(Struct, frozen=True):
    """A call that saves the admin's form."""

    workflow: Workflow
    order_id: str
    request: Request
    statuses: frozenset[str]
    version: int
    request_fingerprint: str | None
    permissions: Permissions | None

    def decide(self, order: Order, supply: Supply) -> Answer:
        """Decide the steps from the order's statuses to those of the form.

        Raises:
            VersionConflict: if the order changed since the form was loaded.
        """
        if order.version != self.version:
            raise VersionConflict(
                f"order {order.id!r} changed since the form was loaded (version {order.version}, form has"
                f" {self.version}): reload it"
            )
        inquiry = None if self.permissions is None else self.permissions.inquiry(self.request)
        answer: Sequence[Decision] | Refused
        if order.statuses == self.statuses:
            answer = (comment_decision(order, self.request),) if self.request.reasoned else ()
        else:
            answer = fill(
                self.workflow,
                order,
                self.statuses,
                self.request,
                supply.shortages(order),
                supply.available,
                inquiry,
            )
        return answer if inquiry is None else inquiry.judged(order, answer, SAVE)


class Amend(Struct, frozen=True):
    """A call that amends parts of an order.

    Attributes:
        wanted: the new values, by the name of the part.
        version: the version that the caller saw. None accepts any version.
    """

    workflow: Workflow
    order_id: str
    request: Request
    wanted: Mapping[str, Fact]
    version: int | None
    request_fingerprint: str | None
    currencies: Mapping[str, int]
    permissions: Permissions | None

    @property
    def lines(self) -> tuple[Line, ...] | None:
        """The new lines of the order. None if they do not change."""
        lines = self.wanted.get("lines")
        return lines if isinstance(lines, tuple) else None

    def decide(self, order: Order, supply: Supply) -> Answer:
        """Decide the trigger `amend` on the order as amended.

        Raises:
            VersionConflict: if the order changed since the caller saw it.
            InvalidInput: if an amount is finer than the smallest unit of the currency, or the credits exceed the total.
        """
        if self.version not in (None, order.version):
            raise VersionConflict(
                f"order {order.id!r} changed since it was read (version {order.version}, the amendment has"
                f" {self.version}): reload it"
            )
        answer = self._answer(order, supply)
        return answer if self.permissions is None else self.permissions.inquiry(self.request).judged(order, answer)

    def _answer(self, order: Order, supply: Supply) -> Sequence[Decision] | Refused:
        facts = difference(order, self.wanted)
        if not facts:
            return (comment_decision(order, self.request),) if self.request.reasoned else ()
        after = amended(order, facts)
        for name in ("total", "credited"):
            amount = facts.get(name)
            if isinstance(amount, Decimal):
                check_units(amount, order.currency, self.currencies)
                if name == "credited" and amount > after.total:
                    raise InvalidInput(f"credited must be at most the total, {after.total:f}, not {amount:f}")
        missing = supply.shortages(after) if order.reserved is None else supply.shortages_of(further(order, after))
        decision = decide(self.workflow, after, replace(self.request, facts=facts), missing, supply.available)
        if isinstance(decision, Refused):
            return decision
        if after.lines != order.lines:
            held = held_as_amended(self.workflow, order, decision.order, supply.available)
            decision = replace(decision, order=decision.order.holding(held))
        return (decision,)


class Comment(Struct, frozen=True):
    """A call that adds a comment to the history."""

    order_id: str
    request: Request
    request_fingerprint: str | None

    def decide(self, order: Order, supply: Supply) -> Answer:  # noqa: ARG002 - as in `Call`
        """Decide the comment, which is always allowed."""
        return (comment_decision(order, self.request),)


class Resend(Struct, frozen=True):
    """A call that queues a message again.

    Attributes:
        message: the message to queue.
        version: the version of the order from which the message was made.
    """

    order_id: str
    request: Request
    message: Message
    version: int
    request_fingerprint: str | None

    def decide(self, order: Order, supply: Supply) -> Answer:  # noqa: ARG002 - as in `Call`
        """Decide the entry, which is always allowed.

        Raises:
            VersionConflict: if the order changed since the message was made.
        """
        if order.version != self.version:
            raise VersionConflict(f"order {order.id!r} is at version {order.version}, not {self.version}")
        return (replace(comment_decision(order, self.request, "resend"), message=self.message),)


class Migrate(Struct, frozen=True):
    """A call that moves an order to a state of a changed table."""

    workflow: Workflow
    order_id: str
    request: Request
    targets: Mapping[str, str]
    request_fingerprint: None = None

    def decide(self, order: Order, supply: Supply) -> Answer:
        """Decide the move.

        Do nothing if the order fits the table. The stock of a moved order follows its state, even if pieces are
        missing.
        """
        target = self.targets.get(order.state)
        if target is None or not needs_migration(self.workflow, order, target):
            return ()
        entry = _entry(order, self.request, target)
        after = order.after(entry, order.payments, self.workflow.counts_in(target))
        return (Decision(after.holding(held_as_migrated(self.workflow, after, supply.available)), entry, None),)


class Erase(Struct, frozen=True):
    """A call that erases the personal values of an order.

    Attributes:
        customer: erase the order only if it has this customer. None erases the order of any customer.
    """

    order_id: str
    request: Request
    customer: str | None
    permissions: Permissions | None
    request_fingerprint: None = None

    def decide(self, order: Order, supply: Supply) -> Answer:  # noqa: ARG002 - as in `Call`
        """Decide the erasure.

        Do nothing if the order now has another customer.
        """
        if self.customer is not None and order.customer != self.customer:
            return ()
        entry = _entry(order, self.request, order.state)
        blank = replace(order, customer=None, email=None, data={})
        answer = (Decision(blank.after(entry, order.payments, order.counted), entry, None),)
        return answer if self.permissions is None else self.permissions.inquiry(self.request).judged(order, answer)


def needs_migration(workflow: Workflow, order: Order, target: str) -> bool:
    """Return whether an order differs from a state of the table.

    It compares the name, the totals and the stock.
    """
    wanted = (target, workflow.counts_in(target), bool(order.lines) and workflow.holds(target))
    return wanted != (order.state, order.counted, order.reserved is not None)


def comment_decision(order: Order, request: Request, trigger: str = "comment") -> Decision:
    """Return the decision to add a comment, which changes no box."""
    entry = _entry(order, request, order.state, trigger=trigger)
    return Decision(order.after(entry, order.payments, order.counted), entry, None)


def _entry(order: Order, request: Request, target: str, trigger: str | None = None) -> Entry:
    return Entry(
        version=order.version + 1,
        trigger=request.trigger if trigger is None else trigger,
        state_before=order.state,
        state_after=target,
        at=request.at,
        by=request.by,
        comment=request.comment,
        visible=request.visible,
        notify=request.notify,
        key=request.key,
        facts=request.facts,
    )

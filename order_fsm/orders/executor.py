"""How a change is made: load, decide, commit; and again from the start where somebody else was first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from attrs import define, setters

from order_fsm.errors import KeyReused, Refused, StoreFull, StoreUnavailable, VersionConflict
from order_fsm.model import Entry, Order, Receipt
from order_fsm.orders.messages import messages
from order_fsm.rules.decide import Decision
from order_fsm.rules.request import Request
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Change, StockMove

if TYPE_CHECKING:
    from order_fsm.store import Store

ATTEMPTS = 100
"""How often a change is decided again, because somebody else changed the order first, before it is given up."""

Decided = Callable[[Order, frozenset[str]], Sequence[Decision] | Refused | Entry]
"""What is to be done with an order, given the SKUs of which there is not enough for it: decisions to commit, the error
to raise, or the entry that did it before."""


@define(eq=False, repr=False, on_setattr=setters.NO_OP)
class Call:
    """What somebody wants done to an order.

    Attributes:
        content: the digest that is kept with its key, if it has one; see `Request.content`.
    """

    order_id: str
    request: Request
    content: str | None
    decided: Decided


class Commits:
    """The changes of one store under one workflow."""

    def __init__(self, store: Store, workflow: Workflow) -> None:
        self._store = store
        self._workflow = workflow
        # Not by `Recalling`, which is slow to import.
        self._recalled: Callable[[str], Order | None] = getattr(store, "recall", _nothing_recalled)

    def change(self, call: Call) -> Receipt:
        """Load, decide, commit; again from the start where the order, its stock or the key was not what it seemed."""
        for attempt in range(ATTEMPTS):
            prepared = self._prepared(call)
            if isinstance(prepared, Receipt):
                return prepared
            try:
                self._store.commit(prepared)
            except (VersionConflict, KeyReused):
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return Receipt(prepared.order, prepared.entries)
        raise AssertionError("the last attempt returns or raises")

    def change_all(self, calls: Sequence[Call]) -> list[Receipt | Exception]:
        """Do many calls with as few commits as may be: one for all that are about different orders and keys.

        Returns:
            For each call what came of it, in their sequence: the receipt, or what `change` would have raised.

        Raises:
            StoreUnavailable, StoreFull: the store fails; any of the calls may have been done, or not.
        """
        results: dict[int, Receipt | Exception] = {}
        attempts = [0] * len(calls)
        while len(results) < len(calls):
            changes: dict[int, Change] = {}
            orders: set[str] = set()
            keys: set[str | None] = set()
            for number, call in enumerate(calls):
                if number in results:
                    continue
                # The second change of an order, or under a key, waits: it is decided on what the first one has left.
                if call.order_id not in orders and call.request.key not in keys:
                    prepared = self._prepared_or_refused(call)
                    if isinstance(prepared, Change):
                        changes[number] = prepared
                    else:
                        results[number] = prepared
                orders.add(call.order_id)
                keys |= {call.request.key} - {None}
            errors = self._store.commit_all(list(changes.values())) if changes else []
            for (number, change), error in zip(changes.items(), errors, strict=True):
                attempts[number] += 1
                if error is None:
                    results[number] = Receipt(change.order, change.entries)
                elif attempts[number] == ATTEMPTS or not isinstance(error, VersionConflict | KeyReused):
                    results[number] = error
        return [results[number] for number in range(len(calls))]

    def _prepared_or_refused(self, call: Call) -> Change | Receipt | Exception:
        try:
            return self._prepared(call)
        except (StoreUnavailable, StoreFull):
            raise
        except Exception as error:  # Of one call, such as a guard that fails: the others are not to blame.
            return error

    def _prepared(self, call: Call) -> Change | Receipt:
        """What to commit for a call now; or the receipt, where there is nothing to do.

        Raises:
            Refused, and whatever else the call ends with.
        """
        key = call.request.key
        first = self.first_receipt(call.order_id, key, call.content)
        if first is not None:
            return first
        recalled = self._recalled(call.order_id)
        if recalled is not None:
            # It may be out of date. A commit on it is refused then; whatever else comes of it is found out anew.
            try:
                outcome = self._outcome(call, recalled, recalled)
            except Exception:
                outcome = None
            if isinstance(outcome, Change):
                return outcome
        try:
            return self._outcome(call, self._store.load(call.order_id), None)
        except (Refused, KeyReused, VersionConflict):
            # The same call may have been committed since the key was looked up, so that it is in its own way.
            first = self.first_receipt(call.order_id, key, call.content)
            if first is None:
                raise
            return first

    def _outcome(self, call: Call, before: Order, recalled: Order | None) -> Change | Receipt:
        """The same, on the order as it stands before."""
        request = call.request
        short = self.short(before)
        outcome = call.decided(before, short)
        if isinstance(outcome, Refused):
            raise outcome
        if isinstance(outcome, Entry):
            return Receipt(self._as_of(before, outcome), (outcome,), duplicate=True)
        if not outcome:
            return Receipt(before, ())
        after = outcome[-1].order
        entries = tuple(map(_entry_of, outcome))
        moves = self._moves(before, after, short) if after.lines else ()
        told = messages(before, outcome, moves)
        return Change(after, before.version, entries, moves, told, request.key, call.content, recalled)

    def first_receipt(self, order_id: str, key: str | None, content: str | None) -> Receipt | None:
        """The receipt of what was committed under a key."""
        keyed = None if key is None else self._store.keyed(key)
        if keyed is None:
            return None
        if (keyed.order_id, keyed.content) != (order_id, content):
            raise KeyReused(
                f"the key {key!r} stands for something else, on order {keyed.order_id!r}; nothing was changed"
            )
        entries = self._store.history(order_id)[keyed.first - 1 : keyed.last]
        return Receipt(self._as_of(self._store.load(order_id), entries[-1]), entries, duplicate=True)

    def recorded(self, order: Order, request: Request) -> Entry | None:
        """The entry that recorded the payment of this reference, if one did: a payment counts once.

        Raises:
            KeyReused: it stands there with another amount or currency.
        """
        reference = request.facts.get("reference")
        if reference is None or self._workflow.ledger_of(request.trigger) != "captured":
            return None
        for payment in order.payments:
            if payment.kind == "captured" and payment.reference == reference:
                amount = request.facts.get("amount", payment.amount)
                currency = request.facts.get("currency", order.currency)
                if (amount, currency) != (payment.amount, order.currency):
                    raise KeyReused(
                        f"order {order.id!r} has the payment {reference!r} of {payment.amount} {order.currency},"
                        f" so it cannot be one of {amount} {currency}; nothing was changed"
                    )
                return self._store.history(order.id)[payment.version - 1]
        return None

    def _as_of(self, order: Order, entry: Entry) -> Order:
        """An order as it stood after an entry of its history."""
        payments = tuple(payment for payment in order.payments if payment.version <= entry.version)
        return order.after(entry, payments, self._workflow.counts_in(entry.state_after))

    def short(self, order: Order) -> frozenset[str]:
        """The SKUs of which there is not enough on hand for the order to take. What it holds, it may keep."""
        if not order.lines or self._workflow.holds(order.state):
            return frozenset()
        wanted = order.quantities
        on_hand = self._store.stock(wanted)
        return frozenset([sku for sku, number in on_hand.items() if number < wanted[sku]])

    def _moves(self, before: Order, after: Order, short: frozenset[str]) -> tuple[StockMove, ...]:
        """Stock follows state: taken when an order begins to hold it, given back when it ends to."""
        held, holds = self._workflow.holds(before.state), self._workflow.holds(after.state)
        if held == holds:
            return ()
        sign = -1 if holds else 1
        return tuple(
            [StockMove(sku, sign * quantity, holds and sku not in short) for sku, quantity in after.quantities.items()]
        )


_entry_of = attrgetter("entry")


def _nothing_recalled(_: str) -> None:
    """For a store that recalls no orders."""


def noted(order: Order, request: Request) -> Decision:
    """A comment as a decision: an entry, and no box changes."""
    entry = Entry(
        version=order.version + 1,
        trigger="comment",
        state_before=order.state,
        state_after=order.state,
        at=request.at,
        by=request.by,
        comment=request.comment,
        visible=request.visible,
        notify=request.notify,
        key=request.key,
    )
    return Decision(order.after(entry, order.payments, order.counted), entry, None)

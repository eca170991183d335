"""The recorder of a gateway's facts. It finds the order of an event and records the event once.

Events may arrive in any order. The commit checks the event's id (its idempotency key), the identity of the fact, and
its bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta

from order_fsm.errors import KeyReused, OrderNotFound, Refused, StoreError
from order_fsm.model import Receipt
from order_fsm.orders.service import Orders
from order_fsm.payments.events import PaymentEvent
from order_fsm.payments.facts import event_text, facts_of, has_money, key_of, related_key
from order_fsm.payments.outcome import Outcome, ignored, parked, recorded, rejected, unmatched, warn_of_note

WAIT = timedelta(hours=24)
"""The time that a fact waits for its order, or for an earlier fact of its payment. Then the gateway stops repeating."""

_ANNOUNCED = ("captured", "refunded")
"""The kinds whose entries the customer may read."""


class Recorder:
    """Records the events of one gateway."""

    def __init__(
        self, orders: Orders, triggers: Mapping[str, str], provider: str | None, *, ignores_unknown: bool
    ) -> None:
        """Create the recorder.

        Args:
            orders: records the facts.
            triggers: the trigger of each kind of event that fires one.
            provider: the name of the gateway, for events that do not have it.
            ignores_unknown: whether events about no order of this shop are ignored.
        """
        self._orders = orders
        self._triggers = triggers
        self._provider = provider
        self._ignores_unknown = ignores_unknown

    def record(self, event: PaymentEvent) -> Outcome:
        """Record an event."""
        provider = event.provider or self._provider
        key = key_of(event, provider)
        try:
            order_ids = self._order_ids(event, provider)
            if not order_ids:
                return self._of_no_order(key)
            if len(order_ids) > 1:
                return self._of_several_orders(order_ids, event, provider, key)
            return self._of_order(order_ids[0], event, provider, key)
        except OrderNotFound:
            return parked("the order was removed at the same time")
        except KeyReused:
            return rejected(409, "its id or payment was recorded with different content")
        except StoreError as error:
            return parked(f"the store cannot take it now ({type(error).__name__})")

    def _order_ids(self, event: PaymentEvent, provider: str | None) -> list[str]:
        """Return the order that an event names, or else the orders that have its payment.

        If the event names an unknown order, the payment decides. Some gateways put another number into refunds and
        disputes, and the money of a payment belongs to the order that has the payment.
        """
        if event.order_id is not None:
            try:
                return [self._orders.get(event.order_id).id]
            except OrderNotFound:
                pass
        if event.reference is None:
            return []
        return [
            order.id
            for order in self._orders.find(reference=event.reference)
            if any(
                row.reference == event.reference and (provider is None or row.provider in (None, provider))
                for row in order.payments
            )
        ]

    def _of_no_order(self, key: str) -> Outcome:
        if self._ignores_unknown:
            return ignored("there is no such order in this shop")
        # The time at the gateway does not count, because an event may come late, for example after a downtime.
        if self._orders.now() - self._orders.first_seen(related_key("first seen", key)) < WAIT:
            return parked("there is no such order yet")
        return unmatched(f"there is no such order after {WAIT}", key)

    def _of_several_orders(
        self, order_ids: Iterable[str], event: PaymentEvent, provider: str | None, key: str
    ) -> Outcome:
        why, unmatched = "several orders have this payment", has_money(event)
        receipts = [
            self._note(order_id, event, provider, related_key(f"on {order_id}", key), why, unmatched=unmatched)
            for order_id in order_ids
        ]
        new = [receipt for receipt in receipts if not receipt.duplicate]
        return recorded("noted on several orders that have its payment", new[0] if new else receipts[0])

    def _of_order(self, order_id: str, event: PaymentEvent, provider: str | None, key: str) -> Outcome:
        try:
            receipt = self._report(order_id, event, provider, key)
        except Refused as refused:
            if not self._waited(order_id, event, provider, key):
                return parked("an earlier fact of its payment has not come yet")
            # The event's own key stays free: if the earlier fact comes later, `reconcile` records both.
            own, reasons = related_key("unmatched", key), ", ".join(reason.code for reason in refused.reasons)
            receipt = self._note(order_id, event, provider, own, unmatched=True, reasons=reasons)
            with suppress(Refused):  # The earlier fact may have come since.
                receipt = self._report(order_id, event, provider, key)
        (entry,), order = receipt.entries, receipt.order
        if entry.trigger == "comment":
            is_note = event.kind.startswith("note:") and event.kind not in self._triggers
            if is_note and event.amount and not receipt.duplicate:
                warn_of_note(event.kind, key)
            why = entry.facts.get("reasons", "it fires no trigger")
            if event.moves_money and event.kind not in self._triggers:
                why = f"no rule of the workflow has ledger={event.kind!r}"
            return recorded(f"noted only: {why}", receipt)
        short_of_paying = event.kind == "captured" and (not order.counted or order.outstanding > 0)
        applied = entry.before != entry.after and not short_of_paying
        return recorded(f"the order is {order.state}", receipt, applied=applied)

    def _report(self, order_id: str, event: PaymentEvent, provider: str | None, key: str) -> Receipt:
        return self._orders.execute(
            self._orders.commands.gateway_fact(
                order_id,
                event.kind,
                facts_of(event, provider),
                key,
                event_text(event),
                trigger=self._triggers.get(event.kind),
                comment="reversed by the bank" if event.kind == "reversed" else "",
                visible=event.kind in _ANNOUNCED,
                occurred_at=event.occurred_at,
                unmatched=has_money(event),
            )
        )

    def _waited(self, order_id: str, event: PaymentEvent, provider: str | None, key: str) -> bool:
        """Return whether a fact has waited long enough for an earlier one.

        A comment reports the first arrival to the shop and stores its time. The event's own key stays free for the
        fact.
        """
        why = "an earlier fact of its payment has not come yet"
        receipt = self._note(order_id, event, provider, related_key("early", key), why)
        return receipt.duplicate and self._orders.now() - receipt.entries[0].at >= WAIT

    def _note(
        self,
        order_id: str,
        event: PaymentEvent,
        provider: str | None,
        key: str,
        why: str = "",
        *,
        unmatched: bool = False,
        reasons: str = "not_recorded",
    ) -> Receipt:
        """Record an event only as a comment."""
        comment = f"{event_text(event)}: {why}" if why else event_text(event)
        return self._orders.execute(
            self._orders.commands.gateway_fact(
                order_id, event.kind, facts_of(event, provider), key, comment, unmatched=unmatched, reasons=reasons
            )
        )

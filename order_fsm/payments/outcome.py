"""The outcome of a callback: of each event, and of all events."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from attrs import frozen

from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.model import Receipt

_log = logging.getLogger("order_fsm.payments")

OutcomeName = Literal["applied", "duplicate", "recorded", "parked", "ignored", "unmatched", "rejected"]

_BY_WEIGHT: tuple[OutcomeName, ...] = (
    "parked",
    "applied",
    "recorded",
    "unmatched",
    "duplicate",
    "ignored",
    "rejected",
)
"""Outcomes, heaviest first. Several events have the heaviest of their outcomes, so `rejected` needs all of them."""


@frozen
class Outcome:
    """The outcome of a callback.

    Attributes:
        outcome: the result.

            - `applied`: the event changed a box. A capture is applied only if nothing is outstanding after it.
            - `duplicate`: the event was recorded before.
            - `recorded`: the event is a fact that changes no box, or that the shop has to check, such as a payment of
              a part, which ticks only `sent` (placed).
            - `parked`: the gateway must send it again, because the order, an earlier fact or the store is not
              available yet.
            - `ignored`: the event is not for this shop. Nothing is recorded.
            - `unmatched`: there is still no such order after a day. Nothing is recorded, except in the log.
            - `rejected`: the callback is forged or unreadable, or contradicts the record under its id or payment.
              Nothing is recorded.
        http_status: the status of the HTTP response.
        reason: the reason for the log and the gateway's console. It holds no value of the body, except the type of an
            ignored event.
        receipt: the receipt of the change, or None. None for several events.
        outcomes: the outcome of each event if the callback has several.
    """

    outcome: OutcomeName
    http_status: int
    reason: str
    receipt: Receipt | None = None
    outcomes: tuple[Outcome, ...] = ()


def combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of a callback with several events.

    Its status is 503 if the gateway must send one of them again. The others are duplicates then. It is an error if all
    are rejected.
    """
    if not outcomes:
        return ignored("the callback holds no event")
    if len(outcomes) == 1:
        return outcomes[0]
    weightiest = min(outcomes, key=lambda one: _BY_WEIGHT.index(one.outcome))
    counts = Counter(one.outcome for one in outcomes)
    reason = ", ".join(f"{counts[name]} {name}" for name in _BY_WEIGHT if counts[name])
    return Outcome(
        weightiest.outcome, weightiest.http_status, f"{len(outcomes)} events: {reason}", None, tuple(outcomes)
    )


def rejected(http_status: int, reason: str) -> Outcome:
    """Log the outcome and return it."""
    _log.warning("a callback was rejected: %s", reason)
    return Outcome("rejected", http_status, reason)


def parked(reason: str) -> Outcome:
    """Log the outcome and return it."""
    _log.warning("a callback was parked: %s", reason)
    return Outcome("parked", 503, reason)


def unmatched(reason: str, key: str) -> Outcome:
    """Log the outcome with the event's key, which only the log has, and return it."""
    _log.error("a callback could not be matched: %s (%s)", reason, key)
    return Outcome("unmatched", 200, reason)


def ignored(reason: str) -> Outcome:
    """Log the outcome and return it."""
    _log.info("a callback was ignored: %s", reason)
    return Outcome("ignored", 200, reason)


def warn_of_note(kind: str, key: str) -> None:
    """Log that an event with an amount is only a note, because its kind may be misspelt."""
    text = "a callback with an amount was only noted: %r fires no trigger (%s). The kinds that move money are %s"
    _log.warning(text, kind, key, ", ".join(PAYMENT_KINDS))


def recorded(reason: str, receipt: Receipt, *, applied: bool = False) -> Outcome:
    """Return the outcome of a change."""
    if receipt.duplicate:
        return Outcome("duplicate", 200, "seen before", receipt)
    return Outcome("applied" if applied else "recorded", 200, reason, receipt)

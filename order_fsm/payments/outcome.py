"""The outcome of a callback: of each event, and of all together."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from attrs import frozen

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
"""The outcome of several events is that of the weightiest, so it is `rejected` only if all are."""


@frozen
class Outcome:
    """The outcome of a callback.

    Attributes:
        outcome: what happened.

            - `applied`: a box changed as the event says.
            - `duplicate`: it was recorded before.
            - `recorded`: it is a fact that changes no box, or that the shop has to look at.
            - `parked`: the gateway must send it again, because the order, an earlier fact or the store is not there
              yet.
            - `ignored`: it is not for this shop. Nothing is recorded.
            - `unmatched`: there is still no such order after a day. Nothing is recorded, except in the log.
            - `rejected`: it is forged or unreadable, or contradicts what was recorded under its id or payment. Nothing
              is recorded.
        http_status: to answer with.
        reason: for the log and the gateway's console. It holds no value of the body.
        receipt: of the change, if there was one. None for several events.
        outcomes: the outcome of each event if the callback has several.
    """

    outcome: OutcomeName
    http_status: int
    reason: str
    receipt: Receipt | None = None
    outcomes: tuple[Outcome, ...] = ()


def combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of a callback with these events.

    Its status is 503 if one of them must come again. All others are duplicates then. It is an error if all are
    rejected.
    """
    if not outcomes:
        return ignored("it holds no event")
    if len(outcomes) == 1:
        return outcomes[0]
    weightiest = min(outcomes, key=lambda one: _BY_WEIGHT.index(one.outcome))
    counts = Counter(one.outcome for one in outcomes)
    reason = ", ".join(f"{counts[name]} {name}" for name in _BY_WEIGHT if counts[name])
    return Outcome(
        weightiest.outcome, weightiest.http_status, f"{len(outcomes)} events: {reason}", None, tuple(outcomes)
    )


def rejected(http_status: int, reason: str) -> Outcome:
    """Return the outcome, and log it."""
    _log.warning("a callback was rejected: %s", reason)
    return Outcome("rejected", http_status, reason)


def parked(reason: str) -> Outcome:
    """Return the outcome, and log it."""
    _log.warning("a callback was parked: %s", reason)
    return Outcome("parked", 503, reason)


def unmatched(reason: str, key: str) -> Outcome:
    """Return the outcome, and log it with the event's key: the log alone says which money it was."""
    _log.error("a callback could not be matched: %s (%s)", reason, key)
    return Outcome("unmatched", 200, reason)


def ignored(reason: str) -> Outcome:
    """Return the outcome, and log it."""
    _log.info("a callback was ignored: %s", reason)
    return Outcome("ignored", 200, reason)


def recorded(reason: str, receipt: Receipt, *, applied: bool = False) -> Outcome:
    """Return the outcome of a change."""
    if receipt.duplicate:
        return Outcome("duplicate", 200, "seen before", receipt)
    return Outcome("applied" if applied else "recorded", 200, reason, receipt)

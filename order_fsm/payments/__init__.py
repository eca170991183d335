"""Verify and parse a gateway's callbacks, and record each event once."""

from order_fsm.currencies import minor, to_minor
from order_fsm.payments.events import Ignore, Parsed, Parser, PaymentEvent, TryAgain, standard_event
from order_fsm.payments.outcome import Outcome
from order_fsm.payments.payload import InvalidCallback, MissingMember, decode, member, normalised, optional_member
from order_fsm.payments.receiver import PaymentReceiver
from order_fsm.payments.signatures import (
    HmacSignature,
    StandardWebhooks,
    StripeSignature,
    Verified,
    Verifier,
    verified,
)

__all__ = [
    "HmacSignature",
    "Ignore",
    "InvalidCallback",
    "MissingMember",
    "Outcome",
    "Parsed",
    "Parser",
    "PaymentEvent",
    "PaymentReceiver",
    "StandardWebhooks",
    "StripeSignature",
    "TryAgain",
    "Verified",
    "Verifier",
    "decode",
    "member",
    "minor",
    "normalised",
    "optional_member",
    "standard_event",
    "to_minor",
    "verified",
]

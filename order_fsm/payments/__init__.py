"""A gateway's callbacks: verified, parsed, and recorded once."""

from order_fsm.payments.receiver import Outcome, PaymentEvent, PaymentReceiver, standard_event
from order_fsm.payments.signatures import StandardWebhooks, StripeSignature, Verifier

__all__ = [
    "Outcome",
    "PaymentEvent",
    "PaymentReceiver",
    "StandardWebhooks",
    "StripeSignature",
    "Verifier",
    "standard_event",
]

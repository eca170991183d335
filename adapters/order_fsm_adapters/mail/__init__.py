"""Mail the customer and the merchant."""

from order_fsm_adapters.mail.mailer import Mailer

__all__ = ["Mailer"]

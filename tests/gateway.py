"""A payment gateway for tests that signs its events with the library of the specification."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from standardwebhooks.webhooks import Webhook

from order_fsm.payments import Outcome, PaymentReceiver, StandardWebhooks

if TYPE_CHECKING:
    from tests.conftest import Shop

SECRET = "whsec_" + base64.b64encode(b"the secret of the tests").decode()


def body_of(kind: str = "captured", **about: Any) -> bytes:
    """Return the body of an event, by default 10.00 GBP for order 1001 under ch_1. `...` leaves a value out."""
    data = {"order_id": "1001", "reference": "ch_1", "amount": "10.00", "currency": "GBP", **about}
    given = {name: value for name, value in data.items() if value is not ...}
    return json.dumps({"type": f"payment.{kind}", "data": given}).encode()


class Gateway:
    """Reports payments to a shop, on the shop's clock."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.receiver = PaymentReceiver(shop.orders, StandardWebhooks(SECRET), clock=shop.clock)

    def headers(self, body: bytes, event_id: str = "evt_1", secret: str = SECRET) -> dict[str, str]:
        """Return the signed headers of a body."""
        now = self._shop.clock.now
        return {
            "Content-Type": "application/json",
            "Webhook-Id": event_id,
            "Webhook-Timestamp": str(int(now.timestamp())),
            "Webhook-Signature": Webhook(secret).sign(event_id, now, body.decode()),
        }

    def deliver(self, body: bytes, event_id: str = "evt_1") -> Outcome:
        """Send a body with a signature."""
        return self.receiver.receive(body, self.headers(body, event_id))

    def send(self, kind: str = "captured", event_id: str = "evt_1", **about: Any) -> Outcome:
        """Send a signed event. See `body_of`."""
        return self.deliver(body_of(kind, **about), event_id)

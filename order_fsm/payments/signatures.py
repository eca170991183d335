"""Signatures of callbacks: whether a body is from the gateway, and made just now."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from order_fsm.errors import InvalidInput

TOLERANCE = timedelta(minutes=5)
"""How far the time of a signature may be from now, either way (Standard Webhooks specification, "Verifying")."""


class Verifier(Protocol):
    """Tells whether a body is from the gateway."""

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Mapping[str, str]:
        """Return where it is; raise anything where it is not.

        Args:
            body: the raw bytes.
            headers: with lower-case names.
            now: with a time zone.

        Returns:
            The headers that are signed with the body. No others are read: anybody may have written them.
        """
        ...


class StandardWebhooks:
    """Signatures as in the Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

    Raises:
        ImportError: the library `standardwebhooks` is missing: `pip install order-fsm[webhooks]`.
        InvalidInput: no secret, or one that the library cannot read.
    """

    def __init__(self, *secrets: str) -> None:
        """Take the live secrets (`whsec_...`): more than one while an old one is being replaced."""
        try:
            from standardwebhooks.webhooks import Webhook
        except ImportError as error:
            raise ImportError("StandardWebhooks needs a library: pip install 'order-fsm[webhooks]'") from error
        _some(secrets)
        try:
            self._webhooks = [Webhook(secret) for secret in secrets]
        except Exception:
            # The library's own error is not shown: it is about the secret.
            raise InvalidInput("a secret must be base64, and not empty, with or without 'whsec_' before it") from None

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Mapping[str, str]:
        """Raise unless one of the signatures is by one of the secrets, and made within `TOLERANCE` of now.

        The library signs, and the comparison is made here: its own check knows no clock but the system's.
        """
        event_id, stamp = headers["webhook-id"], headers["webhook-timestamp"]
        at = _instant(stamp)
        text = body.decode()
        given = [one.removeprefix("v1,") for one in headers["webhook-signature"].split(" ") if one.startswith("v1,")]
        _match(given, [webhook.sign(event_id, at, text).removeprefix("v1,") for webhook in self._webhooks])
        _within_tolerance(at, now)
        return {"webhook-id": event_id, "webhook-timestamp": stamp}


class StripeSignature:
    """Signatures in the form `t=<seconds>,v1=<hex>` in the header `stripe-signature` (Stripe's documentation, "Verify
    webhook signatures manually").

    Raises:
        InvalidInput: no secret.
    """

    def __init__(self, *secrets: str) -> None:
        """Take the live secrets: more than one while an old one is being replaced."""
        self._secrets = [secret.encode() for secret in _some(secrets)]

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Mapping[str, str]:
        """Raise unless one of the signatures is by one of the secrets, and made within `TOLERANCE` of now."""
        parts = [part.strip().partition("=") for part in headers["stripe-signature"].split(",")]
        (stamp,) = [value for name, _, value in parts if name == "t"]
        at = _instant(stamp)
        signed = stamp.encode() + b"." + body
        given = [value for name, _, value in parts if name == "v1"]
        _match(given, [hmac.new(secret, signed, hashlib.sha256).hexdigest() for secret in self._secrets])
        _within_tolerance(at, now)
        return {}


def _some(secrets: tuple[str, ...]) -> tuple[str, ...]:
    if not secrets or not all(isinstance(secret, str) and secret for secret in secrets):
        raise InvalidInput("give at least one secret, a string that is not empty")
    return secrets


def _instant(stamp: str) -> datetime:
    """The time in whole seconds; written in one way only, so that it is the text that was signed."""
    seconds = int(stamp)
    if str(seconds) != stamp:
        raise ValueError("the time of the signature is no plain number")
    return datetime.fromtimestamp(seconds, UTC)


def _within_tolerance(at: datetime, now: datetime) -> None:
    if abs(now - at) > TOLERANCE:
        raise ValueError("the time of the signature is too far from now")


def _match(given: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise unless one of the given signatures is one of the wanted; every pair is compared, in constant time."""
    matches = [hmac.compare_digest(one.encode(), other.encode()) for one in given for other in wanted]
    if not any(matches):
        raise ValueError("no signature matches")

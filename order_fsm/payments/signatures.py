"""Verify that a body is from the gateway.

Every signature is compared with every live secret in constant time. A scheme that signs the time also limits it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, Protocol

from attrs import field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput, MissingDependency
from order_fsm.payments.payload import InvalidCallback

TOLERANCE = timedelta(minutes=5)
"""The largest difference between the time of a signature and now (Standard Webhooks specification, "Verifying")."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
"""The form of a secret (Standard Webhooks specification, "Signature scheme"). The library accepts it unpadded, too."""


def _headers(value: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise InvalidInput("Verified needs the signed headers as a mapping of strings")
    return MappingProxyType(dict(value))


def _items(value: Sequence[Any] | None) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise InvalidInput(f"the items of Verified must be a sequence, not {type(value).__name__}")
    return tuple(value)


@frozen
class Verified:
    """A verifier's only way to accept a callback.

    Attributes:
        headers: the headers that are signed with the body. Other headers are not trustworthy.
        items: the input of the parser, one call per item, instead of the decoded body. For example the events of a
            batch that are signed one by one, or the content of a body that is not JSON.
    """

    headers: Mapping[str, str] = field(converter=_headers)
    items: tuple[Any, ...] | None = field(default=None, converter=_items)


class Verifier(Protocol):
    """Verifies that a body is from the gateway."""

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:
        """Return `Verified` if the body is from the gateway.

        Args:
            body: the raw bytes.
            headers: the headers, with lower-case names.
            now: the current time, with a time zone.

        Raises:
            TryAgain: if a temporary fault prevents a decision.
            InvalidCallback: if the body is not from the gateway. The log and the outcome show its message.
            Exception: like `InvalidCallback`, except that only the type of the exception is shown.
        """
        ...


def verified(answer: object) -> Verified:
    """Return the result of a verifier if it is `Verified`. Reject everything else.

    Some gateways' helpers return False for a forged body, and an `async` verifier returns a coroutine.

    Raises:
        InvalidCallback: if the result is not `Verified`.
    """
    if isinstance(answer, Verified):
        return answer
    validation.close_unfinished(answer)
    raise InvalidCallback(f"a verifier must return Verified, not {type(answer).__name__}")


class StandardWebhooks:
    """Signatures of the Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

    Raises:
        MissingDependency: if the library `standardwebhooks` is not installed.
        InvalidInput: if there is no secret, or one is not a string or not base64.
    """

    def __init__(self, *secrets: str) -> None:
        """Take the live secrets (`whsec_...`), several during a rotation."""
        try:
            from standardwebhooks.webhooks import Webhook
        except ImportError as error:
            raise MissingDependency.of_extra("StandardWebhooks", "standardwebhooks", "webhooks") from error
        _checked(secrets)
        wrong = InvalidInput("a secret must be base64, and not empty, with or without 'whsec_' before it")
        # The library drops characters that are not base64, and would use a different key.
        if not all(_BASE64.fullmatch(secret.removeprefix("whsec_")) for secret in secrets):
            raise wrong
        try:
            self._webhooks = [Webhook(secret) for secret in secrets]
        except Exception:
            # The error of the library would show the secret.
            raise wrong from None

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:
        """Return `Verified` if a signature is by one of the secrets and made within `TOLERANCE` of now.

        This method compares the signatures, because the check of the library uses the system's clock.
        """
        event_id, stamp = headers["webhook-id"], headers["webhook-timestamp"]
        at = _instant(stamp)
        text = body.decode()
        given = [one.removeprefix("v1,") for one in headers["webhook-signature"].split(" ") if one.startswith("v1,")]
        _match(given, [webhook.sign(event_id, at, text).removeprefix("v1,") for webhook in self._webhooks])
        _within_tolerance(at, now)
        return Verified({"webhook-id": event_id, "webhook-timestamp": stamp})


class StripeSignature:
    """Signatures `t=<seconds>,v1=<hex>` in the header `stripe-signature`.

    See Stripe's documentation, "Verify webhook signatures manually".

    Raises:
        InvalidInput: if there is no secret, or one is not a string.
    """

    def __init__(self, *secrets: str) -> None:
        """Take the live secrets (`whsec_...`), several during a rotation."""
        self._secrets = [_key_of(secret) for secret in _checked(secrets)]

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:
        """Return `Verified` if a signature is by one of the secrets and made within `TOLERANCE` of now."""
        parts = [part.strip().partition("=") for part in headers["stripe-signature"].split(",")]
        stamps = [value for name, _, value in parts if name == "t"]
        if len(stamps) != 1:
            raise InvalidCallback("the header stripe-signature needs one time")
        (stamp,) = stamps
        at = _instant(stamp)
        signed = stamp.encode() + b"." + body
        given = [value for name, _, value in parts if name == "v1"]
        _match(given, [hmac.new(secret, signed, hashlib.sha256).hexdigest() for secret in self._secrets])
        _within_tolerance(at, now)
        return Verified({})


class HmacSignature:
    """An HMAC of the raw body in one header, as most gateways send it.

    The scheme signs no time, so a recorded callback verifies for ever. Events therefore need a unique id.

    Raises:
        InvalidInput: if there is no secret or header, a secret is not a string or bytes, the prefix is not a string,
            or the algorithm or encoding is unknown.
    """

    def __init__(
        self,
        *secrets: str | bytes,
        header: str,
        algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256",
        encoding: Literal["hex", "base64"] = "hex",
        prefix: str = "",
    ) -> None:
        """Take the live secrets, several during a rotation.

        Args:
            secrets: the keys of the HMAC. Bytes are used unchanged, for gateways that give a key in hexadecimal or
                base64.
            header: the name of the header, in any case.
            algorithm: the hash.
            encoding: the encoding of the digest in the header. Hexadecimal digits are lower-case.
            prefix: the text in front of the digest, such as `sha256=`.
        """
        if algorithm not in ("sha1", "sha256", "sha384", "sha512"):
            raise InvalidInput(f"algorithm must be sha1, sha256, sha384 or sha512, not {validation.shown(algorithm)}")
        if encoding not in ("hex", "base64"):
            raise InvalidInput(f"encoding must be hex or base64, not {validation.shown(encoding)}")
        for secret in secrets:
            if not isinstance(secret, str | bytes):
                raise InvalidInput(f"a secret must be a string or bytes, not {type(secret).__name__}")
        if not secrets or not all(secrets):
            raise InvalidInput("give at least one secret, a string or bytes, not empty")
        self._secrets = [_key_of(secret) if isinstance(secret, str) else secret for secret in secrets]
        self._header = validation.name(header, "header").lower()
        self._algorithm = algorithm
        self._encoding = encoding
        self._prefix = validation.text(prefix, "prefix", validation.ID_LENGTH)

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Verified:  # noqa: ARG002
        """Return `Verified` if the signature is by one of the secrets."""
        digests = [hmac.new(secret, body, self._algorithm).digest() for secret in self._secrets]
        _match([headers[self._header]], [self._prefix + self._encoded(digest) for digest in digests])
        return Verified({})

    def _encoded(self, digest: bytes) -> str:
        return digest.hex() if self._encoding == "hex" else base64.b64encode(digest).decode()


def _checked(secrets: Sequence[str]) -> Sequence[str]:
    for secret in secrets:
        if not isinstance(secret, str):
            raise InvalidInput(f"a secret must be a string, not {type(secret).__name__}")
    if not secrets or not all(secrets):
        raise InvalidInput("give at least one secret, a string that is not empty")
    return secrets


def _key_of(secret: str) -> bytes:
    # An environment variable that is not UTF-8 holds surrogates. Python's own error would hold the secret.
    return validation.text(secret, "a secret", validation.COMMENT_LENGTH).encode()


def _match(given: Sequence[str], wanted: Sequence[str]) -> None:
    """Compare every given signature with every wanted one in constant time. Raise if no two are equal."""
    matches = [hmac.compare_digest(one.encode(), other.encode()) for one in given for other in wanted]
    if not any(matches):
        raise InvalidCallback("no signature matches: wrong secret or altered body")


def _instant(stamp: str) -> datetime:
    """Read a time in whole seconds. It must have its usual spelling, because its text is signed."""
    try:
        seconds = int(stamp)
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidCallback("the time of the signature is not a number of seconds") from None
    if str(seconds) != stamp:
        raise InvalidCallback("the time of the signature is not a plain number")
    return at


def _within_tolerance(at: datetime, now: datetime) -> None:
    if abs(now - at) > TOLERANCE:
        minutes = TOLERANCE // timedelta(minutes=1)
        raise InvalidCallback(f"the time of the signature is more than {minutes} minutes from now")

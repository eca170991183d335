"""Bodies have one reading, and headers may have the form of any server."""

from __future__ import annotations

from decimal import Decimal
from email.message import Message
from io import BytesIO
from typing import Any

import pytest

from order_fsm import InvalidInput
from order_fsm.payments import decode, member, normalised, optional_member


@pytest.mark.parametrize(
    "headers",
    [
        {"Stripe-Signature": "t=1", "Content-Type": "application/json"},
        {"STRIPE-SIGNATURE": "t=1", "content-type": "application/json"},
        [("Stripe-Signature", "t=1"), ("Content-Type", "application/json")],
        [(b"stripe-signature", b"t=1"), (b"content-type", b"application/json")],
        (["stripe-signature", "t=1"], ["content-type", "application/json"]),
        {b"stripe-signature": b"t=1", b"content-type": b"application/json"},
        {
            "HTTP_STRIPE_SIGNATURE": "t=1",
            "CONTENT_TYPE": "application/json",
            "wsgi.input": BytesIO(),
            "wsgi.multithread": True,
            "wsgi.version": (1, 0),
        },
    ],
    ids=["title", "upper", "pairs", "asgi", "lists", "bytes", "wsgi"],
)
def test_headers_of_every_form_are_read_alike(headers: Any) -> None:
    assert normalised(headers) == {"stripe-signature": "t=1", "content-type": "application/json"}


def test_headers_of_the_standard_library_are_read() -> None:
    message = Message()
    message["Webhook-Id"] = "evt_1"
    assert normalised(message) == {"webhook-id": "evt_1"}


def test_headers_from_a_generator_of_pairs_are_read() -> None:
    assert normalised((name, "1") for name in ("A", "B")) == {"a": "1", "b": "1"}


def test_header_that_comes_twice_is_joined() -> None:
    """With only the first or the last, a proxy and the shop could read different signatures."""
    assert normalised([("X-Signature", "one"), ("x-signature", "two")]) == {"x-signature": "one, two"}


def test_header_bytes_are_latin_1() -> None:
    assert normalised([(b"x-name", b"caf\xe9")]) == {"x-name": "café"}


@pytest.mark.parametrize("headers", [None, "a: b", b"a: b", 1, ["a"], ["ab"], [("a", "b", "c")], [1]])
def test_headers_of_another_type_are_refused(headers: Any) -> None:
    with pytest.raises(InvalidInput, match="headers must be"):
        normalised(headers)


def test_decode_keeps_fractions_exact() -> None:
    assert decode(b'{"amount": 49.90}') == {"amount": Decimal("49.90")}


@pytest.mark.parametrize(
    "body", [b'{"a": 1, "a": 2}', b'{"x": {"a": 1, "a": 1}}', b"NaN", b"[Infinity]", b"{", b"\xff"]
)
def test_decode_refuses_a_body_with_two_readings(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(body)


def test_member_names_the_path_that_is_missing() -> None:
    data = {"data": {"object": {"id": None}}}
    with pytest.raises(InvalidInput, match=r"no member 'data\.object\.id'"):
        member(data, "data", "object", "id")
    assert optional_member(data, "data", "object", "id") is None
    assert optional_member([data], "data") is None
    assert member({"amount": 0}, "amount") == 0

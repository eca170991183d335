"""A verifier accepts a callback only by returning `Verified`, and only for the holder of the secret."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from order_fsm import InvalidInput
from order_fsm.errors import MissingDependency
from order_fsm.payments import HmacSignature, StandardWebhooks, Verified, verified
from order_fsm_adapters.gateways.gocardless import GoCardlessEvents, GoCardlessSignature
from order_fsm_adapters.gateways.mollie import MollieEvents
from order_fsm_adapters.gateways.paypal import PayPalSignature
from order_fsm_adapters.gateways.razorpay import RazorpaySignature
from tests.gateways.samples import NOW, OLD, OTHERS, SECRET, hex_hmac, recorded

BODY = b'{"id": "evt_1", "note": "Gr\xc3\xbc\xc3\x9fe"}'


@pytest.mark.parametrize("answer", [True, False, None, {}, {"webhook-id": "evt_1"}, 1, "ok", b"", [], Verified])
def test_any_other_answer_is_a_rejection(answer: object) -> None:
    with pytest.raises(InvalidInput, match="must return Verified"):
        verified(answer)


def test_coroutine_is_a_rejection_and_leaves_no_warning() -> None:
    async def verify() -> Verified:
        return Verified({})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidInput, match="not coroutine"):
            verified(verify())


def test_future_is_a_rejection() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(InvalidInput, match="not Future"):
            verified(loop.create_future())
    finally:
        loop.close()


def test_verified_passes() -> None:
    answer = Verified({"webhook-id": "evt_1"}, [1, 2])
    assert verified(answer) is answer
    assert answer.headers == {"webhook-id": "evt_1"}
    assert answer.items == (1, 2)


def test_verified_shares_nothing_with_its_maker() -> None:
    headers = {"a": "1"}
    answer = Verified(headers)
    headers["b"] = "2"
    assert answer.headers == {"a": "1"}
    with pytest.raises(TypeError):
        answer.headers["c"] = "3"  # type: ignore[index]


@pytest.mark.parametrize("headers", [None, True, False, "a", [("a", "b")], {"a": 1}, {1: "a"}])
def test_verified_needs_headers(headers: Any) -> None:
    with pytest.raises(InvalidInput, match="signed headers"):
        Verified(headers)


@pytest.mark.parametrize("items", [True, "abc", b"abc", 1, {"a": 1}])
def test_verified_needs_a_sequence_of_items(items: Any) -> None:
    with pytest.raises(InvalidInput, match="sequence"):
        Verified({}, items)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha256="])
def test_hmac_of_every_form_is_verified(algorithm: Any, encoding: Any, prefix: str) -> None:
    verifier = HmacSignature(OLD, SECRET, header="X-Signature", algorithm=algorithm, encoding=encoding, prefix=prefix)
    for secret, expected in ((OLD, True), (SECRET, True), (OTHERS, False)):
        digest = hmac.new(secret.encode(), BODY, getattr(hashlib, algorithm)).digest()
        text = prefix + (digest.hex() if encoding == "hex" else base64.b64encode(digest).decode())
        assert accepts(verifier, BODY, {"x-signature": text}) is expected
        assert not accepts(verifier, BODY + b" ", {"x-signature": text})
        assert not accepts(verifier, BODY, {"x-signature": text + " "})
        assert not accepts(verifier, BODY, {"x-signature": text.swapcase()})
        if prefix:
            assert not accepts(verifier, BODY, {"x-signature": text.removeprefix(prefix)})


def test_hmac_key_in_bytes_is_used_unchanged() -> None:
    verifier = HmacSignature(SECRET.encode(), header="x-signature")
    assert accepts(verifier, BODY, {"x-signature": hex_hmac(BODY)})


@pytest.mark.parametrize("value", [None, "", " ", "é", "\udc80", "0" * 64, "sha256="])
def test_hmac_header_that_is_missing_or_odd_is_rejected(value: str | None) -> None:
    headers = {} if value is None else {"x-signature": value}
    assert not accepts(HmacSignature(SECRET, header="x-signature"), BODY, headers)


@pytest.mark.parametrize(
    "given",
    [
        *({"algorithm": "md5"}, {"algorithm": "shake_128"}, {"algorithm": ["sha256"]}),
        *({"encoding": "hexadecimal"}, {"encoding": {}}, {"prefix": None}, {"prefix": b"sha256="}),
    ],
)
def test_hmac_of_unknown_form_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match="must be"):
        HmacSignature(SECRET, header="x", **given)


@pytest.mark.parametrize("verifier", [GoCardlessSignature, RazorpaySignature])
@pytest.mark.parametrize("secrets", [(), ("",), (SECRET, ""), (b"",)])
def test_hmac_verifier_has_at_least_one_secret(verifier: Any, secrets: Any) -> None:
    with pytest.raises(InvalidInput, match="at least one secret"):
        verifier(*secrets)


@pytest.mark.parametrize("verifier", [GoCardlessSignature, RazorpaySignature])
@pytest.mark.parametrize(("secret", "kind"), [(None, "NoneType"), (1, "int"), ([SECRET], "list")])
def test_hmac_secret_of_another_type_is_refused_by_its_type(verifier: Any, secret: Any, kind: str) -> None:
    with pytest.raises(InvalidInput, match=f"^a secret must be a string or bytes, not {kind}$"):
        verifier(SECRET, secret)


@pytest.mark.parametrize(
    ("verifier", "header"), [(GoCardlessSignature, "webhook-signature"), (RazorpaySignature, "x-razorpay-signature")]
)
def test_gateway_that_signs_the_body_is_verified(verifier: Any, header: str) -> None:
    assert accepts(verifier(OLD, SECRET), BODY, {header: hex_hmac(BODY)})
    assert accepts(verifier(SECRET, OLD), BODY, {header: hex_hmac(BODY, OLD)})
    assert not accepts(verifier(SECRET), BODY, {header: hex_hmac(BODY, OTHERS)})
    assert not accepts(verifier(SECRET), BODY[::-1], {header: hex_hmac(BODY)})
    assert SECRET not in repr(verifier(SECRET))


def test_recorded_callback_of_gocardless_is_verified() -> None:
    sample = recorded("gocardless.webhook")
    key = sample["_from"].rpartition("key ")[2]
    assert accepts(GoCardlessSignature(key), sample["body"].encode(), sample["headers"])
    assert not accepts(GoCardlessSignature(key.lower()), sample["body"].encode(), sample["headers"])


@pytest.mark.parametrize(
    ("verifier", "module", "named"),
    [
        (lambda: StandardWebhooks(SECRET), "standardwebhooks.webhooks", ("StandardWebhooks", "webhooks")),
        (lambda: PayPalSignature("WH", certificate=b""), "cryptography", ("PayPalSignature", "paypal")),
    ],
)
def test_missing_library_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, verifier: Any, module: str, named: tuple[str, str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    user, extra = named
    with pytest.raises(MissingDependency) as missing:
        verifier()
    library = module.partition(".")[0]
    assert str(missing.value) == str(MissingDependency.of_extra(user, library, extra))


def accepts(verifier: Any, body: bytes, headers: dict[str, str]) -> bool:
    try:
        verified(verifier.verify(body, headers, NOW))
    except Exception:
        return False
    return True


async def ask(path: str) -> None: ...


@pytest.mark.parametrize(
    "create", [MollieEvents, GoCardlessEvents, lambda request: PayPalSignature("8PT597110X687430L", fetch=request)]
)
def test_request_to_a_gateway_must_be_a_plain_function(create: Callable[[Any], object]) -> None:
    with pytest.raises(InvalidInput, match=r"(fetch|lookup) must be a function that asks the gateway, not str"):
        create("https://api.example.com")
    with pytest.raises(InvalidInput, match=r"(fetch|lookup) must be a plain function, not an async one"):
        create(ask)

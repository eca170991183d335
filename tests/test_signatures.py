"""A signature is accepted only for exactly the signed bytes."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from order_fsm import InvalidInput
from order_fsm.payments import StandardWebhooks, StripeSignature, Verifier
from order_fsm.payments.signatures import TOLERANCE

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
BODY = '{"type": "payment.captured", "note": "Grüße"}'.encode()
OLD, NEW, OTHERS = ("whsec_" + base64.b64encode(text * 8).decode() for text in (b"old", b"new", b"foe"))


def standard(body: bytes = BODY, secret: str = NEW, at: datetime = NOW) -> dict[str, str]:
    """Return the headers signed by the library of the specification."""
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", at, body.decode()),
    }


def stripe(body: bytes = BODY, secret: str = NEW, stamp: str = STAMP) -> dict[str, str]:
    """Compute the header by hand: HMAC-SHA256 over `<t>.<body>` in hexadecimal."""
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={stamp},v1={digest}"}


def holds(verifier: Verifier, headers: Mapping[str, str], body: bytes = BODY, now: datetime = NOW) -> bool:
    try:
        verifier.verify(body, headers, now)
    except Exception:
        return False
    return True


def test_signature_of_the_library_is_accepted() -> None:
    assert holds(StandardWebhooks(NEW), standard())
    assert holds(StandardWebhooks(NEW.removeprefix("whsec_")), standard())


def test_secret_may_be_unpadded() -> None:
    secret = base64.b64encode(b"20 bytes of a secret").decode()
    assert secret.endswith("=")
    assert holds(StandardWebhooks(secret.rstrip("=")), standard(secret=secret))


def test_a_known_signature_is_accepted() -> None:
    """The value is that of `printf '1767603600.{}' | openssl dgst -sha256 -hmac whsec_x`."""
    known = "6f900de93aae7d2fbbb76472782d267a2ef09925346d03902f9c2c89ea4566eb"
    assert holds(StripeSignature("whsec_x"), {"stripe-signature": f"t={STAMP},v1={known}"}, b"{}")


@pytest.mark.parametrize(
    ("verifier", "sign"), [(StandardWebhooks(OLD, NEW), standard), (StripeSignature(OLD, NEW), stripe)]
)
def test_only_live_secrets_verify_a_signature(verifier: Verifier, sign: Callable[..., dict[str, str]]) -> None:
    """During a rotation the gateway may sign with either secret."""
    assert holds(verifier, sign(secret=OLD))
    assert holds(verifier, sign(secret=NEW))
    assert not holds(verifier, sign(secret=OTHERS))


def test_one_of_several_signatures_is_enough() -> None:
    """The gateway signs with its old and its new secret. Unknown versions are ignored."""
    good, bad = standard(), standard(secret=OTHERS)["webhook-signature"]
    for several in (f"{bad} {good['webhook-signature']}", f"v1a,AAAA  {good['webhook-signature']} v2,x rubbish"):
        assert holds(StandardWebhooks(NEW), good | {"webhook-signature": several})
    digest = stripe()["stripe-signature"].partition(",v1=")[2]
    for several in (f"t={STAMP},v1={'0' * 64},v1={digest},v0=x", f"v1={digest}, t={STAMP}"):
        assert holds(StripeSignature(NEW), {"stripe-signature": several})


@pytest.mark.parametrize("version", ["v0", "v2", "v1a", "V1", ""])
def test_a_signature_of_another_version_does_not_count(version: str) -> None:
    """Otherwise a weak signature of an old version would be enough."""
    signature = standard()["webhook-signature"].removeprefix("v1")
    for header in (version + signature, signature.removeprefix(",")):
        assert not holds(StandardWebhooks(NEW), standard() | {"webhook-signature": header})
    header = stripe()["stripe-signature"].replace("v1=", f"{version}=")
    assert not holds(StripeSignature(NEW), {"stripe-signature": header})


@pytest.mark.parametrize("late", [timedelta(hours=1), TOLERANCE + timedelta(seconds=1)])
def test_a_replay_is_refused(late: timedelta) -> None:
    """Its time is too early or too late by the given clock."""
    for verifier, headers in ((StandardWebhooks(NEW), standard()), (StripeSignature(NEW), stripe())):
        assert holds(verifier, headers, now=NOW + TOLERANCE)
        assert holds(verifier, headers, now=NOW - TOLERANCE)
        assert not holds(verifier, headers, now=NOW + late)
        assert not holds(verifier, headers, now=NOW - late)


ODD_STAMPS = [
    *("", " ", "-1", "0", "NaN", "inf", "1e9", "0x1", "9" * 30, "9" * 5000, f"{STAMP}.0", f" {STAMP}", f"+{STAMP}"),
    *(f"0{STAMP}", f"{STAMP}\n", f"{STAMP[0]}_{STAMP[1:]}", "".join(chr(0x660 + int(digit)) for digit in STAMP)),
]


@pytest.mark.parametrize("stamp", ODD_STAMPS)
def test_a_time_that_is_not_a_plain_number_is_refused(stamp: str) -> None:
    """Another spelling of the same number is refused too, because the text is signed."""
    assert not holds(StandardWebhooks(NEW), standard() | {"webhook-timestamp": stamp})
    assert not holds(StripeSignature(NEW), stripe(stamp=stamp))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", " ", "v1,", "v1", ",", "é", "\udc80", "v1,é", "v1,\udc80", "v1," * 99_999])
def test_a_header_that_is_missing_or_odd_is_refused(name: str, value: str | None) -> None:
    headers = {key: one for key, one in standard().items() if key != name}
    assert not holds(StandardWebhooks(NEW), headers if value is None else headers | {name: value})


@pytest.mark.parametrize(
    "header",
    [
        *("", "t", "t=", ",", "=", "t=,v1=", f"t={STAMP}", f"t={STAMP},v1=", f"t={STAMP},v1=é", "v1=" + "0" * 64),
        *(
            f"{stripe()['stripe-signature']},t={STAMP}",
            stripe()["stripe-signature"].replace("t=", "T="),
            "t=1," * 99_999,
        ),
    ],
)
def test_a_stripe_header_that_is_odd_is_refused(header: str) -> None:
    """A header with two times is odd, because it is unclear which one was signed."""
    assert not holds(StripeSignature(NEW), {"stripe-signature": header})
    assert not holds(StripeSignature(NEW), {})


@settings(deadline=None)
@given(place=st.integers(0, len(BODY) - 1), other=st.integers(1, 255))
def test_another_byte_in_the_body_is_refused(place: int, other: int) -> None:
    forged = BODY[:place] + bytes([BODY[place] ^ other]) + BODY[place + 1 :]
    assert not holds(StandardWebhooks(NEW), standard(), forged)
    assert not holds(StripeSignature(NEW), stripe(), forged)


@settings(deadline=None)
@given(data=st.data())
def test_another_byte_in_a_header_is_refused(data: st.DataObject) -> None:
    """This includes each byte of the signature, the id and the time. Only a space after the signature is ignored."""
    for verifier, headers in ((StandardWebhooks(NEW), standard()), (StripeSignature(NEW), stripe())):
        name = data.draw(st.sampled_from(sorted(headers)))
        place = data.draw(st.integers(0, len(headers[name]) - 1))
        other = data.draw(st.characters(max_codepoint=255))
        assume(other != headers[name][place])
        assert not holds(verifier, headers | {name: headers[name][:place] + other + headers[name][place + 1 :]})


@settings(deadline=None)
@given(body=st.binary(), headers=st.dictionaries(st.sampled_from([*standard(), *stripe()]), st.text()))
def test_guessed_signature_is_refused(body: bytes, headers: dict[str, str]) -> None:
    assert not holds(StandardWebhooks(NEW), headers, body)
    assert not holds(StripeSignature(NEW), headers, body)


def test_a_body_that_is_not_text_is_refused() -> None:
    """Standard Webhooks signs text. A header that fits the bytes as Latin-1 does not help."""
    assert not holds(StandardWebhooks(NEW), standard(), b"\xff\xfe{}")


def test_only_signed_headers_are_handed_on() -> None:
    """Stripe's scheme signs no header, so other headers are not trustworthy."""
    others = {"webhook-id": "evt_9", "x-forwarded-for": "6.6.6.6"}
    assert StandardWebhooks(NEW).verify(BODY, others | standard(), NOW).headers == {
        "webhook-id": "evt_1",
        "webhook-timestamp": STAMP,
    }
    assert StripeSignature(NEW).verify(BODY, others | stripe(), NOW).headers == {}


@pytest.mark.parametrize("verifier", [StandardWebhooks, StripeSignature])
@pytest.mark.parametrize("secrets", [(), ("",), (NEW, "")])
def test_a_verifier_has_at_least_one_secret(verifier: type[StandardWebhooks], secrets: tuple[str, ...]) -> None:
    """Without a secret it would refuse everything. With an empty one it would accept any signer."""
    with pytest.raises(InvalidInput, match="at least one secret"):
        verifier(*secrets)


@pytest.mark.parametrize("verifier", [StandardWebhooks, StripeSignature])
@pytest.mark.parametrize(("secret", "kind"), [(None, "NoneType"), (b"bytes", "bytes"), ([NEW], "list")])
def test_secret_of_another_type_is_refused_by_its_type(verifier: Any, secret: Any, kind: str) -> None:
    with pytest.raises(InvalidInput, match=f"^a secret must be a string, not {kind}$"):
        verifier(NEW, secret)


@pytest.mark.parametrize(
    "secret",
    ["whsec_ ", "whsec_A", "whsec_!!!", "geheimer-schlüssel", "my secret", "my_secret", f"{NEW}\n", f"whsec_{NEW}"],
)
def test_a_secret_that_is_not_base64_is_refused(secret: str) -> None:
    """The library drops such characters, and every signature would fail. The error does not show the secret."""
    with pytest.raises(InvalidInput, match="base64") as refusal:
        StandardWebhooks(NEW, secret)
    assert secret not in str(refusal.value)


def test_a_verifier_does_not_show_its_secrets() -> None:
    for verifier in (StandardWebhooks(NEW), StripeSignature(NEW)):
        assert NEW.removeprefix("whsec_") not in repr(verifier) + str(verifier)


def test_every_pair_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hmac.compare_digest` compares every pair, even after a match, so that the time reveals nothing."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    signature = standard()["webhook-signature"]
    assert holds(StandardWebhooks(NEW, OLD), standard() | {"webhook-signature": f"{signature} v1,x"})
    assert len(compared) == 4

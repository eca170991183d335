"""Forged callbacks of a sender who knows everything except the secret.

`accepted_forgeries(GATEWAYS["stripe"], count=30_000)` tries 30,000 bodies on one verifier. It must return an empty
list.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from order_fsm.payments import HmacSignature, StandardWebhooks, StripeSignature, Verified, decode, verified
from order_fsm.payments.signatures import Verifier
from order_fsm_adapters.gateways.adyen import AdyenSignature
from order_fsm_adapters.gateways.gocardless import GoCardlessSignature
from order_fsm_adapters.gateways.paypal import PayPalSignature
from order_fsm_adapters.gateways.razorpay import RazorpaySignature
from tests.gateways.samples import (
    ADYEN_KEY,
    ADYEN_OTHERS,
    NOW,
    OTHERS,
    SECRET,
    WEBHOOK_ID,
    adyen_body,
    adyen_item,
    encoded,
    gocardless_event,
    hex_hmac,
    paypal_certificate,
    paypal_event,
    paypal_headers,
    razorpay_event,
    stripe_event,
    stripe_headers,
    stripe_intent,
)

Callback = tuple[bytes, dict[str, str]]
_WEBHOOKS, _WEBHOOKS_OTHERS = "b3VycyBvdXJzIG91cnM=", "dGhlaXJzIHRoZWlycw=="


class Gateway(NamedTuple):
    """A verifier with one genuine callback.

    Attributes:
        verifier: the verifier with the shop's secret.
        body: the genuine body.
        genuine: signs a body with the shop's secret.
        foreign: signs a body with another secret.
    """

    verifier: Verifier
    body: Any
    genuine: Callable[[Any], Callback]
    foreign: Callable[[Any], Callback]


def _signed(header: str, secret: str) -> Callable[[Any], Callback]:
    def sign(data: Any) -> Callback:
        body = encoded(data)
        return body, {header: hex_hmac(body, secret)}

    return sign


def _stripe(secret: str) -> Callable[[Any], Callback]:
    return lambda data: (encoded(data), stripe_headers(encoded(data), secret))


def _webhooks(secret: str) -> Callable[[Any], Callback]:
    def sign(data: Any) -> Callback:
        from standardwebhooks.webhooks import Webhook

        body = encoded(data)
        signature = Webhook(secret).sign("evt_1", NOW, body.decode())
        stamp = str(int(NOW.timestamp()))
        return body, {"webhook-id": "evt_1", "webhook-timestamp": stamp, "webhook-signature": signature}

    return sign


def _paypal(owner: str) -> Callable[[Any], Callback]:
    return lambda data: (encoded(data), paypal_headers(encoded(data), owner))


def _adyen(key: str) -> Callable[[Any], Callback]:
    def sign(items: Any) -> Callback:
        try:
            return encoded(adyen_body(*items, key=key)), {}
        except (TypeError, KeyError):  # A mutated item may have nothing to sign.
            return encoded({"live": "true", "notificationItems": items}), {}

    return sign


GATEWAYS: dict[str, Gateway] = {
    "standard webhooks": Gateway(
        StandardWebhooks(_WEBHOOKS), {"type": "payment.captured"}, _webhooks(_WEBHOOKS), _webhooks(_WEBHOOKS_OTHERS)
    ),
    "stripe": Gateway(
        StripeSignature(SECRET),
        stripe_event("payment_intent.succeeded", stripe_intent()),
        _stripe(SECRET),
        _stripe(OTHERS),
    ),
    "hmac": Gateway(
        HmacSignature(SECRET, header="x-signature"),
        {"id": "evt_1"},
        _signed("x-signature", SECRET),
        _signed("x-signature", OTHERS),
    ),
    "razorpay": Gateway(
        RazorpaySignature(SECRET),
        razorpay_event("payment.captured"),
        _signed("x-razorpay-signature", SECRET),
        _signed("x-razorpay-signature", OTHERS),
    ),
    "gocardless": Gateway(
        GoCardlessSignature(SECRET),
        {"events": [gocardless_event("payments", "confirmed")]},
        _signed("webhook-signature", SECRET),
        _signed("webhook-signature", OTHERS),
    ),
    "paypal": Gateway(
        PayPalSignature(WEBHOOK_ID, certificate=paypal_certificate()),
        paypal_event(),
        _paypal("PayPal"),
        _paypal("Mallory"),
    ),
    "adyen": Gateway(
        AdyenSignature(ADYEN_KEY),
        [adyen_item(), adyen_item("CAPTURE", pspReference="PSP2")],
        _adyen(ADYEN_KEY),
        _adyen(ADYEN_OTHERS),
    ),
}


def accepts(verifier: Verifier, callback: Callback) -> Verified | None:
    """Return the result of the verifier, or None if it rejects the callback."""
    try:
        return verified(verifier.verify(*callback, NOW))
    except Exception:
        return None


def accepted_forgeries(gateway: Gateway, count: int, seed: int = 0) -> list[Callback]:
    """Return the forged callbacks that a verifier accepted. The list must be empty.

    Args:
        gateway: the verifier, and one genuine callback.
        count: the number of forgeries.
        seed: the seed of the choices.
    """
    dice = random.Random(seed)  # noqa: S311
    forged = forgeries(gateway, dice)
    return [callback for callback in (next(forged) for _ in range(count)) if _got_through(gateway, callback)]


def _got_through(gateway: Gateway, callback: Callback) -> bool:
    answer = accepts(gateway.verifier, callback)
    if answer is None:
        return False
    body, headers = gateway.genuine(gateway.body)
    if answer.items is not None and isinstance(gateway.body, list):
        # Adyen signs members of the items, not the bytes.
        return any(_essence(item) not in [_essence(one) for one in gateway.body] for item in answer.items)
    # Padding that base64 and headers allow does not make another callback.
    return callback[0] != body or any(answer.headers[name] != headers[name] for name in answer.headers)


def _essence(item: Any) -> Any:
    names = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference", "eventCode", "success")
    amount = item["amount"]
    return [item.get(name) or "" for name in names], amount["value"], amount["currency"]


def forgeries(gateway: Gateway, dice: random.Random) -> Iterator[Callback]:
    """Yield endless forged callbacks."""
    genuine, foreign = gateway.genuine(gateway.body), gateway.foreign(gateway.body)
    names = list(genuine[1]) or ["webhook-signature"]
    while True:
        ways: list[Callable[[], Callback]] = [
            lambda: (dice.randbytes(dice.randrange(200)), {name: _noise(dice) for name in names}),
            lambda: (_flipped(genuine[0], dice), genuine[1]),
            lambda: (genuine[0] if genuine[1] else _flipped(genuine[0], dice), _changed(genuine[1], dice)),
            lambda: gateway.foreign(_mutated(gateway.body, dice)),
            lambda: (encoded(_mutated(decode(genuine[0]), dice)), genuine[1]),
            lambda: (genuine[0], foreign[1]) if genuine[1] else foreign,
            lambda: (foreign[0], genuine[1] | {dice.choice(names): _noise(dice)}),
        ]
        yield dice.choice(ways)()


def _noise(dice: random.Random) -> str:
    return "".join(
        chr(dice.choice([dice.randrange(32, 127), dice.randrange(0x110000)])) for _ in range(dice.randrange(80))
    )


def _flipped(body: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(body))
    other = dice.choice([bytes([body[place] ^ dice.randrange(1, 256)]), b"", body[place : place + 1] * 2])
    return body[:place] + other + body[place + 1 :]


def _changed(headers: dict[str, str], dice: random.Random) -> dict[str, str]:
    if not headers:
        return {}
    name = dice.choice(list(headers))
    value = headers[name]
    place = dice.randrange(len(value))
    return headers | {
        name: value[:place] + dice.choice(["", "0", "a", "=", ",", chr(dice.randrange(256))]) + value[place + 1 :]
    }


def _mutated(data: Any, dice: random.Random) -> Any:
    """Return the data with one node replaced."""
    odd: list[Any] = [
        None,
        True,
        0,
        -1,
        10**30,
        "",
        "1001",
        "x" * 300,
        "\u2028",
        [],
        {},
        [data],
        {"id": data},
        "GBP",
        "true",
    ]
    if dice.random() < 0.2:
        return dice.choice(odd)
    if isinstance(data, dict) and data:
        name = dice.choice(list(data))
        if dice.random() < 0.1:
            return {one: value for one, value in data.items() if one != name}
        return data | {name: _mutated(data[name], dice)}
    if isinstance(data, list) and data:
        place = dice.randrange(len(data))
        return [*data[:place], _mutated(data[place], dice), *data[place + 1 :]]
    return dice.choice(odd)


def mutants(data: Any, count: int, seed: int = 0) -> Iterator[Any]:
    """Yield payloads with one to three nodes replaced, after a round trip through JSON.

    Args:
        data: a valid payload.
        count: the number of payloads.
        seed: the seed of the choices.
    """
    dice = random.Random(seed)  # noqa: S311
    for _ in range(count):
        other = data
        for _ in range(dice.randrange(1, 4)):
            other = _mutated(other, dice)
        yield json.loads(json.dumps(other))

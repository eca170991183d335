"""Buys a teapot in the shop of shop.py, and calls back as a payment gateway does.

python gateway.py http://127.0.0.1:5000
"""

import hashlib
import hmac
import json
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit


def ask(shop: str, method: str, path: str, body: bytes = b"", signature: str = "") -> str:
    """Send a request to the shop. Return the status and the content of its answer."""
    connection = HTTPConnection(urlsplit(shop).netloc, timeout=30)
    connection.request(method, path, body, {"X-Signature": signature})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return f"{answer.status} {content}"


def main(shop: str) -> None:
    print("check out   ", ask(shop, "POST", "/orders/1001"))
    print("dispatch    ", ask(shop, "POST", "/orders/1001/dispatch"))

    payment = {"order_id": "1001", "reference": "ch_1", "amount": "24.95", "currency": "GBP"}
    body = json.dumps({"id": "evt_1", "type": "payment.captured", "data": payment}).encode()
    signature = hmac.new(b"a shared secret", body, hashlib.sha256).hexdigest()
    print("forged      ", ask(shop, "POST", "/webhook", body, "0" * 64))
    print("callback    ", ask(shop, "POST", "/webhook", body, signature))
    print("the same    ", ask(shop, "POST", "/webhook", body, signature))

    print("dispatch    ", ask(shop, "POST", "/orders/1001/dispatch"))
    print("the customer", ask(shop, "GET", "/orders/1001"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python gateway.py ADDRESS, such as http://127.0.0.1:5000 while shop.py runs\n")
        sys.exit(2)
    main(sys.argv[1])

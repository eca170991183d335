"""A payment gateway that sends signed requests to a shop in another process.

    python examples/payment_callback/gateway.py

It starts `shop.py` on a temporary SQLite file and a free port, and ends it. For each request it prints the response of
the shop, and then the order.

Needs Flask and standardwebhooks: pip install '.[examples]' in the checkout
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

try:
    from standardwebhooks.webhooks import Webhook
except ModuleNotFoundError:
    sys.stderr.write("gateway.py: error: standardwebhooks is missing: pip install '.[examples]' in the checkout\n")
    sys.exit(2)

SHOP = Path(__file__).with_name("shop.py")

PATIENCE = 60.0
"""Seconds after which a shop without a response counts as stuck."""

POLL = 0.05
"""Seconds between checks of a server for the signal to end."""


class Delivery(NamedTuple):
    """A request to a webhook."""

    body: bytes
    headers: dict[str, str]


EMPTY = Delivery(b"", {})


class Answer(NamedTuple):
    status: int
    content: dict[str, Any]


def report(kind: str, order_id: str, reference: str, amount: str, currency: str = "GBP") -> dict[str, Any]:
    """Return the report of a gateway about a payment."""
    about = {"order_id": order_id, "reference": reference, "amount": amount, "currency": currency}
    return {"type": f"payment.{kind}", "data": about}


# The gateway


class Gateway:
    """Captures payments, reports them under its signature, and serves an API.

    Attributes:
        charges: the captured payments, by reference.
        address: the host and port of the API while it is open.
    """

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)
        self.charges: dict[str, dict[str, str]] = {}
        self.address = ""

    def capture(self, order_id: str, reference: str, amount: str, currency: str = "GBP") -> dict[str, Any]:
        """Capture a payment. Return its report."""
        event = report("captured", order_id, reference, amount, currency)
        self.charges[reference] = {**event["data"], "status": "captured"}
        return event

    def sign(self, event_id: str, event: Mapping[str, Any], at: datetime | None = None) -> Delivery:
        """Sign a report, at the current time or another one."""
        at = at or datetime.now(UTC)
        body = json.dumps(event)
        headers = {
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self._webhook.sign(event_id, at, body),
        }
        return Delivery(body.encode(), headers)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serve `GET /charges/<reference>` on a free local port."""
        charges = self.charges

        class Api(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                charge = charges.get(unquote(self.path.removeprefix("/charges/")))
                content = json.dumps(charge).encode()
                self.send_response(404 if charge is None else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Log no requests."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        with Server(("127.0.0.1", 0), Api) as server:
            self.address = f"127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(POLL,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


# The shop


class Shop:
    """A client of a shop over HTTP."""

    def __init__(self, address: str) -> None:
        self._address = address

    def check_out(self, order_id: str) -> Answer:
        return self._ask("POST", f"/orders/{order_id}")

    def webhook(self, delivery: Delivery) -> Answer:
        return self._ask("POST", "/webhook", delivery)

    def thanks(self, order_id: str, **query: str) -> Answer:
        return self._ask("GET", f"/thanks/{quote(order_id, safe='')}?{urlencode(query)}")

    def _ask(self, method: str, path: str, delivery: Delivery = EMPTY) -> Answer:
        with closing(HTTPConnection(self._address, timeout=PATIENCE)) as connection:
            connection.request(method, path, delivery.body, delivery.headers)
            answer = connection.getresponse()
            return Answer(answer.status, json.loads(answer.read()))


@contextmanager
def running_shop(store: str, secret: str, gateway: str, log: Path) -> Iterator[Shop]:
    """Run a shop in another process, with its log in a file."""
    with (
        log.open("a", encoding="utf-8") as errors,
        subprocess.Popen(  # noqa: S603
            [sys.executable, str(SHOP), store, "--gateway", gateway],
            env={**os.environ, "WEBHOOK_SECRET": secret},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        stuck = threading.Timer(PATIENCE, process.kill)
        stuck.start()
        try:
            address = process.stdout.readline().strip()
            stuck.cancel()
            if not address:
                sys.stderr.write(log.read_text(encoding="utf-8"))
                sys.exit(process.wait())
            yield Shop(address)
            process.stdin.close()
            process.wait(PATIENCE)
        finally:
            stuck.cancel()
            process.kill()


# The scenarios


class Scenarios:
    """Cases that shops and gateways have got wrong."""

    def __init__(self, gateway: Gateway, shop: Shop) -> None:
        self._gateway = gateway
        self._shop = shop

    def normal(self) -> None:
        self._begin("A payment", "1001")
        self._send("captured", "evt_1", self._gateway.capture("1001", "ch_1", "49.90"))
        self._end("1001")

    def duplicate(self) -> None:
        self._begin("A redelivery, as after a lost response")
        event = self._gateway.capture("1001", "ch_1", "49.90")
        self._send("captured, redelivered", "evt_1", event)
        self._send("captured, as another event", "evt_1b", event)
        self._send("another amount under the same id", "evt_1", report("captured", "1001", "ch_1", "59.90"))
        self._end("1001")

    def concurrent(self) -> None:
        self._begin("The webhook and the returning browser at once", "1002")
        delivery = self._gateway.sign("evt_2", self._gateway.capture("1002", "ch_2", "49.90"))
        together = threading.Barrier(2)
        answers: dict[str, int] = {}

        def webhook() -> None:
            together.wait()
            answers["webhook"] = self._shop.webhook(delivery).status

        def redirect() -> None:
            together.wait()
            answers["redirect"] = self._shop.thanks("1002", reference="ch_2").status

        threads = [threading.Thread(target=webhook), threading.Thread(target=redirect)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"  webhook {answers['webhook']}, redirect {answers['redirect']}, in any order")
        self._end("1002")

    def out_of_order(self) -> None:
        self._begin("Out of order: two half payments, the second one first, then an earlier failed attempt", "1003")
        first = self._gateway.capture("1003", "ch_3a", "24.95")
        second = self._gateway.capture("1003", "ch_3b", "24.95")
        self._send("the second half", "evt_3b", second)
        self._send("the first half", "evt_3a", first)
        self._send("a failed attempt", "evt_3", report("failed", "1003", "ch_3", "49.90"))
        self._end("1003")

    def refund_first(self) -> None:
        self._begin("Out of order: a refund before its payment", "1004")
        payment = self._gateway.capture("1004", "ch_4", "49.90")
        refund = report("refunded", "1004", "ch_4", "9.90")
        self._send("refunded", "evt_4b", refund)
        self._send("captured", "evt_4a", payment)
        self._send("refunded, redelivered", "evt_4b", refund)
        self._end("1004")

    def forged(self) -> None:
        self._begin("Forged", "1005")
        event = report("captured", "1005", "ch_5", "49.90")
        self._answered("signed with another secret", self._shop.webhook(Gateway(new_secret()).sign("evt_5", event)))
        small = self._gateway.sign("evt_5", report("captured", "1005", "ch_5", "0.01"))
        changed = small._replace(body=small.body.replace(b"0.01", b"49.90"))
        self._answered("amount changed after signing", self._shop.webhook(changed))
        self._answered("not signed", self._shop.webhook(small._replace(headers={"webhook-id": "evt_5"})))
        self._end("1005")

    def replayed(self) -> None:
        self._begin("Replayed an hour later")
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        event = report("captured", "1005", "ch_5", "49.90")
        self._answered("signed an hour ago", self._shop.webhook(self._gateway.sign("evt_5", event, hour_ago)))
        self._end("1005")

    def wrong_amount(self) -> None:
        self._begin("The wrong amount", "1006")
        self._send("4.99 for 49.90", "evt_6", self._gateway.capture("1006", "ch_6", "4.99"))
        self._end("1006")

    def wrong_currency(self) -> None:
        self._begin("The wrong currency", "1007")
        self._send("49.90 USD for 49.90 GBP", "evt_7", self._gateway.capture("1007", "ch_7", "49.90", "USD"))
        self._end("1007")

    def unknown_order(self) -> None:
        self._begin("An order that does not exist yet")
        event = self._gateway.capture("1008", "ch_8", "49.90")
        self._send("captured, before the order", "evt_8", event)
        self._shop.check_out("1008")
        self._send("redelivered, after the order", "evt_8", event)
        self._end("1008")

    def lying_browser(self) -> None:
        self._begin("A browser with a forged reference", "1009")
        for reference in ("ch_made_up", "ch_1"):
            answer = self._shop.thanks("1009", reference=reference, amount="49.90")
            print(f"  {'redirect with reference ' + reference:<36}{answer.status} {answer.content['state']}")
        self._end("1009")

    def _begin(self, title: str, order_id: str | None = None) -> None:
        """Print a title. If an order is given, check it out first."""
        print(title)
        if order_id is not None:
            self._shop.check_out(order_id)

    def _send(self, what: str, event_id: str, event: Mapping[str, Any]) -> None:
        self._answered(what, self._shop.webhook(self._gateway.sign(event_id, event)))

    def _answered(self, what: str, answer: Answer) -> None:
        print(f"  {what:<36}{answer.status} {answer.content['outcome']}: {answer.content['reason']}")

    def _end(self, order_id: str) -> None:
        order = self._shop.thanks(order_id).content
        print(
            f"  -> order {order_id}: {order['state']}; {order['captured']} captured, {order['refunded']} refunded,"
            f" {order['outstanding']} outstanding\n"
        )


def new_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(24)).decode()


def main() -> None:
    secret = new_secret()
    gateway = Gateway(secret)
    with tempfile.TemporaryDirectory() as folder, gateway.open():
        log = Path(folder) / "shop.log"
        with running_shop(f"sqlite:{folder}/shop.db", secret, gateway.address, log) as shop:
            scenarios = Scenarios(gateway, shop)
            scenarios.normal()
            scenarios.duplicate()
            scenarios.concurrent()
            scenarios.out_of_order()
            scenarios.refund_first()
            scenarios.forged()
            scenarios.replayed()
            scenarios.wrong_amount()
            scenarios.wrong_currency()
            scenarios.unknown_order()
            scenarios.lying_browser()
            print(f"Teapots left, of 10: {shop.thanks('1001').content['teapots_left']}\n")
        print("The shop's log:")
        for line in log.read_text(encoding="utf-8").splitlines():
            print(f"  {line}")


if __name__ == "__main__":
    main()

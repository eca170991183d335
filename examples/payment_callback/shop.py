"""A web shop with a webhook for the gateway and a return page for the browser.

    WEBHOOK_SECRET=whsec_... python examples/payment_callback/shop.py STORE --gateway HOST:PORT

STORE is sqlite:PATH or json:FOLDER. Several shops may share it. The shop prints its address and serves until its
standard input ends. `gateway.py` in the same folder starts a shop and sends requests to it.

A customer can change the address of the redirect, so nothing in it counts as money. The shop queries the gateway about
the payment instead. It records the answer with the same `Orders.fire` and the same payment reference as the webhook, so
the two are one payment in any order.

The server is Flask's development server. A real shop runs `shop_app` under a WSGI server.

Needs Flask and standardwebhooks: pip install '.[examples]' in the checkout
"""

import argparse
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from order_fsm import InvalidInput, Line, OrderExists, OrderFsmError, OrderNotFound, Orders
from order_fsm.payments import PaymentReceiver, StandardWebhooks
from order_fsm.store import Store
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore

try:
    import standardwebhooks  # noqa: F401  StandardWebhooks needs it.
    from flask import Flask, request
    from werkzeug.serving import make_server
except ModuleNotFoundError as error:
    sys.stderr.write(f"shop.py: error: {error.name} is missing: pip install '.[examples]' in the checkout\n")
    sys.exit(2)

Answer = tuple[dict[str, Any], int]

log = logging.getLogger("shop")


def shop_app(orders: Orders, receiver: PaymentReceiver, gateway: str) -> Flask:
    """Return the shop's pages as a Flask app.

    Args:
        orders: the orders of the shop.
        receiver: takes the gateway's callbacks.
        gateway: the host and port of the gateway's API. Use HTTPS for a real one, so that nobody else can answer.
    """
    app = Flask("shop")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

    @app.post("/orders/<order_id>")
    def check_out(order_id: str) -> Answer:
        """Create an order for a teapot at the shop's price. (A real shop numbers its orders itself.)"""
        try:
            orders.create(order_id, total="49.90", currency="GBP", lines=[Line("TEAPOT", 1)])
        except OrderExists:
            return {"error": "the order exists already"}, 409
        except InvalidInput as error:
            return {"error": str(error)}, 400
        return page(orders, order_id), 201

    @app.post("/webhook")
    def webhook() -> Answer:
        """Receive a callback of the gateway. The signature covers the raw bytes."""
        outcome = receiver.receive(request.get_data(), request.headers)
        return {"outcome": outcome.outcome, "reason": outcome.reason}, outcome.http_status

    @app.get("/thanks/<order_id>")
    def thanks(order_id: str) -> Answer:
        """Show the page to which the gateway redirects the browser, with the payment's reference in the address."""
        reference = request.args.get("reference")
        if reference:
            record(orders, order_id, charge_of(gateway, reference))
        try:
            return page(orders, order_id), 200
        except (OrderNotFound, InvalidInput):
            return {"error": "there is no such order"}, 404

    return app


def charge_of(gateway: str, reference: str) -> dict[str, Any] | None:
    """Query the gateway about a payment. Return None if it has no such payment or does not answer."""
    try:
        with closing(HTTPConnection(gateway, timeout=10)) as connection:
            # Quoted, so that the browser cannot choose another path of the API.
            connection.request("GET", f"/charges/{quote(reference, safe='')}")
            answer = connection.getresponse()
            return json.loads(answer.read(), parse_float=Decimal) if answer.status == 200 else None
    except (OSError, HTTPException, ValueError) as error:
        log.warning("the gateway did not answer (%s): its webhook will report the payment", type(error).__name__)
        return None


def record(orders: Orders, order_id: str, charge: dict[str, Any] | None) -> None:
    """Record a payment if it belongs to this order, as the webhook does."""
    if charge is None or charge["status"] != "captured" or charge["order_id"] != order_id:
        return
    try:
        orders.fire(
            order_id,
            "pay",
            amount=charge["amount"],
            currency=charge["currency"],
            reference=charge["reference"],
            by="redirect",
            visible=True,
        )
    except OrderFsmError as error:
        # The customer sees the current order. The webhook of this payment arrives too. It leaves a note for the shop if
        # the payment cannot be recorded, and the gateway repeats it if the store failed.
        log.warning("the redirect did not record a payment (%s)", type(error).__name__)


def page(orders: Orders, order_id: str) -> dict[str, Any]:
    """Return the order for its page. (A real shop checks the user first.)"""
    order = orders.get(order_id)
    return {
        "order": order.id,
        "state": order.state,
        "captured": f"{order.captured:.2f}",
        "refunded": f"{order.refunded:.2f}",
        "outstanding": f"{order.outstanding:.2f}",
        "teapots_left": orders.stock("TEAPOT"),
    }


@contextmanager
def opened(spec: str) -> Iterator[Store]:
    kind, _, place = spec.partition(":")
    if kind == "sqlite" and place:
        with closing(SqliteStore(place)) as store:
            yield store
    elif kind == "json" and place:
        yield JsonStore(place)
    else:
        raise InvalidInput(f"STORE must be sqlite:PATH or json:FOLDER, not {spec!r:.60}")


def serve(app: Flask) -> None:
    """Serve on a free local port until the input ends, which the program that started the shop controls."""
    server = make_server("127.0.0.1", 0, app, threaded=True)

    def end_with_the_input() -> None:
        sys.stdin.read()
        server.shutdown()

    threading.Thread(target=end_with_the_input, daemon=True).start()
    print(f"127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a web shop to a payment gateway.")
    parser.add_argument("store", metavar="STORE", help="sqlite:PATH or json:FOLDER")
    parser.add_argument("--gateway", required=True, metavar="HOST:PORT", help="the host and port of the gateway's API")
    arguments = parser.parse_args()

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # Flask's server would log every request.
    try:
        # Not an argument, because every user of a machine can read arguments.
        if not (secret := os.environ.get("WEBHOOK_SECRET")):
            raise InvalidInput("WEBHOOK_SECRET must be set to the secret that the gateway signs with")
        verifier = StandardWebhooks(secret)
        with opened(arguments.store) as store:
            orders = Orders(store)
            if orders.stock("TEAPOT") is None:
                orders.set_stock("TEAPOT", 10)
            serve(shop_app(orders, PaymentReceiver(orders, verifier), arguments.gateway))
    except OrderFsmError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()

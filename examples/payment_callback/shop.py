"""A web shop as the payment gateway and the customer's browser meet it.

    WEBHOOK_SECRET=whsec_... python examples/payment_callback/shop.py STORE --gateway HOST:PORT

STORE is sqlite:PATH or json:FOLDER; any number of shops may share it. The shop prints its address, and serves until its
input ends. `gateway.py` beside it starts one and sends it all that a gateway may send.

Whoever pays can change what the browser asks for, so nothing in the redirect's address counts as money: the shop asks
the gateway about the payment. What it answers goes to the same `Orders.fire` that the webhook comes to, under the same
payment reference, so that the two are one payment, whichever is first.

The server is the one that Flask brings for trying things out; a shop runs `shop_app` under a WSGI server.

Needs Flask and standardwebhooks: pip install order-fsm[examples]
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
    import standardwebhooks  # noqa: F401  It is what StandardWebhooks stands on.
    from flask import Flask, request
    from werkzeug.serving import make_server
except ModuleNotFoundError as error:
    sys.stderr.write(f"shop.py: error: {error.name} is missing: pip install order-fsm[examples]\n")
    sys.exit(2)

Answer = tuple[dict[str, Any], int]

log = logging.getLogger("shop")


def shop_app(orders: Orders, receiver: PaymentReceiver, gateway: str) -> Flask:
    """The shop's pages.

    Args:
        orders: of the shop.
        receiver: takes the gateway's callbacks.
        gateway: host and port of its API. A real one is asked over HTTPS, or anybody could answer in its place.
    """
    app = Flask("shop")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

    @app.post("/orders/<order_id>")
    def check_out(order_id: str) -> Answer:
        """The customer buys a teapot, at the shop's price. (A shop numbers its orders itself.)"""
        try:
            orders.create(order_id, total="49.90", currency="GBP", lines=[Line("TEAPOT", 1)])
        except OrderExists:
            return {"error": "there is such an order"}, 409
        except InvalidInput as error:
            return {"error": str(error)}, 400
        return page(orders, order_id), 201

    @app.post("/webhook")
    def webhook() -> Answer:
        """The gateway reports something. What is signed are the raw bytes."""
        outcome = receiver.receive(request.get_data(), dict(request.headers))
        return {"outcome": outcome.outcome, "reason": outcome.reason}, outcome.http_status

    @app.get("/thanks/<order_id>")
    def thanks(order_id: str) -> Answer:
        """The gateway sends the browser here, with the payment's reference in the address."""
        reference = request.args.get("reference")
        if reference:
            record(orders, order_id, charge_of(gateway, reference))
        try:
            return page(orders, order_id), 200
        except (OrderNotFound, InvalidInput):
            return {"error": "there is no such order"}, 404

    return app


def charge_of(gateway: str, reference: str) -> dict[str, Any] | None:
    """What the gateway itself says of a payment; None where it knows none, or does not answer."""
    try:
        with closing(HTTPConnection(gateway, timeout=10)) as connection:
            # Quoted, or the browser would choose what the gateway is asked.
            connection.request("GET", f"/charges/{quote(reference, safe='')}")
            answer = connection.getresponse()
            return json.loads(answer.read(), parse_float=Decimal) if answer.status == 200 else None
    except (OSError, HTTPException, ValueError) as error:
        log.warning("the gateway was not asked (%s): its webhook will tell", type(error).__name__)
        return None


def record(orders: Orders, order_id: str, charge: dict[str, Any] | None) -> None:
    """Record a payment of this very order, as the webhook does."""
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
        # The customer sees the order as it is. The webhook of this payment comes too: it leaves the shop a note of what
        # cannot be recorded, and is sent again where the store failed.
        log.warning("a payment was not recorded by the redirect (%s)", type(error).__name__)


def page(orders: Orders, order_id: str) -> dict[str, Any]:
    """An order as its page shows it. (A shop asks first who is looking.)"""
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
    """Serve on a free port of this machine until the input ends: with the program that started the shop."""
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
    parser.add_argument("--gateway", required=True, metavar="HOST:PORT", help="where to ask about a payment")
    arguments = parser.parse_args()

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # Or it would write a line for each request.
    try:
        # Not an argument: every user of a machine can read those.
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

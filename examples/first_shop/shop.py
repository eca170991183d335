"""A shop with one product: the check-out, the gateway's callback, the owner's button and the customer's page.

    flask --app shop run

Needs Flask. `gateway.py` in this folder sends it what a payment gateway sends.
"""

import sys
from typing import Any

from flask import Flask, request

from order_fsm import Line, OrderNotFound, Orders, Refused
from order_fsm.payments import HmacSignature, PaymentReceiver
from order_fsm_adapters.sqlite import SqliteStore

if __name__ == "__main__":
    sys.exit("start the shop in this folder: flask --app shop run")

Answer = tuple[dict[str, Any], int]

orders = Orders(SqliteStore("teapots.db"))
if orders.stock("TEAPOT") is None:
    orders.set_stock("TEAPOT", 10)
receiver = PaymentReceiver(orders, HmacSignature("a shared secret", header="X-Signature"))
app = Flask(__name__)


@app.post("/orders/<order_id>")
def check_out(order_id: str) -> Answer:
    """The customer buys a teapot. The key makes a second click the same order."""
    orders.create(order_id, "24.95", "GBP", lines=[Line("TEAPOT", 1)], key=f"create-{order_id}")
    try:
        receipt = orders.fire(order_id, "place", key=f"place-{order_id}")
    except Refused as refused:  # no teapot is left
        return {"reasons": [reason.message for reason in refused.reasons]}, 409
    return {"state": receipt.order.state}, 201


@app.post("/webhook")
def webhook() -> Answer:
    """The gateway reports a payment. The raw bytes are signed, so pass them on as they came."""
    outcome = receiver.receive(request.get_data(), request.headers)
    return {"outcome": outcome.outcome}, outcome.http_status


@app.post("/orders/<order_id>/dispatch")
def dispatch(order_id: str) -> Answer:
    """The owner packs the order. A real shop would first check that the owner is logged in."""
    try:
        receipt = orders.fire(order_id, "dispatch", by="owner", comment="Royal Mail AB123", visible=True)
    except OrderNotFound:
        return {"error": "there is no such order"}, 404
    except Refused as refused:
        return {"reasons": [reason.message for reason in refused.reasons]}, 409
    return {"state": receipt.order.state}, 200


@app.get("/orders/<order_id>")
def show(order_id: str) -> Answer:
    """The customer reads the progress of the order."""
    try:
        order = orders.get(order_id)
    except OrderNotFound:
        return {"error": "there is no such order"}, 404
    boxes = [status.customer_label for status in orders.workflow.statuses if status.name in order.statuses]
    progress = [f"{entry.trigger} {entry.comment}".strip() for entry in orders.progress(order_id)]
    return {"boxes": boxes, "progress": progress, "teapots_left": orders.stock("TEAPOT")}, 200

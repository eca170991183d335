"""An online order from the basket to the customer's door, in one SQLite file.

    python examples/quickstart.py [shop.db]

Without an argument it uses a temporary file. "sent" is the manual's word for placed: the order has been sent to the
store owner. It does not mean shipped.
"""

import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

from order_fsm import Line, Message, Orders, Refused
from order_fsm_adapters.sqlite import SqliteStore

# The customer's text for an entry of the order's history.
HEADINGS = {"pay": "Your payment was received", "dispatch": "Your order is on its way"}


def sell(orders: Orders) -> None:
    # Setting the stock of an item tracks it. Placing an order takes its pieces.
    orders.set_stock("TEAPOT", 10)
    order = orders.create(
        "1001",
        total="49.90",
        currency="GBP",
        lines=[Line("TEAPOT", 2)],
        customer="ann",
        email="ann@example.com",
    )
    print(f"created     {order.id}: {order.state}, {order.total} {order.currency}")

    # The gateway calls back twice, as gateways do. The key makes both calls one payment.
    for _ in range(2):
        receipt = orders.fire("1001", "pay", amount="49.90", currency="GBP", reference="ch_1", key="evt_1")
        outcome = "duplicate, nothing changed" if receipt.duplicate else receipt.order.state
        print(f"callback    {outcome}; {orders.stock('TEAPOT')} teapots on hand")

    # With `visible` the customer may read the comment. With `notify` the customer gets a mail.
    receipt = orders.fire("1001", "dispatch", by="bob", comment="Royal Mail AB123", visible=True, notify=True)
    print(f"dispatched  {receipt.order.state}, by {receipt.entries[0].by}")

    # A dispatched order cannot be cancelled. The error has the reason.
    try:
        orders.fire("1001", "cancel", by="bob")
    except Refused as refused:
        print(f"cancel      refused: {refused.reasons[0].message} ({refused.reasons[0].code})")

    print("\nOrder progress, as ann reads it under My Account:")
    for entry in orders.progress("1001"):
        print(f"  {HEADINGS[entry.trigger]}  {entry.comment}".rstrip())

    # The commit of a change writes its messages. A job of the shop delivers them later.
    print("\nMessages:")
    handler = partial(mail, orders)
    delivered = orders.deliver(handler)
    print(f"  {delivered} delivered, {orders.deliver(handler)} left")


def mail(orders: Orders, message: Message) -> None:
    """Send a mail. A message may come twice, with the same `message.id`. The order has the address."""
    print(f"  {message.topic} to {orders.get(message.order_id).email}")


def main(path: Path) -> None:
    if path.exists():
        sys.exit(f"{path} already exists: name a new file")
    with closing(SqliteStore(path)) as store:
        sell(Orders(store))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "shop.db")

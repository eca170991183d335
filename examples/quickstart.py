"""An online order, from the basket to the customer's door, kept in one SQLite file.

    python examples/quickstart.py [shop.db]

Without a file name the file is a temporary one.
"""

import sys
import tempfile
from contextlib import closing
from pathlib import Path

from order_fsm import Line, Message, Orders, Refused
from order_fsm_adapters.sqlite import SqliteStore

# What the customer reads for an entry of the order's history.
HEADINGS = {"pay": "Your payment was received", "dispatch": "Your order is on its way"}


def sell(orders: Orders) -> None:
    # The basket becomes an order. Stock that was set is counted, and taken once the order is sent.
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

    # The payment gateway calls back, and calls again, as gateways do: the key makes the two calls one payment.
    for _ in range(2):
        receipt = orders.fire("1001", "pay", amount="49.90", currency="GBP", reference="ch_1", key="evt_1")
        outcome = "duplicate, nothing changed" if receipt.duplicate else receipt.order.state
        print(f"callback    {outcome}; {orders.stock('TEAPOT')} teapots on hand")

    # The shop's owner packs it. visible: the customer may read the comment; notify: and is mailed.
    receipt = orders.fire("1001", "dispatch", by="bob", comment="Royal Mail AB123", visible=True, notify=True)
    print(f"dispatched  {receipt.order.state}, by {receipt.entries[0].by}")

    # What is on its way cannot be cancelled, and the answer says why.
    try:
        orders.fire("1001", "cancel", by="bob")
    except Refused as refused:
        print(f"cancel      refused: {refused.reasons[0].message} ({refused.reasons[0].code})")

    print("\nOrder progress, as ann reads it under My Account:")
    for entry in orders.progress("1001"):
        print(f"  {HEADINGS[entry.trigger]}  {entry.comment}".rstrip())

    # Messages are written with the change that they tell of, and delivered afterwards, by a job of the shop.
    print("\nMessages:")
    delivered = orders.deliver(mail)
    print(f"  {delivered} delivered, {orders.deliver(mail)} left")


def mail(message: Message) -> None:
    """Where a shop sends its mail."""
    print(f"  {message.topic} to {message.payload['email']} (message {message.id})")


def main(path: Path) -> None:
    if path.exists():
        sys.exit(f"{path} is there already: name a new file")
    with closing(SqliteStore(path)) as store:
        sell(Orders(store))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "shop.db")

"""Cancel an order: stock returns exactly once, and a late payment is recorded, reported and refunded.

    python examples/cancel_and_restock.py

No rule moves stock. The workflow defines the states in which an order holds its stock. The engine takes the stock when
the order enters one of them, and returns it when the order leaves.
"""

from order_fsm import Line, Message, Orders, Receipt, Refused
from order_fsm_adapters.memory import MemoryStore


def show(orders: Orders, receipt: Receipt) -> None:
    """Print the order and the stock after a change."""
    order, trigger = receipt.order, receipt.entries[0].trigger
    print(f"{order.id} {trigger:<9} {order.state}; {orders.stock('LAMP')} lamps on hand; refund due {order.refund_due}")


def show_refused(orders: Orders, order_id: str, trigger: str) -> None:
    """Print why a trigger is refused now."""
    try:
        orders.fire(order_id, trigger)
    except Refused as refused:
        why = "; ".join(f"{reason.message} ({reason.code})" for reason in refused.reasons)
        print(f"{order_id} {trigger:<9} refused, {why}; {orders.stock('LAMP')} lamps on hand")


def mail(message: Message) -> None:
    about = f", {message.payload['amount']} EUR" if message.topic == "refund.due" else ""
    print(f"  {message.topic} on order {message.order_id}{about}")


def main() -> None:
    orders = Orders(MemoryStore())
    orders.set_stock("LAMP", 2)
    for order_id in ("3001", "3002"):
        orders.create(order_id, total="80.00", currency="EUR", lines=[Line("LAMP", 2)])

    # The order takes both lamps and returns both once. The second cancel is refused.
    show(orders, orders.fire("3001", "place"))
    show(orders, orders.fire("3001", "cancel", by="bob"))
    show_refused(orders, "3001", "cancel")

    # The gateway reports a late payment. Money is a fact, so the payment is recorded and due back.
    show(orders, orders.fire("3001", "pay", amount="80.00", reference="ch_3", key="evt_3"))
    print(f"     refund_due holds {[order.id for order in orders.queue('refund_due')]}, turnover is {orders.totals()}")

    # The shop refunds it and records the refund. The default amount is all that is due back.
    show(orders, orders.fire("3001", "refund", by="bob", reference="ch_3", transaction_id="re_3"))

    # Another order takes the lamps, so the first one cannot be reinstated.
    show(orders, orders.fire("3002", "place"))
    show_refused(orders, "3001", "reinstate")

    print("\nMessages:")
    orders.deliver(mail)


if __name__ == "__main__":
    main()

"""A customer who pays by invoice: invoiced, dispatched, paid weeks later.

    python examples/invoice_customer.py

A queue is a list of jobs, such as orders to invoice or to dispatch. An order is in every queue whose condition its
boxes meet.
"""

from order_fsm import Line, Order, Orders
from order_fsm_adapters.memory import MemoryStore


def show(orders: Orders, what: str, order: Order) -> None:
    """Print the ticked boxes of an order and its queues."""
    queues = [name for name in orders.counts() if order in orders.queue(name)]
    print(f"{what:<11} {order.state:<29} in {', '.join(queues)}")


def main() -> None:
    orders = Orders(MemoryStore())

    order = orders.create("2001", total="480.00", currency="EUR", lines=[Line("DESK", 1)], customer="acme")
    show(orders, "created", order)

    # The customer places the order without paying.
    order = orders.fire("2001", "place").order
    show(orders, "placed", order)

    order = orders.fire("2001", "invoice", by="bob", comment="Invoice 17, due in 30 days", visible=True).order
    show(orders, "invoiced", order)

    # By the default policy, dispatch on account, the order must be paid or invoiced.
    order = orders.fire("2001", "dispatch", by="bob").order
    show(orders, "dispatched", order)

    # A part payment is recorded. The order stays a debt.
    order = orders.fire("2001", "pay", amount="200.00", by="bob", comment="Bank transfer").order
    show(orders, "part paid", order)
    print(f"            {order.captured} of {order.total} {order.currency} received, {order.outstanding} outstanding")

    # The default amount is all that is outstanding.
    order = orders.fire("2001", "pay", by="bob", comment="Bank transfer").order
    show(orders, "paid", order)

    print("\nThe whole history:")
    for entry in orders.history("2001"):
        print(f"  {entry.version}  {entry.trigger:<9} {entry.state_after:<29} {entry.comment}".rstrip())


if __name__ == "__main__":
    main()

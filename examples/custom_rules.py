"""A shop's own rules for returned goods.

    python examples/custom_rules.py

`shop_workflow().extend(...)` adds statuses, rules and queues to the table. `forbids` closes existing triggers while the
new status is ticked. The rest of the table does not change. Mistakes raise when the workflow is built.
"""

from order_fsm import (
    Guard,
    Line,
    Order,
    Orders,
    Refused,
    Rule,
    Status,
    When,
    WorkflowError,
    shop_workflow,
)
from order_fsm_adapters.memory import MemoryStore

# policy=True: an override with a reason may pass it.
UNDAMAGED = Guard(
    "damaged",
    "the goods are damaged",
    lambda order, facts: facts.get("condition") != "damaged",
    policy=True,
)

# A returned order holds no stock and does not count in totals, so all money held for it is due back.
LIVE = When(has={"sent"}, lacks={"cancelled", "returned"})

WITH_RETURNS = shop_workflow().extend(
    statuses=[Status("returned", tick="return")],
    rules=[
        Rule(
            "return",
            needs={"dispatched"},
            forbids={"returned"},
            adds={"returned"},
            guards=(UNDAMAGED,),
            facts={"condition"},
            goods="returned",  # The pieces go back on the shelf, unless the caller gives restock=False.
        ),
    ],
    # Existing triggers that make no sense after the return. pay and unpay stay open, because money is a fact.
    forbids={"invoice": {"returned"}, "uninvoice": {"returned"}, "undispatch": {"returned"}},
    holds_stock=LIVE,
    counts=LIVE,
    queues={
        "returned": When(has={"returned"}),
        # These replace existing queues, because a returned order is not a job for them.
        "to_invoice": When(has={"sent"}, lacks={"invoiced", "cancelled", "returned"}),
        "to_pay": When(has={"sent"}, lacks={"paid", "cancelled", "returned"}),
        "debt": When(has={"dispatched"}, lacks={"paid", "returned"}),
        "complete": When(has={"paid", "dispatched"}, lacks={"returned"}),
    },
)


def show(orders: Orders, what: str, order: Order) -> None:
    queues = [name for name in orders.counts() if order in orders.queue(name)]
    print(f"{what:<10} {order.state}; in {', '.join(queues)}; {orders.stock('COAT')} coats on hand")


def main() -> None:
    orders = Orders(MemoryStore(), workflow=WITH_RETURNS)
    orders.set_stock("COAT", 5)
    orders.create("5001", total="99.00", currency="EUR", lines=[Line("COAT", 1)])
    show(orders, "paid", orders.fire("5001", "pay", reference="ch_5").order)
    show(orders, "dispatched", orders.fire("5001", "dispatch").order)
    print(f"           turnover {orders.totals()['EUR']} EUR")

    try:
        orders.fire("5001", "return", condition="damaged")
    except Refused as refused:
        print(f"return     refused: {refused.reasons[0].message} ({refused.reasons[0].code})")
    order = orders.fire(
        "5001", "return", condition="damaged", override=True, comment="Damaged by our parcel tape"
    ).order
    show(orders, "returned", order)
    print(f"           turnover {orders.totals().get('EUR', 0)} EUR, refund due {order.refund_due} EUR")
    # The goods came back, so the order costs nothing. Without `credit` the price would be outstanding again.
    show(orders, "refunded", orders.fire("5001", "refund", credit=True).order)

    try:
        orders.fire("5001", "undispatch", comment="The parcel came back")
    except Refused as refused:
        print(f"undispatch refused: {refused.reasons[0].message} ({refused.reasons[0].code})")

    print("\nAn invalid table raises when it is built, with all findings:")
    try:
        shop_workflow().extend(
            statuses=[Status("packed", tick="pack")],
            rules=[
                Rule("ship", needs={"packed"}, adds={"dispatched"}),
                Rule("refuse", needs={"sent"}, forbids={"sent"}, adds={"cancelled"}),
                Rule("pick", needs={"sent"}, forbids={"picked"}),
                Rule("invoice", needs={"sent"}, forbids={"invoiced", "cancelled"}, adds={"invoiced"}),
            ],
        )
    except WorkflowError as error:
        print(error)


if __name__ == "__main__":
    main()

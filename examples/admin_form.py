"""The form of the back office: tick boxes, save, and see the reasons for a refusal.

python examples/admin_form.py
"""

from collections.abc import Set

from order_fsm import Line, Orders, Receipt, Refused, VersionConflict
from order_fsm_adapters.memory import MemoryStore

BOXES = ("sent", "invoiced", "paid", "dispatched", "cancelled")


def boxes(ticked: Set[str]) -> str:
    return "  ".join(f"[{'x' if box in ticked else ' '}] {box}" for box in BOXES)


def show(receipt: Receipt) -> None:
    order = receipt.order
    print(f"{boxes(order.statuses)}   version {order.version}")
    print(f"  saved as {' then '.join(entry.trigger for entry in receipt.entries)}")


def show_refused(refused: Refused) -> None:
    print("  refused:")
    for reason in refused.reasons:
        print(f"    {reason.message} ({reason.code})")


def main() -> None:
    orders = Orders(MemoryStore())
    orders.create("4001", total="120.00", currency="GBP", lines=[Line("KETTLE", 3)])
    print(f"{boxes(orders.get('4001').statuses)}   version 1")

    print("\nAnn and Bob open the form, both at version 1. Ann ticks sent and paid, and saves:")
    opened = orders.get("4001").version
    show(orders.save("4001", {"sent", "paid"}, version=opened, by="ann", comment="Paid in cash"))

    print("\nBob ticks sent and invoiced, and saves. His form is stale. It would untick paid:")
    try:
        orders.save("4001", {"sent", "invoiced"}, version=opened, by="bob")
    except VersionConflict as conflict:
        print(f"  not saved: {conflict}")

    print("\nThe triggers, and the reasons to show next to a disabled button:")
    for trigger, reasons in orders.explain("4001").items():
        print(f"  {trigger:<15} {', '.join(reason.message for reason in reasons) or 'allowed'}")

    print("\nAnn chose the wrong order. Bob unticks paid without a comment:")
    version = orders.get("4001").version
    try:
        orders.save("4001", {"sent"}, version=version, by="bob")
    except Refused as refused:
        show_refused(refused)
    print("With a reason it is saved:")
    show(orders.save("4001", {"sent"}, version=version, by="bob", comment="The cash was for order 4002"))

    print("\nBob ticks dispatched. The order is not paid and not invoiced:")
    version = orders.get("4001").version
    try:
        orders.save("4001", {"sent", "dispatched"}, version=version, by="bob")
    except Refused as refused:
        show_refused(refused)
    print("That rule is a policy of the shop. An override with a reason may pass it:")
    show(
        orders.save(
            "4001",
            {"sent", "dispatched"},
            version=version,
            by="bob",
            override=True,
            comment="A good customer, pays later",
        )
    )

    print("\nThe history has the actor and the reason of every step:")
    for entry in orders.history("4001"):
        flags = " (override)" if entry.override else ""
        print(f"  {entry.version}  {entry.trigger:<9} {entry.by or '-':<4} {entry.comment}{flags}".rstrip())


if __name__ == "__main__":
    main()

"""A shop's own rules, with a mistake that no test of the shop finds; the proof that finds it; the rules without it.

    python examples/verify_rules/parcels.py

Parcels are packed once they are paid, and the courier's scan dispatches what is packed. Every rule is right by itself,
and so say the tests. What goes wrong takes three rules, one after another.
"""

from collections.abc import Callable

from order_fsm import Orders, Refused, Rule, Status, Workflow, shop_workflow
from order_fsm.verify import CanAlwaysReach, Never, Requires, Undoes, prove
from order_fsm_adapters.memory import MemoryStore

PACKED = Status("packed", tick="pack", untick="unpack")
PACKING = (
    Rule("pack", needs={"sent", "paid"}, forbids={"packed", "dispatched", "cancelled"}, adds={"packed"}),
    Rule("unpack", needs={"packed"}, forbids={"dispatched"}, drops={"packed"}),
)

AS_WRITTEN = shop_workflow("prepaid").extend(
    statuses=[PACKED],
    rules=[*PACKING, Rule("scan", needs={"packed"}, forbids={"dispatched"}, adds={"dispatched"})],
)
MENDED = shop_workflow("prepaid").extend(
    statuses=[PACKED],
    rules=[*PACKING, Rule("scan", needs={"packed", "paid"}, forbids={"dispatched", "cancelled"}, adds={"dispatched"})],
)

# What the shop wants of its rules.
CLAIMS = (
    Never(has={"cancelled", "dispatched"}),
    Requires("scan", has={"packed", "paid"}),
    Undoes("pack", by="unpack"),
    CanAlwaysReach(has={"dispatched", "paid"}),
)


def what_is_packed_is_dispatched_by_the_scan(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "pack")
    assert "dispatched" in orders.fire("1001", "scan").order.statuses


def only_what_is_paid_is_packed(orders: Orders) -> None:
    orders.fire("1001", "place")
    refused(orders, "pack")


def what_is_cancelled_is_not_packed(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "cancel")
    refused(orders, "pack")
    refused(orders, "scan")
    refused(orders, "dispatch")


def what_was_scanned_is_not_cancelled(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "pack")
    orders.fire("1001", "scan")
    refused(orders, "cancel")


TESTS: tuple[Callable[[Orders], None], ...] = (
    what_is_packed_is_dispatched_by_the_scan,
    only_what_is_paid_is_packed,
    what_is_cancelled_is_not_packed,
    what_was_scanned_is_not_cancelled,
)


def refused(orders: Orders, trigger: str) -> None:
    try:
        orders.fire("1001", trigger)
    except Refused:
        return
    raise AssertionError(f"{trigger} was not refused")


def passed(workflow: Workflow) -> int:
    """How many of the shop's tests pass; what fails is raised."""
    for test in TESTS:
        orders = Orders(MemoryStore(), workflow=workflow)
        orders.create("1001", total="49.90", currency="GBP")
        test(orders)
    return len(TESTS)


def main() -> None:
    for title, workflow in (("as they were written", AS_WRITTEN), ("mended", MENDED)):
        print(f"The rules {title}: {passed(workflow)} of {len(TESTS)} tests pass.\n")
        print(prove(workflow, *CLAIMS), end="\n\n")


if __name__ == "__main__":
    main()

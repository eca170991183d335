"""A shop's own rules with a mistake that its tests miss, the proof that finds it, and the corrected rules.

    python examples/verify_rules/parcels.py

Paid orders are packed, and the courier's scan dispatches packed orders. Each rule alone is right, so the tests pass.
The mistake needs three rules in sequence.
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

WITH_MISTAKE = shop_workflow("prepaid").extend(
    statuses=[PACKED],
    rules=[*PACKING, Rule("scan", needs={"packed"}, forbids={"dispatched"}, adds={"dispatched"})],
)
CORRECTED = shop_workflow("prepaid").extend(
    statuses=[PACKED],
    rules=[*PACKING, Rule("scan", needs={"packed", "paid"}, forbids={"dispatched", "cancelled"}, adds={"dispatched"})],
)

# The claims of the shop about its rules.
CLAIMS = (
    Never(has={"cancelled", "dispatched"}),
    Requires("scan", has={"packed", "paid"}),
    Undoes("pack", by="unpack"),
    CanAlwaysReach(has={"dispatched", "paid"}),
)


def scan_dispatches_a_packed_order(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "pack")
    assert "dispatched" in orders.fire("1001", "scan").order.statuses


def unpaid_order_is_not_packed(orders: Orders) -> None:
    orders.fire("1001", "place")
    refused(orders, "pack")


def cancelled_order_is_not_packed(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "cancel")
    refused(orders, "pack")
    refused(orders, "scan")
    refused(orders, "dispatch")


def scanned_order_is_not_cancelled(orders: Orders) -> None:
    orders.fire("1001", "pay")
    orders.fire("1001", "pack")
    orders.fire("1001", "scan")
    refused(orders, "cancel")


TESTS: tuple[Callable[[Orders], None], ...] = (
    scan_dispatches_a_packed_order,
    unpaid_order_is_not_packed,
    cancelled_order_is_not_packed,
    scanned_order_is_not_cancelled,
)


def refused(orders: Orders, trigger: str) -> None:
    try:
        orders.fire("1001", trigger)
    except Refused:
        return
    raise AssertionError(f"{trigger} was not refused")


def passed(workflow: Workflow) -> int:
    """Run the tests of the shop. Return their number."""
    for test in TESTS:
        orders = Orders(MemoryStore(), workflow=workflow)
        orders.create("1001", total="49.90", currency="GBP")
        test(orders)
    return len(TESTS)


def main() -> None:
    for title, workflow in (("with the mistake", WITH_MISTAKE), ("corrected", CORRECTED)):
        print(f"The rules {title}: {passed(workflow)} of {len(TESTS)} tests pass.\n")
        print(prove(workflow, *CLAIMS), end="\n\n")


if __name__ == "__main__":
    main()

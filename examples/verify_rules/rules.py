"""A shop's own rules: parcels that are packed before they are dispatched.

`with_parcels` has a mistake that every single rule hides and no test of `test_parcels.py` finds. `prove.py` finds
it, and shows that `mended` does not have it.
"""

from order_fsm import Rule, Status, Workflow, shop_workflow

PACKED = Status("packed", tick="pack", untick="unpack")


def with_parcels() -> Workflow:
    """Packed once it is paid; the courier's scan dispatches what is packed."""
    return shop_workflow("prepaid").extend(
        statuses=[PACKED],
        rules=[
            Rule("pack", needs={"sent", "paid"}, forbids={"packed", "dispatched", "cancelled"}, adds={"packed"}),
            Rule("unpack", needs={"packed"}, forbids={"dispatched"}, drops={"packed"}),
            Rule("scan", needs={"packed"}, forbids={"dispatched"}, adds={"dispatched"}),
        ],
    )


def mended() -> Workflow:
    """The same, where the scan of a parcel is refused once its order is cancelled or no longer paid."""
    return shop_workflow("prepaid").extend(
        statuses=[PACKED],
        rules=[
            Rule("pack", needs={"sent", "paid"}, forbids={"packed", "dispatched", "cancelled"}, adds={"packed"}),
            Rule("unpack", needs={"packed"}, forbids={"dispatched"}, drops={"packed"}),
            Rule("scan", needs={"packed", "paid"}, forbids={"dispatched", "cancelled"}, adds={"dispatched"}),
        ],
    )

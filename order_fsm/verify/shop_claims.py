"""The claims that hold for the shop's own rules. A shop that extends them can prove its own rules with them."""

from __future__ import annotations

from functools import partial

from order_fsm.model import When
from order_fsm.rules.shop import Dispatch, shop_workflow
from order_fsm.verify.claim import Claim
from order_fsm.verify.claims import Always, CanAlwaysReach, Conserves, Never, Reachable, Requires, Undoes
from order_fsm.verify.ledger import EveryChange
from order_fsm.verify.money_claims import MONEY_AND_STOCK
from order_fsm.verify.worlds import Step

BOXES = (
    Never(has={"cancelled", "dispatched"}),
    Always(has={"sent"}, where=When(has_any={"invoiced", "paid", "dispatched"})),
    Reachable(has={"sent", "invoiced", "paid", "dispatched"}),
    Reachable(has={"sent", "invoiced", "paid", "cancelled"}),
    CanAlwaysReach(has={"paid", "dispatched"}),
    CanAlwaysReach(has={"cancelled"}),
    CanAlwaysReach(lacks={"sent", "invoiced", "paid", "dispatched", "cancelled"}),
    Requires("place", lacks={"sent", "cancelled"}),
    Requires("invoice", has={"sent"}, lacks={"invoiced", "cancelled"}),
    Requires("dispatch", has={"sent"}, lacks={"dispatched", "cancelled"}),
    Requires("cancel", lacks={"cancelled", "dispatched"}),
    Requires("expire", has={"sent"}, lacks={"invoiced", "paid", "dispatched", "cancelled"}),
    Requires("unplace", has={"sent"}, lacks={"invoiced", "paid", "dispatched", "cancelled"}),
    Requires("uninvoice", has={"invoiced"}, lacks={"cancelled"}),
    Requires("undispatch", has={"dispatched"}),
    Requires("reinstate", has={"cancelled"}),
    Undoes("place", by="unplace"),
    Undoes("unplace", by="place"),
    Undoes("invoice", by="uninvoice"),
    Undoes("uninvoice", by="invoice"),
    Undoes("dispatch", by="undispatch"),
    Undoes("undispatch", by="dispatch"),
    Undoes("cancel", by="reinstate"),
    Undoes("reinstate", by="cancel"),
    Undoes("expire", by="reinstate"),
    Conserves(),
)
"""What is so of the boxes, whatever the guards say."""


_LEAVES = {"on_account": frozenset({"paid", "invoiced"}), "prepaid": frozenset({"paid"}), "cod": frozenset[str]()}


def shop_claims(dispatch: Dispatch = "on_account", invoice_on_payment: bool = True) -> tuple[Claim, ...]:
    """What is true of `shop_workflow` under the same options, and should stay true of what extends it.

    Args:
        dispatch: what an order needs before the goods may leave, as of `shop_workflow`.
        invoice_on_payment: whether an online payment that covers the total ticks invoiced too.

    Returns:
        The claims, for `prove` and `assert_proof`.

    Raises:
        InvalidInput: as `shop_workflow`.
    """
    shop_workflow(dispatch, invoice_on_payment)
    invoiced = "sent, paid and invoiced" if invoice_on_payment else "sent and paid"
    claims: list[Claim] = [
        *BOXES,
        *MONEY_AND_STOCK,
        EveryChange(
            f"a payment ticks sent; when it covers the total, paid too; online and not cancelled: {invoiced}",
            partial(_payment_ticks, invoices=invoice_on_payment),
            of=("pay",),
        ),
    ]
    boxes = _LEAVES[dispatch]
    if boxes:
        leaves = f"without override nothing is dispatched that is not {' or '.join(sorted(boxes))}"
        claims.append(EveryChange(leaves, partial(_only_when, boxes=boxes), of=("dispatch",)))
        stays = "without override a dispatched order loses its invoice only when it is paid"
        claims.append(EveryChange(stays, _stays_on_account, of=("uninvoice",)))
    return tuple(claims)


def _payment_ticks(step: Step, invoices: bool) -> bool:
    before, after = step.before.order, step.after.order
    ticks: set[str] = set()
    if step.recorded and "paid" not in before.statuses:
        ticks = {"sent"}
        if after.received >= after.total:
            ticks |= {"paid"}
            if invoices and step.online and "cancelled" not in before.statuses:
                ticks |= {"invoiced"}
    return after.statuses == before.statuses | ticks


def _only_when(step: Step, boxes: frozenset[str]) -> bool:
    return step.overridden or not boxes.isdisjoint(step.before.order.statuses)


def _stays_on_account(step: Step) -> bool:
    after = step.after.order.statuses
    return step.overridden or "dispatched" not in after or "paid" in after

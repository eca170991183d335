"""The claims that hold for `shop_workflow`. A shop that extends it can prove its own rules with them."""

from __future__ import annotations

from functools import partial

from order_fsm.model import When
from order_fsm.rules.shop import Dispatch, shop_workflow
from order_fsm.verify.claim import Claim
from order_fsm.verify.claims import Always, CanAlwaysReach, Conserves, Never, Reachable, Requires, Undoes
from order_fsm.verify.goods_claims import GOODS
from order_fsm.verify.ledger import EveryChange, EveryOrder
from order_fsm.verify.money_claims import MONEY_AND_STOCK
from order_fsm.verify.worlds import Step, World

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
    Requires("unplace", has={"sent"}, lacks={"invoiced", "dispatched", "cancelled"}),
    Requires("uninvoice", has={"invoiced"}, lacks={"cancelled"}),
    Requires("undispatch", has={"dispatched"}),
    Requires("reinstate", has={"cancelled"}),
    Undoes("place", by="unplace"),
    Undoes("unplace", by="place", guards={"outstanding": True}),
    Undoes("unplace", by="place", guards={"outstanding": False}),
    Undoes("invoice", by="uninvoice"),
    Undoes("uninvoice", by="invoice"),
    Conserves(),
)
"""Claims about the boxes, for every outcome of the guards. `undispatch` and `reinstate` settle paid and
invoiced by the ledger, so `MONEY_AND_STOCK` has the claim that they undo."""


_LEAVES = {"on_account": frozenset({"paid", "invoiced"}), "prepaid": frozenset({"paid"}), "cod": frozenset[str]()}


def shop_claims(dispatch: Dispatch = "on_account", invoice_on_payment: bool = True) -> tuple[Claim, ...]:
    """Return the claims that hold for `shop_workflow` with the same options.

    Args:
        dispatch: the dispatch policy of `shop_workflow`.
        invoice_on_payment: whether an online payment that covers the total ticks invoiced too.

    Returns:
        The claims, for `prove` and `assert_proof`.

    Raises:
        InvalidInput: if an option is not valid for `shop_workflow`.
    """
    shop_workflow(dispatch, invoice_on_payment)
    claims: list[Claim] = [
        *BOXES,
        *MONEY_AND_STOCK,
        *GOODS,
        EveryChange(
            "a payment ticks sent, paid if nothing is outstanding then, and "
            + ("invoiced if paid becomes ticked and money came online" if invoice_on_payment else "never invoiced"),
            partial(_payment_ticks, invoices=invoice_on_payment),
            of=("pay",),
        ),
    ]
    boxes = _LEAVES[dispatch]
    if boxes:
        leaves = f"without override only {' or '.join(sorted(boxes))} orders are dispatched"
        claims.append(EveryChange(leaves, partial(_only_when, boxes=boxes), of=("dispatch",)))
        waits = "an order in to_dispatch is covered" + (" or was invoiced by hand" if "invoiced" in boxes else "")
        claims.append(EveryOrder(waits, partial(_waits_covered, invoice="invoiced" in boxes)))
        gone = "an order leaves to_dispatch after its money has all been returned"
        claims.append(EveryChange(gone, partial(_gone, invoice="invoiced" in boxes), of=("refund", "unpay")))
        stays = "without override a dispatched order loses its invoice only if it is paid"
        claims.append(EveryChange(stays, _stays_on_account, of=("uninvoice",)))
    return tuple(claims)


def _payment_ticks(step: Step, invoices: bool) -> bool:
    before, after = step.before.order, step.after.order
    ticks: set[str] = set()
    if step.recorded:
        ticks = {"sent"}
        if "cancelled" not in before.statuses and not after.outstanding:
            ticks |= {"paid"}
            if invoices and after.held_online > 0 and "paid" not in before.statuses:
                ticks |= {"invoiced"}
    return after.statuses == before.statuses | ticks


def _waits_covered(world: World, invoice: bool) -> bool:
    order = world.order
    by_hand = invoice and "invoiced" in order.statuses and not order.invoiced_by_payment
    return "to_dispatch" not in world.queues or by_hand or order.held >= order.cost


def _gone(step: Step, invoice: bool) -> bool:
    """Return whether an order without money waits for dispatch only if its price was reduced to zero."""
    order = step.after.order
    by_hand = invoice and "invoiced" in order.statuses and not order.invoiced_by_payment
    return order.held > 0 or not order.cost or by_hand or "to_dispatch" not in step.after.queues


def _only_when(step: Step, boxes: frozenset[str]) -> bool:
    return step.overridden or not boxes.isdisjoint(step.before.order.statuses)


def _stays_on_account(step: Step) -> bool:
    after = step.after.order.statuses
    return step.overridden or "dispatched" not in after or "paid" in after

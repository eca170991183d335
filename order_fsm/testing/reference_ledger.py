"""The rules of money for `reference`, with loops over rows and sums.

It shares the values with the engine and no decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from order_fsm.errors import KeyReused
from order_fsm.model import Order, Payment

COMES = ("captured", "refund_failed", "restored")


def total(rows: list[Payment], *kinds: str) -> Decimal:
    """Return the sum of the amounts of rows of some kinds."""
    return sum((row.amount for row in rows if row.kind in kinds), start=Decimal(0))


def held(rows: list[Payment]) -> Decimal:
    """Return the money that the shop holds after rows."""
    return 2 * total(rows, *COMES) - sum((row.amount for row in rows), start=Decimal(0))


def recorded_version(order: Order, kind: str, given: Mapping[str, Any]) -> int | None:
    """Return the version that already recorded the same fact, or None.

    Raises:
        KeyReused: if the fact was recorded with another amount or currency.
    """
    by = "transaction_id" if "transaction_id" in given else "reference"
    if by not in given or (by == "reference" and kind != "captured"):
        return None
    providers = {None, given.get("provider")}
    known = [row for row in order.payments if row.kind == kind and getattr(row, by) == given[by]]
    known = [row for row in known if len(providers) == 1 or row.provider in providers]
    for row in known:
        amount = row.amount
        if not amount:  # It identifies an earlier capture of the same payment.
            of_payment = [one for one in order.payments if one.kind == kind and one.reference == row.reference]
            amount = next(one.amount for one in of_payment if one.transaction_id is None)
        if given.get("amount", amount) == amount and given.get("currency", row.currency) == row.currency:
            return row.version
    if known:
        raise KeyReused
    return None


def money_facts(order: Order, kind: str, given: Mapping[str, Any], gateway: bool) -> dict[str, Any]:
    """Return the facts about money that guards read, and the members of the new row."""
    rows = list(order.payments)
    subjects = _subjects(rows, kind, given, order.currency)
    currency, reference, transaction_id = next(iter(subjects))
    left = subjects[currency, reference, transaction_id]
    own = currency == order.currency
    bound: Decimal | None = left
    if kind == "captured":
        bound, everything = None, order.outstanding if own else Decimal(0)
    elif kind == "refunded":
        in_currency = [row for row in rows if row.currency == currency]
        if not gateway:
            bound = held(in_currency)
            if reference is not None:
                bound = min(bound, held([row for row in in_currency if row.reference == reference]))
        assert bound is not None
        everything = min(order.refund_due or order.held, bound) if own else bound
    else:
        everything = left
    providers = [row.provider for row in rows if reference is not None and row.reference == reference and row.provider]
    provider = given.get("provider") or (providers[0] if providers else None)
    amount = given.get("amount", max(everything, Decimal(0)))
    facts = {"amount": amount, "currency": currency, "bound": bound, "several": len(subjects) > 1}
    row = {"reference": reference, "transaction_id": given.get("transaction_id", transaction_id), "provider": provider}
    row["amount"] = amount
    if kind == "captured" and "transaction_id" in given and reference is not None:
        captures = [one for one in rows if one.kind == "captured" and one.reference == reference]
        captures = [one for one in captures if None in (one.provider, provider) or one.provider == provider]
        unnamed = [one for one in captures if one.transaction_id is None and one.amount]
        if any((one.amount, one.currency) == (amount, currency) for one in unnamed) and all(
            one.amount for one in captures
        ):
            row["amount"] = Decimal(0)
    row["credit"] = _credit(order, kind, amount, given.get("credit"), rows, row) if own else Decimal(0)
    return {**facts, "row": row}


def _subjects(
    rows: list[Payment], kind: str, given: Mapping[str, Any], currency: str
) -> dict[tuple[str, str | None, str | None], Decimal]:
    asked = (given.get("currency", currency), given.get("reference"), None)
    if kind in ("captured", "refunded"):
        of = [row for row in rows if (row.currency, row.reference, None) == asked]
        return {asked: total(of, "captured", "refund_failed") - total(of, "refunded")}
    undone = {"refund_failed": "refunded", "restored": "reversed"}.get(kind)
    both = None not in (given.get("transaction_id"), given.get("reference"))
    named = [row for row in rows if both and row.kind == undone and row.transaction_id == given["transaction_id"]]
    by_id_alone = bool(named) and all(row.reference is None for row in named)
    own_id = kind == "restored" and both and not named
    found: dict[tuple[str, str | None, str | None], Decimal] = {}
    for row in rows:
        subject = (row.currency, row.reference, None if undone is None else row.transaction_id)
        of = [one for one in rows if (one.currency, one.reference) == subject[:2]]
        if undone is not None:
            of = [one for one in of if one.transaction_id == row.transaction_id]
            left = total(of, undone) - total(of, kind)
            if kind == "restored":
                of_payment = [one for one in rows if (one.currency, one.reference) == subject[:2]]
                left = min(left, total(of_payment, undone) - total(of_payment, kind))
        else:
            left = total(of, "captured", "restored") - total(of, "reversed")
        wanted = given.get("currency", subject[0]) == subject[0]
        wanted = wanted and (by_id_alone or given.get("reference", subject[1]) == subject[1])
        if undone is not None and not own_id:
            wanted = wanted and given.get("transaction_id", subject[2]) == subject[2]
        if wanted and left > 0:
            found[subject] = left
    return found or {asked: Decimal(0)}


def _credit(
    order: Order, kind: str, amount: Decimal, wanted: object, rows: list[Payment], row: Mapping[str, Any]
) -> Decimal:
    credited = sum((one.credit for one in rows), start=Decimal(0))
    if kind == "refund_failed":
        same = [one for one in rows if one.kind in ("refunded", kind) and one.reference == row["reference"]]
        same = [one for one in same if one.transaction_id == row["transaction_id"] and one.amount]
        return max(Decimal(0), -sum((one.credit for one in same), start=Decimal(0)))
    if kind != "refunded":
        return Decimal(0)
    if wanted is True:
        return amount
    own = [one for one in rows if one.currency == order.currency]
    if "dispatched" not in order.statuses and held(own) - amount <= 0:
        return -credited
    was_settled = "dispatched" in order.statuses or order.outstanding == 0
    if wanted is None and order.counted and was_settled:
        return max(amount - order.refund_due, Decimal(0))
    return Decimal(0)

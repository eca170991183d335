"""Orders as rows, and back. Reading a row checks its seal."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from order_fsm.model import Order
from order_fsm.store import Marks
from order_fsm_adapters.sql import codec
from order_fsm_adapters.sql.codec import UNREADABLE, flag_of, json_text, time_of, time_text
from order_fsm_adapters.sql.database import Row
from order_fsm_adapters.sql.seals import NOTHING, Commitment, commitment, corrupt, digest, seal


class OrderRow(NamedTuple):
    """A row of order_fsm_order.

    Attributes:
        refund_is_due, is_unmatched, is_part_dispatched, unit, units: derived from the order, for searches and tallies.
        salt, personal: the commitment to `customer`, `email` and `data`.
        last_seal: the seal of the order's last entry.
        counted, placed_at: written only if they change, because the index on placed orders includes them.
    """

    id: str
    # Every change writes these.
    state: str
    invoiced_by_payment: int
    version: int
    reserved: str | None
    payments: str
    shipments: str
    updated_at: str
    refund_is_due: int
    is_unmatched: int
    is_part_dispatched: int
    last_seal: bytes
    seal: bytes
    # Placing and cancelling write these.
    counted: int
    placed_at: str | None
    # Few changes write these.
    total: str
    currency: str
    lines: str
    unit: str
    units: int
    customer: str | None
    email: str | None
    data: str
    salt: bytes | None
    personal: bytes | None
    created_at: str

    @property
    def changing(self) -> Row:
        """The columns that every change writes."""
        return self[1:13]

    @property
    def placing(self) -> Row:
        """The columns that placing and cancelling write."""
        return self[13:15]

    @property
    def amended(self) -> Row:
        """The columns that few changes write."""
        return self[15:25]


ORDER_COLUMNS = ", ".join(f'"{column}"' for column in OrderRow._fields)
CHANGING_COLUMNS = OrderRow._fields[1:13]
PLACING_COLUMNS = OrderRow._fields[13:15]
AMENDED_COLUMNS = OrderRow._fields[15:25]


def order_row(order: Order, marks: Marks, before: OrderRow | None, last_seal: bytes) -> OrderRow:
    """Return the row of an order.

    Args:
        order: the order after the change.
        marks: the ledger queues that it is in.
        before: its row before the change, or None for a new order.
        last_seal: the seal of its last entry.
    """
    draft = order_draft(order, marks, before)
    return draft._replace(last_seal=last_seal, seal=seal(last_seal, draft.personal or b"", draft.seal))


def order_draft(order: Order, marks: Marks, before: OrderRow | None) -> OrderRow:
    """Return the row of an order before it is sealed.

    `seal` holds the digest of the content, and `last_seal` is empty.

    Args:
        order, marks, before: as in `order_row`.
    """
    customer, email, data = order.customer, order.email, "{}"
    if blob := order.data:
        data = json_text(blob)
    if before is not None and (before.customer, before.email, before.data) == (customer, email, data):
        personal = Commitment(before.salt, before.personal)
    else:
        values = _personal(order)
        personal = commitment(values) if any(values) else NOTHING
    total = str(order.total)
    if before is not None and before.total == total:
        unit, units = before.unit, before.units
    else:
        unit, units = codec.in_units(order.total)
    return OrderRow(
        order.id,
        order.state,
        1 if order.invoiced_by_payment else 0,
        order.version,
        None if order.reserved is None else json_text(order.reserved),
        json_text(order.payments) if order.payments else "[]",
        json_text(order.shipments) if order.shipments else "[]",
        time_text(order.updated_at),
        1 if marks.refund_due else 0,
        1 if marks.unmatched else 0,
        1 if marks.part_dispatched else 0,
        b"",
        _content(order, marks, (unit, units)),
        1 if order.counted else 0,
        None if order.placed_at is None else time_text(order.placed_at),
        total,
        order.currency,
        json_text(order.lines) if order.lines else "[]",
        unit,
        units,
        customer,
        email,
        data,
        personal.salt,
        personal.digest,
        time_text(order.created_at),
    )


@lru_cache(maxsize=1024)  # A change reads the row to decide and again to commit. Usually it is the same.
def order_of(row: OrderRow) -> Order:
    """Return the order of a row.

    Raises:
        StoreCorrupt: if the row is damaged or was edited.
    """
    try:
        order = Order(
            id=row.id,
            state=row.state,
            counted=flag_of(row.counted),
            version=row.version,
            total=Decimal(row.total),
            currency=row.currency,
            lines=codec.lines_of(row.lines),
            customer=row.customer,
            email=row.email,
            payments=codec.payments_of(row.payments),
            created_at=time_of(row.created_at),
            updated_at=time_of(row.updated_at),
            reserved=None if row.reserved is None else codec.lines_of(row.reserved),
            invoiced_by_payment=flag_of(row.invoiced_by_payment),
            placed_at=None if row.placed_at is None else time_of(row.placed_at),
            data=codec.object_of(row.data),
            shipments=codec.shipments_of(row.shipments),
        )
        flags = row.refund_is_due, row.is_unmatched, row.is_part_dispatched
        marks = Marks._make(map(flag_of, flags))
        content = _content(order, marks, (row.unit, row.units))
        fits = row.seal == seal(row.last_seal, row.personal or b"", content)
        values = _personal(order)
        fits = fits and Commitment(row.salt, row.personal).covers(values, blank=not any(values))
    except UNREADABLE as error:
        raise corrupt(f"order {row.id!r}", error) from error
    if not fits:
        raise corrupt(f"order {row.id!r}")
    return order


def _personal(order: Order) -> Row:
    return order.customer, order.email, order.data


def _content(order: Order, marks: Marks, units: tuple[str, int]) -> bytes:
    """Return the digest of an order's content, except personal values."""
    values = (
        "order",
        order.id,
        order.state,
        order.counted,
        order.invoiced_by_payment,
        order.version,
        order.total,
        order.currency,
        order.lines,
        order.reserved,
        order.payments,
        order.shipments,
        order.created_at,
        order.updated_at,
        order.placed_at,
        marks,
        units,
    )
    return digest(values)

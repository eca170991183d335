"""Check the contents of an order.

These are its lines, and the parts that an amendment changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Final, Literal

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import Fact, Line
from order_fsm.rules.amendment import data_text


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED
"""The default of the arguments of `Orders.amend`. It keeps a part of the order unchanged."""

Keep = Literal[Unchanged.UNCHANGED]


def lines_of(lines: object) -> tuple[Line, ...]:
    """Check the lines of an order.

    Raises:
        InvalidInput: if `lines` is not a list of lines, or the pieces of an SKU exceed 64 bits.
    """
    if isinstance(lines, str | Mapping) or not isinstance(lines, Iterable):
        raise InvalidInput(f"lines must be a list such as [Line('TEAPOT', 2)], not {validation.shown(lines)}")
    checked = tuple(lines)
    quantities: dict[str, int] = {}
    for line in checked:
        if not isinstance(line, Line):
            raise InvalidInput(f"lines must be a list of Line(sku, quantity), not of {type(line).__name__}")
        quantity = quantities.get(line.sku, 0) + line.quantity
        quantities[line.sku] = validation.whole(quantity, f"the quantity of {line.sku!r}", 1)
    return _shared(tuple([line if type(line) is Line else Line(line.sku, line.quantity) for line in checked]))


def lines_content(lines: Iterable[Line]) -> list[list[object]]:
    """Return lines for a request fingerprint."""
    return [[line.sku, line.quantity] for line in lines]


@lru_cache(maxsize=1024)
def _shared(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """Return one shared tuple for equal lines, to save memory.

    Many orders have the same popular item.
    """
    return lines


_CHECKS: Mapping[str, Callable[[object], Fact]] = {
    "lines": lambda lines: () if lines is None else lines_of(lines),
    "total": lambda total: validation.money(total, "total"),
    "credited": lambda credited: validation.money(credited, "credited"),
    "email": lambda email: None if email is None else validation.email(email),
    "customer": lambda customer: validation.optional_name(customer, "customer"),
    "data": lambda data: data_text(validation.json_object(data, "data")),
}


def parts_of(parts: Mapping[str, object]) -> dict[str, Fact]:
    """Check the parts of an amendment, and drop the UNCHANGED ones.

    Raises:
        InvalidInput: if a value is not valid.
    """
    return {name: _CHECKS[name](value) for name, value in parts.items() if value is not UNCHANGED}

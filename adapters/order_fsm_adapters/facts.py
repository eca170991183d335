"""The facts of an entry as JSON has them: a Decimal is tagged, so that it does not come back as a string."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TypedDict

from order_fsm.model import Fact


class TaggedDecimal(TypedDict):
    """A Decimal among values that JSON has itself."""

    decimal: str


WireFact = str | int | bool | TaggedDecimal | None


def to_wire(facts: Mapping[str, Fact]) -> dict[str, WireFact]:
    """Facts as JSON values."""
    return {name: {"decimal": str(value)} if isinstance(value, Decimal) else value for name, value in facts.items()}


def from_wire(facts: Mapping[str, WireFact]) -> dict[str, Fact]:
    """The facts that `to_wire` was given."""
    return {name: Decimal(value["decimal"]) if isinstance(value, dict) else value for name, value in facts.items()}

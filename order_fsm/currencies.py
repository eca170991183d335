"""The smallest units of currencies.

Gateways count in the smallest unit of a currency: 4990 pence are 49.90 GBP. The number of fraction digits is that of
ISO 4217, except for units that a gateway or a shop declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.money import EXACT

WITHDRAWN = {"ANG": 2, "BGN": 2, "CUC": 2, "HRK": 2, "SLL": 2, "ZWL": 2}
"""Currencies that ISO 4217 withdrew since 2020. Refunds and charge-backs of old payments still arrive in them."""

_SMALLEST = tuple([Decimal(1).scaleb(-digits, EXACT) for digits in range(validation.FRACTION_DIGITS + 1)])
"""The smallest unit of a currency, by its number of fraction digits."""


def fraction_digits(currency: str, units: Mapping[str, int] | None = None) -> int:
    """Return the number of fraction digits of a currency.

    Args:
        currency: three upper-case letters.
        units: fraction digits that take precedence over those of ISO 4217.

    Raises:
        InvalidInput: if the currency is unknown or has no smallest unit (gold, test codes), or `units` is not valid.
    """
    return _digits(validation.currency(currency), units_of(units))


def _digits(currency: str, units: Mapping[str, int] | None) -> int:
    digits = units.get(currency) if units else None
    if digits is None:
        digits = _iso_digits(currency)
    if digits is None:
        raise InvalidInput(f"currency {currency!r} is not in ISO 4217, or has no smallest unit there")
    return digits


def minor(amount: int, currency: str, units: Mapping[str, int] | None = None) -> Decimal:
    """Convert a number of smallest units to money.

    `minor(4990, "GBP")` is `Decimal("49.90")`.

    Args:
        amount: a whole number, not negative.
        currency: three upper-case letters.
        units: fraction digits that take precedence over those of ISO 4217.

    Raises:
        InvalidInput: if `amount` is not a whole number or is negative, the currency is unknown, or `units` is not
            valid.
    """
    whole = validation.whole(amount, "an amount in the smallest unit", 0)
    return validation.money(Decimal(whole).scaleb(-fraction_digits(currency, units), EXACT))


def to_minor(amount: Decimal | str | int, currency: str, units: Mapping[str, int] | None = None) -> int:
    """Convert money to a number of smallest units.

    `to_minor("49.90", "GBP")` is `4990`.

    Args:
        amount: not negative.
        currency: three upper-case letters.
        units: fraction digits that take precedence over those of ISO 4217.

    Raises:
        InvalidInput: if `amount` is a float, negative or finer than the smallest unit, the currency is unknown, or
            `units` is not valid.
    """
    money, code, own = validation.money(amount), validation.currency(currency), units_of(units)
    check_units(money, code, own)
    return int(money.scaleb(_digits(code, own), EXACT))


def check_units(amount: Decimal, currency: str, units: Mapping[str, int]) -> None:
    """Check that an amount is a whole number of smallest units.

    Args:
        amount: checked money.
        currency: a checked currency.
        units: fraction digits that take precedence over those of ISO 4217.

    Raises:
        InvalidInput: if the amount is finer than the smallest unit, or the currency is unknown.
    """
    smallest = _SMALLEST[_digits(currency, units)]
    # Most amounts have the fraction digits of their currency, and need no division.
    if not amount.same_quantum(smallest) and EXACT.remainder(amount, smallest):
        raise InvalidInput(f"{amount:f} {currency} is finer than the smallest unit of the currency, {smallest:f}")


def units_of(units: object) -> dict[str, int]:
    """Check the fraction digits of a shop's own currencies. None becomes the empty dict.

    Raises:
        InvalidInput: if `units` is not a dict of currencies to whole numbers up to `FRACTION_DIGITS`.
    """
    if units is None:
        return {}
    if not isinstance(units, Mapping):
        raise InvalidInput(f"currencies must be a dict such as {{'PTS': 0}}, not {validation.shown(units)}")
    return {validation.currency(name): _checked_digits(name, digits) for name, digits in units.items()}


def _checked_digits(currency: str, digits: object) -> int:
    what = f"the fraction digits of {currency}"
    checked = validation.whole(digits, what, 0)
    if checked > validation.FRACTION_DIGITS:
        raise InvalidInput(f"{what} must be from 0 to {validation.FRACTION_DIGITS}, not {checked}")
    return checked


@lru_cache(maxsize=256)
def _iso_digits(currency: str) -> int | None:
    from iso4217 import Currency  # Imported on demand, because parsing its table takes 50 ms.

    try:
        digits = Currency(currency).exponent
    except ValueError:
        digits = None
    return WITHDRAWN.get(currency) if digits is None else digits

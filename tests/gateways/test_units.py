"""Conversion of amounts to the smallest unit of a currency and back."""

from __future__ import annotations

import subprocess
import sys
from decimal import Context, Decimal, Inexact, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_fsm import InvalidInput
from order_fsm.currencies import WITHDRAWN, fraction_digits
from order_fsm.payments import minor, to_minor
from order_fsm_adapters.gateways import adyen, stripe

KNOWN = [("GBP", 2), ("JPY", 0), ("KWD", 3), ("BHD", 3), ("CLF", 4), ("UGX", 0), ("ISK", 0), ("HUF", 2), ("CLP", 0)]


@pytest.mark.parametrize(("currency", "digits"), KNOWN)
def test_digits_are_those_of_iso_4217(currency: str, digits: int) -> None:
    assert fraction_digits(currency) == digits


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(4990, "GBP", "49.90"), (500, "JPY", "500"), (5120, "KWD", "5.120"), (0, "EUR", "0.00"), (1, "USD", "0.01")],
)
def test_minor_places_the_point_by_currency(amount: int, currency: str, text: str) -> None:
    assert str(minor(amount, currency)) == text
    assert to_minor(text, currency) == amount


@pytest.mark.parametrize(
    ("units", "amount", "currency", "money"),
    [
        (stripe.UNITS, 500, "ISK", 5),
        (stripe.UNITS, 500, "UGX", 5),
        (stripe.UNITS, 500, "MGA", 500),
        (stripe.UNITS, 500, "HUF", 5),
        (stripe.UNITS, 500, "CLP", 500),
        (adyen.UNITS, 500, "ISK", 5),
        (adyen.UNITS, 500, "CLP", 5),
        (adyen.UNITS, 500, "CVE", 500),
        (adyen.UNITS, 500, "IDR", 500),
        (adyen.UNITS, 500, "UGX", 500),
    ],
)
def test_units_of_a_gateway_take_precedence(units: dict[str, int], amount: int, currency: str, money: int) -> None:
    assert minor(amount, currency, units) == money
    assert to_minor(money, currency, units) == amount


@pytest.mark.parametrize(("currency", "digits"), WITHDRAWN.items())
def test_withdrawn_currency_is_still_read(currency: str, digits: int) -> None:
    """A chargeback of last year's payment still has it."""
    assert fraction_digits(currency) == digits


def test_shop_can_declare_a_currency_of_its_own() -> None:
    assert minor(150, "PTS", {"PTS": 1}) == Decimal("15.0")


@pytest.mark.parametrize("currency", ["XYZ", "XAU", "XXX", "XTS", "gbp", "", None, 840])
def test_currency_without_a_smallest_unit_is_refused(currency: Any) -> None:
    with pytest.raises(InvalidInput, match="currency"):
        minor(100, currency)


@pytest.mark.parametrize("amount", [-1, 49.9, "4990", Decimal(4990), True, None, 10**20])
def test_minor_takes_whole_numbers_only(amount: Any) -> None:
    with pytest.raises(InvalidInput):
        minor(amount, "GBP")


@pytest.mark.parametrize(("amount", "currency", "smallest"), [("33.333", "GBP", "0.01"), ("0.5", "JPY", "1")])
def test_to_minor_refuses_a_finer_amount(amount: str, currency: str, smallest: str) -> None:
    with pytest.raises(InvalidInput, match=f"finer than the smallest unit of the currency, {smallest}"):
        to_minor(amount, currency)


@given(amount=st.integers(0, 10**12), known=st.sampled_from(KNOWN))
def test_minor_and_back_is_the_same_in_any_decimal_context(amount: int, known: tuple[str, int]) -> None:
    with localcontext(Context(prec=3, traps=[Inexact])):
        assert to_minor(minor(amount, known[0]), known[0]) == amount


def test_import_of_the_library_does_not_load_the_table() -> None:
    code = "import sys, order_fsm.payments; sys.exit('iso4217' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Statements in the way that a driver and a database want them.

The SQL store writes statements with `?` for values and double quotes around names.
"""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import Literal

Style = Literal["qmark", "format", "numeric_dollar"]
"""How a driver marks the places of values: `?`, `%s`, or `$1`."""


@cache
def translated(statement: str, style: Style, quote: str = '"') -> str:
    """Return a statement with the driver's marks and the database's quotes.

    Args:
        statement: constant, so that the cache stays small.
        style: of the driver.
        quote: of the database.
    """
    if quote != '"':
        statement = statement.replace('"', quote)
    if style == "format":
        return statement.replace("%", "%%").replace("?", "%s")
    if style == "numeric_dollar":
        numbers = count(1)
        return "".join(f"${next(numbers)}" if sign == "?" else sign for sign in statement)
    return statement

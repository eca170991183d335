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
def translated(statement: str, style: Style, quote: str = '"', bigints: tuple[int, ...] = ()) -> str:
    """Return a statement with the driver's marks and the database's quotes.

    Args:
        statement: constant, so that the cache stays small.
        style: of the driver.
        quote: of the database.
        bigints: the places, from 1, of integers beyond 32 bits. A driver of this style, `numeric_dollar`, would send
            them as the type of the column that they are compared with.
    """
    if quote != '"':
        statement = statement.replace('"', quote)
    if style == "format":
        return statement.replace("%", "%%").replace("?", "%s")
    if style == "numeric_dollar":
        numbers = count(1)
        return "".join(_mark(next(numbers), bigints) if sign == "?" else sign for sign in statement)
    return statement


def _mark(number: int, bigints: tuple[int, ...]) -> str:
    return f"CAST(${number} AS bigint)" if number in bigints else f"${number}"


@cache
def parts_of(script: str) -> tuple[str, ...]:
    """Return the statements of a script one by one, for drivers that take no more.

    Args:
        script: each of its statements ends a line with a semicolon, outside of quotes of the form $$.
    """
    parts = [""]
    for line in script.splitlines(keepends=True):
        parts[-1] += line
        if line.rstrip().endswith(";") and parts[-1].count("$$") % 2 == 0:
            parts.append("")
    return tuple([part for part in parts if part.strip()])

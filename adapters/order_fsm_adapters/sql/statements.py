"""Translate statements for a driver and a database.

The SQL store writes statements with `?` for values and double quotes around names.
"""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import Literal

Style = Literal["qmark", "format", "numeric_dollar"]
"""A driver's style of placeholders: `?`, `%s`, or `$1`."""


@cache
def translated(statement: str, style: Style, quote: str = '"', bigints: tuple[int, ...] = ()) -> str:
    """Return a statement with the driver's placeholders and the database's quotes.

    Args:
        statement: a constant, so that the cache stays small.
        style: the driver's style of placeholders.
        quote: the database's quote character.
        bigints: the positions, from 1, of integers beyond 32 bits. Only the style `numeric_dollar` uses them: its
            driver would send an integer with the type of the compared column.
    """
    if quote != '"':
        statement = statement.replace('"', quote)
    if style == "format":
        return statement.replace("%", "%%").replace("?", "%s")
    if style == "numeric_dollar":
        numbers = count(1)
        return "".join(_placeholder(next(numbers), bigints) if sign == "?" else sign for sign in statement)
    return statement


def _placeholder(number: int, bigints: tuple[int, ...]) -> str:
    return f"CAST(${number} AS bigint)" if number in bigints else f"${number}"


@cache
def parts_of(script: str) -> tuple[str, ...]:
    """Split a script, for drivers that run one statement at a time.

    Args:
        script: the script. A semicolon at the end of a line, outside of $$ quotes, ends a statement.
    """
    parts = [""]
    for line in script.splitlines(keepends=True):
        parts[-1] += line
        if line.rstrip().endswith(";") and parts[-1].count("$$") % 2 == 0:
            parts.append("")
    return tuple([part for part in parts if part.strip()])

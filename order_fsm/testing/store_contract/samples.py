"""Values that are hard to store: similar ones, and ones with a meaning to a file system, database or shell."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from order_fsm.model import Fact, Line

# fmt: off
IDS = (
    "1001", "01001", "1001 ", " 1001", "1001.", "1001.json", "a", "A", "aA", "Aa", "\u00e9", "e\u0301", "\u00c9",
    "\u00df", "ss", "SS", "\u0130", "i\u0307", "I", "i", "\u0131", "K", "\u212a", "\ufb01", "fi", "\uffff",
    "CON", "con", "nul.txt", "COM1", "a:b", "a*b", "a?b", 'a"b', "a|b", "a<b>", "a/b", "a\\b", "/a", "~", "-rf",
    "...", "..a", "a..", ".a", ".lock", "journal", "index", "%2e%2e", "%61", "_a", "a_", "=61", "+", "a+b", "a#1.1",
    "'; DROP TABLE orders; --", '"', "''", "${HOME}", "$(id)", "%s%n", "{0}", "\\u0061", "None", "null", "0", "1e3",
    "\u202eabc", "\u200b", "a\u200b", "\ufeff", "\U0001f469\u200d\U0001f52c", "\u6f22\u5b57", "\u0645\u0631\u062d",
    "\U00010000", "x" * 200, "x" * 199 + "y",
)
"""Ids that are similar, have a meaning to a file system, database or shell, or are hard to write."""

TEXTS = (
    *IDS,
    "", " ", "\n", "\r\n", "\r", "\t", "\x00", "a\x00b", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u2029", "\ufffe",
    "  led and trailed  ", "line\nline\n", "{}", "[]", "true", "1", "1.0", "2024-02-29", "\U0010ffff", "</p>", "&amp;",
)
"""These ids, texts of several lines, texts with control characters, and the empty text."""

AMOUNTS = tuple(Decimal(text) for text in (
    "0", "0.00", "0E-8", "1E-8", "0.10", "0.1", "49.90", "49.9", "100", "100.00000000",
    "999999999999999", "999999999999999.99999999", "123456789012345.67890123",
))
"""Money with trailing zeros, up to the largest number of digits."""

FACTS: tuple[Fact, ...] = (
    "1", "1.0", "true", "null", "", '{"decimal":"1"}', "49.90", "2024-02-29T12:00:00+00:00",
    0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), True, False, None,
    *AMOUNTS,
    (), (Line("TEAPOT", 2), Line("TEAPOT", 1), Line("\u00e9", 2**63 - 1)),
    (Line("b", 1), Line("a", 2**63 - 1), Line("\U0001f600", 1)), '{"lines":[]}',
)
"""Facts of every type, and texts that look like another type."""
# fmt: on

MOMENTS = (
    datetime.min.replace(tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 0, UTC),
    datetime(2024, 2, 29, 23, 59, 59, 1, UTC),
    datetime(2024, 2, 29, 23, 59, 59, 100000, UTC),
    datetime.max.replace(tzinfo=UTC),
)
"""The first and the last possible time, and times with and without microseconds."""

NESTED: dict[str, Any] = {
    "": [],
    "empty": {},
    "numbers": [0, 1, 1.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, 1e16, 2**53 + 1, 2**63 - 1, -(2**63)],
    "constants": [True, False, None, "True", "None"],
    "like a tag": {"decimal": "1.0"},
    "a.b": {"$c": {"d[0]": [[], [[]], [{}], [[{"e": [None]}]]]}},
    "z": 1,
    "a": 2,
}
"""Data with every kind of JSON value."""

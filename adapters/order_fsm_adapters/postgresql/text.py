"""Text without NUL, which PostgreSQL does not store. The order of texts stays."""

from __future__ import annotations


def escaped(text: str) -> str:
    """Return a text in which NUL is U+0001 U+0001, and U+0001 is U+0001 U+0002."""
    if "\x01" in text:
        text = text.replace("\x01", "\x01\x02")
    return text.replace("\x00", "\x01\x01") if "\x00" in text else text


def unescaped(text: str) -> str:
    """Return the text that `escaped` was given."""
    return text.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01") if "\x01" in text else text

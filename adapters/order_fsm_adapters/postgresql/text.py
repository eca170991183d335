"""Escape NUL, which PostgreSQL cannot store. Escaped texts sort like the originals."""

from __future__ import annotations


def escaped(text: str) -> str:
    """Return the text with NUL as U+0001 U+0001, and U+0001 as U+0001 U+0002."""
    if "\x01" in text:
        text = text.replace("\x01", "\x01\x02")
    return text.replace("\x00", "\x01\x01") if "\x00" in text else text


def unescaped(text: str) -> str:
    """Return the original of an escaped text."""
    return text.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01") if "\x01" in text else text

"""Ids as file names: safe on every file system, readable where an id is ordinary, no two ids on one name.

A name holds lower-case letters, digits and `-_+%~` only. So it means the same where upper and lower case are one, or
where Unicode is normalised; it leads to no other folder, hides nothing, and ends in no dot or space.
"""

from __future__ import annotations

import hashlib
import re
import string
from functools import lru_cache

_PLAIN = string.ascii_lowercase + string.digits + "-_"
_LONGEST = 120
_READABLE = 80
"""What is left of a name that is too long, before its digest: enough to see whose it is."""

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in string.digits)}
"""What Windows takes for devices, with any ending."""


def _written(byte: int) -> str:
    sign = chr(byte)
    if sign in _PLAIN:
        return sign
    if sign in string.ascii_uppercase:
        return f"+{sign.lower()}"
    return f"%{byte:02x}"


_WRITTEN = tuple(map(_written, range(256)))


def named(name: str) -> str | None:
    """The id, SKU or key that has a file name; None where the name is shortened, or no such name."""
    written = re.sub(r"\+([a-z])", lambda letter: letter[1].upper(), name)
    try:
        found = re.sub(rb"%([0-9a-f]{2})", lambda digits: bytes.fromhex(digits[1].decode()), written.encode()).decode()
    except UnicodeDecodeError:
        return None
    return found if found and file_name(found) == name else None


@lru_cache(maxsize=256)  # A change asks for that of its order five times.
def file_name(name: str) -> str:
    """The file name of an id, SKU or key, without an ending.

    Lower-case letters, digits, `-` and `_` stand for themselves, an upper-case letter is `+` and the lower-case one,
    any other byte of the UTF-8 text is `%` and two digits. What gets longer than 120 ends in `~` and a SHA-256.

    Args:
        name: any text that is not empty.

    Returns:
        A name of 1 to 145 ASCII characters, another one for every id.
    """
    encoded = name.encode()
    written = "".join([_WRITTEN[byte] for byte in encoded])
    if len(written) > _LONGEST:
        return f"{written[:_READABLE]}~{hashlib.sha256(encoded).hexdigest()}"
    if written in _RESERVED:
        return f"%{encoded[0]:02x}{written[1:]}"
    return written

"""Addresses and header lines. Input of a customer must not add a header or a recipient."""

from __future__ import annotations

import re

from order_fsm import validation
from order_fsm.errors import InvalidInput

_NOT_IN_LINE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def address_of(value: object, what: str) -> str:
    """Return a bare address for headers and SMTP, with its domain in ASCII if possible.

    Raises:
        InvalidInput: if the value is not a bare address.
    """
    try:
        address = validation.email(value)
    except InvalidInput as error:
        raise InvalidInput(f"{what}: {error}") from None
    name, _, domain = address.rpartition("@")
    return address if domain.isascii() else f"{name}@{_ascii(domain)}"


def _ascii(domain: str) -> str:
    """Return the ASCII form of a domain.

    The codec is IDNA 2003. A domain that it would change into another one (ß into ss) is returned unchanged.
    """
    try:
        encoded = domain.encode("idna")
    except UnicodeError:
        return domain
    return encoded.decode() if encoded.decode("idna") == domain.lower() else domain


def header_line(text: str) -> str:
    """Return text for a header: one line, without control characters.

    `email` decodes encoded words (`=?utf-8?q?=0AX?=`) and their line breaks when a header is set. An invisible
    character after the `=` prevents that.
    """
    return _NOT_IN_LINE.sub(" ", text).strip().replace("=?", "=\u2060?")

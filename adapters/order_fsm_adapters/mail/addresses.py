"""Addresses and header lines: nothing that a customer wrote may add a header or a recipient."""

from __future__ import annotations

import re

from order_fsm import validation
from order_fsm.errors import InvalidInput

_NOT_IN_LINE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def address_of(value: object, what: str) -> str:
    """Return a bare address as it may stand in a header and in SMTP, its domain in ASCII if that is the same domain.

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
    """Return the form of a domain that all servers know.

    The codec is of IDNA 2003. A domain that it would change into another one (ß into ss) is left to the server.
    """
    try:
        encoded = domain.encode("idna")
    except UnicodeError:
        return domain
    return encoded.decode() if encoded.decode("idna") == domain.lower() else domain


def header_line(text: str) -> str:
    """Return text as a header may hold it: one line, without control characters.

    `email` decodes encoded words (`=?utf-8?q?=0AX?=`) when a header is set, line breaks included. An invisible
    character between the first two keeps text from looking like one.
    """
    return _NOT_IN_LINE.sub(" ", text).strip().replace("=?", "=\u2060?")

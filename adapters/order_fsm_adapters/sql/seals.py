"""Seals: digests stored with the rows, so that reads detect disk damage and manual edits.

A seal covers values and not columns, so it is the same in every database. The entries of an order form a chain: the
seal of an entry covers the seal before it, so changed, removed, inserted and moved entries are detected. The order's
row repeats the last seal of the chain, and has a seal of its own. The links of a chain are plain SHA-256 over bytes, so
a function in a database can add one.

Personal values (a customer, an address, a comment) are covered by a commitment: the seal covers a digest of a random
salt and the values. To erase them, blank the values and the salt and keep the digest. Then nobody can find the values
by trying likely ones, and the seals still fit.

A seal contains no secret. It detects accidents and edits, not a person who computes all seals again. It does not detect
that all rows of an order are gone, or a key, or a message.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from order_fsm.errors import StoreCorrupt

_SALT_SIZE = 16

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def digest(values: tuple[Any, ...]) -> bytes:
    """Return the digest of some values.

    Args:
        values: begin with the kind of the row. Equal values have the same digest, whatever the order of their keys.
    """
    return sha256(_encode(values)).digest()


def seal(*parts: bytes) -> bytes:
    """Return the seal over a digest and the seals and digests before it."""
    return sha256(b"".join(parts)).digest()


class Commitment(NamedTuple):
    """A commitment to personal values.

    Attributes:
        salt: None if the values are blank, or erased.
        digest: covered by the seal. None if the values were blank when the row was written.
    """

    salt: bytes | None
    digest: bytes | None

    def covers(self, values: tuple[Any, ...], *, blank: bool) -> bool:
        """Return whether the values are those committed to, or erased."""
        if not self.salt:
            return blank
        return self.digest == seal(self.salt, digest(values))


NOTHING = Commitment(None, None)
"""The commitment to blank values."""


def commitment(values: tuple[Any, ...]) -> Commitment:
    """Return a new commitment to personal values."""
    salt = os.urandom(_SALT_SIZE)
    return Commitment(salt, seal(salt, digest(values)))


def erased() -> Commitment:
    """Return the commitment of a new row whose personal values were erased before."""
    return Commitment(None, os.urandom(sha256().digest_size))


def corrupt(row: str, reason: object = None) -> StoreCorrupt:
    """Return the error for a row that is not as it was written.

    Args:
        row: names the row in the message.
        reason: the error of decoding it, if there was one.
    """
    why = "" if reason is None else f" ({reason})"
    return StoreCorrupt(f"{row} is damaged or was edited{why}: restore it from a backup")

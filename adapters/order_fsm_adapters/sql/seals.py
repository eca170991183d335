"""Seals: digests stored with the rows, so that reads detect disk damage and manual edits.

A seal covers values, not columns, so it is the same in every database. The entries of an order form a chain: the seal
of an entry covers the previous seal, so reads detect changed, removed, inserted and moved entries. The order's row
repeats the last seal of the chain and has its own seal. Seals are plain SHA-256 over bytes, so a function in a database
can extend the chain.

A commitment covers personal values (a customer, an address, a comment): the seal covers a digest of a random salt and
the values. An erasure blanks the values and the salt and keeps the digest. Then nobody can guess the values from the
digest, and the seals still match.

A seal contains no secret. It detects accidents and edits, not attackers: they can compute all seals again. Seals do not
detect that all rows of an order, a key or a message were deleted.
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
        values: the kind of the row, then its values. The order of the keys in a mapping does not matter.
    """
    return sha256(_encode(values)).digest()


def seal(*parts: bytes) -> bytes:
    """Return the seal over some seals and digests."""
    return sha256(b"".join(parts)).digest()


class Commitment(NamedTuple):
    """A commitment to personal values.

    Attributes:
        salt: None if the values are blank or erased.
        digest: covered by the seal. None if the values were blank from the start.
    """

    salt: bytes | None
    digest: bytes | None

    def covers(self, values: tuple[Any, ...], *, blank: bool) -> bool:
        """Return whether the values match. Without a salt, only blank ones do."""
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
    """Return the commitment for a new row with erased values."""
    return Commitment(None, os.urandom(sha256().digest_size))


def corrupt(row: str, reason: object = None) -> StoreCorrupt:
    """Return the error for a damaged or edited row.

    Args:
        row: names the row in the message.
        reason: the error of decoding it, if any.
    """
    why = "" if reason is None else f" ({reason})"
    return StoreCorrupt(f"{row} is damaged or was edited{why}: restore it from a backup")

"""JSON documents for people to read, with a checksum by which every change that was not made here is found.

The last member of a document is the SHA-256 of all bytes before it. The first is the version of its format: a document
of a newer one is refused, not guessed at.

An order's whole history is in one document. So the checksum shows an entry that was changed, removed, inserted or moved
as it shows any other edit, and a chain of seals from entry to entry would say nothing more. It has no secret: it shows
accidents and edits, not somebody who makes it anew; nor a file that is gone, or that is replaced by an older one.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from order_fsm.errors import StoreCorrupt, StoreUnavailable

FORMAT = 1
"""The version of the format that is written. Whatever a later one changes, the checksum stays as it is."""

_OPENING = b',\n  "sha256": "'
_CLOSING = b'"\n}\n'
_SEAL_LENGTH = len(_OPENING) + 64 + len(_CLOSING)


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all documents begin with."""

    format: int = FORMAT


class _AnyDocument(msgspec.Struct):
    format: int


_T = TypeVar("_T", bound=Document)
_any = msgspec.json.Decoder(_AnyDocument)


def _sealed(body: bytes) -> bytes:
    return b"".join((body, _OPENING, hashlib.sha256(body).hexdigest().encode(), _CLOSING))


def encode(document: Document) -> bytes:
    """A document as the content of a file: the same document is the same bytes."""
    text = msgspec.json.encode(document, order="deterministic")
    return _sealed(msgspec.json.format(text, indent=2).removesuffix(b"\n}"))


def decode(content: bytes, shape: msgspec.json.Decoder[_T], path: str) -> _T:
    """The document that a file holds.

    Args:
        content: of the file.
        shape: the decoder of such documents.
        path: of the file, for the message.

    Raises:
        StoreCorrupt: it is not what was written, or no such document.
        StoreUnavailable: a newer version of the library wrote it.
    """
    body = content[:-_SEAL_LENGTH]
    if content != _sealed(body):
        raise StoreCorrupt(
            f"{path} is not as it was written: it was cut short or edited by hand; restore the file from a backup"
        )
    text = body + b"\n}"
    try:
        document = shape.decode(text)
    except (msgspec.MsgspecError, ValueError) as error:
        _refuse_newer(_format(text), path)
        raise StoreCorrupt(
            f"{path} holds no document of the kind that is kept there: restore the file from a backup"
        ) from error
    _refuse_newer(document.format, path)
    return document


def _format(text: bytes) -> int:
    """The version of the format of a document, whatever else is in it; 0 where it has none."""
    try:
        return _any.decode(text).format
    except msgspec.MsgspecError:
        return 0


def _refuse_newer(version: int, path: str) -> None:
    if version > FORMAT:
        raise StoreUnavailable(
            f"{path} was written by a newer version of order_fsm: use that version, or a backup from before it"
        )

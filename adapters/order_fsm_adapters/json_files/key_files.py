"""Where keys are: a file for each, which names the order that it was, or was to be, committed on.

What a key stands for is in the file of its order. A file here is durable before the commit that it is for; one that
leads to an order that lacks the key, or that is not there, means nothing.
"""

from __future__ import annotations

import os

import msgspec

from order_fsm.errors import StoreCorrupt
from order_fsm_adapters.json_files import sealed_json
from order_fsm_adapters.json_files.durable_files import read, write
from order_fsm_adapters.json_files.file_names import file_name
from order_fsm_adapters.json_files.inspection import broken_files


class _Claim(sealed_json.Document, frozen=True, kw_only=True):
    key: str
    order_id: str


_decoder = msgspec.json.Decoder(_Claim)


class KeyFiles:
    """The files of a folder. That of a key changes under the lock of the key alone."""

    def __init__(self, path: str) -> None:
        """Name the folder."""
        self._path = path

    def order_of(self, key: str) -> str | None:
        """The id of the order to look at for a key; None where it was never committed."""
        path = self._file(key)
        content = read(path)
        if content is None:
            return None
        claim = sealed_json.decode(content, _decoder, path)
        if claim.key != key:
            raise StoreCorrupt(f"{path} is of another key: restore the file from a backup")
        return claim.order_id

    def lead_to(self, order_id: str, key: str) -> None:
        """Make it durable, before a commit, that the key is to be looked for on this order.

        A file that is there may be left by a process that was killed before it was durable. So it is written again.
        """
        write(self._file(key), sealed_json.encode(_Claim(key=key, order_id=order_id)))

    def faults(self) -> list[str]:
        """What is wrong with the files: a sentence for each that is broken."""
        return broken_files(self._path, _decoder, lambda document: document.key)

    def _file(self, key: str) -> str:
        return os.path.join(self._path, f"{file_name(key)}.json")

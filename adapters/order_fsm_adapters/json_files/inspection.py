"""What an audit asks of a folder of sealed files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import msgspec

from order_fsm.errors import StoreCorrupt
from order_fsm_adapters.json_files import sealed_json
from order_fsm_adapters.json_files.durable_files import UNFINISHED, listed, read
from order_fsm_adapters.json_files.file_names import file_name

_T = TypeVar("_T", bound=sealed_json.Document)


def strays(path: str) -> list[str]:
    """What the store did not put into a folder: a sentence for each file. Nobody reads it; it may be one whose name was
    changed."""
    files = sorted(listed(path))
    return [
        f"{os.path.join(path, file)} was not written by order_fsm: move it elsewhere"
        for file in files
        if not file.endswith((".json", f".json{UNFINISHED}"))
    ]


def broken_files(path: str, shape: msgspec.json.Decoder[_T], about: Callable[[_T], str]) -> list[str]:
    """What is wrong with the files of a folder: a sentence for each that is broken or of another one's name.

    Args:
        path: of the folder.
        shape: the decoder of its documents.
        about: the id, SKU or key that a document is about.
    """
    found = strays(path)
    for file in sorted(listed(path)):
        name, ending = os.path.splitext(file)
        place = os.path.join(path, file)
        content = read(place) if ending == ".json" else None
        if content is not None:
            try:
                told = about(sealed_json.decode(content, shape, place))
            except StoreCorrupt as error:
                found.append(str(error))
            else:
                found += [] if file_name(told) == name else [f"{place} is of another one, {told!r}"]
    return found

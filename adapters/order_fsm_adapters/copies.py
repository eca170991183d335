"""Copies of a store: files and folders that appear when they are complete.

A copy is written under a temporary name, flushed to the disk, and then renamed. A killed process may leave a file or
folder that ends in `.tmp`. You can delete it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from secrets import token_hex
from urllib.parse import quote

from order_fsm.errors import InvalidInput
from order_fsm_adapters.files import DiskErrors, flush_folder, take_owner, write_file


def publish(path: str, write: Callable[[str], None]) -> None:
    """Create a new file or folder that appears when it is complete.

    Args:
        path: absolute.
        write: creates and flushes it at another path in the same folder.

    Raises:
        InvalidInput: if `path` exists.
        StoreFull: if the disk is full. Nothing of the copy is left.
        StoreUnavailable: if the disk fails. Nothing of the copy is left.
    """
    if os.path.lexists(path):
        raise _in_the_way(path)
    draft = f"{path}.{token_hex(4)}.tmp"
    with DiskErrors(f"the copy {path!r}"):
        try:
            write(draft)
            _name(draft, path)
        finally:
            if os.path.isdir(draft):
                shutil.rmtree(draft, ignore_errors=True)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(draft)
        flush_folder(os.path.dirname(path))


def publish_folder(path: str, files: Iterable[tuple[str, Iterable[bytes]]], like: str, *, durable: bool) -> None:
    """Create a new folder of files that appears when it is complete.

    Args:
        path: absolute.
        files: names and contents.
        like: the file whose owner and permissions the files get. The folder gets those of its parent folder.
        durable: whether to flush the files to the disk.

    Raises:
        InvalidInput: if `path` exists.
        StoreFull: if the disk is full. Nothing of the copy is left.
        StoreUnavailable: if the disk fails. Nothing of the copy is left.
    """

    def write(draft: str) -> None:
        os.mkdir(draft, 0o700)
        for name, parts in files:
            write_file(os.path.join(draft, name), parts, like, durable=durable)
        take_owner(draft, os.path.dirname(like))
        flush_folder(draft)

    publish(path, write)


def _name(draft: str, path: str) -> None:
    """Rename a file or folder, and never overwrite one."""
    try:
        # Unlike a rename, a link never replaces a file.
        os.link(draft, path)
    except FileExistsError:
        raise _in_the_way(path) from None
    except OSError:
        # Folders and some file systems have no hard links.
        if os.path.lexists(path):
            raise _in_the_way(path) from None
        os.rename(draft, path)


def _in_the_way(path: str) -> InvalidInput:
    return InvalidInput(f"{path!r} exists, and a copy never overwrites: use another path")


def file_name(order_id: str) -> str:
    """Return the name of an order's file: its id if every file system allows it."""
    name = quote(order_id, safe="")
    if len(name) > 100 or name != name.lower():
        name = f"{name[:100]}-{sha256(order_id.encode()).hexdigest()[:16]}"
    return f"{name}.json"

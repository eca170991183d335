"""The folder of a store of JSON files: what is in it, and opening it."""

from __future__ import annotations

import os

import msgspec

from order_fsm.errors import InvalidInput, StoreUnavailable
from order_fsm_adapters.file_locks import FileLock
from order_fsm_adapters.json_files import sealed_json
from order_fsm_adapters.json_files.durable_files import UNFINISHED, disk_errors, exists, flush_folder, read, write

ORDERS = "orders"
STOCK = "stock"
KEYS = "keys"
OUTBOX = "outbox"
LOCKS = "locks"
INDEX = "index"

FOLDERS = (ORDERS, STOCK, KEYS, OUTBOX, LOCKS)
ABOUT = "store.json"


class _About(sealed_json.Document, frozen=True, kw_only=True):
    """The document that makes a folder a store. Its format is that of the newest file in it."""

    store: str = "order_fsm"


_decoder = msgspec.json.Decoder(_About)


def open_folder(folder: str | os.PathLike[str]) -> str:
    """Open the folder of a store, or make it.

    Args:
        folder: where it is or shall be; its parent folder must be there.

    Returns:
        Its absolute path, so that it stays the same one when the program changes its working directory.

    Raises:
        InvalidInput: no path, or a folder that holds other things.
        StoreUnavailable: it cannot be made or opened, or a newer version of the library wrote it.
        StoreCorrupt: its `store.json` is broken.
    """
    root = os.path.abspath(checked(folder))
    about = os.path.join(root, ABOUT)
    if not exists(about):
        _make(root, about)
    content = read(about)
    if content is None:
        raise StoreUnavailable(f"{about} has gone while the store was opened: open it again")
    sealed_json.decode(content, _decoder, about)
    # Whoever made it may have been killed before it was durable, or be about to make it so.
    flush_folder(root)
    return root


def checked(folder: str | os.PathLike[str]) -> str:
    """The path of a folder.

    Raises:
        InvalidInput: it is none.
    """
    path = os.fspath(folder) if isinstance(folder, str | os.PathLike) else None
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise InvalidInput(f"folder must be the path of a folder, such as 'shop-orders', not {folder!r:.80}")
    return path


def _make(root: str, about: str) -> None:
    with disk_errors(root):
        if exists(root):
            _refuse_others(root)
        else:
            # Two processes may do this at once.
            _make_folder(root)
        # Also where it was there: the process that made it may have been killed before it was durable.
        flush_folder(os.path.dirname(root))
        for folder in FOLDERS:
            _make_folder(os.path.join(root, folder))
        with FileLock(os.path.join(root, LOCKS, "store.lock")):
            if not exists(about):
                # What says that this is a store must not outlast a power loss without the folders of it.
                flush_folder(root)
                write(about, sealed_json.encode(_About()))


def _make_folder(path: str) -> None:
    if not os.path.isdir(path):
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise


def _refuse_others(root: str) -> None:
    others = set(os.listdir(root)) - {*FOLDERS, INDEX, ABOUT, ABOUT + UNFINISHED}
    if others:
        raise InvalidInput(
            f"{root} is no store of order_fsm and holds other things, such as {min(others)!r}: give a folder of its own"
        )

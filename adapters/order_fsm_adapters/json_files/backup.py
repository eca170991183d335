"""Copying the folder of a store that is in use, as of one moment.

A file of the store is never changed, only replaced by another one, or removed. So a hard link to it is a copy of the
moment, and making one is quick. With all writers locked out, all files get a link in a folder beside the copy; then the
writers go on, and the links are copied and flushed one by one. On a file system without links, or where the copy is on
another one than the store, the files are copied while the writers wait.

The folder gets its name when it is whole. What a killed process left ends in `.tmp` and can go.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import AbstractContextManager

from order_fsm.errors import InvalidInput
from order_fsm_adapters.json_files.durable_files import UNFINISHED, disk_errors, flush_folder, listed, put, read
from order_fsm_adapters.json_files.json_folder import ABOUT, FOLDERS, LOCKS


def copy(root: str, folder: str, locked: AbstractContextManager[object]) -> None:
    """Copy the files of a store to a new folder.

    Args:
        root: the folder of the store.
        folder: that of the copy, absolute.
        locked: with it entered, no file of the store changes, and none waits in a journal.

    Raises:
        InvalidInput: there is something at that path.
        StoreFull, StoreUnavailable, StoreCorrupt: the copy cannot be made; what there is of it is removed.
    """
    if os.path.lexists(folder):
        raise InvalidInput(f"there is something at {folder!r}, and a backup overwrites nothing: give another path")
    parent, name = os.path.split(folder)
    with disk_errors(folder):
        draft = tempfile.mkdtemp(prefix=f"{name}.", suffix=UNFINISHED, dir=parent)
    try:
        links, copies = os.path.join(draft, "links"), os.path.join(draft, "copies")
        for part in ("", *FOLDERS):
            with disk_errors(draft):
                os.makedirs(os.path.join(links, part))
                os.makedirs(os.path.join(copies, part))
        with locked:
            _link(os.path.join(root, ABOUT), os.path.join(links, ABOUT))
            for part in FOLDERS:
                for file in [] if part == LOCKS else listed(os.path.join(root, part)):
                    if not file.endswith(UNFINISHED):
                        _link(os.path.join(root, part, file), os.path.join(links, part, file))
        for part in (*FOLDERS, ""):
            for file in listed(os.path.join(links, part)):
                if part or file == ABOUT:
                    put(os.path.join(copies, part, file), read(os.path.join(links, part, file)) or b"")
            flush_folder(os.path.join(copies, part))
        with disk_errors(folder):
            # Where a folder that is not empty came there meanwhile, it fails.
            os.rename(copies, folder)
        flush_folder(parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _link(path: str, copy: str) -> None:
    with disk_errors(path):
        try:
            os.link(path, copy)
        except OSError:
            if os.path.lexists(copy):
                raise
            if os.path.isdir(path):
                return  # Nothing that the store wrote.
            shutil.copyfile(path, copy)

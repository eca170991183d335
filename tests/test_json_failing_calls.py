"""The JSON store if one of its system calls fails, alone or with all later calls."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from order_fsm.testing.store_contract.calls import Calls, Failing
from order_fsm.testing.store_contract.failures import FailingCommits, Failures
from order_fsm_adapters.files import DiskFile
from order_fsm_adapters.json_files import JsonStore

SYSTEM_CALLS = ("pread", "pwrite", "fsync", "ftruncate", "fstat", "stat", "replace", "mkdir", "listdir", "unlink")
NEED_ROOM = {"pwrite", "fsync", "replace", "mkdir", "__init__"}


@contextmanager
def system_calls(calls: Calls, number: int = errno.EIO) -> Iterator[None]:
    """Route all system calls of the store through `calls.made`.

    Args:
        calls: counts the calls, and makes some fail.
        number: the number of the error. Only calls that need space fail with ENOSPC.
    """

    def made(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        shown = errno.EIO if number == errno.ENOSPC and call.__name__ not in NEED_ROOM else number
        return calls.made(partial(call, *given, **named), partial(OSError, shown, os.strerror(shown)))

    def opened(file: DiskFile, *given: Any) -> None:
        made(FileIO.__init__, file, *given)

    with ExitStack() as patched:
        for name in SYSTEM_CALLS:
            patched.enter_context(patch.object(os, name, partial(made, getattr(os, name))))
        patched.enter_context(patch.object(fcntl, "flock", partial(made, fcntl.flock)))
        patched.enter_context(patch.object(DiskFile, "__init__", opened))
        yield


class TestJsonStore(Failures):
    """Failures of every system call."""

    def make_store(self, place: Path) -> JsonStore:
        return JsonStore(place / "orders")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        return system_calls(calls)


class TestJsonStoreWithoutRoom(FailingCommits):
    """Commits on a full disk."""

    def make_store(self, place: Path) -> JsonStore:
        return JsonStore(place / "orders")

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        if calls.how is Failing.AFTER:
            pytest.skip("a call without room has no effect")
        return system_calls(calls, errno.ENOSPC)

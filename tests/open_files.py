"""The open files of a process, on systems with `/proc`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DESCRIPTORS = Path("/proc/self/fd")

needs_open_files = pytest.mark.skipif(not _DESCRIPTORS.is_dir(), reason="the system does not list open files")


def open_files() -> list[Path]:
    """Return the open files of this process."""
    descriptors = [_DESCRIPTORS / name for name in os.listdir(_DESCRIPTORS)]
    return [descriptor.readlink() for descriptor in descriptors if descriptor.is_symlink()]

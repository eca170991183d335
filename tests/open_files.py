"""What a process has open, on systems that tell it in `/proc`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DESCRIPTORS = Path("/proc/self/fd")

needs_open_files = pytest.mark.skipif(not _DESCRIPTORS.is_dir(), reason="the system does not tell which files are open")


def open_files() -> list[Path]:
    """The files that this process has open."""
    descriptors = [_DESCRIPTORS / name for name in os.listdir(_DESCRIPTORS)]
    return [descriptor.readlink() for descriptor in descriptors if descriptor.is_symlink()]

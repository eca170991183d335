"""A power loss loses no acknowledged change of a store on disk and leaves no partial change.

Under stress the tests check 2,000 disk images per store, otherwise 100. They are skipped if strace is missing or not
permitted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from order_fsm.testing.store_contract.harness import stress
from tests.power.losses import lose_power
from tests.power.shop import STORES

IMAGES = 2000 * stress() or 100


def _can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "true"]).returncode == 0


pytestmark = [
    pytest.mark.skipif(not _can_trace(), reason="needs strace 5.3 or newer, and permission to trace"),
    # The tests open thousands of stores, and other tests cover these lines.
    pytest.mark.no_cover,
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory if possible. The trace has the flushes, so no disk is needed."""
    memory = Path("/dev/shm")  # noqa: S108 - the files have unique names
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_power_loss_keeps_acknowledged_changes(kind: str, place: Path) -> None:
    """Orders, stock, messages and keys survive. The change in progress is whole or absent."""
    losses = lose_power(kind, IMAGES, place)
    assert losses.images == IMAGES
    assert losses.bad == []


def test_power_loss_after_a_kill_during_a_flush_keeps_acknowledged_changes(place: Path) -> None:
    """Another process continues after the lines that the killed one wrote and did not flush."""
    losses = lose_power("json killed at a flush", IMAGES // 2, place)
    assert losses.images == IMAGES // 2
    assert losses.bad == []


@pytest.mark.parametrize("kind", [kind for kind in STORES if "without" in kind])
def test_store_without_a_flush_loses_acknowledged_changes(kind: str, place: Path) -> None:
    """The simulation detects each missing flush."""
    assert lose_power(kind, 250, place).bad

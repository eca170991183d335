"""The stores on disk after a power loss: no acknowledged change is lost, and no change is there in part.

Every store is checked on 2,000 images of a disk under stress, on 200 otherwise. Skipped without a strace that may
trace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from order_fsm.testing.store_contract.harness import stressed
from tests.power.losses import lose_power
from tests.power.shop import STORES

IMAGES = 2000 if stressed() else 100


def _can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "true"]).returncode == 0


pytestmark = [
    pytest.mark.skipif(not _can_trace(), reason="needs strace 5.3 or newer, and permission to trace"),
    # Thousands of stores are opened, read and closed, which other tests cover.
    pytest.mark.no_cover,
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory if there is one: the trace says what was flushed, so no disk is needed."""
    memory = Path("/dev/shm")  # noqa: S108 - its files have names of their own
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_power_loss_takes_no_acknowledged_change(kind: str, place: Path) -> None:
    """Orders, stock, messages and keys are there. The step under way is there whole, or not at all."""
    losses = lose_power(kind, IMAGES, place)
    assert losses.images == IMAGES
    assert losses.bad == []


def test_power_loss_after_a_kill_amid_a_flush_takes_no_acknowledged_change(place: Path) -> None:
    """Another process goes on from the lines that the killed one wrote and did not flush."""
    losses = lose_power("json killed at a flush", IMAGES // 2, place)
    assert losses.images == IMAGES // 2
    assert losses.bad == []


@pytest.mark.parametrize("kind", [kind for kind in STORES if "without" in kind])
def test_power_loss_shows_a_missing_flush(kind: str, place: Path) -> None:
    """A store without one of its flushes loses acknowledged changes."""
    assert lose_power(kind, 250, place).bad

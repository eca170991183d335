"""The stores on disk when the power fails: nothing that was acknowledged is lost, and nothing is there in part.

2,000 images of a disk for each store; as many as ORDER_FSM_POWER_IMAGES says, where it is set. Skipped where
there is no strace, an old one, or it may not trace.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.power.losses import lose_power

IMAGES = int(os.environ.get("ORDER_FSM_POWER_IMAGES", "2000"))
GOLDEN = Path(__file__).parent / "golden"


def _can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "true"]).returncode == 0


pytestmark = [
    pytest.mark.skipif(not _can_trace(), reason="needs strace 5.3 or newer, and leave to trace"),
    # Thousands of stores that are opened, read and closed, which others cover.
    pytest.mark.no_cover,
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is any: it is the trace that says what was flushed, and no disk is waited for."""
    memory = Path("/dev/shm")  # noqa: S108 - what is in it is of a name of its own
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_a_power_loss_takes_nothing_that_was_acknowledged(kind: str, place: Path) -> None:
    """Orders, stock, messages and keys are there, whole; what was under way is there whole, or not at all."""
    losses = lose_power(kind, IMAGES, place)
    assert losses.images == IMAGES
    assert losses.bad == []


def test_a_power_loss_after_a_kill_takes_nothing_that_was_acknowledged(place: Path) -> None:
    """So it is where a process was killed before it had flushed, and another one went on from there."""
    losses = lose_power("json killed at a flush", IMAGES // 2, place)
    assert losses.images == IMAGES // 2
    assert losses.bad == []


def test_a_power_loss_while_an_old_file_is_brought_up_to_date_takes_nothing(place: Path) -> None:
    """What was in a database of schema 1 is there, whichever schema it has after the power loss."""
    base = place / "base"
    base.mkdir()
    old = sqlite3.connect(base / "orders.db")
    old.executescript((GOLDEN / "sqlite_schema_1.sql").read_text())
    old.close()
    losses = lose_power("sqlite", IMAGES // 4, place, base)
    assert losses.images == IMAGES // 4
    assert losses.bad == []


@pytest.mark.parametrize("kind", ["sqlite without full sync", "json without folder flush", "json in place"])
def test_a_store_that_does_not_flush_is_found(kind: str, place: Path) -> None:
    """The stores with one flush left out, or without the rename, lose what was acknowledged."""
    losses = lose_power(kind, 100, place)
    assert losses.bad

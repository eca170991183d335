"""The stores on disk when the power fails: nothing that was acknowledged is lost, and nothing is there in part.

500 images of a disk for each store; as many as ORDER_FSM_POWER_IMAGES says, where it is set. Skipped where there is
no strace, or it may not trace.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.power.losses import lose_power

IMAGES = int(os.environ.get("ORDER_FSM_POWER_IMAGES", "500"))
GOLDEN = Path(__file__).parent / "golden"


def _can_trace() -> bool:
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-qq", "-o", os.devnull, "true"]).returncode == 0


pytestmark = pytest.mark.skipif(not _can_trace(), reason="needs strace, and leave to trace")


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_a_power_loss_takes_nothing_that_was_acknowledged(kind: str, tmp_path: Path) -> None:
    """Orders, stock, messages and keys are there, whole; what was under way is there whole, or not at all."""
    losses = lose_power(kind, IMAGES, tmp_path)
    assert losses.images == IMAGES
    assert losses.bad == []


def test_a_power_loss_after_a_kill_takes_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """So it is where a process was killed before it had flushed, and another one went on from there."""
    losses = lose_power("json killed at a flush", IMAGES // 2, tmp_path)
    assert losses.images == IMAGES // 2
    assert losses.bad == []


def test_a_power_loss_while_an_old_file_is_brought_up_to_date_takes_nothing(tmp_path: Path) -> None:
    """What was in a database of schema 1 is there, whichever schema it has after the power loss."""
    base = tmp_path / "base"
    base.mkdir()
    old = sqlite3.connect(base / "orders.db")
    old.executescript((GOLDEN / "sqlite_schema_1.sql").read_text())
    old.close()
    losses = lose_power("sqlite", IMAGES // 4, tmp_path, base)
    assert losses.images == IMAGES // 4
    assert losses.bad == []


@pytest.mark.parametrize("kind", ["sqlite without full sync", "json without folder flush", "json in place"])
def test_a_store_that_does_not_flush_is_found(kind: str, tmp_path: Path) -> None:
    """The stores with one flush left out, or without the rename, lose what was acknowledged."""
    losses = lose_power(kind, 100, tmp_path)
    assert losses.bad

"""What the disk refuses to the JSON files: the error names the file, and says what to do and what is known."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from order_fsm import StoreError, StoreFull, StoreUnavailable
from order_fsm_adapters.file_locks import FileLock
from order_fsm_adapters.json_files import durable_files
from order_fsm_adapters.json_files.durable_files import disk_errors
from order_fsm_adapters.json_files.file_journal import FileJournal

pytest.importorskip("fcntl", reason="these tests know what Unix says")

ADVICE = "see that the folder is there, that its disk is well and that this process may write to it, then retry"


@pytest.mark.parametrize(
    "use",
    [
        durable_files.read,
        durable_files.exists,
        durable_files.listed,
        lambda path: durable_files.put(path, b"x"),
        lambda path: durable_files.write(path, b"x"),
        durable_files.mark,
        durable_files.remove,
    ],
    ids=["read", "exists", "listed", "put", "write", "mark", "remove"],
)
def test_a_file_that_cannot_be_got_at_is_named(tmp_path: Path, use: Callable[[str], object]) -> None:
    (tmp_path / "file").touch()
    path = str(tmp_path / "file" / "inner")
    said = rf"^{re.escape(path)}(\.tmp)? cannot be read or written \(Not a directory\): {ADVICE}$"
    with pytest.raises(StoreUnavailable, match=said):
        use(path)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, "no space"), StoreFull, r"^there is no room to write it \(no space\): make room, then"),
        (OSError(errno.EFBIG, "too large"), StoreFull, r"^there is no room to write it \(too large\): make room, then"),
        (OSError("odd"), StoreUnavailable, rf"^it cannot be read or written \(odd\): {ADVICE}$"),
    ],
    ids=["full", "too large", "unknown"],
)
def test_what_the_disk_says_is_told(error: OSError, kind: type[StoreError], said: str) -> None:
    with pytest.raises(kind, match=said), disk_errors("it"):
        raise error


def test_what_is_no_error_of_the_disk_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), disk_errors("it"):
        raise ZeroDivisionError


def test_a_folder_that_cannot_be_flushed_is_named(tmp_path: Path) -> None:
    """It may have been after a rename: so it says what is known of the change."""
    said = rf"^the folder {re.escape(str(tmp_path))}/gone cannot be flushed .*\(No such file or directory\): the change"
    with pytest.raises(StoreUnavailable, match=said + " is there, but .*; repeat the call with the same key$"):
        durable_files.flush_folder(str(tmp_path / "gone"))


# The journal

FILES = {("orders", "1001.json"): b"one", ("stock", "cup.json"): b"two"}


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    for folder in ("orders", "stock"):
        (tmp_path / folder).mkdir()
    return FileJournal(str(tmp_path), ("orders", "stock"), FileLock(str(tmp_path / "lock")))


def in_place(root: Path) -> dict[tuple[str, str], bytes]:
    found = [*root.glob("orders/*"), *root.glob("stock/*")]
    return {(path.parent.name, path.name): path.read_bytes() for path in found if path.is_file()}


def test_a_draft_that_cannot_be_made_is_named_and_changes_nothing(tmp_path: Path, journal: FileJournal) -> None:
    (tmp_path / "journal.tmp").touch()
    with pytest.raises(StoreUnavailable, match=rf"^{re.escape(str(tmp_path))}/journal\.tmp cannot be read or written"):
        journal.commit(FILES)
    assert in_place(tmp_path) == {}
    (tmp_path / "journal.tmp").unlink()
    journal.commit(FILES)
    assert in_place(tmp_path) == FILES


def test_a_draft_that_cannot_be_given_its_name_is_named_and_changes_nothing(
    tmp_path: Path, journal: FileJournal
) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(StoreUnavailable, match=rf"^{re.escape(str(tmp_path))}/journal\.tmp cannot be read or written"):
        journal.commit(FILES)
    assert in_place(tmp_path) == {}
    os.unlink(tmp_path / "journal")
    journal.commit(FILES)
    assert in_place(tmp_path) == FILES


def test_what_is_committed_and_cannot_be_put_in_its_place_is_told_and_put_there_later(
    tmp_path: Path, journal: FileJournal
) -> None:
    (tmp_path / "stock" / "cup.json").mkdir()
    said = rf"^the change is written but not yet in its place: {re.escape(str(tmp_path))}/journal cannot be read"
    with pytest.raises(StoreUnavailable, match=said):
        journal.commit(FILES)
    (tmp_path / "stock" / "cup.json").rmdir()
    journal.settle("stock", "cup.json")
    assert in_place(tmp_path) == FILES
    assert not (tmp_path / "journal").exists()

"""Lock files exclude threads and processes, and are released by their block or process."""

from __future__ import annotations

import gc
import os
import signal
import threading
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from order_fsm_adapters.file_locks import LockFile

from .open_files import needs_open_files, open_files

fcntl = pytest.importorskip("fcntl", reason="these tests use processes and locks as Unix has them")
fork = get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.lock"


def is_free(path: Path) -> bool:
    """Return whether the lock is free."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_lock_is_held_until_its_block_ends(path: Path) -> None:
    with LockFile(str(path)) as lock:
        assert is_free(path)
        lock.acquire()
        assert not is_free(path)
    assert is_free(path)


def test_lock_of_a_block_that_raises_is_freed(path: Path) -> None:
    def fail() -> None:
        with LockFile(str(path)) as lock:
            lock.acquire()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert is_free(path)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_lock_without_a_reference_is_freed(path: Path) -> None:
    """A signal handler may raise between the opening of the file and the block."""
    lock = LockFile(str(path))
    lock.acquire()
    del lock
    gc.collect()
    assert is_free(path)


def test_lock_file_in_a_missing_folder_raises_without_a_warning(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LockFile(str(tmp_path / "missing" / "lock"))
    gc.collect()


def test_threads_hold_the_lock_one_after_the_other(path: Path) -> None:
    inside: list[int] = []
    most = 0

    def enter() -> None:
        nonlocal most
        for _ in range(50):
            with LockFile(str(path)) as lock:
                lock.acquire()
                inside.append(1)
                most = max(most, len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def _hold(path: Path, held: Connection) -> None:
    with LockFile(str(path)) as lock:
        lock.acquire()
        held.send("held")
        signal.pause()


def test_lock_of_a_killed_process_is_freed(path: Path) -> None:
    ours, theirs = fork.Pipe()
    holder = fork.Process(target=_hold, args=(path, theirs))
    holder.start()
    ours.recv()
    assert not is_free(path)
    holder.kill()
    holder.join()
    assert is_free(path)
    ours.close()
    theirs.close()


def test_child_that_ends_within_the_block_leaves_the_lock_to_its_parent(path: Path) -> None:
    with LockFile(str(path)) as lock:
        lock.acquire()
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert not is_free(path)


@needs_open_files
def test_lock_file_is_open_within_its_block_only(path: Path) -> None:
    with LockFile(str(path)) as lock:
        lock.acquire()
        assert path in open_files()
    assert path not in open_files()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_new_lock_file_takes_the_permissions_of_another_file(tmp_path: Path, path: Path, mode: int) -> None:
    """The umask does not matter."""
    database = tmp_path / "shop.db"
    database.touch()
    database.chmod(mode)
    with LockFile(str(path), str(database)):
        assert path.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_new_lock_file_takes_the_owner_of_another_file(tmp_path: Path, path: Path) -> None:
    database = tmp_path / "shop.db"
    database.touch()
    os.chown(database, 65534, 65533)
    with LockFile(str(path), str(database)):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


def test_lock_file_that_exists_keeps_its_permissions(tmp_path: Path, path: Path) -> None:
    path.touch()
    path.chmod(0o660)
    with LockFile(str(path), str(tmp_path)):
        assert path.stat().st_mode & 0o777 == 0o660

"""The lock between processes and threads."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from order_fsm_adapters.file_locks import FileLock

from .open_files import needs_open_files, open_files

fcntl = pytest.importorskip("fcntl", reason="elsewhere the lock is that of the library filelock")

fork = get_context("fork")


def count_up(lock: FileLock, counter: Path) -> None:
    """Read, add one, write: one that is not alone loses counts."""
    for _ in range(100):
        with lock:
            counter.write_text(str(int(counter.read_text()) + 1))


def is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_threads_and_processes_exclude_each_other(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    lock = FileLock(str(tmp_path / "lock"))
    children = [fork.Process(target=count_up, args=(lock, counter)) for _ in range(2)]
    for child in children:
        child.start()
    threads = [threading.Thread(target=count_up, args=(lock, counter)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        child.join()
    assert counter.read_text() == "400"


def test_the_lock_is_free_after_the_block_whatever_it_raises(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    def fail() -> None:
        with FileLock(str(path)):
            assert not is_free(path)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert is_free(path)


def test_the_lock_file_stays(tmp_path: Path) -> None:
    with FileLock(str(tmp_path / "lock")):
        pass
    assert (tmp_path / "lock").exists()


def test_a_lock_file_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    """Who comes later locks the new one."""
    path = tmp_path / "lock"
    lock = FileLock(str(path))
    with lock:
        pass
    path.unlink()
    with lock:
        assert not is_free(path)


def test_a_lock_file_that_was_replaced_is_locked_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(str(path))
    with lock:
        pass
    (tmp_path / "other").touch()
    (tmp_path / "other").replace(path)
    with lock:
        assert not is_free(path)


@needs_open_files
def test_the_file_stays_open_until_the_lock_is_closed(tmp_path: Path) -> None:
    """Once, however many threads had to wait for each other."""
    path = tmp_path / "lock"
    lock = FileLock(str(path))

    def times_open() -> int:
        return open_files().count(path)

    def take() -> None:
        with lock:
            pass

    with lock:
        waiting = threading.Thread(target=take)
        waiting.start()
        while times_open() < 2:
            pass
    waiting.join()
    with lock:  # Two may have ended at the same time.
        pass
    assert times_open() == 1
    lock.close()
    assert times_open() == 0
    with lock:
        assert not is_free(path)


def test_a_lock_in_a_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), FileLock(str(tmp_path / "missing" / "lock")):
        pass


def hold_for_ever(path: Path, pipe: Connection) -> None:
    with FileLock(str(path)):
        pipe.send("held")
        signal.pause()


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    ours, theirs = fork.Pipe()
    holder = fork.Process(target=hold_for_ever, args=(path, theirs))
    holder.start()
    ours.recv()
    assert not is_free(path)
    holder.kill()
    holder.join()
    assert is_free(path)
    ours.close()
    theirs.close()


def test_a_child_that_was_forked_in_the_block_does_not_free_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(str(path))
    with lock:
        child = os.fork()
        if child == 0:
            try:
                lock.__exit__()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert not is_free(path)
    assert is_free(path)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_was_forked_while_another_thread_holds_the_lock_does_not_free_it(tmp_path: Path) -> None:
    """What was the thread's own ends in the child as soon as it is forked, the lock among it."""
    path = tmp_path / "lock"
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(str(path)):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert not is_free(path)
    finally:
        done.set()
        thread.join()
    assert is_free(path)


@needs_open_files
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_forked_amid_opening_and_closing_has_no_lock_file_open(tmp_path: Path) -> None:
    """It would hold the lock on where its parent is killed, and nothing in it could close the file."""
    done = threading.Event()

    def open_and_close(lock: FileLock) -> None:
        while not done.is_set():
            with lock:
                pass

    threads = [threading.Thread(target=open_and_close, args=(FileLock(str(tmp_path / name)),)) for name in "abc"]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            child = os.fork()
            if child == 0:
                status = 2
                try:
                    status = int(any(tmp_path in file.parents for file in open_files()))
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()


def tell_and_wait(pipe: Connection, end: Connection) -> None:
    pipe.send("forked")
    end.recv()


def hold_and_fork(path: Path, pipe: Connection, end: Connection) -> None:
    with FileLock(str(path)):
        # The child tells it: before it runs, it has not let go of what it inherited.
        fork.Process(target=tell_and_wait, args=(pipe, end)).start()
        signal.pause()


def test_a_child_that_outlives_a_killed_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    ours, theirs = fork.Pipe()
    our_end, childs_end = fork.Pipe()
    holder = fork.Process(target=hold_and_fork, args=(path, theirs, childs_end))
    holder.start()
    try:
        ours.recv()
        holder.kill()
        holder.join()
        assert is_free(path)
    finally:
        our_end.send("end")
        for pipe in (ours, theirs, our_end, childs_end):
            pipe.close()

"""Limits for one process: disk space, write permission, file descriptors.

Disks are mounted in memory, in a mount namespace of the process (Linux). No other process sees them, and they vanish
when the process ends. This needs a privileged user, or a system that allows user namespaces.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import count, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from order_fsm.testing.store_contract.crews import Worker

if sys.platform != "win32":
    import resource

_NEW_MOUNTS, _NEW_USERS = 0x0002_0000, 0x1000_0000
_READ_ONLY, _REMOUNT, _PRIVATE = 1, 1 << 5, 1 << 14 | 1 << 18
_CAPABILITIES = 0x2008_0522
_PASSES_PERMISSIONS = 1 << 1 | 1 << 2
_GOING_ON = "going on"


class Limit:
    """A limit in a folder.

    Attributes:
        needs: the permission that the user needs, as the reason of a skip.
        place: an empty folder under the limit.
    """

    needs: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """Prepare the limit.

        Raises:
            OSError: if the user does not have the permission.
        """
        self.place = folder


D = TypeVar("D", bound=Limit)


def apart(kind: type[D], folder: Path, job: Callable[[D], Iterator[object]]) -> None:
    """Run a job under a limit in a separate process.

    Args:
        kind: creates the limit.
        folder: the folder of the limit.
        job: runs one step after the other.

    Raises:
        pytest.skip.Exception: if the system does not allow this user to create the limit.
        pytest.fail.Exception: if the job raises or a step gets stuck.
    """

    def work(_: None, pipe: Connection) -> None:
        try:
            disk = kind(folder)
        except OSError as error:
            pipe.send(f"this user may not {kind.needs} ({error.strerror}): run the tests in a privileged container")
            return
        for _step in job(disk):
            pipe.send(_GOING_ON)
        pipe.send("")

    worker = Worker(nullcontext, work)
    try:
        while (said := worker.receive()) == _GOING_ON:
            pass
    finally:
        worker.end()
    if said:
        pytest.skip(said)


class SmallFiles(Limit):
    """A limit of the file size (RLIMIT_FSIZE). A write beyond it is torn.

    Attributes:
        readable: whether reads must work without free space. Here they may fail, because a SQLite reader needs a file
            of 32 KB.
    """

    needs = "limit the size of files"

    readable = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        _wait_for_no_flush(folder)

    def used(self) -> int:
        """Return the size of the largest file."""
        return max((path.stat().st_size for path in self.place.rglob("*")), default=0)

    @contextmanager
    def only(self, room: int) -> Iterator[None]:
        """Let no file grow beyond a number of bytes. Python ignores the signal that comes with the error."""
        with _limit(resource.RLIMIT_FSIZE, room):
            yield


class _SmallDisk(Limit):
    """A disk in memory with a folder for ballast next to the stores."""

    needs = "mount a small disk"

    readable = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "stores")
        _mount_memory(folder)
        self.place.mkdir()
        self._ballast = folder / "ballast"


class FewBlocks(_SmallDisk):
    """A small disk on which blocks run out."""

    def used(self) -> int:
        """Return the number of used blocks."""
        disk = os.statvfs(self.place)
        return disk.f_blocks - disk.f_bfree

    @contextmanager
    def only(self, room: int) -> Iterator[None]:
        """Leave a number of blocks free."""
        disk = os.statvfs(self.place)
        size = (disk.f_bfree - room) * disk.f_frsize
        with self._ballast.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, size)
        try:
            yield
        finally:
            self._ballast.unlink()


class FewFiles(_SmallDisk):
    """A small disk with free blocks, on which the number of files runs out."""

    def used(self) -> int:
        """Return the number of files and folders."""
        disk = os.statvfs(self.place)
        return disk.f_files - disk.f_ffree

    @contextmanager
    def only(self, room: int) -> Iterator[None]:
        """Leave a number of files free."""
        self._ballast.mkdir()
        for number in range(os.statvfs(self.place).f_ffree - room):
            (self._ballast / f"{number}").touch()
        try:
            yield
        finally:
            shutil.rmtree(self._ballast)


class ReadOnlyMount(Limit):
    """A disk that is mounted read-only within a block."""

    needs = "mount a disk"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        _mount_memory(folder)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Make the disk read-only.

        Raises:
            OSError: if a file is open for writing.
        """
        _mount(b"none", self.place, _REMOUNT | _READ_ONLY)
        try:
            yield
        finally:
            _mount(b"none", self.place, _REMOUNT)


class NoPermission(Limit):
    """A folder to which its owner may not write within a block."""

    needs = "give up its privileges"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        _wait_for_no_flush(folder)
        _obey_permissions()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Remove the write permission of all files and folders, and restore it afterwards."""
        paths = [self.place, *self.place.rglob("*")]
        modes = {path: path.stat().st_mode for path in paths}
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)


class FewDescriptors(Limit):
    """A limit of open files (RLIMIT_NOFILE)."""

    needs = "limit its open files"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        _wait_for_no_flush(folder)

    @contextmanager
    def only(self, room: int) -> Iterator[None]:
        """Allow a number of files to be opened in addition to the open ones."""
        taken = open_descriptors()
        unused = (number for number in count() if number not in taken)
        with _limit(resource.RLIMIT_NOFILE, next(islice(unused, room, None))):
            yield


def open_descriptors() -> set[int]:
    """Return the numbers of the open files of this process."""
    # A kept exception and its frames are a cycle that holds open files until the collector runs.
    gc.collect()
    found = {int(name) for name in os.listdir("/dev/fd")}
    # The listing itself opened one of them.
    return {number for number in found if _is_open(number)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@contextmanager
def _limit(what: int, number: int) -> Iterator[None]:
    before, most = resource.getrlimit(what)
    resource.setrlimit(what, (number, most))
    try:
        yield
    finally:
        resource.setrlimit(what, (before, most))


def _wait_for_no_flush(folder: Path) -> None:
    """Mount a folder in memory if the system allows it, so that flushes are fast."""
    with suppress(OSError):
        _mount_memory(folder)


def _mount_memory(folder: Path) -> None:
    """Mount an empty disk of 8 MB and 300 files for this process and its children."""
    user, group = os.getuid(), os.getgid()
    try:
        _system("unshare", _NEW_MOUNTS)
    except PermissionError:
        # Every user may mount in a user namespace.
        _system("unshare", _NEW_MOUNTS | _NEW_USERS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount(b"none", Path("/"), _PRIVATE)
    _mount(b"tmpfs", folder, 0, b"size=8m,nr_inodes=300,mode=755")


def _mount(kind: bytes, folder: Path, flags: int, options: bytes | None = None) -> None:
    _system("mount", b"order_fsm", os.fsencode(folder), kind, ctypes.c_ulong(flags), options)


def _obey_permissions() -> None:
    """Make file permissions effective for a process whose user is privileged, here or in a namespace."""
    if sys.platform != "linux" and os.geteuid():
        return
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    sets = (ctypes.c_uint32 * 6)()
    _system("capget", header, sets)
    sets[0] &= ~_PASSES_PERMISSIONS
    _system("capset", header, sets)


def _system(name: str, *given: Any) -> None:
    """Make a system call that Python does not have.

    Raises:
        OSError: if the call fails or the system is not Linux.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*given):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")

"""A model of a disk that loses its power, rebuilt from a trace of system calls.

Flushed data survives, and any part of the rest may survive. The assumptions:

- fsync and fdatasync of a file make its content and length durable, and not its name. ext4, XFS and btrfs promise more,
  and POSIX allows this. fsync of a folder makes its creations, renames and removals of names durable, and no content.
- Any part of later writes to a file may reach the disk, in any sequence, in sectors of 512 bytes, each whole or not at
  all. The same is true of changes of its length. Gaps are zeros.
- Any part of later changes of names may reach the disk. The changes of one name keep their sequence, so there is no
  rename without the creation before it. A rename is atomic, even between two folders, and durable when both folders are
  flushed.
- fsync tells the truth: no lying disk, no failing fsync, no bit rot.
- Memory-mapped writes are not in the trace. Only the `-shm` file of SQLite is mapped, and it has no content.
- A killed process loses no earlier call.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from attrs import define, field

from tests.power.trace import Call

T = TypeVar("T")
SECTOR = 512

Folder = dict[str, "File | Folder"]


class File:
    """A file: its durable content, and the later writes and changes of length."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = bytearray(durable)
        self.pending: list[tuple[int, bytes | None]] = []
        self.length = len(durable)

    def write(self, offset: int, data: bytes) -> None:
        while data:
            room = SECTOR - offset % SECTOR
            self.pending.append((offset, data[:room]))
            offset, data = offset + len(data[:room]), data[room:]
        self.length = max(self.length, offset)

    def cut(self, length: int) -> None:
        self.pending.append((length, None))
        self.length = length

    def flush(self) -> None:
        self.durable = _written(self.durable, self.pending)
        self.pending = []

    def after(self, dice: random.Random) -> bytes:
        """Return a possible content after a power loss."""
        return bytes(_written(self.durable, _some(self.pending, dice)))


@define(eq=False)
class _Naming:
    """A change of names. After it each name has a file or folder, or nothing.

    Attributes:
        names: the folder, the name, and its file or folder.
        unflushed: the ids of the folders that were not flushed afterwards.
    """

    names: list[tuple[Folder, str, File | Folder | None]]
    unflushed: set[int] = field(factory=set)


class Disk:
    """The files below a folder, as a program sees them and after a power loss.

    Attributes:
        said: the standard output, which has the acknowledgements.
    """

    def __init__(self, before: Path, place: str) -> None:
        """Create the disk with a durable content.

        Args:
            before: a folder with the content before the program runs.
            place: the folder of this content in the program.
        """
        self._place = place
        self._root = self._found(before)
        self._live: dict[int, Folder] = {}
        self._keep: list[Folder] = []
        self._mirror(self._root)
        self._namings: list[_Naming] = []
        self._open: dict[tuple[int, int], tuple[File | Folder, bool]] = {}
        self._offsets: dict[tuple[int, int], int] = {}
        self.said: list[bytes] = []

    def _found(self, place: Path) -> Folder:
        return {path.name: self._found(path) if path.is_dir() else File(path.read_bytes()) for path in place.iterdir()}

    def _mirror(self, durable: Folder) -> None:
        """Add the content of a folder, as visible and durable."""
        self._keep.append(durable)
        self._live[id(durable)] = dict(durable)
        for one in durable.values():
            if isinstance(one, dict):
                self._mirror(one)

    # Calls of the program

    def do(self, call: Call) -> bool:
        """Apply a call. Return whether it may change the result of a power loss.

        Raises:
            AssertionError: if the model does not have the call.
        """
        if call.name in {"open", "openat", "creat"}:
            return self._opened(call)
        if call.name in {"rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"}:
            return self._named(call)
        assert call.texts == () or call.name in {"write", "pwrite64"} or not self._ours(*call.texts), call
        if call.name in {"truncate", "link", "linkat", "symlink", "symlinkat"}:
            return False
        number, path = call.descriptor
        key = call.pid, number
        if call.name == "write" and number == 1:
            self.said.append(call.texts[0])
            return True
        if key not in self._open or not self._ours(path.encode()):
            assert not self._ours(path.encode()), f"{path} was opened before the trace: {call.name}"
            return False
        file, appends = self._open[key]
        if call.name in {"fsync", "fdatasync"}:
            self._flush(file)
        elif call.name == "lseek":
            self._offsets[key] = call.answer
            return False
        else:
            assert isinstance(file, File), call
            if call.name == "write":
                offset = file.length if appends else self._offsets[key]
                file.write(offset, call.texts[0][: call.answer])
                self._offsets[key] = offset + call.answer
            elif call.name == "pwrite64":
                file.write(call.number(-1), call.texts[0][: call.answer])
            elif call.name == "ftruncate":
                file.cut(call.number(-1))
            else:
                raise AssertionError(f"the model does not know {call.name}")
        return True

    def _ours(self, *paths: bytes) -> bool:
        return any(path.startswith(self._place.encode() + b"/") or path == self._place.encode() for path in paths)

    def _opened(self, call: Call) -> bool:
        path = call.texts[0]
        key = call.pid, call.answer
        self._open.pop(key, None)
        if not self._ours(path):
            return False
        folder, name = self._at(path)
        file = folder if name == "" else self._live[id(folder)].get(name)
        changed = False
        if file is None:
            assert "O_CREAT" in call.given, call
            file = File()
            self._name(_Naming([(folder, name, file)]))
            changed = True
        elif "O_TRUNC" in call.given and isinstance(file, File) and file.length:
            file.cut(0)
            changed = True
        self._open[key] = file, "O_APPEND" in call.given
        self._offsets[key] = 0
        return changed

    def _named(self, call: Call) -> bool:
        if not self._ours(*call.texts):
            return False
        folder, name = self._at(call.texts[0])
        if call.name.startswith("mkdir"):
            made: Folder = {}
            self._mirror(made)
            self._name(_Naming([(folder, name, made)]))
        elif call.name.startswith("rename"):
            target, new = self._at(call.texts[1])
            self._name(_Naming([(target, new, self._live[id(folder)][name]), (folder, name, None)]))
        else:
            self._name(_Naming([(folder, name, None)]))
        return True

    def _at(self, path: bytes) -> tuple[Folder, str]:
        """Return the folder and the name of a path. The name of the whole place is empty."""
        parts = PurePosixPath(path.decode()).relative_to(self._place).parts
        folder = self._root
        for part in parts[:-1]:
            inner = self._live[id(folder)][part]
            assert isinstance(inner, dict), path
            folder = inner
        return folder, parts[-1] if parts else ""

    def _name(self, naming: _Naming) -> None:
        for folder, name, what in naming.names:
            _put(self._live[id(folder)], name, what)
            naming.unflushed.add(id(folder))
        self._namings.append(naming)

    def _flush(self, file: File | Folder) -> None:
        if isinstance(file, File):
            file.flush()
            return
        for naming in self._namings:
            naming.unflushed.discard(id(file))
        durable = self._with_those_before(naming for naming in self._namings if not naming.unflushed)
        for naming in durable:
            for folder, name, what in naming.names:
                _put(folder, name, what)
        self._namings = [naming for naming in self._namings if naming not in durable]

    def _with_those_before(self, chosen: Iterable[_Naming]) -> list[_Naming]:
        """Return changes of names, with earlier changes of the same names."""
        wanted = set(chosen)
        touched: set[tuple[int, str]] = set()
        for naming in reversed(self._namings):
            names = {(id(folder), name) for folder, name, _ in naming.names}
            if naming in wanted or names & touched:
                wanted.add(naming)
                touched |= names
        return [naming for naming in self._namings if naming in wanted]

    # Power losses

    def lose_power(self, dice: random.Random, place: Path) -> None:
        """Write a possible content after a power loss to a new folder."""
        left = {id(folder): dict(folder) for folder in self._keep}
        for naming in self._with_those_before(_some(self._namings, dice)):
            for folder, name, what in naming.names:
                _put(left[id(folder)], name, what)
        self._write(self._root, left, place, dice)

    def _write(self, folder: Folder, left: dict[int, Folder], place: Path, dice: random.Random) -> None:
        place.mkdir()
        for name, what in left[id(folder)].items():
            if isinstance(what, File):
                if not name.endswith("-shm"):
                    (place / name).write_bytes(what.after(dice))
            else:
                self._write(what, left, place / name, dice)


def _put(folder: Folder, name: str, what: File | Folder | None) -> None:
    if what is None:
        folder.pop(name, None)
    else:
        folder[name] = what


def _some(pending: list[T], dice: random.Random) -> list[T]:
    """Choose all, none, the first, or any of the unflushed changes."""
    how = dice.randrange(4)
    if how == 0:
        return []
    if how == 1:
        return pending
    if how == 2:
        return pending[: dice.randint(0, len(pending))]
    share = dice.random()
    return [one for one in pending if dice.random() < share]


def _written(content: bytes | bytearray, pieces: list[tuple[int, bytes | None]]) -> bytearray:
    content = bytearray(content)
    for offset, data in pieces:
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        if data is None:
            del content[offset:]
        else:
            content[offset : offset + len(data)] = data
    return content

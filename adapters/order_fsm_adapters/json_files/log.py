"""The append-only log: a chain of sealed lines, a head with the flushed length, recovery and compaction.

A line is `{"seal": ..., "do": [acts]}`. Its seal is the SHA-256 of the seal before it and of the bytes after the seal.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from typing import NamedTuple
from uuid import uuid4

import msgspec

from order_fsm.errors import StoreCorrupt, StoreUnavailable
from order_fsm.model import Message
from order_fsm_adapters.files import DiskFile, flush_folder, replace, write_file
from order_fsm_adapters.json_files.acts import Act, Content, of_content
from order_fsm_adapters.wire import collector_paused, encode

LOG, HEAD, LOCK = "orders.jsonl", "orders.head", "orders.lock"
DRAFT, TORN = "orders.jsonl.draft", "orders.jsonl.torn-"

_FORMAT = 1
_OPENING = b'{"seal":"'
_SEAL = slice(len(_OPENING), len(_OPENING) + 64)
_ACTS = b'","do":%b}'
_HEADER = re.compile(
    rb'\{"seal":"(\w{64})","format":(\d+),"store":"(\w{32})","follows":"(\w{64})","length": *(\d+)\}\n'
)
_HEADER_REST = b'","format":%d,"store":"%b","follows":"%b","length":%20d}'
_HEADER_WIDTH = 237
_END_WIDTH = len(_OPENING) + 64 + len(_ACTS % b"[]\n")
"""The width of the empty line that ends the compacted part."""
_HEAD = re.compile(rb'(\{"header":"(\w{64})","length": *(\d+),"seal":"(\w{64})"),"check":"(\w{64})"\}\n')
_HEAD_WIDTH = 257
_WHOLE = re.compile(rb'\{"seal":"[0-9a-f]{64}","do":\[[^\n]*\]\}\n')
_BLOCK = 1 << 20

_log = logging.getLogger("order_fsm")


class _Line(msgspec.Struct, gc=False):
    do: list[Act]


_decode = msgspec.json.Decoder(_Line).decode


class Place(NamedTuple):
    """A place between two lines: the seal of the log's header, the offset, and the seal of the line before it."""

    header: bytes
    length: int
    seal: bytes

    @property
    def head(self) -> bytes:
        """The content of a head: the log is flushed up to this place."""
        text = b'{"header":"%b","length":%20d,"seal":"%b"' % self
        return b'%b,"check":"%b"}\n' % (text, sha256(text).hexdigest().encode())


class _Header(NamedTuple):
    start: Place
    store: bytes
    follows: bytes
    length: int


class Log:
    """The files of a store and their content.

    Whenever a call raises, later calls can continue with the files and the content.
    """

    def __init__(self, folder: str) -> None:
        """Create the log without opening a file."""
        self._folder = folder
        self.path, self._head_path, self.lock_path = [os.path.join(folder, name) for name in (LOG, HEAD, LOCK)]
        self._header = _Header(Place(b"", 0, b""), b"", b"", 0)
        self._file: DiskFile | None = None
        self._head: DiskFile | None = None
        self._forget()

    def close(self) -> None:
        """Close the files. No append may be in progress."""
        for file in filter(None, (self._file, self._head)):
            file.close()
        self._file = self._head = None

    def refresh(self) -> bool | None:
        """Read up to the head. Return whether that is the whole log, or None if only `settle` can decide."""
        head = self._published()
        if not self._whole or head is None or self._file is None:
            return None
        status = self._file.status()
        if head.header != self.place.header or not status.st_nlink or status.st_size < self.place.length:
            return None
        self._read_to(head.length)
        if head.length >= self.place.length and head != self.place:
            return None
        return status.st_size <= self.place.length

    def settle(self) -> None:
        """Read the whole log, under the lock, and repair its end."""
        if self._head is not None and not self._head.status().st_nlink:
            self._head = None
        head = self._published()
        status = None if self._file is None else self._file.status()
        # A compacted or removed log has no links. Looking up its name would take far longer.
        if status is None or not status.st_nlink:
            if not os.path.exists(self.path):
                if os.path.exists(self._head_path):
                    raise self._corrupt("the file is missing")
                self._replace((), uuid4().hex.encode(), b"0" * 64, self._folder)
            status = self._open()
        if not self._whole:
            self._forget()
        if head is not None and head.header != self._header.start.header:
            if head.seal != self._header.follows:
                raise self._corrupt("the file was replaced by another log")
            head = None
        if head is None:
            # A process may have been killed between renaming the log and flushing the name.
            flush_folder(self._folder)
        length = status.st_size
        known = max(self.place.length, self._header.length, 0 if head is None else head.length)
        self._read_to(known)
        is_other = head is not None and head.length == known and head != self.place
        if length < known or self.place.length != known or is_other:
            raise self._corrupt(f"it is damaged or cut after byte {min(length, self.place.length)}")
        if length > known:
            self._recover(length, flushed_before=head is None)
        if head != self.place:
            self._publish(self.place)

    def _forget(self) -> None:
        self._whole = False
        self._erases = False
        """Whether an act after the compacted part erases values that the log still has."""
        self.content: Content = Content()
        self.place: Place = self._header.start
        self._whole = True
        """Whether the content is that of `place`. False during a change."""

    def _open(self) -> os.stat_result:
        file = DiskFile(self.path, "r+")
        try:
            self._header = header = self._header_of(file)
            if header.start.header != self.place.header:
                if self._whole and header.follows == self.place.seal:
                    end = file.read_at(header.length - _END_WIDTH, _END_WIDTH)
                    self.place, self._erases = Place(header.start.header, header.length, end[_SEAL]), False
                else:
                    self._forget()
        except BaseException:
            file.close()
            raise
        self._file = file
        return file.status()

    def _header_of(self, file: DiskFile) -> _Header:
        found = _HEADER.fullmatch(line := file.read_at(0, _HEADER_WIDTH))
        if found is None or not _is_sealed(line[:-1], b""):
            raise self._corrupt("its first line is damaged")
        if int(found[2]) > _FORMAT:
            raise StoreUnavailable(f"{self.path} was written by a newer version of order_fsm: use that version")
        return _Header(Place(found[1], _HEADER_WIDTH, found[3] + found[4]), found[3], found[4], int(found[5]))

    def _published(self) -> Place | None:
        """Return the place in the head, or None without a valid head."""
        if self._head is None:
            with suppress(FileNotFoundError):
                self._head = DiskFile(self._head_path, "r+")
        found = None if self._head is None else _HEAD.fullmatch(self._head.read_at(0, _HEAD_WIDTH))
        if found is None or sha256(found[1]).hexdigest().encode() != found[5]:
            return None
        return Place(found[2], int(found[3]), found[4])

    def _read_to(self, stop: int) -> None:
        """Apply the lines up to an offset or the first bad line."""
        if stop > self.place.length:
            with collector_paused(stop - self.place.length > _BLOCK):
                for line in _chained(self._used_file().lines(self.place.length, stop), self.place.seal):
                    self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            acts = _decode(line).do
        except (msgspec.MsgspecError, ValueError) as error:
            raise self._corrupt(f"its line at byte {self.place.length} has unknown acts ({error})") from error
        self._whole = False
        for act in acts:
            act.apply(self.content)
            self._erases |= act.erases
        self.place = Place(self.place.header, self.place.length + len(line) + 1, line[_SEAL])
        self._whole = True

    def claimable(self, now: datetime, limit: int) -> list[Message]:
        """Return the messages that can be claimed. The search changes the index of the content."""
        self._whole = False
        found = self.content.outbox.claimable(now, limit)
        self._whole = True
        return found

    def flushed(self) -> tuple[DiskFile, Place]:
        """Return another handle on the file, and its flushed place."""
        return DiskFile(os.dup(self._used_file().fileno()), "r"), self.place

    def verified(self, file: DiskFile, place: Place) -> Iterator[bytes]:
        """Yield a log up to a place, and check each line. Close the file."""
        with file:
            seal = self._header_of(file).start.seal
            yield file.read_at(0, _HEADER_WIDTH)
            for line in _chained(file.lines(_HEADER_WIDTH, place.length), seal):
                seal = line[_SEAL]
                yield line + b"\n"
        if seal != place.seal:
            raise self._corrupt("a line is damaged or missing")

    def _used_file(self) -> DiskFile:
        if self._file is None:
            raise StoreUnavailable("this store is closed: make a new one")
        return self._file

    def _recover(self, length: int, *, flushed_before: bool) -> None:
        """Apply whole lines after the place, and move a torn end away."""
        file, start = self._used_file(), self.place.length
        tail = file.read_at(start, length - start)
        lines = list(_chained(tail.split(b"\n")[:-1], self.place.seal))
        good = sum(map(len, lines)) + len(lines)
        torn = tail[good:]
        if _WHOLE.search(torn, 1):
            raise self._corrupt(f"its line at byte {start + good} is damaged")
        if lines:
            if not flushed_before:
                # After a failed flush the system may mark the pages as clean and never flush them.
                file.write_at(start, tail[:good])
            file.sync()
            for line in lines:
                self._take(line)
        if torn:
            path = os.path.join(self._folder, f"{TORN}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{start + good}")
            write_file(path, [torn], self.path, durable=True)
            flush_folder(self._folder)
            file.cut(start + good)
            _log.warning("%s: a torn end of %d bytes was moved to %s", self.path, len(torn), path)

    def faults(self, file: DiskFile, place: Place) -> Iterator[str]:
        """Yield the faults and torn ends of a log up to a place."""
        for name in sorted(os.listdir(self._folder)):
            if name.startswith(TORN):
                path = os.path.join(self._folder, name)
                yield f"{path} holds a torn end of the log, from an unacknowledged change: read it, then delete it"
        try:
            for _ in self.verified(file, place):
                pass
        except StoreCorrupt as error:
            yield str(error)

    def append(self, acts: bytes, place: Place) -> bytes:
        """Append a line with some acts under the lock, and flush it. Return it for `apply`."""
        line = _sealed(place.seal, _ACTS % acts)
        self._used_file().append(place.length, line)
        self._publish(Place(place.header, place.length + len(line), line[_SEAL]))
        return line

    def apply(self, line: bytes, place: Place) -> None:
        """Apply a line at a place. Skip it if another thread has read it or was interrupted there."""
        if self._whole and self.place == place:
            self._take(line[:-1])

    def _publish(self, place: Place) -> None:
        """Write the head. Ignore errors, because the lines are flushed and the next process finds them."""
        with suppress(OSError):
            self._write_head(place)

    def _write_head(self, place: Place) -> DiskFile:
        head = self._head = self._head or DiskFile.create(self._head_path, self.path)
        head.write_at(0, place.head)
        return head

    def compact_if_large(self) -> None:
        """Compact a log that has doubled or has erased values. Ignore disk errors."""
        if self._erases or self.place.length > 2 * self._header.length + _BLOCK:
            with suppress(OSError):
                self.compact()

    def scrub(self) -> None:
        """Remove erased values from the folder, under the lock, after `settle`."""
        # Torn ends and drafts may hold erased values. After a compaction the log would not show that.
        for name in os.listdir(self._folder):
            if name == DRAFT or name.startswith(TORN):
                os.unlink(os.path.join(self._folder, name))
        flush_folder(self._folder)
        if self._erases:
            self.compact()

    def compact(self) -> None:
        """Replace the log by a short one, under the lock, after `settle`."""
        # Without this, a power loss could leave the new log with an older head.
        self._write_head(self.place).sync()
        self._replace(of_content(self.content), self._header.store, self.place.seal, self.path)
        self._open()
        self._publish(self.place)

    def _replace(self, acts: Iterable[Act], store: bytes, follows: bytes, like: str) -> None:
        path = os.path.join(self._folder, DRAFT)
        try:
            with DiskFile.create(path, like) as draft:
                length = draft.write_all(_HEADER_WIDTH, _compacted(acts, store + follows))
                draft.write_at(0, _sealed(b"", _HEADER_REST % (_FORMAT, store, follows, length)))
                draft.sync()
            # Windows cannot replace an open file.
            self._file = None
            replace(path, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        flush_folder(self._folder)

    def _corrupt(self, why: str) -> StoreCorrupt:
        return StoreCorrupt(f"{self.path} is damaged: {why}; restore it and its head from a backup")


def _chained(lines: Iterable[bytes], seal: bytes) -> Iterator[bytes]:
    """Yield lines up to the first that does not continue the chain."""
    for line in lines:
        if not _is_sealed(line, seal):
            break
        seal = line[_SEAL]
        yield line


def _compacted(acts: Iterable[Act], seal: bytes) -> Iterator[bytes]:
    """Yield a line for each act, then the empty line."""
    for one in chain(([act] for act in acts), [[]]):
        line = _sealed(seal, _ACTS % encode(one))
        seal = line[_SEAL]
        yield line


def _sealed(seal: bytes, body: bytes) -> bytes:
    return b"".join((_OPENING, sha256(seal + body).hexdigest().encode(), body, b"\n"))


def _is_sealed(line: bytes, seal: bytes) -> bool:
    return line.startswith(_OPENING) and sha256(seal + line[_SEAL.stop :]).hexdigest().encode() == line[_SEAL]

"""The disk calls of an unmodified program, from a trace of its system calls.

Only one process at a time may write, because the trace has no sequence of the calls of several processes.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

_CALLS = (
    "open openat creat write writev pwrite64 pwritev pwritev2 lseek truncate ftruncate fallocate fsync fdatasync rename"
    " renameat renameat2 unlink unlinkat mkdir mkdirat rmdir link linkat symlink symlinkat copy_file_range sendfile"
)
_LINE = re.compile(r"^(?P<pid>\d+) +(?P<call>\w+)\((?P<given>.*)\) += (?P<answer>-?\d+)")
_UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_DESCRIPTOR = re.compile(r"^(\d+)(?:<((?:\\x[0-9a-f]{2})*)>)?")


@frozen
class Call:
    """A successful call.

    Attributes:
        pid: the id of the process.
        name: the name of the call.
        given: the arguments in the form of the trace.
        texts: the arguments that are text or data, in their sequence.
        answer: the returned value.
    """

    pid: int
    name: str
    given: str
    texts: tuple[bytes, ...]
    answer: int

    @property
    def descriptor(self) -> tuple[int, str]:
        """Return the file descriptor in the first argument, and the path of the file."""
        found = _DESCRIPTOR.match(self.given)
        assert found is not None, self
        return int(found[1]), _bytes(found[2] or "").decode()

    def number(self, place: int) -> int:
        """Return the number in the argument at an index."""
        return int(_TEXT.sub("", self.given).split(", ")[place])


def traced(command: Sequence[str], output: Path, environment: dict[str, str]) -> list[Call]:
    """Run a command. Return the calls by which it and its children changed files, in sequence.

    Args:
        command: the command.
        output: the file of the trace.
        environment: the variables of the command.

    Raises:
        AssertionError: if the command fails, or the trace has an unknown call.
    """
    calls = "trace=" + ",".join(f"?{call}" for call in _CALLS.split())
    # The kernel stops the program only at traced calls.
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "10000000", "-e", "signal=none", "-e", calls]
    done = subprocess.run(
        [*strace, "-o", str(output), *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert done.returncode == 0, done.stderr.decode()
    with output.open() as lines:
        return list(_calls(lines))


def _calls(lines: Iterator[str]) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in lines:
        line = line.rstrip("\n")
        if unfinished := _UNFINISHED.match(line):
            begun[unfinished[1]] = f"{unfinished[1]} {unfinished[2]}"
            continue
        if resumed := _RESUMED.match(line):
            line = begun.pop(resumed[1]) + resumed[2]
        call = _LINE.match(line)
        if call is None or int(call["answer"]) < 0:
            continue
        texts = []
        for text in _TEXT.finditer(call["given"]):
            assert not text[2], "the trace truncates written data"
            texts.append(_bytes(text[1]))
        yield Call(int(call["pid"]), call["call"], call["given"], tuple(texts), int(call["answer"]))


def _bytes(written: str) -> bytes:
    return bytes.fromhex(written.replace("\\x", ""))

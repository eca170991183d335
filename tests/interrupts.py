"""Raise exceptions within a call as a signal handler does: at every line in turn, or by real signals."""

from __future__ import annotations

import dis
import linecache
import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import order_fsm_adapters

COMPLETED_IN_A_ROW = 20
"""The number of calls too short for an interrupt after which `every_line` ends. Other threads lengthen some calls."""


ADAPTERS = str(Path(order_fsm_adapters.__file__ or "").parent)


class TimeLimit(BaseException):
    """The exception of a worker's time limit."""


@contextmanager
def raising_at_line(number: int) -> Iterator[list[int]]:
    """Raise at a line of the adapters' modules. The list has the number of lines that ran."""
    lines = [0]

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(ADAPTERS) or frame.f_code.co_name == "__del__":
            # Python ignores exceptions of a finalizer.
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == number:
                raise TimeLimit
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


class Interrupt(Exception):
    """The exception of a worker's time limit. Code that catches `Exception` must not swallow it."""


def every_line(
    call: Callable[[int], object], modules: Iterable[ModuleType], check: Callable[[int, bool], object]
) -> int:
    """Interrupt a call at its first line, its second line, and so on until it is too short.

    Args:
        call: receives the number of the line at which it will be interrupted.
        modules: the modules and packages whose lines count.
        check: called after each call with its number, and whether it completed.

    Returns:
        The number of calls that were interrupted.
    """
    files = tuple(_place(module) for module in modules)
    number = interrupted = completed_in_a_row = 0
    while completed_in_a_row < COMPLETED_IN_A_ROW:
        number += 1
        completed = False
        try:
            with _raising_at_line(number, files):
                call(number)
            completed = True
        except Interrupt:
            interrupted += 1
        completed_in_a_row = completed_in_a_row + 1 if completed else 0
        check(number, completed)
    return interrupted


def random_signals(call: Callable[[int], object], count: int, check: Callable[[int, bool], object]) -> int:
    """Interrupt calls in the main thread at random times, each by one real signal.

    Args:
        call: receives the number of the call.
        count: the number of calls.
        check: called after each call with its number, and whether it completed.

    Returns:
        The number of calls that were interrupted.
    """
    draw = random.Random(20260301)  # noqa: S311 - not for secrets
    armed = False
    interrupted = 0
    shortest, longest = 0.000_01, 0.001

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    hook = sys.unraisablehook
    # An exception of a signal handler in a finalizer is lost. `bool` cannot be interrupted.
    sys.unraisablehook = bool
    try:
        for number in range(count):
            completed = False
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(shortest, longest))
                call(number)
                completed = True
                armed = False
            except Interrupt:
                interrupted += 1
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            check(number, completed)
    finally:
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = hook
    return interrupted


def _place(module: ModuleType) -> str:
    """Return the path of a module, or of the folder of a package."""
    path = Path(module.__file__ or "")
    return str(path.parent if path.name == "__init__.py" else path)


@contextmanager
def _raising_at_line(number: int, files: tuple[str, ...]) -> Iterator[None]:
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        # Python ignores exceptions of a finalizer.
        if not frame.f_code.co_filename.startswith(files) or frame.f_code.co_name == "__del__":
            return None
        if event == "line" and left and not _handles_no_signal(frame):
            left -= 1
            if not left:
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _handles_no_signal(frame: FrameType) -> bool:
    """Return whether Python handles no signal before the next instruction.

    That instruction starts a `try` block or leaves a `with` block. An exception there would bypass the handlers of the
    block.
    """
    beginnings, exits = _steps(frame.f_code)
    if frame.f_lasti in beginnings:
        return True
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return frame.f_lasti in exits and line.lstrip().startswith("with ")


@cache
def _steps(code: CodeType) -> tuple[frozenset[int], frozenset[int]]:
    """Return the offsets of instructions that start a `try` block, and of those that may leave a `with` block."""
    steps = list(dis.get_instructions(code))
    beginnings = frozenset(step.offset for step in steps if step.opname == "NOP")
    exits = frozenset(
        step.offset
        for step in steps
        if step.opname in {"PUSH_EXC_INFO", "SWAP"} or (step.opname == "LOAD_CONST" and step.argval is None)
    )
    return beginnings, exits

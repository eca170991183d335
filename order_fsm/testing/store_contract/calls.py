"""The calls by which a store reaches its disk or its server, and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any


class Failing(Enum):
    """How calls fail."""

    BEFORE = "one call fails before it takes effect"
    AFTER = "one call takes effect, and fails all the same: its answer is lost"
    FROM_THEN_ON = "one call and all after it fail before they take effect"


class Calls:
    """Counts calls, and lets the one of a number fail.

    Attributes:
        how: calls fail.
        count: how many were made.
        failed: how many of them failed.
    """

    def __init__(self, number: int | None = None, how: Failing = Failing.BEFORE) -> None:
        """Say which call is to fail, if any.

        Args:
            number: of the call, from 1 on; None where none fails.
            how: it fails.
        """
        self._number = number
        self.how = how
        self.count = 0
        self.failed = 0

    def made(self, call: Callable[[], Any], error: Callable[[], Exception], *, takes_effect: bool = False) -> Any:
        """Make a call, or let it fail.

        Args:
            call: makes it.
            error: makes what it raises where it fails.
            takes_effect: it takes effect even where it fails, as closing a file does.
        """
        self.count += 1
        if self._number is None or self.count < self._number:
            return call()
        if self.count > self._number and self.how is not Failing.FROM_THEN_ON:
            return call()
        self.failed += 1
        if takes_effect or self.how is Failing.AFTER:
            call()
        raise error()

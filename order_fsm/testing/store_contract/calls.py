"""The calls of a store to its disk or server, and the ways in which they fail."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any


class Failing(Enum):
    """The ways in which calls fail."""

    BEFORE = "one call fails before it takes effect"
    AFTER = "one call takes effect, and its answer is lost"
    FROM_THEN_ON = "one call and all after it fail before they take effect"


class Calls:
    """Counts calls, and makes the call of a given number fail.

    Attributes:
        how: the way in which calls fail.
        count: the number of calls.
        failed: the number of failed calls.
    """

    def __init__(self, number: int | None = None, how: Failing = Failing.BEFORE) -> None:
        """Choose the call that fails, if any.

        Args:
            number: the number of the call, from 1. None if no call fails.
            how: the way in which it fails.
        """
        self._number = number
        self.how = how
        self.count = 0
        self.failed = 0

    def made(self, call: Callable[[], Any], error: Callable[[], Exception], *, takes_effect: bool = False) -> Any:
        """Make a call, or make it fail.

        Args:
            call: makes the call.
            error: creates the exception if the call fails.
            takes_effect: whether the call takes effect even if it fails, as closing a file does.
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

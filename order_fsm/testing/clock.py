"""A clock for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from order_fsm import validation
from order_fsm.errors import InvalidInput


class FrozenClock:
    """A clock that stands still until a test moves it. Give it to `Orders` as `clock`.

    It starts on Monday 5 January 2026 at 9:00 UTC, so that every run writes the same times.
    """

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

    @property
    def now(self) -> datetime:
        """The current time in UTC. Set it to any datetime with a time zone.

        Raises:
            InvalidInput: if the new value is not a datetime with a time zone.
        """
        return self._now

    @now.setter
    def now(self, moment: datetime) -> None:
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise InvalidInput(f"now must be a datetime with a time zone, not {validation.shown(moment)}")
        self._now = moment.astimezone(UTC)

    def __call__(self) -> datetime:
        """Return the current time, as `Orders` needs it."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move the clock forward, or back if the interval is negative.

        Raises:
            InvalidInput: if `by` is not a timedelta.
        """
        if not isinstance(by, timedelta):
            raise InvalidInput(f"by must be a timedelta, not {validation.shown(by)}")
        self._now += by

"""Time for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from order_fsm import validation
from order_fsm.errors import InvalidInput


class FrozenClock:
    """A clock that stands still until it is moved; give it to `Orders` as `clock`.

    It begins on Monday 5 January 2026 at 9:00 UTC, so that what is written under it is the same in every run.
    """

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

    @property
    def now(self) -> datetime:
        """What it shows, in UTC. It may be set to any datetime with a time zone.

        Raises:
            InvalidInput: it is set to something else.
        """
        return self._now

    @now.setter
    def now(self, moment: datetime) -> None:
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise InvalidInput(f"a clock is set to a datetime with a time zone, not to {validation.shown(moment)}")
        self._now = moment.astimezone(UTC)

    def __call__(self) -> datetime:
        """The same, as `Orders` asks for it."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move it on, or back by a negative time, as the clock of a machine may be put back.

        Raises:
            InvalidInput: it is no timedelta.
        """
        if not isinstance(by, timedelta):
            raise InvalidInput(f"a clock is moved by a timedelta, not by {validation.shown(by)}")
        self._now += by

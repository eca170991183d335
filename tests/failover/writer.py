"""Change orders until SIGTERM: python -m tests.failover.writer URL NAME.

The process prints a line of JSON for each outcome. After an unknown outcome it repeats the call with the same key until
the outcome is known. SIGTERM ends it after the current call.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from order_fsm import Line, Orders
from order_fsm.errors import OrderFsmError, StoreUnavailable
from order_fsm.model import Order, Receipt

from .clusters import SHARED, SKU, opened

PAUSE = 0.05
"""How many seconds a writer sleeps after a call, so that the servers get the processors."""
TRIGGERS = ("place", "pay", "invoice", "dispatch", "cancel", "reinstate", "unpay", "undispatch")


class Writer:
    """Calls the engine and reports every outcome."""

    def __init__(self, orders: Orders, name: str) -> None:
        """Use a service, and a name that all keys start with."""
        self._orders = orders
        self._name = name
        self._dice = random.Random(name)  # noqa: S311 - it draws calls, not secrets
        self._number = 0
        self._own: list[str] = []
        self._ended = False

    def end(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal: end after the current call."""
        self._ended = True

    def run(self) -> None:
        """Make calls until `end` is called."""
        while not self._ended:
            self._number += 1
            key = f"{self._name}-{self._number}"
            self._settle(key, *self._next(key))
            if self._number % 10 == 0:
                self._deliver()
            time.sleep(PAUSE)

    def _next(self, key: str) -> tuple[str, Callable[[], Order | Receipt]]:
        """Return the order of the next call, and the call."""
        orders = self._orders
        if self._number % 5 == 1:
            self._own.append(key)
            return key, lambda: orders.create(key, "20.00", "GBP", [Line(SKU, 1)], key=key)
        if self._dice.random() < 0.4:
            shared = self._dice.choice(SHARED)
            return shared, lambda: orders.comment(shared, f"seen by {self._name}", key=key)
        own = self._dice.choice(self._own[-5:])
        trigger = self._dice.choice(TRIGGERS)
        return own, lambda: orders.fire(own, trigger, key=key, comment="a reason")

    def _deliver(self) -> None:
        """Deliver messages, as each of several machines may."""
        with suppress(StoreUnavailable):
            self._orders.deliver(lambda message: report("delivered", message.id, message.order_id))

    def _settle(self, key: str, order_id: str, call: Callable[[], Order | Receipt]) -> None:
        """Call until the outcome is known."""
        report("begun", key, order_id)
        while True:
            try:
                answer = call()
            except StoreUnavailable as error:
                report("unknown", key, order_id, why=str(error))
                time.sleep(PAUSE)
            except OrderFsmError as error:
                report("refused", key, order_id, why=f"{type(error).__name__}: {error}")
                return
            else:
                if isinstance(answer, Order):
                    report("acknowledged", key, order_id, version=1)
                else:
                    version = answer.entries[-1].version if answer.entries else None
                    report("acknowledged", key, order_id, version=version, repeated=answer.duplicate)
                return


def report(outcome: str, key: str, order_id: str, **about: Any) -> None:
    """Print an outcome, with a time from the clock that all processes of the machine share."""
    print(
        json.dumps({"outcome": outcome, "key": key, "order_id": order_id, "at": time.monotonic(), **about}), flush=True
    )


def main() -> None:
    """Write until SIGTERM."""
    url, name = sys.argv[1:]
    with opened(url) as store:
        writer = Writer(Orders(store), name)
        signal.signal(signal.SIGTERM, writer.end)
        writer.run()


if __name__ == "__main__":
    main()

"""`eventsourcing`: an order is the result of its events, and the events are its history."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from peers.shop import CREATED, STEPS, Illegal


class _Order(Aggregate):
    @event("Created")
    def __init__(self, order_id: str, total: Decimal) -> None:
        self.order_id = order_id
        self.total = total
        self.state = CREATED

    @staticmethod
    def create_id(order_id: str) -> UUID:
        return uuid5(NAMESPACE_URL, f"/orders/{order_id}")

    def change(self, trigger: str) -> None:
        if self.state != STEPS[trigger].before or self.total <= 0:
            raise Illegal(f"{trigger} in {self.state}")
        self._changed(trigger)

    @event("Changed")
    def _changed(self, trigger: str) -> None:
        self.state = STEPS[trigger].after


class _Orders(Application[UUID]):
    def create(self, order_id: str, total: str) -> None:
        self.save(_Order(order_id, Decimal(total)))

    def change(self, order_id: str, trigger: str) -> None:
        order: _Order = self.repository.get(_Order.create_id(order_id))
        order.change(trigger)
        self.save(order)

    def state(self, order_id: str) -> str:
        order: _Order = self.repository.get(_Order.create_id(order_id))
        return order.state

    def entries(self, order_id: str) -> int:
        return sum(1 for _ in self.events.get(_Order.create_id(order_id)))


def in_memory() -> _Orders:
    return _Orders({"PERSISTENCE_MODULE": "eventsourcing.popo"})


def on_sqlite(path: Path) -> _Orders:
    # The library sets WAL and keeps SQLite's default `synchronous`, which is FULL.
    return _Orders({"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)})

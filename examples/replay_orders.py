"""Replay the real orders of a folder through a store, and count the results.

    python examples/replay_orders.py FOLDER --store memory|sqlite:PATH|json:FOLDER|postgresql://...|mariadb://...

The folder has two files, as a marketplace might export them. Other columns are ignored:

- orders.csv: order_id, customer_id, status, purchased_at, approved_at, carrier_at. Times are in ISO 8601 without a
  zone, taken as UTC. A time is empty if the event never happened. The status is delivered, shipped, invoiced,
  processing, unavailable or canceled.
- payments.csv: order_id, sequence, value.

An order's total is the sum of its payments. An order without payments costs 100.00, paid in one payment. A row becomes
these triggers: create and place at purchased_at; pay at approved_at, then invoice if the status is invoiced; dispatch
at carrier_at; and finally cancel if the status is canceled or unavailable.

Needs rich for its progress bar and tables: pip install '.[examples]' in the checkout
"""

import argparse
import csv
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from order_fsm import Order, OrderFsmError, Orders, Refused, shop_workflow
from order_fsm.store import Store
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

try:
    from rich.console import Console
    from rich.progress import track
    from rich.table import Column, Table
except ModuleNotFoundError:
    sys.stderr.write("replay_orders.py: error: rich is missing: pip install '.[examples]' in the checkout\n")
    sys.exit(2)

STORES = "memory, sqlite:PATH, json:FOLDER, postgresql://... or mariadb://..."
CURRENCY = "BRL"
ORDER_COLUMNS = ("order_id", "customer_id", "status", "purchased_at", "approved_at", "carrier_at")
PAYMENT_COLUMNS = ("order_id", "sequence", "value")
CANCELLED = {"canceled", "unavailable"}
STATUSES = {"delivered", "shipped", "invoiced", "processing", *CANCELLED}
AN_ID = (re.compile(r"[0-9A-Za-z_-]{1,64}"), "an id of letters, digits, - and _")
A_NUMBER = (re.compile(r"[1-9][0-9]{0,8}"), "a whole number from 1 on")
MONEY = (re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?"), "an amount such as 49.90")


class Unusable(Exception):
    """An argument, file or row is not usable."""


class Event(NamedTuple):
    """One event of an order."""

    at: datetime
    order_id: str
    trigger: str
    facts: Mapping[str, Any]


# Reading the files


class Row:
    """A row of a file, with its position for error messages."""

    def __init__(self, place: str, cells: Mapping[str, str]) -> None:
        self._place = place
        self._cells = cells

    def wrong(self, column: str, expected: str) -> Unusable:
        return Unusable(f"{self._place}, column {column}: {self._cells[column]!r:.60} is not {expected}")

    def text(self, column: str, shape: tuple[re.Pattern[str], str]) -> str:
        pattern, expected = shape
        if not pattern.fullmatch(self._cells[column]):
            raise self.wrong(column, expected)
        return self._cells[column]

    def status(self) -> str:
        status = self._cells["status"]
        if status not in STATUSES:
            raise self.wrong("status", f"one of {', '.join(sorted(STATUSES))}")
        return status

    def time(self, column: str) -> datetime | None:
        if not self._cells[column]:
            return None
        try:
            time = datetime.fromisoformat(self._cells[column])
        except ValueError:
            time = None
        if time is None or time.tzinfo is not None:
            raise self.wrong(column, "a time without a zone, such as 2017-10-02T10:56:00")
        return time.replace(tzinfo=UTC)


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            for column in columns:
                if column not in header:
                    raise Unusable(f"{path}, line 1: the column {column} is missing")
            for cells in reader:
                line = reader.line_num
                if len(cells) < len(header):
                    raise Unusable(f"{path}, line {line}, column {header[len(cells)]}: the row ends before this column")
                if len(cells) > len(header):
                    raise Unusable(f"{path}, line {line}: the row continues after column {header[-1]}")
                yield Row(f"{path}, line {line}", dict(zip(header, cells, strict=True)))
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{path}: the file is not UTF-8 text") from None
    except csv.Error as error:
        raise Unusable(f"{path}, after line {line}: {error}") from None


def read(folder: Path) -> list[Event]:
    """Return all events of the orders of a folder, oldest first."""
    if not folder.is_dir():
        raise Unusable(f"FOLDER must be a folder with orders.csv and payments.csv, not {folder}")
    payments: dict[str, dict[str, str]] = {}
    of_no_order: dict[str, Row] = {}
    for row in rows(folder / "payments.csv", PAYMENT_COLUMNS):
        order_id, sequence = row.text("order_id", AN_ID), row.text("sequence", A_NUMBER)
        amounts = payments.setdefault(order_id, {})
        if sequence in amounts:
            raise row.wrong("sequence", "new: the order has a payment with this number")
        amounts[sequence] = row.text("value", MONEY)
        of_no_order.setdefault(order_id, row)
    events: list[Event] = []
    seen: set[str] = set()
    for row in rows(folder / "orders.csv", ORDER_COLUMNS):
        order_id = row.text("order_id", AN_ID)
        if order_id in seen:
            raise row.wrong("order_id", "new: an order with this id comes before it")
        seen.add(order_id)
        of_no_order.pop(order_id, None)
        events += events_of(order_id, row, payments.get(order_id, {"1": "100.00"}))
    for row in of_no_order.values():
        raise row.wrong("order_id", "the id of an order in orders.csv")
    # The events of each order are in sequence, and a stable sort keeps equal times so.
    return sorted(events, key=lambda event: event.at)


def events_of(order_id: str, row: Row, payments: Mapping[str, str]) -> list[Event]:
    begun = row.time("purchased_at")
    if begun is None:
        raise row.wrong("purchased_at", "a time")
    status, approved, handed_over = row.status(), row.time("approved_at"), row.time("carrier_at")
    total = sum(map(Decimal, payments.values()), Decimal(0))
    events = [
        Event(begun, order_id, "create", {"total": total, "customer": row.text("customer_id", AN_ID)}),
        Event(begun, order_id, "place", {}),
    ]

    def then(at: datetime | None, trigger: str, **facts: str) -> None:
        # Carriers' clocks differ from the shop's, so no event may precede the creation.
        events.append(Event(max(at or begun, begun), order_id, trigger, facts))

    if approved is not None:
        for sequence, amount in payments.items():
            then(approved, "pay", amount=amount, reference=f"{order_id}-{sequence}")
    if status == "invoiced":
        then(approved, "invoice")
    if handed_over is not None:
        then(handed_over, "dispatch")
    events.sort(key=lambda event: event.at)
    if status in CANCELLED:
        then(events[-1].at, "cancel")
    return events


# Replaying the events


class Replay:
    """Replays events with their times as the clock, and records refusals."""

    def __init__(self, store: Store) -> None:
        self._now = datetime.min.replace(tzinfo=UTC)
        self.orders = Orders(store, workflow=shop_workflow(invoice_on_payment=False), clock=lambda: self._now)
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.overrides = 0
        self.taken_back = 0

    def play(self, event: Event) -> None:
        self._now = event.at
        if event.trigger == "create":
            self.orders.create(event.order_id, currency=CURRENCY, **event.facts)
            return
        try:
            self.orders.fire(event.order_id, event.trigger, **event.facts)
        except Refused as refused:
            self._after(refused)

    def _after(self, refused: Refused) -> None:
        """Override a refusal if the shop has a reason. Any other refusal stays."""
        why = ", ".join(reason.code for reason in refused.reasons)
        self.refusals[refused.trigger, why] += 1
        if (refused.trigger, why) == ("dispatch", "not_paid_nor_invoiced"):
            self.orders.fire(refused.order_id, "dispatch", override=True, comment="The carrier already has it")
            self.overrides += 1
        elif (refused.trigger, why) == ("cancel", "forbids_dispatched"):
            self.orders.fire(refused.order_id, "undispatch", comment="The goods came back")
            self.orders.fire(refused.order_id, "cancel")
            self.taken_back += 1


def report(replay: Replay, events: list[Event], console: Console) -> None:
    orders = replay.orders
    due = list(all_in(orders, "refund_due"))
    print_table(
        console,
        "Outcome",
        {
            "orders": sum(event.trigger == "create" for event in events),
            "totals": f"{CURRENCY} {orders.totals().get(CURRENCY, 0):.2f}",
            "orders with a refund due": len(due),
            "refund due": f"{CURRENCY} {sum(order.refund_due for order in due):.2f}",
            "dispatched by override": replay.overrides,
            "cancelled after undispatch": replay.taken_back,
        },
    )
    print_table(console, "Orders by queue", orders.counts())
    refusals = sorted(replay.refusals.items())
    print_table(console, "Refused", {f"{trigger}: {why}": number for (trigger, why), number in refusals})


def all_in(orders: Orders, queue: str) -> Iterator[Order]:
    page = orders.queue(queue)
    while page:
        yield from page
        page = orders.queue(queue, after=page[-1].id)


def print_table(console: Console, title: str, figures: Mapping[str, int | str]) -> None:
    table = Table(title, Column("number", justify="right"), box=None, pad_edge=False)
    table.columns[0].min_width = 40
    for name, figure in figures.items():
        table.add_row(name, str(figure))
    console.print(table, "")


# The command


@contextmanager
def opened(spec: str) -> Iterator[Store]:
    kind, _, place = spec.partition(":")
    if spec == "memory":
        yield MemoryStore()
    elif kind == "sqlite" and place:
        with closing(SqliteStore(place)) as store:
            yield store
    elif kind == "json" and place:
        yield JsonStore(place)
    elif kind == "postgresql" and place:
        from order_fsm_adapters.postgresql import PostgresStore  # Its driver is in the extra `postgresql`.

        with PostgresStore(spec) as store:
            store.install()
            yield store
    elif kind == "mariadb" and place:
        from order_fsm_adapters.mariadb import MariaDbStore  # Its driver is in the extra `mariadb`.

        with MariaDbStore(spec) as store:
            store.install()
            yield store
    else:
        raise Unusable(f"--store must be {STORES}, not {spec!r:.60}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Replay the real orders of a folder through a store.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder of orders.csv and payments.csv")
    parser.add_argument("--store", required=True, help=f"{STORES}; it must be empty")
    arguments = parser.parse_args()

    try:
        events = read(arguments.folder)
        with opened(arguments.store) as store:
            replay = Replay(store)
            if replay.orders.find(limit=1):
                raise Unusable(f"--store {arguments.store} is not empty: name a new store (nothing was changed)")
            progress = Console(stderr=True)
            for event in track(events, "Playing", console=progress, disable=not progress.is_terminal):
                replay.play(event)
            report(replay, events, Console(highlight=False))
    except (Unusable, OrderFsmError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()

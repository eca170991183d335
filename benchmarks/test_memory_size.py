"""The memory of an order in a store in memory, with all of its parts."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from functools import cache
from pathlib import Path

import pytest

from order_fsm import Line, Message, Orders
from order_fsm_adapters.memory import MemoryStore
from paired_times import Hold

ORDERS = 20_000
FEW = 5_000
"""Enough for a check with slack."""
LIMIT = 1_945
"""Bytes: 1.9 KB."""

PAGES = "print((int(open('/proc/self/statm').read().split()[1]) - before) * resource.getpagesize())"


@pytest.fixture
def number(request: pytest.FixtureRequest) -> int:
    """The number of orders."""
    return FEW if request.config.getoption("--slack") else ORDERS


def _fill(orders: Orders, number_of_orders: int) -> None:
    """Create orders with four entries, a customer and a line. Their messages are delivered."""
    orders.set_stock("TEAPOT", number_of_orders)

    def told(message: Message) -> None:
        """Accept a message."""

    for number in range(number_of_orders):
        order_id = f"order-{number:06d}"
        total = f"{number}.90"
        orders.create(order_id, total=total, currency="GBP", lines=[Line("TEAPOT", 1)], customer=f"c{number // 10}")
        orders.fire(order_id, "place")
        orders.fire(order_id, "pay", amount=total, currency="GBP", reference=f"ch_{number:08d}")
        orders.fire(order_id, "dispatch")
        assert orders.deliver(told) == 2


@cache
def _traced(number: int) -> float:
    """Return the bytes of an order by Python's allocator, which are the same each time."""
    # Modules and tables that the first order of a process loads, such as that of currencies, belong to no order.
    _fill(Orders(MemoryStore()), 1)
    gc.collect()
    tracemalloc.start()
    empty = tracemalloc.get_traced_memory()[0]
    orders = Orders(MemoryStore())
    _fill(orders, number)
    gc.collect()
    taken = (tracemalloc.get_traced_memory()[0] - empty) / number
    tracemalloc.stop()
    return taken


def test_an_order_of_four_entries_in_memory(hold: Hold, number: int) -> None:
    hold(lambda: (_traced(number), LIMIT), limit=1, unit="B")


def test_what_is_traced_is_most_of_what_the_process_grows_by(number: int) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import resource, test_memory_size as size;"
        " orders = size.Orders(size.MemoryStore()); before = int(open('/proc/self/statm').read().split()[1]);"
        f" size._fill(orders, {number}); {PAGES}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(done.stdout) / number <= 1.5 * _traced(number)

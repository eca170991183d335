"""The most memory that a shop's daily work on an SQLite store takes: python store_user.py shop.db 1000."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from order_fsm import Orders
from order_fsm_adapters.sqlite import SqliteStore

CHANGES = 200
PAGES = 20
STATUS = Path("/proc/self/status")


def work(orders: Orders, number: int) -> None:
    """Change orders from all over the store, page through a queue, count."""
    for one in range(0, number, number // CHANGES):
        orders.comment(f"o{one}", "Delayed by snow")
    after = None
    for _ in range(PAGES):
        after = orders.queue("complete", after=after, limit=50)[-1].id
    orders.counts()
    orders.totals()


def most_memory() -> float:
    """Of this process since it began, in MB. What `resource` tells begins with that of the process that started it."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    with closing(SqliteStore(sys.argv[1])) as store:
        work(Orders(store), int(sys.argv[2]))
    print(most_memory())

"""Print the peak memory of a shop's daily work on a SQLite store: python store_user.py shop.db 1000."""

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
    """Change orders in the whole store, read the pages of a queue, count."""
    for one in range(0, number, number // CHANGES):
        orders.comment(f"o{one}", "Delayed by snow")
    after = None
    for _ in range(PAGES):
        after = orders.queue("complete", after=after, limit=50)[-1].id
    orders.counts()
    orders.totals()


def most_memory() -> float:
    """Return the peak memory of this process in MB. `resource` would include the process that started it."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    with closing(SqliteStore(sys.argv[1])) as store:
        work(Orders(store), int(sys.argv[2]))
    print(most_memory())

"""Measure the memory and time of an audit on SQLite.

    python benchmarks/audit_at_scale.py 10000 100000 1000000

Separate processes fill and audit each number of orders, so that the peak memory is that of the audit.
"""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from order_fsm import Line, Orders
from order_fsm_adapters.sqlite import SqliteStore


def fill(path: Path, number: int) -> None:
    """Create paid orders of four entries in one transaction, because only the audit is timed."""
    connection = sqlite3.connect(path)
    orders = Orders(SqliteStore(connection=connection))
    orders.set_stock("TEAPOT", 2 * number)
    for one in range(number):
        order_id = f"o{one}"
        orders.create(order_id, total="49.90", currency="GBP", lines=[Line("TEAPOT", 1)], customer=f"c{one % 1000}")
        orders.fire(order_id, "place")
        orders.fire(order_id, "pay", reference="ch_1", key=f"evt {one}")
        orders.fire(order_id, "dispatch")
    connection.commit()
    connection.close()


def audit(path: Path) -> None:
    """Audit and print time and memory."""
    store = SqliteStore(path)
    start = time.perf_counter()
    found = Orders(store).audit()
    seconds = time.perf_counter() - start
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{found.orders:>9} orders {found.entries:>9} entries {seconds:8.1f} s {megabytes:7.1f} MB, ok: {found.ok}")
    store.close()


def main(numbers: list[int]) -> None:
    """Fill and audit a database of each size."""
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            for part in ("fill", "audit"):
                subprocess.run([sys.executable, __file__, part, f"{folder}/shop.db", str(number)], check=True)


if __name__ == "__main__":
    if sys.argv[1] in {"fill", "audit"}:
        where = Path(sys.argv[2])
        fill(where, int(sys.argv[3])) if sys.argv[1] == "fill" else audit(where)
    else:
        main([int(number) for number in sys.argv[1:]])

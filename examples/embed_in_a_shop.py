"""Change a shop's own rows and the status of an order in one transaction.

    python examples/embed_in_a_shop.py

The shop has its own tables, its own stock and its own connection. `SqliteStore(connection=...)` writes on that
connection and leaves it to the shop to begin, commit and roll back.
"""

import sqlite3
import tempfile
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from order_fsm import Line, OrderNotFound, Orders, Refused
from order_fsm_adapters.sqlite import SqliteStore

SHOP = """
CREATE TABLE customer (name TEXT PRIMARY KEY, email TEXT NOT NULL);
CREATE TABLE basket (customer TEXT NOT NULL REFERENCES customer, sku TEXT NOT NULL, quantity INTEGER NOT NULL);
CREATE TABLE product (sku TEXT PRIMARY KEY, price TEXT NOT NULL, on_hand INTEGER NOT NULL CHECK (on_hand >= 0));
CREATE TABLE invoice (number INTEGER PRIMARY KEY, order_id TEXT NOT NULL, amount TEXT NOT NULL);
INSERT INTO customer VALUES ('ann', 'ann@example.com'), ('ben', 'ben@example.com');
INSERT INTO basket VALUES ('ann', 'VASE', 2), ('ben', 'VASE', 9);
INSERT INTO product VALUES ('VASE', '15.00', 5);
"""


def check_out(shop: sqlite3.Connection, orders: Orders, order_id: str, customer: str) -> None:
    """Create an order from a basket. The shop counts its own stock, so the order's lines move no stock."""
    with shop:  # The block commits at its end, and rolls back if it raises.
        shop.execute("BEGIN IMMEDIATE")
        (email,) = shop.execute("SELECT email FROM customer WHERE name = ?", (customer,)).fetchone()
        basket = shop.execute(
            "SELECT sku, quantity, price FROM basket JOIN product USING (sku) WHERE customer = ?", (customer,)
        ).fetchall()
        total = sum((Decimal(price) * quantity for _, quantity, price in basket), Decimal(0))
        lines = [Line(sku, quantity) for sku, quantity, _ in basket]
        orders.create(order_id, total=total, currency="EUR", lines=lines, customer=customer, email=email)
        orders.fire(order_id, "place")
        shop.executemany(
            "UPDATE product SET on_hand = on_hand - ? WHERE sku = ?", [(line.quantity, line.sku) for line in lines]
        )
        shop.execute("DELETE FROM basket WHERE customer = ?", (customer,))


def send_invoice(shop: sqlite3.Connection, orders: Orders, order_id: str) -> None:
    """Write the shop's invoice and tick invoiced on the order."""
    with shop:
        shop.execute("BEGIN IMMEDIATE")
        total = orders.get(order_id).total
        shop.execute("INSERT INTO invoice (order_id, amount) VALUES (?, ?)", (order_id, str(total)))
        orders.fire(order_id, "invoice")


def show(shop: sqlite3.Connection, orders: Orders, order_id: str) -> None:
    """Print the shop's tables and the order."""
    ((on_hand,),) = shop.execute("SELECT on_hand FROM product")
    baskets = " and ".join(name for (name,) in shop.execute("SELECT customer FROM basket")) or "nobody"
    invoices = shop.execute("SELECT order_id, amount FROM invoice").fetchall()
    try:
        order = f"{orders.get(order_id).state}, {len(orders.history(order_id))} history entries"
    except OrderNotFound:
        order = "does not exist"
    print(f"  shop: {on_hand} vases on hand; baskets of {baskets}; invoices {invoices}")
    print(f"  order {order_id}: {order}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "shop.db")) as shop:
        shop.executescript(SHOP)
        orders = Orders(SqliteStore(connection=shop))

        print("Ann checks out. Both sides are committed:")
        check_out(shop, orders, "6001", "ann")
        show(shop, orders, "6001")

        print(
            "\nBen wants more vases than the shop has. His order is already placed when the shop's own statement fails:"
        )
        try:
            check_out(shop, orders, "6002", "ben")
        except sqlite3.IntegrityError as error:
            print(f"  {error}")
        show(shop, orders, "6002")

        print("\nThe shop writes Ann's invoice and ticks invoiced:")
        send_invoice(shop, orders, "6001")
        show(shop, orders, "6001")

        print("\nThe shop invoices it again. Its second invoice is already written when the order's rules refuse:")
        try:
            send_invoice(shop, orders, "6001")
        except Refused as refused:
            print(f"  {refused}")
        show(shop, orders, "6001")


if __name__ == "__main__":
    main()

"""Draw the rules of a shop, and the path of one order, as HTML pages.

    python examples/draw_rules.py [folder]

The pages load nothing from the network. With the program `dot` of Graphviz they show a picture. Without it they have
the tables, and the picture as Mermaid text.
"""

import sys
from pathlib import Path

from order_fsm import Orders, shop_workflow
from order_fsm.diagram import html
from order_fsm_adapters.memory import MemoryStore


def main(folder: Path) -> None:
    rules = shop_workflow()
    orders = Orders(MemoryStore(), workflow=rules)
    orders.create("1001", total="49.90", currency="GBP")
    orders.fire("1001", "place")
    orders.fire("1001", "invoice")
    orders.fire("1001", "dispatch")
    orders.fire("1001", "pay")
    orders.fire("1001", "unpay", comment="The cheque bounced")

    pages = {
        "order-rules.html": html(rules, frames={"cancelled"}),
        "order-1001.html": html(rules, "Order 1001", leave_out={"cancelled"}, path=orders.history("1001")),
    }
    for name, page in pages.items():
        file = (folder / name).resolve()
        file.write_text(page, encoding="utf-8")
        print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

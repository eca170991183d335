"""Draw the rules of a shop, and the way that one order took through them.

    python examples/draw_rules.py [folder]

Prints both as Mermaid, which many wikis and code hosts show as pictures. In a folder that is named, and where the
program `dot` of Graphviz is installed, it writes them as SVG too.
"""

import sys
from pathlib import Path

from order_fsm import Orders, ToolMissing, shop_workflow
from order_fsm.diagram import dot, mermaid, picture
from order_fsm_adapters.memory import MemoryStore


def main() -> None:
    rules = shop_workflow()
    orders = Orders(MemoryStore(), workflow=rules)
    orders.create("1001", total="49.90", currency="GBP")
    orders.fire("1001", "place")
    orders.fire("1001", "invoice")
    orders.fire("1001", "dispatch")
    orders.fire("1001", "pay")
    orders.fire("1001", "unpay", comment="the cheque bounced")
    history = orders.history("1001")

    print("The rules, without what is cancelled:")
    print(mermaid(rules, leave_out={"cancelled"}))
    print("The way of order 1001:")
    print(mermaid(rules, leave_out={"cancelled"}, path=history))

    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        try:
            (folder / "rules.svg").write_bytes(picture(dot(rules, frames={"cancelled"})))
            (folder / "order-1001.svg").write_bytes(picture(dot(rules, leave_out={"cancelled"}, path=history)))
        except ToolMissing as error:
            sys.exit(str(error))
        print(f"rules.svg and order-1001.svg are in {folder}")


if __name__ == "__main__":
    main()

"""Short histories of one order's goods and stock, each step with its expected result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from order_fsm import Line, Orders, Refused, VersionConflict, Workflow, shop_workflow
from order_fsm.model import quantities_of
from order_fsm.testing import FrozenClock
from order_fsm_adapters.memory import MemoryStore

GOLDEN = Path(__file__).parent / "golden" / "goods.txt"
SKUS = ("TEAPOT", "CUP")

EXAMPLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "parts of two lines": (
        "TEAPOT=3 CUP=2 TEAPOT=1",
        (
            "place",
            "dispatch TEAPOT=1 CUP=1",
            "dispatch TEAPOT=4",
            "dispatch SPOON=1",
            "cancel",
            "dispatch CUP=1",
            "dispatch",
            "dispatch",
            "return_items TEAPOT=5",
            "return_items TEAPOT=1 CUP=1 damaged",
            "return_items TEAPOT=1",
            "undispatch",
            "dispatch TEAPOT=4",
            "cancel",
            "return_items",
            "return_items",
            "cancel",
            "reinstate",
            "dispatch",
            "undispatch",
        ),
    ),
    "all came back, and is shipped again": (
        "TEAPOT=2",
        ("pay", "dispatch", "return_items TEAPOT=1 damaged", "return_items", "undispatch", "dispatch", "return_items"),
    ),
    "more is returned than the shop has left": (
        "TEAPOT=2",
        ("place", "dispatch", "return_items damaged", "buy TEAPOT=7", "undispatch", "dispatch", "undispatch", "cancel"),
    ),
    "an item without stock": (
        "TEAPOT=1 SPOON=2",
        (
            "place",
            "dispatch SPOON=1",
            "dispatch",
            "return_items SPOON=1 damaged",
            "undispatch",
            "cancel",
            "reinstate",
            "dispatch",
        ),
    ),
    "an item that gets its stock later": (
        "SPOON=2 TEAPOT=1",
        (
            "place",
            "stock SPOON=1",
            "dispatch SPOON=1",
            "amend SPOON=3 TEAPOT=1",
            "amend SPOON=4 TEAPOT=1",
            "amend SPOON=2 TEAPOT=1",
            "amend SPOON=3 TEAPOT=1",
            "dispatch SPOON=1",
            "dispatch SPOON=1",
            "return_items SPOON=3",
            "return_items SPOON=1",
            "return_items SPOON=1",
            "dispatch",
            "undispatch",
            "cancel",
        ),
    ),
    "an item of which some pieces come from stock": (
        "SPOON=2",
        (
            "place",
            "stock SPOON=2",
            "amend SPOON=4",
            "dispatch SPOON=1",
            "dispatch SPOON=2",
            "dispatch",
            "return_items",
            "stock SPOON=9",
            "undispatch",
        ),
    ),
    "pieces that never came from stock": (
        "SPOON=2",
        ("place", "dispatch", "stock SPOON=5", "return_items SPOON=1", "undispatch", "dispatch", "return_items"),
    ),
    "an item that is tracked no more": (
        "TEAPOT=2 CUP=1",
        (
            "place",
            "dispatch TEAPOT=1",
            "untrack TEAPOT",
            "return_items",
            "dispatch",
            "undispatch",
            "cancel",
            "reinstate",
        ),
    ),
    "shipped from stock, and then without": (
        "TEAPOT=2",
        (
            "place",
            "dispatch",
            "return_items TEAPOT=1",
            "undispatch",
            "cancel",
            "untrack TEAPOT",
            "reinstate",
            "dispatch",
            "return_items TEAPOT=1",
            "stock TEAPOT=5",
            "undispatch",
        ),
    ),
    "the last piece in stock": (
        "TEAPOT=2",
        ("place", "dispatch TEAPOT=1", "return_items damaged", "cancel", "buy TEAPOT=8", "reinstate", "dispatch"),
    ),
    "an item that may be taken before it is there": (
        "TEAPOT=2 CUP=3",
        (
            "backorder TEAPOT=1",
            "amend TEAPOT=2 CUP=9",
            "place",
            "amend TEAPOT=2 CUP=2",
            "place",
            "amend TEAPOT=3",
            "dispatch",
        ),
    ),
    "an adopted order": (
        "TEAPOT=2",
        (
            "adopt sent",
            "dispatch TEAPOT=1",
            "amend TEAPOT=99",
            "amend TEAPOT=3 CUP=1",
            "dispatch",
            "return_items",
            "undispatch",
        ),
    ),
    "amended before and after parts": (
        "TEAPOT=2",
        (
            "amend TEAPOT=1 CUP=1",
            "place",
            "amend TEAPOT=2 CUP=2",
            "amend TEAPOT=2 CUP=2",
            "amend TEAPOT=2 SPOON=1",
            "amend TEAPOT=2",
            "amend TEAPOT=20",
            "dispatch TEAPOT=1",
            "amend",
            "amend CUP=1",
            "amend TEAPOT=3",
            "amend TEAPOT=1",
            "amend TEAPOT=9",
            "amend TEAPOT=2",
            "return_items",
            "amend TEAPOT=1",
            "amend TEAPOT=1 CUP=1",
            "dispatch",
            "undispatch",
            "amend",
            "amend TEAPOT=1",
            "cancel",
            "amend TEAPOT=2",
            "reinstate",
        ),
    ),
    "amended to nothing, and to more again": (
        "TEAPOT=2",
        (
            "place",
            "dispatch TEAPOT=1",
            "return_items",
            "amend",
            "amend TEAPOT=3",
            "undispatch",
            "dispatch",
            "undispatch",
        ),
    ),
    "amended to fewer pieces than were shipped": (
        "TEAPOT=3",
        ("place", "dispatch", "return_items TEAPOT=2", "amend TEAPOT=2", "undispatch", "cancel"),
    ),
    "amended to what was shipped": (
        "TEAPOT=2",
        (
            "place",
            "dispatch TEAPOT=1",
            "return_items",
            "cancel",
            "amend TEAPOT=1",
            "reinstate",
            "dispatch",
            "undispatch",
        ),
    ),
    "returned pieces that are ordered no more": (
        "TEAPOT=2 CUP=1",
        (
            "place",
            "dispatch",
            "return_items TEAPOT=2",
            "amend TEAPOT=1 CUP=1",
            "undispatch",
            "dispatch",
            "return_items",
        ),
    ),
    "unplaced and placed again": (
        "TEAPOT=2",
        (
            "place",
            "dispatch TEAPOT=1",
            "unplace",
            "expire",
            "return_items",
            "unplace",
            "place",
            "dispatch",
            "undispatch",
        ),
    ),
    "paid for what others hold": (
        "TEAPOT=4",
        ("buy TEAPOT=8", "place", "pay", "dispatch TEAPOT=2 silent", "undispatch", "cancel", "reinstate"),
    ),
    "money goes back and comes again while a part is out": (
        "TEAPOT=2",
        (
            "pay amount=10 reference=a",
            "dispatch TEAPOT=1",
            "refund amount=10 reference=a",
            "refund_failed reference=a",
            "unpay reference=a",
            "restore_payment reference=a",
        ),
    ),
    "invoiced by hand, and amended to the shipped pieces": (
        "TEAPOT=2",
        ("place", "invoice", "dispatch TEAPOT=1", "amend TEAPOT=1 total=6"),
    ),
    "invoiced by hand, and amended to the shipped pieces and to what came online": (
        "TEAPOT=2",
        (
            "pay amount=6 reference=a",
            "invoice",
            "dispatch TEAPOT=1",
            "amend TEAPOT=20 total=6",
            "return_items",
            "amend TEAPOT=1 total=6 silent",
        ),
    ),
    "paid by hand, and amended to more pieces for more money": (
        "TEAPOT=2",
        ("pay amount=6", "dispatch TEAPOT=1", "amend TEAPOT=1 total=6", "amend TEAPOT=2 total=10"),
    ),
    "paid online, and amended to more pieces than there are": (
        "TEAPOT=2",
        ("pay amount=10 reference=a", "amend TEAPOT=20", "dispatch", "amend TEAPOT=20", "amend TEAPOT=1"),
    ),
    "paid online, and amended below the pieces that are out": (
        "TEAPOT=3",
        ("pay amount=10 reference=a", "dispatch TEAPOT=2", "amend TEAPOT=1", "amend TEAPOT=1 CUP=1"),
    ),
    "paid by hand after the online money went back, and amended": (
        "TEAPOT=2",
        ("pay amount=10 reference=a", "pay amount=10", "refund amount=10 reference=a", "amend TEAPOT=2 total=12"),
    ),
    "dispatched on invoice, and amended to cost no more than came online": (
        "TEAPOT=2",
        ("pay amount=6 reference=a", "invoice", "dispatch", "amend TEAPOT=20 total=6", "amend TEAPOT=3 total=6"),
    ),
    "dispatched on invoice without lines, and amended to cost no more than came online": (
        "",
        ("pay amount=6 reference=a", "invoice", "dispatch", "amend TEAPOT=1 total=6 silent"),
    ),
    "amended after the payment was lost": (
        "TEAPOT=2",
        (
            "pay amount=10 reference=a",
            "dispatch",
            "unpay reference=a",
            "amend TEAPOT=3",
            "pay amount=10 reference=b",
            "dispatch",
            "invoice",
            "unpay reference=b",
            "amend TEAPOT=4",
            "dispatch",
            "invoice",
            "amend TEAPOT=5",
        ),
    ),
    "amended after all came back and the payment was lost": (
        "TEAPOT=2",
        ("pay amount=10 reference=a", "dispatch", "return_items", "unpay reference=a", "amend TEAPOT=3", "dispatch"),
    ),
    "lines are added after the payment was lost": (
        "",
        ("pay amount=10 reference=a", "dispatch", "unpay reference=a", "amend TEAPOT=1 silent", "dispatch"),
    ),
    "amended, with money from online": (
        "TEAPOT=2",
        (
            "pay amount=6 reference=a",
            "dispatch TEAPOT=1",
            "amend total=6",
            "amend TEAPOT=1 total=6",
            "amend TEAPOT=2 CUP=1 total=10",
            "amend TEAPOT=2 CUP=1 total=6",
            "amend TEAPOT=2 CUP=1 total=10",
            "dispatch",
            "amend TEAPOT=30 CUP=1 total=6",
            "amend TEAPOT=3 total=6",
            "amend TEAPOT=3 CUP=1 total=6",
            "invoice",
            "amend TEAPOT=2 CUP=1 total=6",
            "amend TEAPOT=3 CUP=1 total=10",
            "amend TEAPOT=2 CUP=1 total=10",
            "return_items",
            "undispatch",
            "invoice",
            "amend TEAPOT=2 CUP=1 total=6",
            "amend TEAPOT=2 CUP=1 total=10",
            "cancel",
            "amend TEAPOT=2 total=6",
        ),
    ),
    "amended, with money by hand": (
        "TEAPOT=2",
        (
            "pay amount=6",
            "dispatch TEAPOT=1",
            "amend TEAPOT=1 total=6",
            "amend TEAPOT=2 total=6",
            "amend TEAPOT=1 total=10",
            "amend TEAPOT=2 total=10",
            "amend TEAPOT=2 total=6",
            "amend TEAPOT=2 total=10",
            "dispatch",
            "amend TEAPOT=3 total=6",
            "amend TEAPOT=2 total=6",
            "amend TEAPOT=2 total=10",
        ),
    ),
    "without lines": (
        "",
        (
            "amend TEAPOT=1",
            "amend",
            "place",
            "dispatch TEAPOT=1",
            "dispatch",
            "return_items",
            "undispatch",
            "amend TEAPOT=1",
        ),
    ),
}
"""By name, the lines of an order and its requests. The shop has ten teapots and three cups."""


FACTS = ("total", "amount", "reference")


def pieces_of(words: Iterable[str]) -> dict[str, int]:
    return {line.sku: line.quantity for line in lines_of(words)}


def lines_of(words: Iterable[str]) -> list[Line]:
    pairs = (word.partition("=") for word in words if "=" in word)
    return [Line(sku, int(number)) for sku, _, number in pairs if sku not in FACTS]


def facts_of(words: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, _, value in (word.partition("=") for word in words) if name in FACTS}


def told(pieces: Mapping[str, int]) -> str:
    return " ".join(f"{number} {sku}" for sku, number in pieces.items())


def figures(orders: Orders) -> str:
    order = orders.get("1")
    held: dict[str, int] = {}
    for line in order.reserved or ():
        held[line.sku] = held.get(line.sku, 0) + line.quantity
    parts = {"to ship": order.to_ship, "shipped": order.goods.shipped, "out": order.out, "holds": held}
    words = [f"{order.version} {order.state}", *[f"{len(order.shipments)} rows"] * bool(order.shipments)]
    words += [*(f"{name} {told(pieces)}" for name, pieces in parts.items() if pieces)]
    lines = orders.history("1")[-1].facts.get("lines_before")
    if isinstance(lines, tuple):
        words.append("had " + told(quantities_of(lines)))
    for sku in (*SKUS, "SPOON"):
        level = orders.stock_level(sku)
        if level is not None:
            words.append(f"{sku} {level.available}/{level.held}/{level.out}/{level.lost}")
    return "; ".join([*words, *["part_dispatched"] * bool(orders.queue("part_dispatched"))])


def ask(orders: Orders, text: str, number: int) -> None:
    what, *words = text.split()
    comment = "" if "silent" in words else "why"
    if what == "buy":
        orders.create(f"other {number}", total=1, currency="GBP", lines=lines_of(words))
        orders.fire(f"other {number}", "place")
    elif what == "stock":
        for sku, pieces in pieces_of(words).items():
            orders.set_stock(sku, pieces)
    elif what == "backorder":
        for sku, pieces in pieces_of(words).items():
            orders.set_stock(sku, pieces, backorder=True)
    elif what == "untrack":
        orders.stop_tracking(words[0])
    elif what == "amend":
        said: dict[str, Any] = {"comment": comment, "override": True, **facts_of(words)}
        orders.amend("1", version=orders.get("1").version, lines=lines_of(words), **said)
    else:
        facts: dict[str, Any] = facts_of(words) | ({"items": pieces_of(words)} if pieces_of(words) else {})
        facts |= {"restock": False} if "damaged" in words else {}
        orders.fire("1", what, comment=comment, override=True, **facts)


def run_goods(workflow: Workflow, lines: str, requests: Sequence[str]) -> list[str]:
    """Return the result of each request."""
    store = MemoryStore()
    orders = Orders(store, workflow=workflow, clock=FrozenClock())
    for sku, pieces in zip(SKUS, (10, 3), strict=True):
        orders.set_stock(sku, pieces)
    order: dict[str, Any] = {"total": 10, "currency": "GBP", "lines": lines_of(lines.split())}
    what, _, state = requests[0].partition(" ")
    if what == "adopt":
        orders.adopt("1", statuses={state}, **order)
        requests = requests[1:]
    else:
        orders.create("1", **order)
    outcomes: list[str] = []
    for number, text in enumerate(requests):
        try:
            ask(orders, text, number)
        except Refused as refused:
            outcome = "refused: " + ", ".join(reason.code for reason in refused.reasons)
        except VersionConflict:
            outcome = "conflict"
        else:
            told_now = [message for message in store.messages() if message.version == orders.get("1").version]
            topics = sorted({message.topic for message in told_now} - {"order.placed"})
            outcome = "; ".join([figures(orders), *topics])
        outcomes.append(f"  {text:<38} {outcome}")
    return outcomes


def written() -> str:
    lines = ["After each step: version and state, the pieces, and of each item available/held/out/lost."]
    for name, (ordered, requests) in EXAMPLES.items():
        lines += [f"{name}: an order of {ordered or 'nothing'}", *run_goods(shop_workflow(), ordered, requests)]
    return "\n".join(lines) + "\n"


def test_each_step_has_the_outcome_of_the_golden_file() -> None:
    """After an intended change, rewrite it with `RENEW_GOLDEN=1 pytest tests/test_goods_examples.py` and review it."""
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.write_text(written(), encoding="utf-8")
    assert written().splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines()

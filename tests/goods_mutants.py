"""Every formula of the goods, the stock and the amendments with one sign, term, bound or comparison wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from order_fsm import Order, goods
from order_fsm.orders import calls, stock
from order_fsm.rules import amendment, booking, decide, holding, shipping

PARTS: tuple[tuple[Any, str, tuple[tuple[str, str], ...]], ...] = (
    (
        goods,
        "goods",
        (
            ('row.kind == "shipped"', 'row.kind != "recalled"'),
            ("add(shipped, row.lines)", "pass"),
            ("add(out, row.lines)", "pass"),
            ("add(drawn, row.drawn)", "add(drawn, row.lines)"),
            ('row.kind == "returned"', "True"),
            ("add(out, row.lines, -1)", "pass"),
            ("add(drawn, row.drawn, -1)", "pass"),
            ("add(given_up, row.drawn)", "pass"),
            ("add(given_up, row.drawn)", "add(given_up, row.lines)"),
            ("shipped, out, drawn, given_up = {}, {}, {}, {}", "out, drawn, given_up = {}, {}, {}"),
            ("shipped, out, drawn, given_up = {}, {}, {}, {}", "shipped, drawn, given_up = {}, {}, {}"),
            ("shipped, out, drawn, given_up = {}, {}, {}, {}", "shipped, out, given_up = {}, {}, {}"),
            ("shipped, out, drawn, given_up = {}, {}, {}, {}", "shipped, out, drawn = {}, {}, {}"),
        ),
    ),
    (
        goods,
        "add",
        (
            ("sums.get(one.sku, 0) + ", ""),
            ("sign * one.quantity", "one.quantity"),
            ("sign * one.quantity", "sign"),
            ("if number:", "if True:"),
            ("sums.pop(one.sku, None)", "pass"),
        ),
    ),
    (
        goods,
        "less",
        (
            ("number - others.get(sku, 0)", "number"),
            ("number - others.get(sku, 0)", "number + others.get(sku, 0)"),
            (" if number > 0}", "}"),
            ("number > 0}", "number >= 0}"),
        ),
    ),
    (Order, "to_ship", (("goods.shipped", "goods.out"),)),
    (
        Order,
        "part_dispatched",
        (
            ("not self.shipments or ", ""),
            (" or not self.counted", ""),
            ("bool(shipped) and ", ""),
            (" and bool(less(self.quantities, shipped))", ""),
            ("less(self.quantities, shipped)", "self.quantities"),
        ),
    ),
    (
        shipping,
        "handle",
        (
            ('less(order.quantities, goods.shipped) if kind == "shipped"', 'order.quantities if kind == "shipped"'),
            ('if kind == "shipped" else goods.out\n', 'if kind == "shipped" else goods.shipped\n'),
            ("if isinstance(items, tuple) else bound", "if items and kind == 'shipped' else bound"),
            ("left = less(bound, pieces)", "left = bound"),
            ('order.quantities if kind == "recalled" else ', ""),
            ("number > bound.get(sku, 0)", "number >= bound.get(sku, 0)"),
            ("number > bound.get(sku, 0)", "number > bound.get(sku, number)"),
            ("if number > bound.get(sku, 0)", "if False"),
            ("is not False", "is True"),
            ('bool(goods.shipped) if kind == "recalled" else ', ""),
        ),
    ),
    (
        shipping,
        "_drawn",
        (
            ("number - min(number, left.get(sku, 0))", "number"),
            ("min(number, left.get(sku, 0))", "left.get(sku, 0)"),
            ("min(number, spare.get(sku, 0))", "number"),
            ("min(number, spare.get(sku, 0))", "spare.get(sku, 0)"),
            ("min(number, goods.drawn.get(sku, 0))", "number"),
            ("min(number, goods.drawn.get(sku, 0))", "goods.drawn.get(sku, 0)"),
            (" if number > 0}", "}"),
        ),
    ),
    (shipping.Handling, "row", (("self.drawn == self.pieces", "True"), (", self.restock)", ", True)"))),
    (
        holding.Supply,
        "shortages_of",
        (
            ("available.get(sku, number) < number", "available.get(sku, number) <= number"),
            ("available.get(sku, number) < number", "available.get(sku, 0) < number"),
            (" if sku not in self.backorder", ""),
            ("sku not in self.backorder", "sku in self.backorder"),
        ),
    ),
    (
        holding.Supply,
        "shortages",
        ((" or order.reserved is not None", ""), ("order.to_ship", "order.quantities")),
    ),
    (
        holding,
        "taken",
        ((" if sku in tracked})", "})"),),
    ),
    (
        shipping,
        "lines_as_ordered",
        (
            ("len(lines) == len(pieces) and ", ""),
            (" and all(pieces.get(line.sku) == line.quantity for line in lines)", ""),
        ),
    ),
    (
        holding,
        "held_after",
        (
            ("workflow.holds(order.state) != holds", "False"),
            ("workflow.holds(order.state) != holds", "True"),
            ("if not holds or not order.lines:", "if not order.lines:"),
            ("order.to_ship if handling is None else handling.left", "order.quantities"),
            ("if held is None else held\n", "\n"),
            ("held is None or handling is None", "handling is None"),
            (' or handling.kind == "returned"', ""),
            ("less(quantities_of(held), handling.drawn)", "quantities_of(held)"),
            ("less(quantities_of(held), handling.drawn)", "less(quantities_of(held), handling.pieces)"),
            ("less(handling.left, quantities_of((*held, *handling.lines)))", "handling.left"),
            ("(*held, *handling.lines)))", "held))"),
            ("min(given_up[sku], number)", "given_up[sku]"),
            ("min(given_up[sku], number)", "number"),
            (" and sku in tracked}", "}"),
            ("*lines_of(handling.drawn), ", "*handling.lines, "),
            ("*lines_of(handling.drawn), ", ""),
            (", *lines_of(again))", ")"),
        ),
    ),
    (
        holding,
        "held_as_amended",
        (
            (" or (held_before and not holds)", ""),
            ("held_before and not holds", "not holds"),
            (" and not (before.lines and held_before)", ""),
            ("before.lines and held_before", "held_before"),
            ("before.lines and held_before", "before.lines"),
            ("taken(after, after.to_ship, tracked)", "taken(after, after.quantities, tracked)"),
            ("held.get(sku, 0) + ", ""),
            ("(more.get(sku, 0) if sku in tracked else 0)", "0"),
            ("more.get(sku, 0) if sku in tracked else 0", "more.get(sku, 0)"),
            ("min(held.get(sku, 0) + (more.get(sku, 0) if sku in tracked else 0), left)", "left"),
            ("after.to_ship.items()", "after.quantities.items()"),
        ),
    ),
    (
        holding,
        "further",
        (
            ("less(after.to_ship, before.to_ship)", "after.to_ship"),
            ("after.to_ship, before", "after.quantities, before"),
        ),
    ),
    (
        stock,
        "stock_moves",
        (
            ("before.reserved is after.reserved and ", ""),
            (" and before.shipments is after.shipments", ""),
            ("add(held, after.reserved or ())", "pass"),
            ("add(held, before.reserved or (), -1)", "pass"),
            ("after.shipments[len(before.shipments) :]", "after.shipments"),
            ("add(out, row.drawn,", "add(out, row.lines,"),
            ('1 if row.kind == "shipped" else -1', "1"),
            ('row.kind == "shipped"', 'row.kind != "returned"'),
            ('row.kind == "returned" and not row.restock', "not row.restock"),
            (" and not row.restock", ""),
            ("not row.restock", "row.restock"),
            ("add(lost, row.drawn)", "add(lost, row.lines)"),
            ("{**held, **out, **lost}", "{**held, **out}"),
            ("{**held, **out, **lost}", "{**held, **lost}"),
            ("{**held, **out, **lost}", "{**out, **lost}"),
            ("held.get(sku, 0), out", "0, out"),
            ("-more, more", "more, more"),
            ("more > 0 and ", ""),
            ("more > 0 and available.get(sku, 0) >= more", "True"),
            ("available.get(sku, 0) >= more", "available.get(sku, 0) > more"),
            ("more > 0 and available.get(sku, 0) >= more", "False"),
        ),
    ),
    (
        decide,
        "decide",
        (
            ('facts["beyond"] = handling.beyond', 'facts["beyond"] = ()'),
            ("bool(handling.left)", "bool(order.to_ship)"),
        ),
    ),
    (
        decide,
        "_decision",
        (
            ("and handling.recorded", "and handling.pieces"),
            (" and handling.recorded", ""),
            ("if order.lines:", "if False:"),
            ("after = after.holding(held)", "pass"),
        ),
    ),
    (
        booking,
        "correction",
        (
            ('minus(facts["credited"], order.credited)', 'facts["credited"]'),
            ('facts["credited"], order.credited', 'order.credited, facts["credited"]'),
        ),
    ),
    (
        amendment,
        "difference",
        (
            ("value != before", "True"),
            ("name: value, ", ""),
            ("before}\n", "value}\n"),
        ),
    ),
    (
        amendment,
        "amended",
        (("if name in facts", "if name in facts and name != 'lines'"), ("facts[name]", "facts[f'{name}_before']")),
    ),
    (
        calls.Amend,
        "_answer",
        (
            ("supply.shortages(after) if order.reserved is None else ", ""),
            ("supply.shortages_of(further(order, after))", "supply.shortages(after)"),
            ("further(order, after)", "after.to_ship"),
            ("if after.lines != order.lines:", "if False:"),
        ),
    ),
)
"""By place and name of a function, texts in its source and their wrong replacements."""

LAMBDAS: tuple[tuple[str, Callable[[Order, Any], object], str], ...] = (
    ("ONLY_ORDERED", lambda order, facts: True, "always"),
    ("ONLY_OUT", lambda order, facts: True, "always"),
    ("SOME_OUT", lambda order, facts: True, "always"),
    ("SOME_OUT", lambda order, facts: order.goods.shipped, "shipped"),
    ("NONE_OUT", lambda order, facts: True, "always"),
    ("NONE_OUT", lambda order, facts: not order.goods.shipped, "nothing shipped"),
    ("NONE_OUT", lambda order, facts: not order.goods.out, "of a dispatched order too"),
    ("ALL_SHIPPED", lambda order, facts: True, "always"),
    ("ALL_SHIPPED", lambda order, facts: not order.to_ship, "before the entry"),
    ("SOME_SHIPPED", lambda order, facts: True, "always"),
    ("SOME_SHIPPED", lambda order, facts: order.goods.out, "out"),
    ("NONE_LEFT", lambda order, facts: True, "always"),
    ("NONE_LEFT", lambda order, facts: not order.lines, "without lines"),
    ("SOME_LEFT", lambda order, facts: True, "always"),
    ("SOME_LEFT", lambda order, facts: order.lines, "with lines"),
    ("COVERS_OUT", lambda order, facts: True, "always"),
    (
        "COVERS_OUT",
        lambda order, facts: all(order.quantities.get(sku, 0) >= number for sku, number in order.goods.shipped.items()),
        "covers the shipped pieces",
    ),
    (
        "COVERS_OUT",
        lambda order, facts: all(order.quantities.get(sku, 0) > number for sku, number in order.goods.out.items()),
        "more than the pieces out",
    ),
    (
        "COVERS_OUT",
        lambda order, facts: all(
            order.quantities.get(sku, number) >= number for sku, number in order.goods.out.items()
        ),
        "only of items that it has still",
    ),
)
"""By name of a guard, a wrong test and its meaning."""

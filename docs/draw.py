"""Draws the pictures of the site: .venv/bin/python docs/draw.py. Needs the program `dot` of Graphviz.

The pictures are in docs/pictures, so that building the site needs no Graphviz. Each one of the rules names the graph
that it was drawn from. A test compares it with the graph of today's rules.
"""

import hashlib
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from order_fsm import Orders, Workflow, shop_workflow
from order_fsm.diagram import dot, picture
from order_fsm.model import Entry
from order_fsm_adapters.memory import MemoryStore

PICTURES = Path(__file__).parent / "pictures"

INK, PAPER, PALE, ACCENT = (
    "var(--color-foreground-primary, #1e293b)",
    "var(--color-background-secondary, #f8fafc)",
    "var(--color-foreground-secondary, #475569)",
    "var(--color-brand-primary, #c2410c)",
)
"""Colours of the theme, which differ in light and dark, and those without it."""

COLOURS = {"black": INK, "white": PAPER, "#475569": PALE, "#c2410c": ACCENT, "#fed7aa": PAPER}
"""By colour of Graphviz, the colour on the site."""

GUARDS = re.compile(r'<tr><td><font point-size="8".*?</font></td></tr>')
ASIDE = re.compile(r"^.*#cbd5e1.*\n", re.MULTILINE)
LABELS = re.compile(r"label=<(.*?)>(?=, |\])")


def path_of_an_order() -> tuple[Entry, ...]:
    """Return the history of an order on account: invoiced, dispatched, paid later."""
    orders = Orders(MemoryStore())
    orders.create("1001", total="49.90", currency="GBP")
    for trigger in ("place", "invoice", "dispatch", "pay"):
        orders.fire("1001", trigger)
    return orders.history("1001")


def graphs() -> dict[str, str]:
    """Return the graph of each picture of the rules, by its name."""
    rules = shop_workflow()
    return {
        # Guards are in the table. In the picture they would hide the arrows.
        "states": _legible(GUARDS.sub("", dot(rules, leave_out={"cancelled", "invoiced"}))),
        # Only the path, without the pale arrows of the triggers that were not taken.
        "path": _legible(ASIDE.sub("", dot(rules, leave_out={"sent", "cancelled"}, path=path_of_an_order()))),
    }


def _legible(graph: str) -> str:
    """Fit a graph to the width of a page, and write labels as plain lines.

    Labels in HTML keep the widths of the font that Graphviz had.
    """
    graph = graph.replace("ranksep=0.9", "ranksep=0.25").replace("nodesep=0.35", "nodesep=0.3")
    return LABELS.sub(
        lambda label: 'label="' + "\\n".join(re.findall(r"(?<=>)[^<>]+(?=<)", f">{label[1]}<")) + '"', graph
    )


def stamp(graph: str) -> str:
    """Return the comment by which a picture names its graph."""
    return f"<!-- graph {hashlib.sha256(graph.encode()).hexdigest()[:16]} -->"


def drawn(graph: str, label: str) -> str:
    """Draw a graph in the colours of the theme."""
    svg = picture(graph).decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<title>.*?</title>\n|<!--.*?-->\n", "", svg)
    svg = re.sub(r'<polygon fill="white" stroke="transparent".*?/>\n', "", svg, count=1)
    for old, new in COLOURS.items():
        svg = svg.replace(f'fill="{old}"', f'style="fill:{new}"').replace(f'stroke="{old}"', f'stroke="{new}"')
    svg = svg.replace("<text ", f'<text fill="{INK}" ').replace(f'<text fill="{INK}" style=', "<text style=")
    return _framed(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1), stamp(graph))


def sequence(label: str, people: Sequence[str], steps: Sequence[tuple[int, int, str]]) -> str:
    """Draw who calls whom, from top to bottom.

    Args:
        label: for readers that do not see the picture.
        people: the heads of the columns.
        steps: the numbers of two columns, and the text. A step from a column to itself is a note.
    """
    wide, high = 148, 44
    width, height = wide * len(people), 60 + high * len(steps)
    centres = [wide * number + wide // 2 for number in range(len(people))]
    lines = [
        f'<svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" font-family="Helvetica,sans-serif">'
    ]
    for centre, name in zip(centres, people, strict=True):
        lines += [
            f'<line x1="{centre}" y1="40" x2="{centre}" y2="{height}" stroke="{PALE}" stroke-dasharray="3 4"/>',
            f'<rect x="{centre - 68}" y="8" width="136" height="32" rx="8" style="fill:{PAPER}" stroke="{PALE}"/>',
            f'<text x="{centre}" y="29" text-anchor="middle" font-size="14" fill="{INK}">{escape(name)}</text>',
        ]
    for number, (source, target, text) in enumerate(steps):
        y = 76 + high * number
        start, end = centres[source], centres[target]
        if source == target:
            lines += [
                f'<rect x="{start - 66}" y="{y - 20}" width="132" height="28" rx="4" style="fill:{PAPER}" '
                f'stroke="{ACCENT}"/>',
                f'<text x="{start}" y="{y - 1}" text-anchor="middle" font-size="12" fill="{INK}">{escape(text)}</text>',
            ]
        else:
            way = 1 if end > start else -1
            tip = end - 8 * way
            lines += [
                f'<line x1="{start}" y1="{y}" x2="{tip}" y2="{y}" stroke="{INK}"/>',
                f'<path d="M{end} {y} l{-9 * way} -4 v8 z" style="fill:{INK}"/>',
                f'<text x="{(start + end) // 2}" y="{y - 6}" text-anchor="middle" font-size="12" '
                f'fill="{INK}">{escape(text)}</text>',
            ]
    return _framed("\n".join([*lines, "</svg>"]) + "\n")


def callback() -> str:
    """Draw the path of a gateway's callback."""
    return sequence(
        "A callback goes from the gateway through the web handler and the receiver to the store, and back",
        ["gateway", "web handler", "PaymentReceiver", "Orders", "store"],
        [
            (0, 1, "POST body, signature"),
            (1, 2, "receive(body, headers)"),
            (2, 2, "verify, then parse"),
            (2, 3, "the event, as a call"),
            (3, 4, "read order, key, stock"),
            (3, 3, "decide by the rules"),
            (3, 4, "commit, whole or not"),
            (3, 2, "receipt"),
            (2, 1, "outcome"),
            (1, 0, "200, or 503: send again"),
        ],
    )


def summary(workflow: Workflow) -> str:
    """Return one row for each trigger, in Markdown: what all its rules need and forbid, and what they tick.

    A status in parentheses is ticked or unticked by some of the rules.
    """
    rows = ["| trigger | needs | forbids | ticks | unticks | records |", "|---|---|---|---|---|---|"]
    for trigger in workflow.triggers:
        rules = workflow.rules_of(trigger)
        cells = [
            _listed(workflow, frozenset.intersection(*(rule.needs for rule in rules))),
            _listed(workflow, frozenset.intersection(*(rule.forbids for rule in rules))),
            _listed(workflow, *_all_and_some([rule.adds for rule in rules])),
            _listed(workflow, *_all_and_some([rule.drops for rule in rules])),
            rules[0].ledger or rules[0].goods or "",
        ]
        rows.append(f"| `{trigger}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _all_and_some(sets: Sequence[frozenset[str]]) -> tuple[frozenset[str], frozenset[str]]:
    common = frozenset.intersection(*sets)
    return common, frozenset.union(*sets) - common


def _listed(workflow: Workflow, names: frozenset[str], some: frozenset[str] = frozenset()) -> str:
    ordered = [status.name for status in workflow.statuses]
    words = [name for name in ordered if name in names] + [f"({name})" for name in ordered if name in some]
    return ", ".join(words)


def _framed(svg: str, *comments: str) -> str:
    return "\n".join(['<div class="picture">', *comments, svg.strip(), "</div>"]) + "\n"


DESCRIPTIONS = {
    "states": "The states of an order that is not cancelled, without invoiced, and the triggers between them",
    "path": "The path of one order: placed, invoiced, dispatched, paid",
}


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(exist_ok=True)
    for name, graph in graphs().items():
        (PICTURES / f"{name}.svg.html").write_text(drawn(graph, DESCRIPTIONS[name]), encoding="utf-8")
    (PICTURES / "callback.svg.html").write_text(callback(), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Draw a workflow as a Mermaid flowchart, which many wikis and code hosts render."""

from __future__ import annotations

from collections.abc import Iterable

from order_fsm.diagram.chart import TAKEN, Chart
from order_fsm.model import Entry
from order_fsm.rules.workflow import Workflow

_PLAIN = frozenset(" ,/_-.")


def mermaid(workflow: Workflow, leave_out: Iterable[str] = (), path: Iterable[Entry] = ()) -> str:
    """Draw a workflow as a Mermaid flowchart.

    Parallel edges are merged. An edge and its way back are one double arrow from fewer statuses to more, labelled
    "there / back". Edges that change no status, and those of `amend`, are left out. They are in `table`. Amendments
    settle the boxes that the other triggers tick and untick, so they would be on most arrows.

    Args:
        workflow: the rules.
        leave_out: statuses. States with one of them are not drawn, which keeps a large workflow readable.
        path: the history of an order. Its states and arrows are highlighted, and its last state is filled. Its arrows
            show only its entries, by number and trigger, and point in its direction. The whole path is drawn, even
            through states that are left out or that the rules no longer have.

    Returns:
        The text of the chart, one line for each state and each pair of states.

    Raises:
        InvalidInput: if `leave_out` names no status of the workflow, or `path` is not a history.
    """
    chart = Chart(workflow, leave_out, path)
    lines = ["flowchart LR"]
    lines += [
        f'    s{number}(["{"<br>".join(map(_escaped, state.split("+")))}"])' for state, number in chart.numbers.items()
    ]
    for arrow in chart.arrows:
        ends = (arrow.target, arrow.source) if arrow.direction == "back" else (arrow.source, arrow.target)
        line = "<-->" if arrow.direction == "both" else "-->"
        label = "<br>".join(f"<b>{_escaped(step)}</b>" for step in arrow.steps) or _escaped(arrow.label)
        lines.append(f'    s{chart.numbers[ends[0]]} {line}|"{label}"| s{chart.numbers[ends[1]]}')
    visited = [f"s{chart.numbers[state]}" for state in chart.visited]
    if visited:
        lines.append(f"    classDef visited stroke:{TAKEN},stroke-width:3px")
        lines.append(f"    class {','.join(visited)} visited")
        lines.append(f"    style {visited[-1]} fill:#fed7aa")
    taken = [str(number) for number, arrow in enumerate(chart.arrows) if arrow.steps]
    if taken:
        lines.append(f"    linkStyle {','.join(taken)} stroke:{TAKEN},stroke-width:3px")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Write characters as entity codes if they could end a label, begin a tag or format it."""
    # Mermaid reads a backslash before an n as a line break, even as an entity. A zero-width space separates them.
    return "".join(one if one.isalnum() or one in _PLAIN else f"#{ord(one)};" for one in text.replace("\\", "\\\u200b"))

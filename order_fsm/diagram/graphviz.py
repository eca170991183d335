"""Draw a workflow in DOT, and as SVG or PNG by Graphviz."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from html import escape
from typing import Literal

from order_fsm import validation
from order_fsm.diagram.chart import TAKEN, Arrow, Chart, Rules, frames_of
from order_fsm.errors import InvalidInput, MissingDependency
from order_fsm.model import Entry, statuses_of
from order_fsm.rules.rule import Rule
from order_fsm.rules.workflow import Workflow


def dot(
    workflow: Workflow, leave_out: Iterable[str] = (), frames: Iterable[str] = (), path: Iterable[Entry] = ()
) -> str:
    """Draw a workflow in DOT, the language of Graphviz, with guards on the arrows.

    Guards are shown by their codes, below the trigger that they may refuse. A guard that an override may pass is in
    italics. Of parallel rules of one trigger only their common guards are shown. With a path, the other arrows are
    pale and show no guards.

    Args:
        workflow: the rules.
        leave_out, path: as in `mermaid`.
        frames: statuses. States with one of them are drawn in a frame of its name, the first if there are several.

    Returns:
        The text of the graph. `picture` draws it.

    Raises:
        InvalidInput: as in `mermaid`, or if `frames` is not a list of statuses of the workflow.
    """
    chart = Chart(workflow, leave_out, path)
    framed = frames_of(frames)
    if unknown := [name for name in framed if not workflow.knows(name)]:
        raise InvalidInput(f"frames must name statuses of the workflow, not {validation.shown(unknown[0])}")
    lines = [
        "digraph {",
        '    graph [rankdir=LR, fontname="Helvetica", nodesep=0.35, ranksep=0.9]',
        '    node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica", fontsize=13]',
        '    edge [fontname="Helvetica", fontsize=11, color="#475569", arrowsize=0.7]',
    ]
    by_frame: dict[str | None, list[str]] = {}
    for state in chart.numbers:
        frame = next((name for name in framed if name in statuses_of(state)), None)
        by_frame.setdefault(frame, []).append(_dot_state(chart, state))
    for number, (frame, states) in enumerate(by_frame.items()):
        if frame is None:
            lines += [f"    {state}" for state in states]
        else:
            lines.append(f"    subgraph cluster_{number} {{")
            lines.append(
                f'        label=<{_html(frame)}>; style="rounded,filled"; color="#e2e8f0"; fillcolor="#f1f5f9"'
            )
            lines += [f"        {state}" for state in states]
            lines.append("    }")
    lines += [f"    {_dot_arrow(chart, way)}" for way in chart.arrows]
    return "\n".join([*lines, "}"]) + "\n"


def picture(graph: str, form: Literal["svg", "png"] = "svg") -> bytes:
    """Draw a graph with Graphviz.

    Args:
        graph: a graph in DOT, such as `dot` returns.
        form: `svg` or `png`.

    Returns:
        The content of the file.

    Raises:
        MissingDependency: if Graphviz is not installed.
        InvalidInput: if `form` is not `svg` or `png`, or Graphviz cannot read the graph.
    """
    if form not in ("svg", "png"):
        raise InvalidInput(f"form must be 'svg' or 'png', not {validation.shown(form)}")
    program = shutil.which("dot")
    if program is None:
        raise MissingDependency("picture needs the program `dot` of Graphviz: install it (apt install graphviz)")
    done = subprocess.run(  # noqa: S603 - no shell, and the graph is its input
        [program, f"-T{form}"], input=graph.encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise InvalidInput(f"Graphviz cannot read the graph: {done.stderr.decode(errors='replace').strip():.300}")
    return done.stdout


def _html(text: str) -> str:
    """Escape text for a label of Graphviz. Its HTML allows no control characters."""
    return escape("".join(one if one.isprintable() else " " for one in text))


def _dot_state(chart: Chart, state: str) -> str:
    label = "<br/>".join(map(_html, state.split("+")))
    look = ""
    if state in chart.visited:
        look = f', color="{TAKEN}", penwidth=2.5'
        if state == chart.visited[-1]:
            look += ', fillcolor="#fed7aa"'
    return f"s{chart.numbers[state]} [label=<{label}>{look}]"


def _dot_arrow(chart: Chart, arrow: Arrow) -> str:
    if arrow.steps:
        rows = [f"<b>{_html(step)}</b>" for step in arrow.steps]
        look = f'fontcolor="{TAKEN}", color="{TAKEN}", penwidth=2.5'
    elif chart.entries:
        rows, look = [_html(arrow.label)], 'fontcolor="#94a3b8", color="#cbd5e1"'
    else:
        there, back = _dot_triggers(arrow.there), _dot_triggers(arrow.back)
        rows, look = [*there, *(f"/ {line}" for line in back[:1]), *back[1:]], ""
    cells = "".join(f"<tr><td>{row}</td></tr>" for row in rows)
    label = f'<table border="0" cellspacing="0" cellpadding="1">{cells}</table>'
    ends = f"s{chart.numbers[arrow.source]} -> s{chart.numbers[arrow.target]}"
    return f"{ends} [label=<{label}>, dir={arrow.direction}, {look}]"


def _dot_triggers(triggers: Rules) -> list[str]:
    """Return the lines of a label: each trigger, and below it in small type the guards that may refuse it."""
    return [line for trigger, rules in triggers.items() for line in (_html(trigger), *_dot_guards(rules))]


def _dot_guards(rules: list[Rule]) -> Iterator[str]:
    for guard in rules[0].guards if rules else ():
        if all(guard in rule.guards for rule in rules):
            code = f"<i>{_html(guard.code)}</i>" if guard.policy else _html(guard.code)
            yield f'<font point-size="8" color="#64748b">{code}</font>'

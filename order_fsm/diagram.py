"""A workflow for people to read: a picture as Mermaid or DOT, and a Markdown table, all made from the rules.

The diagrams of `transitions` (`extensions.diagrams`) were tried and do not serve here. They draw every transition with
all conditions, so the 93 edges of the shop come to labels of hundreds of characters; they write names of states as they
are, and the `+` in ours is no part of an identifier in Mermaid; they mark the state of a model, and this machine has
none: an order's path is in its history.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Literal

from attrs import evolve

from order_fsm import validation
from order_fsm.errors import InvalidInput, ToolMissing
from order_fsm.model import Entry, statuses_of
from order_fsm.rules.rule import Rule
from order_fsm.rules.workflow import Workflow

TAKEN = "#c2410c"
"""The colour of an order's own path."""


def mermaid(workflow: Workflow, leave_out: Iterable[str] = (), path: Iterable[Entry] = ()) -> str:
    """A Mermaid flowchart of the states and what leads from one to another.

    Parallel edges are merged, and so are an edge and its way back, as a double arrow from fewer statuses to more:
    "there / back". What changes no status is left out; the table has it.

    Args:
        workflow: what to draw.
        leave_out: statuses; states that have one of them are not drawn, which keeps a large workflow readable.
        path: the history of an order. Where it was is highlighted, where it is filled; the arrows that it took carry
            its entries alone, by number and trigger, and point as it went. All of it is drawn, also through states that
            are left out, or that the rules do not have any more.

    Returns:
        The text of the chart, one line for each state and each pair of states.
    """
    chart = _Chart(workflow, leave_out, path)
    lines = ["flowchart LR"]
    lines += [
        f'    s{number}(["{"<br>".join(map(_mermaid, state.split("+")))}"])' for state, number in chart.numbers.items()
    ]
    for way in chart.ways:
        ends = (way.target, way.source) if way.direction == "back" else (way.source, way.target)
        arrow = "<-->" if way.direction == "both" else "-->"
        label = "<br>".join(f"<b>{_mermaid(step)}</b>" for step in way.steps) or _mermaid(way.label)
        lines.append(f'    s{chart.numbers[ends[0]]} {arrow}|"{label}"| s{chart.numbers[ends[1]]}')
    visited = [f"s{chart.numbers[state]}" for state in chart.visited]
    if visited:
        lines.append(f"    classDef visited stroke:{TAKEN},stroke-width:3px")
        lines.append(f"    class {','.join(visited)} visited")
        lines.append(f"    style {visited[-1]} fill:#fed7aa")
    taken = [str(number) for number, way in enumerate(chart.ways) if way.steps]
    if taken:
        lines.append(f"    linkStyle {','.join(taken)} stroke:{TAKEN},stroke-width:3px")
    return "\n".join(lines) + "\n"


def dot(
    workflow: Workflow, leave_out: Iterable[str] = (), frames: Iterable[str] = (), path: Iterable[Entry] = ()
) -> str:
    """The same picture in DOT, the language of Graphviz, with the guards on the arrows.

    Guards stand by their codes, below the trigger that they may refuse; those that an override with a reason may pass
    are in italics. Of parallel rows of one trigger those are named that all of them have. Beside an order's path the
    rest stands back, without guards.

    Args:
        workflow: what to draw.
        leave_out, path: as in `mermaid`.
        frames: statuses; the states that have one are drawn in a frame of that name, in the first where there are
            several.

    Returns:
        The text of the graph; see `picture`.

    Raises:
        InvalidInput: a frame is no status of the workflow.
    """
    chart = _Chart(workflow, leave_out, path)
    framed = tuple(frames)
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
    lines += [f"    {_dot_way(chart, way)}" for way in chart.ways]
    return "\n".join([*lines, "}"]) + "\n"


def picture(graph: str, form: Literal["svg", "png"] = "svg") -> bytes:
    """Draw a graph with Graphviz.

    Args:
        graph: in DOT, as `dot` gives it.
        form: `svg` or `png`.

    Returns:
        The content of the file.

    Raises:
        ToolMissing: Graphviz is not installed.
        InvalidInput: `form` is neither, or Graphviz cannot read the graph.
    """
    if form not in ("svg", "png"):
        raise InvalidInput(f"form must be 'svg' or 'png', not {validation.shown(form)}")
    program = shutil.which("dot")
    if program is None:
        raise ToolMissing("pictures are drawn by the program `dot` of Graphviz: install it (apt install graphviz)")
    done = subprocess.run(  # noqa: S603 - no shell, and the graph is its input
        [program, f"-T{form}"], input=graph.encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise InvalidInput(f"Graphviz cannot read the graph: {done.stderr.decode(errors='replace').strip():.300}")
    return done.stdout


def table(workflow: Workflow) -> str:
    """A Markdown table of the rules, a row each, in declared order.

    Guards stand by their codes, which are what a refusal says; those that an override with a reason may pass are in
    italics.
    """
    rows = [["trigger", "needs", "forbids", "ticks", "unticks", "not when", "ledger"]]
    rows += [_row(workflow, rule) for rule in workflow.rules]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    cells = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _row(workflow: Workflow, rule: Rule) -> list[str]:
    def listed(names: frozenset[str], joint: str = ", ") -> str:
        return joint.join(status.name for status in workflow.statuses if status.name in names)

    needs = [text for text in (listed(rule.needs), listed(rule.needs_any, " or ")) if text]
    guards = (f"*{guard.code}*" if guard.policy else guard.code for guard in rule.guards)
    return [
        rule.trigger,
        ", ".join(needs),
        listed(rule.forbids),
        listed(rule.adds),
        listed(rule.drops),
        ", ".join(guards),
        rule.ledger or "",
    ]


class _Way:
    """One arrow: all that leads from a state to another, and back where something does.

    Attributes:
        there, back: for each trigger the rules of the edges that it takes.
        steps: the entries of a path that went along it, by number and trigger.
        direction: which way it points: as the path went, where there is one.
    """

    def __init__(self, source: str, target: str, there: _Rules, back: _Rules, path: Iterable[Entry]) -> None:
        self.source = source
        self.target = target
        self.there = there
        self.back = back
        taken = [entry for entry in path if {entry.state_before, entry.state_after} == {source, target}]
        self.steps = [f"{entry.version} {entry.trigger}" for entry in taken]
        starts = {entry.state_before for entry in taken} or ({source, target} if back else {source})
        self.direction = "both" if len(starts) == 2 else "forward" if source in starts else "back"

    @property
    def label(self) -> str:
        return " / ".join(", ".join(triggers) for triggers in (self.there, self.back) if triggers)


_Rules = dict[str, list[Rule]]


class _Chart:
    """What there is to draw.

    Attributes:
        numbers: the states, each with the number by which it is named: no text of a state becomes an identifier.
        ways: the arrows.
        visited: the states on the path, the last one last.
    """

    def __init__(self, workflow: Workflow, leave_out: Iterable[str], path: Iterable[Entry]) -> None:
        self.entries = tuple(path)
        hidden = validation.names(leave_out, "leave_out")
        walked = dict.fromkeys(state for entry in self.entries for state in (entry.state_before, entry.state_after))
        last = self.entries[-1].state_after if self.entries else None
        self.visited: Sequence[str] = [state for state in walked if state != last] + ([] if last is None else [last])
        states = dict.fromkeys((*workflow.states, *walked))
        self.numbers = {
            state: number
            for number, state in enumerate(states)
            if hidden.isdisjoint(statuses_of(state)) or state in walked
        }
        self.ways = list(self._merged(self._edges(workflow)))

    def _edges(self, workflow: Workflow) -> dict[tuple[str, str], _Rules]:
        edges: dict[tuple[str, str], _Rules] = {}
        for edge in workflow.edges:
            if edge.source != edge.target and edge.source in self.numbers and edge.target in self.numbers:
                triggers = edges.setdefault((edge.source, edge.target), {})
                triggers.setdefault(edge.rule.trigger, []).append(evolve(edge.rule, guards=edge.guards))
        for entry in self.entries:
            if entry.state_before != entry.state_after:
                edges.setdefault((entry.state_before, entry.state_after), {}).setdefault(entry.trigger, [])
        return edges

    def _merged(self, edges: dict[tuple[str, str], _Rules]) -> Iterator[_Way]:
        for (source, target), there in edges.items():
            back = edges.get((target, source), {})
            size = len(statuses_of(target)) - len(statuses_of(source))
            if not back or size > 0 or (size == 0 and self.numbers[source] < self.numbers[target]):
                yield _Way(source, target, there, back, self.entries)


def _mermaid(text: str) -> str:
    """Text as Mermaid shows it: what could end a label, begin a tag or format it goes as an entity code."""
    # Mermaid takes a backslash before an n for the end of a line, even so written: a blank of no width parts them.
    return "".join(one if one.isalnum() or one in _PLAIN else f"#{ord(one)};" for one in text.replace("\\", "\\\u200b"))


_PLAIN = frozenset(" ,/_-.")


def _html(text: str) -> str:
    """Text in a label of Graphviz; control characters are no part of its HTML."""
    return escape("".join(one if one.isprintable() else " " for one in text))


def _dot_state(chart: _Chart, state: str) -> str:
    label = "<br/>".join(map(_html, state.split("+")))
    look = ""
    if state in chart.visited:
        look = f', color="{TAKEN}", penwidth=2.5'
        if state == chart.visited[-1]:
            look += ', fillcolor="#fed7aa"'
    return f"s{chart.numbers[state]} [label=<{label}>{look}]"


def _dot_way(chart: _Chart, way: _Way) -> str:
    if way.steps:
        rows = [f"<b>{_html(step)}</b>" for step in way.steps]
        look = f'fontcolor="{TAKEN}", color="{TAKEN}", penwidth=2.5'
    elif chart.entries:
        rows, look = [_html(way.label)], 'fontcolor="#94a3b8", color="#cbd5e1"'
    else:
        there, back = _dot_triggers(way.there), _dot_triggers(way.back)
        rows, look = [*there, *(f"/ {line}" for line in back[:1]), *back[1:]], ""
    cells = "".join(f"<tr><td>{row}</td></tr>" for row in rows)
    label = f'<table border="0" cellspacing="0" cellpadding="1">{cells}</table>'
    return (
        f"s{chart.numbers[way.source]} -> s{chart.numbers[way.target]} [label=<{label}>, dir={way.direction}, {look}]"
    )


def _dot_triggers(triggers: _Rules) -> list[str]:
    """The lines of a label: triggers, and below each in small type the guards that may refuse it."""
    return [line for trigger, rules in triggers.items() for line in (_html(trigger), *_dot_guards(rules))]


def _dot_guards(rules: list[Rule]) -> Iterator[str]:
    for guard in rules[0].guards if rules else ():
        if all(guard in rule.guards for rule in rules):
            code = f"<i>{_html(guard.code)}</i>" if guard.policy else _html(guard.code)
            yield f'<font point-size="8" color="#64748b">{code}</font>'

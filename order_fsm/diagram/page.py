"""Write a workflow as one offline HTML page: picture, states, rules, guards and queues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files

from order_fsm import validation
from order_fsm.diagram.chart import entries_of, frames_of
from order_fsm.diagram.graphviz import dot, picture
from order_fsm.diagram.mermaid import mermaid
from order_fsm.diagram.table import listed, needed
from order_fsm.errors import MissingDependency
from order_fsm.model import Entry, When, statuses_of
from order_fsm.rules.rule import Edge, Guard, Rule
from order_fsm.rules.workflow import PART_DISPATCHED, REFUND_DUE, UNMATCHED, Workflow, check_workflow

_MINUS, _UNCHANGED = "\N{MINUS SIGN}", "\N{BULLET}"

_LEGEND = (
    f"<p>Each cell shows the boxes that the trigger ticks (+) or unticks ({_MINUS}) in this state. {_UNCHANGED} changes"
    " no box. The first outcome whose guards hold is taken. In a state with an empty cell the trigger is refused. Hover"
    " over an outcome to see its guards.</p>\n"
)


def html(
    workflow: Workflow,
    title: str = "Order rules",
    leave_out: Iterable[str] = (),
    frames: Iterable[str] = (),
    path: Iterable[Entry] = (),
) -> str:
    """Write a workflow as one self-contained HTML page.

    The page has no scripts and loads nothing. If Graphviz is installed, it has the picture of `dot`. Otherwise it has
    the text of `mermaid`. The tables are always complete.

    Args:
        workflow: the rules.
        title: the heading.
        leave_out, frames, path: as in `dot`. They apply to the picture. Visited states are marked in the tables too.

    Returns:
        The text of the page.

    Raises:
        InvalidInput: if an argument is not valid.
    """
    check_workflow(workflow)
    entries, hidden, framed = entries_of(path), validation.names(leave_out, "leave_out"), frames_of(frames)
    title = validation.name(title, "title")
    summary = f"{len(workflow.states)} states, {len(workflow.edges)} edges, {len(workflow.rules)} rules"
    sections = [
        _section("Picture", _picture(workflow, hidden, framed, entries)),
        _section("History", _history(entries)) if entries else "",
        _section("Triggers in each state", _states(workflow, entries)),
        _section("Rules", _rules(workflow)),
        _section("Guards", _guards(workflow)),
        _section("Queues", _queues(workflow)),
    ]
    style = files("order_fsm.diagram").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<p>{summary}. Fingerprint <code>{workflow.fingerprint}</code>.</p>\n"
        f"{''.join(sections)}</body>\n</html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}</section>\n"


def _picture(workflow: Workflow, hidden: frozenset[str], framed: tuple[str, ...], entries: tuple[Entry, ...]) -> str:
    graph = dot(workflow, hidden, framed, entries)
    try:
        svg = picture(graph).decode()
    except MissingDependency:
        text = escape(mermaid(workflow, hidden, entries))
        hint = "Install Graphviz to see the picture here. The text below is the same chart in Mermaid."
        return f"<p>{hint}</p>\n<details><summary>Mermaid</summary><pre>{text}</pre></details>\n"
    # An HTML page must not contain the XML declaration and the document type.
    return f'<div class="wide">{svg[svg.index("<svg") :]}</div>\n'


def _history(entries: tuple[Entry, ...]) -> str:
    rows = (
        [str(one.version), escape(one.trigger), _chips(one.state_after), f"{one.at:%Y-%m-%d %H:%M}"] for one in entries
    )
    return _table(["#", "trigger", "state after it", "time (UTC)"], rows)


def _states(workflow: Workflow, entries: tuple[Entry, ...]) -> str:
    visited = {state for entry in entries for state in (entry.state_before, entry.state_after)}
    rows = (
        [
            _chips(state),
            *("<br>".join(_outcomes(workflow, workflow.edges_from(state, trigger))) for trigger in workflow.triggers),
        ]
        for state in workflow.states
    )
    marks = [' class="visited"' if state in visited else "" for state in workflow.states]
    return _LEGEND + _table(["state", *map(escape, workflow.triggers)], rows, marks, "matrix")


def _outcomes(workflow: Workflow, edges: Iterable[Edge]) -> Iterator[str]:
    shown: dict[str, list[str]] = {}
    for edge in edges:
        before, after = statuses_of(edge.source), statuses_of(edge.target)
        declared = [status.name for status in workflow.statuses]
        changes = [f"+{name}" for name in declared if name in after - before]
        changes += [f"{_MINUS}{name}" for name in declared if name in before - after]
        guards = ", ".join(guard.code for guard in edge.guards) or "no guards"
        shown.setdefault(" ".join(changes) or _UNCHANGED, []).append(f"row {edge.row}: {guards}")
    for change, rows in shown.items():
        yield f'<span title="{escape("; ".join(rows))}">{escape(change)}</span>'


def _rules(workflow: Workflow) -> str:
    head = ["row", "trigger", "needs", "forbids", "ticks", "unticks", "refused by", "records"]
    return _table(head, (_rule(workflow, row, rule) for row, rule in enumerate(workflow.rules, start=1)))


def _rule(workflow: Workflow, row: int, rule: Rule) -> list[str]:
    sets = [needed(workflow, rule), *(listed(workflow, names) for names in (rule.forbids, rule.adds, rule.drops))]
    guards = ", ".join(f'<span title="{escape(guard.message)}">{_code(guard)}</span>' for guard in rule.guards)
    return [
        str(row),
        f"<b>{escape(rule.trigger)}</b>",
        *map(escape, sets),
        guards,
        escape(rule.ledger or rule.goods or ""),
    ]


def _guards(workflow: Workflow) -> str:
    guards = dict.fromkeys(guard for rule in workflow.rules for guard in rule.guards)
    rows = (
        [_code(guard), escape(guard.message), "an override with a reason may pass it" if guard.policy else ""]
        for guard in guards
    )
    return _table(["code", "message of the refusal", "policy"], rows)


def _queues(workflow: Workflow) -> str:
    rows = [[escape(name), *_condition(workflow, when)] for name, when in workflow.queues.items()]
    rows.append([REFUND_DUE, "(money is due back)", "", ""])
    rows.append([UNMATCHED, "(money in another currency is held)", "", ""])
    rows.append([PART_DISPATCHED, "(a part of the goods was shipped)", "", ""])
    return _table(["queue", "all of", "one of", "none of"], rows)


def _condition(workflow: Workflow, when: When) -> list[str]:
    return [escape(listed(workflow, names)) for names in (when.has, when.has_any, when.lacks)]


def _code(guard: Guard) -> str:
    code = f"<code>{escape(guard.code)}</code>"
    return f"<i>{code}</i>" if guard.policy else code


def _chips(state: str) -> str:
    return " ".join(f'<span class="chip">{escape(name)}</span>' for name in state.split("+"))


def _table(head: Iterable[str], rows: Iterable[list[str]], marks: Iterable[str] = (), kind: str = "") -> str:
    """Write a table of escaped cells."""
    marked = iter(marks)
    lines = [f"<tr{next(marked, '')}>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    names = "".join(f"<th>{name}</th>" for name in head)
    body = "\n".join(lines)
    content = f"<thead><tr>{names}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table class="{kind}">\n{content}\n</table></div>\n'

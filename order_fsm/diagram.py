"""A workflow for people to read: a Mermaid picture and a Markdown table, both made from the rules."""

from __future__ import annotations

from collections.abc import Iterable

from order_fsm.model import statuses_of
from order_fsm.rules import Rule
from order_fsm.workflow import Workflow


def mermaid(workflow: Workflow, leave_out: Iterable[str] = ()) -> str:
    """A Mermaid flowchart of the states and what leads from one to another.

    Parallel edges are merged, and so are an edge and its way back, as a double arrow from fewer statuses to more:
    "there / back". What changes no status is left out; the table has it.

    Args:
        workflow: what to draw.
        leave_out: statuses; states that have one of them are not drawn, which keeps a large workflow readable.

    Returns:
        The text of the chart, one line for each state and each pair of states.
    """
    hidden = frozenset(leave_out)
    numbers = {state: number for number, state in enumerate(workflow.states) if hidden.isdisjoint(statuses_of(state))}
    ways: dict[tuple[str, str], list[str]] = {}
    for edge in workflow.edges:
        if edge.source != edge.target and edge.source in numbers and edge.target in numbers:
            triggers = ways.setdefault((edge.source, edge.target), [])
            if edge.rule.trigger not in triggers:
                triggers.append(edge.rule.trigger)
    lines = ["flowchart LR"]
    lines += [f'    s{number}(["{"<br>".join(state.split("+"))}"])' for state, number in numbers.items()]
    for (source, target), triggers in ways.items():
        back = ways.get((target, source), [])
        there = ", ".join(triggers)
        size = len(statuses_of(target)) - len(statuses_of(source))
        if not back:
            lines.append(f'    s{numbers[source]} -->|"{there}"| s{numbers[target]}')
        elif size > 0 or (size == 0 and numbers[source] < numbers[target]):
            lines.append(f'    s{numbers[source]} <-->|"{there} / {", ".join(back)}"| s{numbers[target]}')
    return "\n".join(lines) + "\n"


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

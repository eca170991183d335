"""Write the rules as a Markdown table."""

from __future__ import annotations

from order_fsm.rules.rule import Rule
from order_fsm.rules.workflow import Workflow, check_workflow


def table(workflow: Workflow) -> str:
    """Write the rules as a Markdown table, one row each, in declared order.

    Guards are shown by their codes, which a refusal carries. A guard that an override may pass is in italics.

    Raises:
        InvalidInput: if `workflow` is not a Workflow.
    """
    check_workflow(workflow)
    rows = [["trigger", "needs", "forbids", "ticks", "unticks", "not when", "records"]]
    rows += [_row(workflow, rule) for rule in workflow.rules]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    cells = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def needed(workflow: Workflow, rule: Rule) -> str:
    """Return the statuses that a rule needs, in words."""
    needs = (listed(workflow, rule.needs), listed(workflow, rule.needs_any, " or "))
    return ", ".join(text for text in needs if text)


def listed(workflow: Workflow, names: frozenset[str], joint: str = ", ") -> str:
    """Return statuses in declared order."""
    return joint.join(status.name for status in workflow.statuses if status.name in names)


def _row(workflow: Workflow, rule: Rule) -> list[str]:
    return [
        rule.trigger,
        needed(workflow, rule),
        listed(workflow, rule.forbids),
        listed(workflow, rule.adds),
        listed(workflow, rule.drops),
        ", ".join(f"*{guard.code}*" if guard.policy else guard.code for guard in rule.guards),
        rule.ledger or rule.goods or "",
    ]

"""Write the measurements of `growth` as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen
class Panel:
    """One question and its measurements.

    Attributes:
        title: the growing quantity.
        x, y: the labels of the axes, with units.
        lines: by their names, pairs of x and y.
    """

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[int, float]]]


def markdown(panels: Iterable[Panel]) -> str:
    """Return a table for each panel, with a column for each x."""
    return "\n".join(_table(panel) for panel in panels)


def _table(panel: Panel) -> str:
    numbers = sorted({x for line in panel.lines.values() for x, _ in line})
    rows = [[f"{panel.x} ({panel.y})", *(f"{number:,}" for number in numbers)], ["---"] * (len(numbers) + 1)]
    for name, line in panel.lines.items():
        found = dict(line)
        rows.append([name, *(f"{found[number]:,.0f}" if number in found else "" for number in numbers)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)

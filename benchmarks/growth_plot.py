"""Draw the measurements of `growth`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from growth_table import Panel

# Equal figures give equal files.
mpl.rcParams["svg.hashsalt"] = "growth"
# Text is smaller than its outlines.
mpl.rcParams["svg.fonttype"] = "none"
mpl.rcParams["font.family"] = ["sans-serif"]

MARKERS = "os^Dv"


def draw(panels: list[Panel], path: Path) -> None:
    """Write a picture of four panels with logarithmic axes. The suffix of the path is its format."""
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for marker, (name, line) in zip(MARKERS, panel.lines.items(), strict=False):
            axes.plot(*zip(*line, strict=True), marker=marker, label=name)
        axes.set(xscale="log", yscale="log", title=panel.title, xlabel=panel.x, ylabel=panel.y)
        lowest = min(y for line in panel.lines.values() for _, y in line)
        highest = max(y for line in panel.lines.values() for _, y in line)
        axes.set_ylim(lowest / 2, highest * 2 ** (1 + len(panel.lines)))  # Space for the legend.
        axes.set_xticks(sorted({x for line in panel.lines.values() for x, _ in line}))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(which="major", alpha=0.4)
        axes.legend(loc="upper left", fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)

"""The configuration of the site: sphinx-build -W --keep-going -b html docs docs/_build/html."""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "adapters")]

from order_fsm import __version__, shop_workflow  # noqa: E402 - found by the line above
from order_fsm.diagram import html, table  # noqa: E402

project = "order_fsm"
copyright = "2026, the order_fsm authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_generated"]
myst_heading_anchors = 3

# Text in single backquotes is code.
default_role = "code"
add_module_names = False
python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Every name of this project must lead to its page. The documentation of Python and of other packages is not on disk.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!order_fsm).*")]
# Parts of the engine that callers never name.
nitpick_ignore = [
    ("py:class", "order_fsm.orders.commands.Commands"),
    ("py:class", "order_fsm.orders.executor.Executor"),
    ("py:class", "order_fsm.payments.payload.HeaderItems"),
    ("py:class", "order_fsm.rules.decide.Call"),
    ("py:class", "order_fsm.store.Marks"),
]

html_theme = "furo"
html_title = "order_fsm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

# Made of the rules by each build, so that no page shows old ones.
GENERATED = Path(__file__).parent / "_generated"
(GENERATED / "pages").mkdir(parents=True, exist_ok=True)
(GENERATED / "rules.md").write_text(table(shop_workflow()), encoding="utf-8")
(GENERATED / "pages" / "rules.html").write_text(html(shop_workflow(), frames={"cancelled"}), encoding="utf-8")
html_extra_path = ["_generated/pages"]


SECTION = re.compile(r"(Args|Attributes|Raises):$")
ENTRY = re.compile(r"( +)(\w+(?:, \w+)+): (.*)$")


def as_sphinx_reads(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Write the parts of a docstring that Sphinx would read in another way.

    It reads `a, b: text` as the name `b` with a type, so each name gets a line of its own. It reads a sentence with a
    colon below "Returns:" as a type.
    """
    found: list[str] = []
    inside = False
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line == "Returns:" and number < len(lines):
            lines[number] = f":returns: {lines[number].strip()}"
            inside = False
            continue
        inside = bool(SECTION.match(line)) or (inside and (not line or line.startswith(" ")))
        entry = ENTRY.match(line) if inside else None
        if entry is None:
            found.append(line)
            continue
        more = []
        while number < len(lines) and lines[number].startswith(entry[1] + " "):
            more.append(lines[number])
            number += 1
        for one in entry[2].split(", "):
            found += [f"{entry[1]}{one}: {entry[3]}", *more]
    lines[:] = found


def setup(app: Any) -> None:
    """Connect `as_sphinx_reads`, before napoleon reads the docstring."""
    app.connect("autodoc-process-docstring", as_sphinx_reads, priority=400)

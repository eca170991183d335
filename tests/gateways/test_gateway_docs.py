"""The documented code for each gateway is short and uses existing names. Gateways import only public names."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import order_fsm_adapters

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gateways.md").read_text(encoding="utf-8")
# A comment before the code has the lines that the page does not show. test_docs.py runs both.
SECTIONS = dict(
    re.findall(r"^## (\w+)\n\n(?:<!-- given\n[^<>]*?-->\n\n)?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
)
GATEWAYS = Path(next(iter(order_fsm_adapters.__path__))) / "gateways"
PUBLIC = {"order_fsm", "order_fsm.errors", "order_fsm.model", "order_fsm.payments", "order_fsm.payments.events"}


def test_every_gateway_has_a_section() -> None:
    modules = {file.stem for file in GATEWAYS.glob("*.py")} - {"__init__", "reading"}
    assert {name.lower() for name in SECTIONS} == modules


@pytest.mark.parametrize("name", SECTIONS)
def test_code_of_a_gateway_is_under_ten_lines(name: str) -> None:
    lines = [line for line in SECTIONS[name].splitlines() if line.strip()]
    assert len(lines) < 10


@pytest.mark.parametrize("name", SECTIONS)
def test_names_in_the_code_of_a_gateway_exist(name: str) -> None:
    for node in ast.walk(ast.parse(SECTIONS[name])):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("file", sorted(GATEWAYS.glob("*.py")), ids=lambda file: file.stem)
def test_gateway_imports_public_names_only(file: Path) -> None:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    modules = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name.split(".")[0] == "order_fsm"} <= PUBLIC

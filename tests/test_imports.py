"""Who imports whom: the engine knows no store, a store knows no engine, and one file knows `transitions`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import order_fsm
import order_fsm_adapters

ENGINE = Path(order_fsm.__file__).parent
ADAPTERS = Path(next(iter(order_fsm_adapters.__path__)))

FOR_ADAPTERS = {"order_fsm.store", "order_fsm.model", "order_fsm.errors", "order_fsm.money"}


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports at run time, with the names taken from a package as modules of it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (name for other in node.orelse for name in imports(ast.Module([other], [])))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their whole module"
            assert node.module is not None
            package = node.module in {"order_fsm", "order_fsm_adapters"}
            yield from (f"{node.module}.{alias.name}" if package else node.module for alias in node.names)
        else:
            yield from imports(node)


def imports_of(file: Path) -> set[str]:
    return set(imports(ast.parse(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "file", sorted(set(ADAPTERS.rglob("*.py")) - set((ADAPTERS / "mail").rglob("*.py"))), ids=lambda file: file.stem
)
def test_an_adapter_sees_the_contract_only(file: Path) -> None:
    """It imports of the engine no more than store, model and errors, and beside that other adapters."""
    found = {one for one in imports_of(file) if one.split(".")[0] == "order_fsm"}
    assert found <= FOR_ADAPTERS


def test_one_file_imports_transitions() -> None:
    """`machine` alone imports it at run time; the rest may name its types."""
    files = [*ENGINE.rglob("*.py"), *ADAPTERS.rglob("*.py")]
    found = {file.stem for file in files if any(one.split(".")[0] == "transitions" for one in imports_of(file))}
    assert found == {"machine"}


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter holds after a statement."""
    script = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    path = f"import sys; sys.path[:0] = {[str(ENGINE.parent), str(ADAPTERS.parent)]!r}\n"
    done = subprocess.run([sys.executable, "-c", path + script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def brought_in(package: str) -> set[str]:
    return {name.removeprefix(package).removeprefix(".") for name in loaded_by(f"import {package}") if package in name}


def test_the_engine_comes_without_stores_and_tools() -> None:
    """`import order_fsm` loads no adapter, no database, no library of theirs, and no test tool."""
    loaded = {name.split(".")[0] for name in loaded_by("import order_fsm")}
    assert "order_fsm" in loaded
    assert loaded.isdisjoint({"order_fsm_adapters", "msgspec", "sqlite3", "filelock", "pytest", "_pytest", "rich"})


def test_the_store_in_memory_needs_no_library() -> None:
    loaded = {name.split(".")[0] for name in loaded_by("import order_fsm_adapters.memory")}
    assert loaded.isdisjoint({"msgspec", "sqlite3", "filelock"})

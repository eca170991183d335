"""The import structure: the engine imports no store, a store imports no engine, and there is no cycle.

A store imports the values and the protocol. A mailer, a gateway and a program import public names.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import order_fsm
import order_fsm_adapters

ENGINE = Path(order_fsm.__file__).parent
ADAPTERS = Path(next(iter(order_fsm_adapters.__path__)))

LAYERS = (
    ("errors", "money"),
    ("validation",),
    ("currencies", "dicts"),
    ("goods", "ledger", "stock_levels"),
    ("model",),
    ("erasure", "rules", "store"),
    ("audit", "diagram"),
    ("orders",),
    ("payments", "verify"),
    ("testing",),
)
"""The modules and packages of the engine, from the bottom up. Each imports from lower layers only, also for type
checkers and inside functions. Those of one layer do not import each other."""

FOR_STORES = {"order_fsm.store", "order_fsm.erasure", "order_fsm.model", "order_fsm.errors", "order_fsm.money"}
PUBLIC = {
    "order_fsm",
    "order_fsm.currencies",
    "order_fsm.diagram",
    "order_fsm.errors",
    "order_fsm.model",
    "order_fsm.money",
    "order_fsm.payments",
    "order_fsm.testing",
    "order_fsm.validation",
    "order_fsm.verify",
}
USERS = {"mail", "gateways", "web", "cli"}
"""The adapters that use the engine. The others are stores."""


def modules_of(root: Path) -> dict[str, Path]:
    """Return the modules of a package by their names."""
    files = {file: file.relative_to(root.parent).with_suffix("").parts for file in root.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for file, parts in files.items()}


MODULES = modules_of(ENGINE) | modules_of(ADAPTERS)


def imports_of(file: Path) -> set[str]:
    """Return the modules that a file imports anywhere, also for type checkers and inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their whole module"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
    return found


def run_time_imports_of(file: Path) -> set[str]:
    """Return the modules that a file imports, except those only for type checkers."""

    def imports(tree: ast.AST) -> Iterator[str]:
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                yield from (name for other in node.orelse for name in imports(ast.Module([other], [])))
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module or ""
            else:
                yield from imports(node)

    return set(imports(ast.parse(file.read_text(encoding="utf-8"))))


def part_of(module: str) -> str:
    """Return the part of the engine that has a module: the name after `order_fsm`."""
    return module.split(".")[1]


def own_graph() -> dict[str, set[str]]:
    """Return the modules of the engine, each with its imports of the engine.

    A package's `__init__` re-exports: an import of it counts as an import of all that it imports.
    """
    packages = {name for name, file in MODULES.items() if file.name == "__init__.py"}

    def resolved(names: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for name in names:
            if name in packages:
                found |= resolved(imports_of(MODULES[name]) & MODULES.keys() - {name})
            elif name in MODULES:
                found.add(name)
        return found

    engine = {name: file for name, file in MODULES.items() if name.startswith("order_fsm.") and name not in packages}
    return {name: resolved(imports_of(file)) - {name} for name, file in engine.items()}


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Return a cycle of modules, or []."""
    done: set[str] = set()

    def search(module: str, chain: list[str]) -> list[str]:
        if module in chain:
            return [*chain[chain.index(module) :], module]
        if module not in done:
            for imported in sorted(graph.get(module, ())):
                if found := search(imported, [*chain, module]):
                    return found
            done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := search(module, []))), [])


def test_no_modules_import_each_other() -> None:
    assert cycle_in(own_graph()) == []


def test_a_cycle_is_found() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_engine_has_at_most_ten_layers() -> None:
    assert len(LAYERS) <= 10


@pytest.mark.parametrize("part", [part for layer in LAYERS for part in layer])
def test_a_part_of_the_engine_imports_from_lower_layers_only(part: str) -> None:
    files = {name: file for name, file in MODULES.items() if name.startswith("order_fsm.") and part_of(name) == part}
    assert files, "name the parts as they are"
    height = next(height for height, layer in enumerate(LAYERS) if part in layer)
    lower = {one for layer in LAYERS[:height] for one in layer}
    for name, file in files.items():
        imported = {part_of(one) for one in imports_of(file) if one.startswith("order_fsm.")} - {part}
        assert imported <= lower, name


def test_every_part_of_the_engine_is_in_one_layer() -> None:
    parts = [part for layer in LAYERS for part in layer]
    assert sorted(parts) == sorted({part_of(name) for name in MODULES if name.startswith("order_fsm.")})


def adapters(users: bool) -> list[str]:
    names = sorted(name for name in MODULES if name.startswith("order_fsm_adapters."))
    return [name for name in names if (part_of(name) in USERS) == users]


@pytest.mark.parametrize("adapter", adapters(users=False))
def test_a_store_imports_values_and_protocol_only(adapter: str) -> None:
    found = {one for one in imports_of(MODULES[adapter]) if one.split(".")[0] == "order_fsm"}
    assert found <= FOR_STORES


@pytest.mark.parametrize("adapter", adapters(users=True))
def test_an_adapter_that_is_not_a_store_imports_public_modules_only(adapter: str) -> None:
    found = {one for one in imports_of(MODULES[adapter]) if one.split(".")[0] == "order_fsm"}
    assert found <= PUBLIC


def test_one_module_imports_transitions() -> None:
    """Other modules may import its types."""
    found = {
        name
        for name, file in MODULES.items()
        if any(one.split(".")[0] == "transitions" for one in run_time_imports_of(file))
    }
    assert found == {"order_fsm.rules.machine"}


def test_tools_for_shops_load_no_store_contract() -> None:
    """`FrozenClock` and `paths` do not load the contract or pytest. `StoreContract` is still importable."""
    loaded = loaded_by("from order_fsm.testing import FrozenClock, paths")
    assert not {name for name in loaded if name.startswith("order_fsm.testing.store_contract")}
    assert loaded.isdisjoint({"pytest", "hypothesis"})
    assert "order_fsm.testing.store_contract.commits" in loaded_by("from order_fsm.testing import StoreContract")


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after a statement."""
    script = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    path = f"import sys; sys.path[:0] = {[str(ENGINE.parent), str(ADAPTERS.parent)]!r}\n"
    done = subprocess.run([sys.executable, "-c", path + script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def brought_in(package: str) -> set[str]:
    return {name.removeprefix(package).removeprefix(".") for name in loaded_by(f"import {package}") if package in name}


def test_the_engine_loads_no_stores_and_no_test_tools() -> None:
    """`import order_fsm` loads no adapter, database, library of an adapter, or test tool."""
    loaded = {name.split(".")[0] for name in loaded_by("import order_fsm")}
    assert "order_fsm" in loaded
    assert loaded.isdisjoint({"order_fsm_adapters", "sqlite3", "filelock", "pytest", "_pytest", "rich"})


def test_the_store_in_memory_loads_no_other_store() -> None:
    loaded = {name.split(".")[0] for name in loaded_by("import order_fsm_adapters.memory")}
    assert loaded.isdisjoint({"sqlite3", "filelock"})

"""What README.md and the site in docs/ show is what the library does.

A block of Python may have a comment before it, `<!-- given ... -->`, with the lines that the page does not show, and
one after it, `<!-- then ... -->`, with lines that use what it defines. The output is that of all three.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from draw import callback, graphs, stamp, summary
from order_fsm import errors, shop_workflow, store
from order_fsm.diagram import mermaid
from order_fsm.rules.workflow import LEDGER_QUEUES
from order_fsm_adapters.mail.rendering import MAILS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "/_" not in str(page.relative_to(ROOT)))]
BLOCK = re.compile(
    r"(?:^<!-- given\n(?P<given>.*?)^-->\n\n?)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n<!-- then\n(?P<then>.*?)^-->\n)?"
    r"(?:(?:\n[^\n`<]+\n)?\n?```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)

RUNNER = """
import contextlib, io, json, sys, types
for code in json.load(sys.stdin):
    printed = io.StringIO()
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, module.__dict__)
        failure = ""
    except BaseException as error:
        failure = f"{type(error).__name__}: {error}"
    print(json.dumps([printed.getvalue(), failure]))
"""
"""Runs each piece of code as a script of its own, all in one process and one folder."""


class Block(NamedTuple):
    """A block of Python on a page."""

    place: str
    code: str
    output: str

    @property
    def is_test(self) -> bool:
        """Whether pytest runs it."""
        return re.search(r"^def test_|^class Test|^Test\w+ = ", self.code, re.MULTILINE) is not None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        code = "".join(match[part] or "" for part in ("given", "code", "then"))
        found.append(Block(f"{page.relative_to(ROOT)}:{line}", code, match["output"] or ""))
    return found


ALL = {str(page.relative_to(ROOT)): blocks(page) for page in PAGES}
SCRIPTS = [block for page in ALL.values() for block in page if not block.is_test]
TESTS = [block for page in ALL.values() for block in page if block.is_test]


def environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")]), "PYTHONIOENCODING": "utf-8"}


def run(scripts: Sequence[Block], folder: Path) -> list[str]:
    """Return one line for each block that fails or prints something else."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER],
        input=json.dumps([block.code for block in scripts]),
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(scripts)
    return [
        f"{block.place}: {failure or f'printed {printed!r}, not {block.output!r}'}"
        for block, (printed, failure) in zip(scripts, answers, strict=True)
        if failure or printed != block.output
    ]


@pytest.mark.parametrize("page", ALL)
def test_every_block_and_every_output_of_a_page_is_found(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(ALL[page]) == len(re.findall(r"^```python", text, re.MULTILINE))
    assert sum(bool(block.output) for block in ALL[page]) == len(re.findall(r"^```text", text, re.MULTILINE))


@pytest.mark.parametrize("page", [name for name, found in ALL.items() if any(not block.is_test for block in found)])
def test_code_of_a_page_runs_and_prints_its_output(page: str, tmp_path: Path) -> None:
    assert run([block for block in ALL[page] if not block.is_test], tmp_path) == []


def test_code_of_all_pages_runs_backwards_and_again_in_one_folder(tmp_path: Path) -> None:
    backwards = SCRIPTS[::-1]
    assert run([*backwards, *SCRIPTS], tmp_path) == []


@pytest.mark.parametrize("block", TESTS, ids=lambda block: block.place)
def test_tests_on_a_page_pass(block: Block, tmp_path: Path) -> None:
    (tmp_path / "test_shown.py").write_text(block.code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shown.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)


# README.md


def test_readme_has_at_most_200_lines() -> None:
    assert len(README.splitlines()) <= 200


def test_readme_shows_the_first_lines_of_the_quickstart() -> None:
    (shown,) = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert (ROOT / "tests/golden/examples/quickstart.txt").read_text(encoding="utf-8").startswith(shown)


def test_readme_shows_an_example_with_output_in_its_first_forty_lines() -> None:
    beginning = "\n".join(README.splitlines()[:40])
    assert re.search(r"```python\n.*?```\n\n?```text\n.*?```", beginning, re.DOTALL)


def test_readme_draws_the_picture_of_the_rules() -> None:
    assert f"```mermaid\n{mermaid(shop_workflow(), leave_out={'cancelled', 'invoiced'})}```\n" in README


def test_readme_has_the_table_of_triggers() -> None:
    assert f"\n{summary(shop_workflow())}\n" in README


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README))
def test_readme_links_to_a_file(target: str) -> None:
    assert (ROOT / target).is_file()


# The site


def test_extra_of_the_site_has_every_extra_of_the_library() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    installed: set[str] = set()
    ahead = ["docs"]
    while ahead:
        for needed in extras[ahead.pop()]:
            if found := re.fullmatch(r"order-fsm\[(.*)\]", needed):
                ahead += set(found[1].split(",")) - installed
                installed |= set(found[1].split(","))
    assert installed == set(extras) - {"docs", "test", "dev", "mutation", "bench"}


@pytest.mark.parametrize("name", graphs())
def test_picture_is_drawn_from_the_rules_of_today(name: str) -> None:
    drawn = (DOCS / "pictures" / f"{name}.svg.html").read_text(encoding="utf-8")
    assert stamp(graphs()[name]) in drawn, "draw it again: .venv/bin/python docs/draw.py"


def test_picture_of_a_callback_is_what_the_script_draws() -> None:
    assert (DOCS / "pictures" / "callback.svg.html").read_text(encoding="utf-8") == callback()


def test_page_of_examples_has_every_example() -> None:
    text = (DOCS / "how-to" / "examples.md").read_text(encoding="utf-8")
    examples = ROOT / "examples"
    named = re.findall(r"^\| `([\w/.]+)`", text, re.MULTILINE)
    assert set(named) == {path.relative_to(examples).as_posix() for path in examples.rglob("*.py")} - {
        path.relative_to(examples).as_posix() for path in (examples / "django_shop" / "teapots").glob("*.py")
    }


def named_in(page: str) -> set[str]:
    """Return the names in the first column of the tables of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(\w[\w.]*)`", text, re.MULTILINE))


def test_page_of_errors_has_every_error() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    tree = {kind.__name__ for kind in kinds if issubclass(kind, errors.OrderFsmError)}
    assert named_in("reference/errors.md") == tree - {"OrderFsmError", "StoreError"}


def test_page_of_queues_has_every_queue() -> None:
    assert named_in("reference/queues.md") == {*shop_workflow().queues, *LEDGER_QUEUES}


def test_page_of_messages_has_every_topic() -> None:
    assert named_in("reference/messages.md") == set(MAILS)


def test_page_of_guarantees_has_every_guarantee() -> None:
    promised = re.findall(r"^(S\d+) (\w+)", store.__doc__ or "", re.MULTILINE)
    text = (DOCS / "reference" / "guarantees.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (S\d+) (\w+) ", text, re.MULTILINE) == promised


def test_every_rule_of_the_rules_page_is_generated() -> None:
    assert "_generated/rules.md" in (DOCS / "reference" / "rules.md").read_text(encoding="utf-8")

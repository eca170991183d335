"""The README agrees with the library."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from order_fsm import shop_workflow
from order_fsm.diagram import mermaid, table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```\n(?:\n?```text\n(.*?)^```\n)?", README, re.MULTILINE | re.DOTALL)


def test_the_picture_is_drawn_from_the_rules() -> None:
    assert f"```mermaid\n{mermaid(shop_workflow(), leave_out={'cancelled'})}```\n" in README


def test_the_table_is_made_from_the_rules() -> None:
    assert f"\n{table(shop_workflow())}\n" in README


def test_an_example_with_its_output_is_in_the_first_thirty_lines() -> None:
    beginning = "\n".join(README.splitlines()[:30])
    assert re.search(r"```python\n.*?```\n\n?```text\n.*?```", beginning, re.DOTALL)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_each_code_block_prints_its_documented_output(number: int, tmp_path: Path) -> None:
    code, output = PYTHON[number]
    paths = f"{ROOT}:{ROOT / 'adapters'}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": paths, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output


def test_every_error_is_in_the_table_of_errors() -> None:
    from order_fsm import errors

    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.OrderFsmError):
            assert f"`{name}`" in README, f"the README has no advice for {name}"

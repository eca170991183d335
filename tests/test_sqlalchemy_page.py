"""The code in docs/how-to/sqlalchemy.md runs and prints the output shown there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData

from order_fsm_adapters.sqlalchemy import SqlAlchemyStore

from . import servers
from .test_alembic import INSTALL, PROGRAMS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "how-to" / "sqlalchemy.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```\n", PAGE, re.MULTILINE | re.DOTALL)
FRAGMENTS = re.findall(r"^```py\n(.*?)^```\n", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_each_script_prints_the_output_on_the_page(number: int, tmp_path: Path) -> None:
    code, output = PYTHON[number]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", output)


def test_all_code_of_the_page_is_tested() -> None:
    assert len(PYTHON) == PAGE.count("```python") == 2
    assert len(FRAGMENTS) == PAGE.count("```py\n") == 5


@pytest.mark.parametrize("tested", [INSTALL, PROGRAMS])
def test_page_shows_the_tested_migrations(tested: str) -> None:
    lines = [line.strip() for line in tested.strip().splitlines()]
    shown = [[line.strip() for line in fragment.splitlines()] for fragment in FRAGMENTS]
    assert any(set(lines) <= set(fragment) for fragment in shown)


def test_autogenerate_ignores_the_tables_in_sqlite(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    (shown,) = [fragment for fragment in FRAGMENTS if "def include_name" in fragment]
    exec(shown.partition("context.")[0], names)  # noqa: S102
    engine = servers.sqlite_engine(tmp_path / "shop.db")
    SqlAlchemyStore(engine).install()
    with engine.connect() as connection:
        options = {"include_name": names["include_name"]}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), MetaData()) == []
        assert compare_metadata(MigrationContext.configure(connection), MetaData()) != []
    engine.dispose()

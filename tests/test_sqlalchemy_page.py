"""docs/how-to/sqlalchemy.md shows the tested migrations. `test_docs` runs its scripts."""

from __future__ import annotations

import re
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
FRAGMENTS = re.findall(r"^```py\n(.*?)^```\n", PAGE, re.MULTILINE | re.DOTALL)


def test_every_fragment_of_the_page_is_found() -> None:
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

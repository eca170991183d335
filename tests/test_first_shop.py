"""The shop of the tutorial, served by the command that the tutorial shows, and the gateway that calls it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "first_shop"
GOLDEN = Path(__file__).parent / "golden" / "examples" / "first_shop.txt"
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
GIT = shutil.which("git")
PATIENCE = 120.0
"""Seconds after which a shop that does not answer counts as stuck."""


@pytest.fixture
def environment() -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }


@contextmanager
def served(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve the shop on a free port. Return its address."""
    command = [sys.executable, "-m", "flask", "--app", str(EXAMPLE / "shop.py"), "run", "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as shop:
        assert shop.stdout is not None
        stuck = threading.Timer(PATIENCE, shop.kill)
        stuck.start()
        try:
            printed = []
            for line in shop.stdout:
                printed.append(line)
                if address := re.search(r"http://[\d.]+:\d+", line):
                    yield address[0]
                    return
            pytest.fail("".join(printed))
        finally:
            stuck.cancel()
            shop.kill()


def script_run(
    script: Path, *arguments: str, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


def test_gateway_prints_what_the_tutorial_shows(tmp_path: Path, environment: Mapping[str, str]) -> None:
    with served(tmp_path, environment) as address:
        done = script_run(EXAMPLE / "gateway.py", address, folder=tmp_path, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.write_text(done.stdout, encoding="utf-8")
    assert done.stdout == GOLDEN.read_text(encoding="utf-8")


def test_check_out_without_stock_is_refused_with_its_reason(tmp_path: Path, environment: Mapping[str, str]) -> None:
    answers = []
    with served(tmp_path, environment) as address:
        for number in range(11):
            connection = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
            connection.request("POST", f"/orders/{number}")
            answer = connection.getresponse()
            answers.append((answer.status, json.loads(answer.read())))
            connection.close()
    assert answers == [(201, {"state": "sent"})] * 10 + [(409, {"reasons": ["there is not enough stock"]})]


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [("gateway.py", 2, "usage: python gateway.py ADDRESS"), ("shop.py", 1, "flask --app shop run")],
)
def test_script_without_arguments_says_how_to_start_it(
    script: str, code: int, told: str, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    done = script_run(EXAMPLE / script, folder=tmp_path, environment=environment)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def shown(name: str) -> str:
    """Return the part of an example that the tutorial shows."""
    include = rf"{{literalinclude}} \.\./examples/first_shop/{re.escape(name)}"
    directive = rf"^```{include}\n:language: python\n:start-at: (.*)\n```$"
    (start,) = re.findall(directive, TUTORIAL, re.MULTILINE)
    text = (EXAMPLE / name).read_text(encoding="utf-8")
    return text[text.index(f"\n{start}") :]


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("gateway.py", 2, "usage: python gateway.py ADDRESS"),
        ("shop.py", 1, "start the shop in this folder: flask --app shop run"),
    ],
)
def test_code_that_the_tutorial_shows_runs_as_a_script_and_prints_its_hint(
    script: str, code: int, told: str, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    (tmp_path / script).write_text(shown(script), encoding="utf-8")
    done = script_run(tmp_path / script, folder=tmp_path, environment=environment)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(GIT is None or not (ROOT / ".gitignore").exists(), reason="this test needs git and a checkout")
def test_files_that_the_examples_leave_are_ignored_by_git(tmp_path: Path, environment: Mapping[str, str]) -> None:
    assert GIT is not None
    subprocess.run([GIT, "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    with served(tmp_path, environment):
        pass
    drawn = [sys.executable, str(ROOT / "examples" / "draw_rules.py")]
    subprocess.run(drawn, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, check=True)
    left = subprocess.run(
        [GIT, "status", "--short", "--untracked-files=all"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert left.stdout.split() == ["??", ".gitignore"]


def test_tutorial_shows_the_files_and_the_command() -> None:
    assert "{literalinclude} ../examples/first_shop/shop.py" in TUTORIAL
    assert "{literalinclude} ../examples/first_shop/gateway.py" in TUTORIAL
    assert "{literalinclude} ../tests/golden/examples/first_shop.txt" in TUTORIAL
    assert "flask --app shop run" in TUTORIAL

"""The Flask and FastAPI shops also run on PostgreSQL. A waiting page does not block the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from httpx import ASGITransport, AsyncClient

from examples.fastapi_shop.shop import engines_of, paid, prepared, shop_app
from examples.flask_sqlalchemy_shop import shop as flask_shop
from order_fsm import Orders
from order_fsm_adapters.sqlalchemy import SqlAlchemyStore

from . import servers
from .test_examples import EXAMPLES, GOLDEN, run

SHOPS = ("flask_sqlalchemy_shop", "fastapi_shop")


@pytest.mark.parametrize("shop", SHOPS)
def test_shop_prints_the_same_in_postgresql(shop: str, postgresql: servers.PostgresServer, tmp_path: Path) -> None:
    url = servers.sqlalchemy_url(postgresql.empty(str(tmp_path)))
    done = run(EXAMPLES / shop / "shop.py", url, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (GOLDEN / shop / "shop.txt").read_text(encoding="utf-8")


ALTERED_FORM = """
import re
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import shop

shop.configure(Path(sys.argv[2]))
shop.call_command("migrate", run_syncdb=True, verbosity=0)
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from teapots.orders import joined

joined().set_stock("TEAPOT", 1)
owner = Client()
owner.force_login(User.objects.create_superuser("olga"))
owner.post("/checkout", {"email": "ann@example.com"})
form = {"ticked": ["sent"], "version": sys.argv[3], "note": "", "comment": ""}
answer = owner.post("/admin/teapots/purchase/1/change/", form)
print(answer.status_code, *re.findall(r"errorlist nonfield.*?<li>(.*?)</li>", answer.content.decode(), re.DOTALL))
connection.close()
"""


@pytest.mark.parametrize("version", ["0", "-1", "9" * 30])
def test_django_form_with_an_altered_version_shows_an_error(version: str, tmp_path: Path) -> None:
    script = tmp_path / "altered_form.py"
    script.write_text(ALTERED_FORM, encoding="utf-8")
    done = run(script, str(EXAMPLES / "django_shop"), str(tmp_path / "shop.db"), version, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "200 version must be from 1 up to 2**63 - 1\n"), done.stderr


MISSING = [
    ("/checkout/NOTHING", "No row was found when one was required"),
    ("/office/9/dispatch/AB1", "there is no order '9'"),
]


def test_flask_shop_answers_404_if_there_is_no_such_product_or_order(tmp_path: Path) -> None:
    engine = flask_shop.engine_of(f"sqlite:///{tmp_path / 'shop.db'}")
    store = SqlAlchemyStore(engine)
    store.install()
    flask_shop.Base.metadata.create_all(engine)
    client = flask_shop.shop_app(engine, Orders(store)).test_client()
    for path, error in MISSING:
        answer = client.post(path)
        assert (answer.status_code, answer.json) == (404, {"error": error})
    engine.dispose()


def test_fastapi_shop_answers_404_if_there_is_no_such_product_or_order(tmp_path: Path) -> None:
    async def play() -> None:
        engine, pages = engines_of(f"sqlite:///{tmp_path / 'shop.db'}")
        app = shop_app(pages, prepared(engine))
        async with AsyncClient(transport=ASGITransport(app), base_url="http://shop") as client:
            for path, error in MISSING:
                answer = await client.post(path)
                assert (answer.status_code, answer.json()) == (404, {"error": error})
        await pages.dispose()
        engine.dispose()

    asyncio.run(play())


def test_event_loop_runs_while_a_page_waits_for_a_row_in_postgresql(
    postgresql: servers.PostgresServer, tmp_path: Path
) -> None:
    url = postgresql.empty(str(tmp_path))
    watch = psycopg.connect(url, autocommit=True)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def is_waiting() -> bool:
        return watch.execute(waiting).fetchall() != [(0,)]

    def lock() -> psycopg.Connection[Any]:
        connection = psycopg.connect(url)
        connection.execute("SELECT FROM order_fsm_order WHERE id = '1' FOR UPDATE")
        return connection

    with watch:
        asyncio.run(wait_for_a_lock(servers.sqlalchemy_url(url), lock, is_waiting, can_read=True))


def test_event_loop_runs_while_a_page_waits_for_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    def lock() -> AbstractContextManager[sqlite3.Connection]:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        return closing(connection)

    asyncio.run(wait_for_a_lock(f"sqlite:///{path}", lock, lambda: True, can_read=False))


async def wait_for_a_lock(
    url: str, lock: Callable[[], AbstractContextManager[Any]], is_waiting: Callable[[], bool], *, can_read: bool
) -> None:
    """Request a page that waits for a lock, and check that other tasks of the loop run during the wait."""
    engine, pages = engines_of(url)
    orders = prepared(engine)
    async with AsyncClient(transport=ASGITransport(shop_app(pages, orders)), base_url="http://shop") as client:
        for _ in range(2):
            assert (await client.post("/checkout/VASE")).status_code == 201
        with lock():
            page = asyncio.create_task(client.post("/webhook", **paid("1", "15.00")))
            await asyncio.sleep(0)
            while not is_waiting():
                assert not page.done()
                await asyncio.sleep(0)
            for _ in range(1000):
                await asyncio.sleep(0)
                assert not page.done()
            if can_read:
                assert (await client.get("/orders/2")).json() == {"state": "sent"}
                assert not page.done()
        assert (await page).json() == {"outcome": "applied"}
    assert orders.get("1").state == "sent+invoiced+paid"
    await pages.dispose()
    engine.dispose()

"""An erasure leaves no byte of an erased value in the files of a store."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

import pytest

from order_fsm import Line, Orders, Refused, StoreUnavailable, shop_workflow
from order_fsm.model import PaymentKind
from order_fsm.store import Change, Need
from order_fsm.testing.store_contract.changes import creation, order_of, step
from order_fsm.testing.store_contract.erasures import erasure
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore, connections

from .interrupts import TimeLimit, raising_at_line
from .sqlite_files import by_hand
from .test_erasure import RETURNS

Store = SqliteStore | JsonStore
Open = Callable[[], Store]

SECRETS = ("Ann Example", "ann@example.com", 'so-called "Annie"', "Ännchen\n🫖", "0123 456 789", "fell\\down")
"""Secrets whose JSON forms differ from their text."""


@pytest.fixture(params=["sqlite", "json"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open the store of the test's folder again. All are closed after the test."""
    stores: list[Store] = []

    def open_one() -> Store:
        stores.append(SqliteStore(tmp_path / "a.db") if request.param == "sqlite" else JsonStore(tmp_path / "a"))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def left(place: Path, *texts: str) -> set[tuple[str, str]]:
    """Return the texts that files contain, plain or as JSON, and the names of these files."""
    forms = {text: (text.encode(), *_json_forms(text)) for text in texts or SECRETS}
    files = [(file.name, file.read_bytes()) for file in place.rglob("*") if file.is_file()]
    return {(text, name) for text, some in forms.items() for name, data in files if any(one in data for one in some)}


def _json_forms(text: str) -> Iterator[bytes]:
    for ascii_only in (True, False):
        yield json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()


def live(orders: Orders, order_id: str = "1001", customer: str = SECRETS[0]) -> None:
    """Create an order with a secret in every personal field."""
    data = {"nick": SECRETS[2], SECRETS[4]: [SECRETS[3]]}
    lines = [Line("TEAPOT", 1)]
    orders.create(order_id, "10", "GBP", lines, customer=customer, email=SECRETS[1], data=data, key=f"new {order_id}")
    orders.fire(order_id, "place", comment=SECRETS[2], visible=True, notify=True)
    orders.fire(order_id, "pay", reference="ch_1", comment="\n".join(SECRETS * 40))
    for number in range(6):
        orders.comment(order_id, f"{number} {SECRETS[number]} {SECRETS[3]} " * 10 ** (number % 4), notify=True)


@pytest.mark.parametrize("gap", [1, 7])
def test_no_byte_is_left_among_other_orders_and_open_connections(opened: Open, tmp_path: Path, gap: int) -> None:
    """Other stores are open, rows were rewritten often, and comments fill many pages."""
    store, other = opened(), opened()
    orders, others = Orders(store), Orders(other)
    for number in range(30):
        live(orders if number % 2 else others, f"{number}", SECRETS[0] if number % gap == 0 else f"customer {number}")
        if number % gap == 0:
            orders.comment(f"{number}", "KEPT" if number else "ERASED TOO")
    keep = [f"{number}" for number in range(30) if number % gap]
    erased = orders.erase_customer(SECRETS[0])
    assert erased == [f"{number}" for number in range(30) if number % gap == 0]
    assert left(tmp_path, SECRETS[0], "ERASED TOO") == (set() if not keep else left(tmp_path, SECRETS[0]))
    for order_id in keep:
        others.erase_order(order_id)
    assert left(tmp_path) == set()
    assert len(others.history("0")) == len(orders.history("0")) == 11
    assert orders.audit().findings == ()


def test_no_byte_is_left_in_pages_whose_rows_moved(tmp_path: Path) -> None:
    """SQLite leaves copies of rows in the unused space of pages, even with `secure_delete`."""
    dice = random.Random(11)  # noqa: S311 - not for secrets
    with SqliteStore(tmp_path / "a.db") as store:
        lives: dict[str, Change] = {}
        for number in range(900):
            order_id = f"{dice.randrange(60):03}"
            is_ann = order_id in ("007", "031", "055")
            before = lives.get(order_id)
            if before is None:
                customer = f"{SECRETS[0]} {order_id}" if is_ann else "ben"
                change = creation(order_id, customer=customer, email="x@example.com")
            else:
                text = f"{SECRETS[4]} {number} " if is_ann else "y"
                comment = text * (dice.choice([0, 1, 9, 90, 900]) // len(text) + 1)
                paid: list[tuple[PaymentKind, str]] = [("captured", "1")] * dice.randrange(3)
                change = step(order_of(before), comment=comment, payments=paid)
            store.commit(change)
            lives[order_id] = change
        assert left(tmp_path, SECRETS[0], SECRETS[4])
        orders = Orders(store)
        for order_id in ("007", "031", "055"):
            orders.erase_customer(f"{SECRETS[0]} {order_id}")
        assert left(tmp_path, SECRETS[0], SECRETS[4]) == set()
        assert store.faults() == []


def test_facts_of_a_shop_and_its_messages_leave_no_byte(opened: Open, tmp_path: Path) -> None:
    orders = Orders(opened(), workflow=RETURNS)
    orders.create("1001", "10", "GBP", data={"phone": SECRETS[4]})
    for trigger in ("place", "pay", "dispatch"):
        orders.fire("1001", trigger)
    orders.fire("1001", "take_back", reason=SECRETS[3])
    assert left(tmp_path)
    orders.erase_order("1001")
    assert left(tmp_path) == set()
    assert orders.audit().ok


def test_request_fingerprints_are_gone(opened: Open, tmp_path: Path) -> None:
    """They are unsalted digests, which could confirm a guess."""
    store = opened()
    orders = Orders(store)
    live(orders)
    orders.comment("1001", SECRETS[0], key="note")
    digests = []
    for key in ("new 1001", "note"):
        (snapshot,) = store.prepare_many([Need("1001", key)])
        assert snapshot.record is not None
        digests.append(snapshot.record.request_fingerprint)
    assert len(left(tmp_path, *digests)) >= 2
    orders.erase_order("1001")
    assert left(tmp_path, *digests) == set()


def test_restored_backup_is_erased_again_by_the_ids(opened: Open, tmp_path: Path) -> None:
    """The procedure: keep the ids, restore, erase them again."""
    orders = Orders(opened())
    for order_id in ("1001", "1002"):
        live(orders, order_id)
    live(orders, "1003", "ben")
    opened().backup(tmp_path / "backup")
    ids = orders.erase_customer(SECRETS[0])
    restored = SqliteStore(tmp_path / "backup") if (tmp_path / "backup").is_file() else JsonStore(tmp_path / "backup")
    with restored:
        again = Orders(restored)
        assert len(again.find(customer=SECRETS[0])) == 2
        assert [order_id for one in ids for order_id in again.erase_order(one)] == ids
        assert again.erase_order("1003") == ["1003"]
        assert again.audit().ok
    assert left(tmp_path / "backup") == set()


# Interrupted


def _erase(opened: Open, pipe: Connection) -> None:
    orders = Orders(opened())
    pipe.send("ready")
    orders.erase_customer(SECRETS[0])
    pipe.send("done")


@pytest.mark.no_cover
def test_killed_erasure_is_completed_by_the_next_call(opened: Open, tmp_path: Path) -> None:
    """The process is killed at any time, also between the commit and the end of the scrub."""
    dice = random.Random(5)  # noqa: S311 - not for secrets
    longest = 0.02
    for turn in range(12):
        store = opened()
        for number in range(4):
            live(Orders(store), f"{turn}-{number}")
        before = Orders(store).totals()
        store.close()
        ours, theirs = get_context("fork").Pipe()
        worker = get_context("fork").Process(target=_erase, args=(opened, theirs))
        worker.start()
        assert ours.recv() == "ready"
        began = monotonic()
        done = ours.poll(longest if turn == 0 else dice.uniform(0, longest))
        if turn == 0:
            done = ours.poll(30)
            longest = monotonic() - began
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        store = opened()
        orders = Orders(store)
        for number in range(4):
            order, history = orders.get(f"{turn}-{number}"), orders.history(f"{turn}-{number}")
            is_erased = history[-1].trigger == "erase"
            assert (order.customer is None) == is_erased
            assert all(entry.comment == "" for entry in history) == is_erased
            assert not (done and not is_erased)
        orders.erase_customer(SECRETS[0])
        assert left(tmp_path) == set()
        assert orders.totals() == before
        assert orders.audit().findings == ()
        store.close()


def test_exception_at_any_line_of_an_erasure_leaves_it_to_the_next_call(opened: Open, tmp_path: Path) -> None:
    store = opened()
    orders = Orders(store)
    number, raised = 0, True
    while raised:
        number += 1 + number // 20
        orders.create("1001", "10", "GBP", customer=SECRETS[0], data={"nick": SECRETS[2]})
        orders.comment("1001", SECRETS[3], notify=True)
        try:
            with raising_at_line(number):
                orders.erase_order("1001")
            raised = False
        except TimeLimit:
            pass
        is_erased = orders.get("1001").customer is None
        assert all(not entry.comment for entry in orders.history("1001")) == is_erased
        orders.erase_order("1001")
        assert left(tmp_path) == set()
        assert orders.audit().ok
        store.remove(store.load("1001"))
    assert number > 60


# SQLite


def test_other_reader_makes_the_scrub_fail_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader needs the old pages of the WAL. The error names the orders, and a repeated call completes."""
    monkeypatch.setattr(connections, "BUSY_MILLISECONDS", 200)
    with SqliteStore(tmp_path / "a.db") as store, closing(sqlite3.connect(tmp_path / "a.db")) as reader:
        orders = Orders(store)
        live(orders)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM order_fsm_order").fetchone() == (1,)
        with pytest.raises(StoreUnavailable, match=r"\['1001'\] is committed.*another connection still reads"):
            orders.erase_customer(SECRETS[0])
        assert orders.get("1001").customer is None
        orders.comment("1001", "writers go on")
        reader.rollback()
        assert left(tmp_path)
        assert orders.erase_customer(SECRETS[0]) == []
        assert left(tmp_path) == set()


def test_scrub_without_an_erasure_rewrites_nothing(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "a.db") as store:
        orders = Orders(store)
        live(orders)
        orders.erase_customer("nobody")
        assert (tmp_path / "a.db-wal").stat().st_size > 0
        orders.erase_order("1001")
        pages = by_hand(tmp_path / "a.db", "PRAGMA freelist_count")
        assert pages == [(0,)]
        assert by_hand(tmp_path / "a.db", "SELECT * FROM order_fsm_unscrubbed") == []


def test_another_program_may_hold_the_write_lock_for_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with SqliteStore(path) as store, closing(sqlite3.connect(path, check_same_thread=False)) as other:
        orders = Orders(store)
        live(orders)
        store.commit(erasure(store.load("1001")))
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, other.rollback)
        timer.start()
        orders.erase_order("1001")
        timer.join()
        assert left(tmp_path) == set()


# JSON


def test_erased_log_is_compacted_when_the_store_is_opened(tmp_path: Path) -> None:
    """A process was killed between the commit and the scrub."""
    with JsonStore(tmp_path / "a") as store:
        live(Orders(store))
        order = store.load("1001")
        store.commit(erasure(order))
        assert left(tmp_path)
    with JsonStore(tmp_path / "a") as store:
        assert left(tmp_path) == set()
        assert Orders(store).audit().ok


def test_torn_end_and_draft_are_deleted_by_an_erasure(tmp_path: Path) -> None:
    with JsonStore(tmp_path / "a") as store:
        live(Orders(store))
    with open(tmp_path / "a/orders.jsonl", "ab") as log:
        log.write(f'{{"seal":"torn {SECRETS[1]}'.encode())
    (tmp_path / "a/orders.jsonl.draft").write_text(SECRETS[1])
    with JsonStore(tmp_path / "a") as store:
        orders = Orders(store)
        assert len(list((tmp_path / "a").glob("*.torn-*"))) == 1
        assert orders.erase_order("1001") == ["1001"]
        assert sorted(os.listdir(tmp_path / "a")) == ["orders.head", "orders.jsonl", "orders.lock"]
        assert left(tmp_path) == set()
        (tmp_path / "a/orders.jsonl.draft").write_text(SECRETS[1])
        assert orders.erase_order("1001") == []
        assert left(tmp_path) == set()


def test_other_process_follows_an_erased_log(tmp_path: Path) -> None:
    """One store has read the values, another one half of the log."""
    with JsonStore(tmp_path / "a") as store, JsonStore(tmp_path / "a") as early, JsonStore(tmp_path / "a") as late:
        live(Orders(store))
        assert late.load("1001").customer == SECRETS[0]
        Orders(store).erase_order("1001")
        for other in (early, late):
            assert other.load("1001").customer is None
            assert all(entry.comment == "" for entry in other.history("1001"))
        Orders(late).comment("1001", "and writes on")
        assert Orders(early, workflow=shop_workflow()).audit().ok


def test_refusal_of_a_later_order_leaves_no_byte_of_an_earlier_one(opened: Open, tmp_path: Path) -> None:
    """Repeating the call would be refused again."""
    orders = Orders(opened(), allow=lambda actor, action, order: action != "erase" or order.id == "1")
    for order_id in ("1", "2"):
        live(orders, order_id)
        orders.comment(order_id, f"note of {order_id}")
    with pytest.raises(Refused) as refused:
        orders.erase_customer(SECRETS[0])
    assert refused.value.__notes__ == ["the erasure of ['1'] is committed"]
    assert left(tmp_path, "note of 1") == set()
    assert left(tmp_path, "note of 2") != set()

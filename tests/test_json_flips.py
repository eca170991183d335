"""A folder of JSON files with any byte changed, cut at any length, with files gone or in one another's place: what is
asked is answered rightly or with an error of the store, or else an audit finds it.

`ORDER_FSM_FLIPS` says which bytes: every one where it is 1, every so manieth where it is more; of the index every
seventh of those, as it holds ten times as many.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from order_fsm import Line, Orders, StoreCorrupt, StoreUnavailable, When, shop_workflow
from order_fsm.audit.auditor import audit
from order_fsm.store import Query
from order_fsm_adapters.json_files import JsonStore, order_index, sealed_json

from .damage import Asked, changed, cut, verdict

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
IDS = ("1001", "1002", "1003")
KEYS = ("evt-1", "evt-2")
STRIDE = int(os.environ.get("ORDER_FSM_FLIPS", "311"))

Files = dict[str, bytes]
"""The files of a store, by their paths in its folder."""


OF_ONE_FILE: Asked = {
    **{f"load {one}": lambda store, one=one: store.load(one) for one in IDS},  # type: ignore[misc]
    **{f"history {one}": lambda store, one=one: store.history(one) for one in IDS},  # type: ignore[misc]
    **{f"keyed {one}": lambda store, one=one: store.keyed(one) for one in KEYS},  # type: ignore[misc]
    "stock": lambda store: store.stock(["teapot", "cup"]),
}
"""What is right or raises StoreCorrupt or StoreUnavailable, whatever bytes of a file were changed or cut off."""

OF_ALL: Asked = {
    "find": lambda store: store.find(Query(When())),
    "find a page": lambda store: store.find(Query(When(), after="1001", limit=1)),
    "find by state": lambda store: store.find(Query(When(has={"paid"}))),
    "find by customer": lambda store: store.find(Query(When(), customer="ann")),
    "find by refund": lambda store: store.find(Query(When(), refund_due=True)),
    "tally": lambda store: sorted(store.tally(None), key=str),
    "tally of a customer": lambda store: sorted(store.tally("ann"), key=str),
    "dead letters": lambda store: store.dead_letters(10),
    "messages": lambda store: sorted(message.id for message in store.messages()),
}
"""What leaves out a broken order, and says so in the log; an audit finds that order."""

CLAIM: Asked = {"claim": lambda store: [message.id for message in store.claim(LATER, LATER, 10)]}
"""What changes files, so it is asked last."""


class _Hasty(sqlite3.Cursor):
    """A cursor of a database that does not wait for the disk."""

    def execute(self, statement: str, *given: Any) -> Any:
        return super().execute("PRAGMA synchronous = OFF" if "synchronous" in statement else statement, *given)


class _HastyConnection(sqlite3.Connection):
    def cursor(self, factory: Any = _Hasty) -> Any:
        return super().cursor(factory)


@pytest.fixture(autouse=True, scope="module")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """The power does not fail here. Nor is it said in the log what is left out."""
    connect = partial(sqlite3.connect, factory=_HastyConnection)
    logging.disable()
    with mock.patch.object(os, "fsync", int), mock.patch.object(sqlite3, "connect", connect):
        yield
    logging.disable(logging.NOTSET)


def fill(store: JsonStore) -> Orders:
    """Three orders with money, keys, stock, messages and a dead letter."""
    orders = Orders(store, clock=lambda: NOW)
    orders.set_stock("teapot", 10)
    orders.set_stock("cup", 3)
    for order_id in IDS:
        orders.create(order_id, total="49.90", currency="GBP", lines=[Line("teapot", 2)], customer="ann")
    orders.fire("1001", "pay", amount="60", reference="ch_1", key="evt-1")
    orders.fire("1002", "pay", reference="ch_2", key="evt-2")
    orders.fire("1001", "dispatch", by="bob", comment="by mail", notify=True)
    store.postpone(store.claim(NOW, NOW, 1)[0], None)
    orders.counts()
    return orders


INDEX = {"index/orders.db", "index/changes"}


def files_in(folder: Path) -> Files:
    """The files of a store that is closed; locks hold nothing."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A store in which all is well."""
    folder = tmp_path_factory.mktemp("whole") / "shop"
    store = JsonStore(folder)
    fill(store)
    store.close()
    return files_in(folder)


@pytest.fixture(scope="module")
def killed(whole: Files, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The same store with a journal, as a process leaves it that is killed right after its commit."""
    folder = tmp_path_factory.mktemp("killed") / "shop"
    put(folder, whole)
    real = os.replace

    def stopped(source: str, target: str) -> None:
        if os.path.basename(os.path.dirname(source)) == "journal":
            raise PermissionError
        real(source, target)

    with mock.patch("os.replace", stopped), pytest.raises(StoreUnavailable):
        Orders(JsonStore(folder), clock=lambda: NOW).fire("1003", "place")
    found = files_in(folder)
    assert {"journal/orders.1003.json", "journal/stock.teapot.json"} <= found.keys()
    return found


def put(folder: Path, files: Files) -> None:
    """Make a folder hold these files; the index that it has stays, as it is only a cache."""
    for part in ("orders", "stock", "keys", "outbox", "locks", "index"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "journal", ignore_errors=True)
    there = files_in(folder)
    for name in there.keys() - files.keys():
        if not name.startswith("index/"):
            (folder / name).unlink()
    for name, content in files.items():
        if there.get(name) != content and not (there.keys() & INDEX and name in INDEX):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)


def answers(folder: Path, files: Files) -> dict[str, object]:
    put(folder, files)
    store = JsonStore(folder)
    told = {name: ask(store) for name, ask in (OF_ONE_FILE | OF_ALL | CLAIM).items()}
    store.close()
    return told


def judged(folder: Path, files: Files, damages: Iterable[Files]) -> Counter[str]:
    """How often which verdict is given on a store in place of which files something else stands."""
    right = answers(folder, files)
    verdicts: Counter[str] = Counter()
    for damage in damages:
        put(folder, files | damage)
        verdicts[verdict(partial(JsonStore, folder), right, OF_ONE_FILE, OF_ALL, CLAIM)] += 1
    return verdicts


def bytes_damaged(files: Files, names: Iterable[str], stride: int) -> Iterator[Files]:
    for name in names:
        for content in (*changed(files[name], stride), *cut(files[name], stride)):
            yield {name: content}


def documents(files: Files) -> list[str]:
    return [name for name in files if name.endswith(".json")]


def test_any_byte_of_any_document_changed_or_cut_off_is_found(whole: Files, tmp_path: Path) -> None:
    names = documents(whole)
    assert len(names) == 8
    damages = bytes_damaged(whole, names, STRIDE)
    verdicts = judged(tmp_path / "shop", whole, damages)
    print(f"{sum(len(whole[name]) for name in names)} bytes, every {STRIDE}.: {dict(verdicts)}")
    assert verdicts["found"] > 0
    assert verdicts.keys() == {"found"}


def test_any_byte_of_a_journal_changed_or_cut_off_is_found(killed: Files, tmp_path: Path) -> None:
    names = [name for name in killed if name.startswith("journal/")]
    verdicts = judged(tmp_path / "shop", killed, bytes_damaged(killed, names, STRIDE))
    print(f"{sum(len(killed[name]) for name in names)} bytes, every {STRIDE}.: {dict(verdicts)}")
    assert verdicts.keys() == {"found"}


def test_a_document_in_the_place_of_any_other_is_found(whole: Files, tmp_path: Path) -> None:
    names = documents(whole)
    damages = [{name: whole[other]} for name in names for other in names if name != other]
    verdicts = judged(tmp_path / "shop", whole, damages[:: STRIDE // 60 + 1])
    assert verdicts.keys() == {"found"}


def renamed(files: Files, names: Iterable[str], stride: int) -> Iterator[Files]:
    """The files, with one bit of one letter of one name changed; as a whole store."""
    for name in names:
        folder, file = os.path.split(name)
        for other in changed(file.encode(), stride):
            if other.isascii() and other.decode().isprintable() and b"/" not in other:
                rest = {one: content for one, content in files.items() if one != name}
                yield rest | {os.path.join(folder, other.decode()): files[name]}


def judged_whole(folder: Path, files: Files, stores: Iterable[Files]) -> Counter[str]:
    """How often which verdict is given on whole stores, where any answer may be wrong that an audit finds."""
    right = answers(folder, files)
    verdicts: Counter[str] = Counter()
    for store in stores:
        put(folder, store)
        verdicts[verdict(partial(JsonStore, folder), right, {}, OF_ONE_FILE | OF_ALL, CLAIM)] += 1
    return verdicts


def test_a_file_with_a_letter_of_its_name_changed_is_found(whole: Files, killed: Files, tmp_path: Path) -> None:
    """But one of the numbers on hand, as if the item were not tracked: an audit finds the file that has the name."""
    stride = max(1, STRIDE // 20)
    names = [name for name in whole if name.split("/")[0] in {"orders", "keys", "stock", "outbox"}]
    verdicts = judged_whole(tmp_path / "shop", whole, renamed(whole, names, stride))
    names = [name for name in killed if name.startswith("journal/")]
    verdicts += judged_whole(tmp_path / "shop", killed, renamed(killed, names, stride))
    print(f"every {stride}. letter: {dict(verdicts)}")
    assert verdicts["found by an audit"] > 0


GONE_UNSEEN = {
    **{f"orders/{one}.json": "as if the order had been removed" for one in IDS},
    "stock/cup.json": "as if the item had never been tracked",
    "stock/teapot.json": "as if the item had never been tracked",
    "journal/orders.1003.json": "the stock has moved for an order that has not",
    "journal/stock.teapot.json": "the order has moved, and its stock has not",
}
"""The files that are not seen to be gone, and what it is like: this the README does not promise."""


def test_a_file_that_is_gone_is_found_but_for_those_that_are_listed(
    whole: Files, killed: Files, tmp_path: Path
) -> None:
    seen = set()
    for files, folders in ((whole, {"store.json", "orders", "keys", "stock", "outbox"}), (killed, {"journal"})):
        for name in files:
            if name.split("/")[0] in folders:
                try:
                    judged_whole(tmp_path / "shop", files, [{one: files[one] for one in files if one != name}])
                except AssertionError:
                    assert name in GONE_UNSEEN
                    seen.add(name)
    assert seen == GONE_UNSEEN.keys()


def test_a_file_in_the_place_of_a_newer_one_of_the_same_order_is_found_where_its_messages_show_it(
    tmp_path: Path,
) -> None:
    """One that has messages which were delivered since: no mark leads to them. Others are not seen to be old."""
    folder = tmp_path / "shop"
    orders = Orders(JsonStore(folder), clock=lambda: NOW)
    orders.create("1001", total="49.90", currency="GBP")
    path = folder / "orders" / "1001.json"
    without_messages = path.read_bytes()
    orders.fire("1001", "pay", reference="ch_1", key="evt-1")
    with_messages = path.read_bytes()
    orders.deliver(lambda message: None)
    orders.fire("1001", "dispatch")
    for content, found in ((with_messages, ["corrupt"]), (without_messages, [])):
        path.write_bytes(content)
        store = JsonStore(folder)
        assert [finding.code for finding in audit(store, shop_workflow()).findings] == found
        store.close()


def index_of(folder: Path, whole: Files) -> Files:
    """The files of an index that tells of the orders in a folder as they stand there."""
    put(folder, whole)
    store = JsonStore(folder)
    Orders(store).counts()
    store.close()
    return {name: content for name, content in files_in(folder).items() if name.startswith("index/")}


def judged_index(folder: Path, whole: Files, damages: Callable[[Files], Iterable[Files]]) -> Counter[str]:
    """How often which verdict is given on an index in which something else stands."""
    right = answers(folder, whole)
    indexed = index_of(folder, whole)
    verdicts: Counter[str] = Counter()
    for damage in damages(indexed):
        for file in (folder / "index").iterdir():
            file.unlink()
        # The orders stay as they were indexed: so it is not made anew at once.
        for name, content in (indexed | damage).items():
            (folder / name).write_bytes(content)
        verdicts[verdict(partial(JsonStore, folder), right, OF_ONE_FILE, OF_ALL, {})] += 1
    return verdicts


def test_an_index_with_any_byte_changed_or_cut_off_misleads_nobody(whole: Files, tmp_path: Path) -> None:
    """Where it tells what is not so, an audit finds it, and it is made anew."""
    verdicts = judged_index(tmp_path / "shop", whole, lambda files: bytes_damaged(files, files, STRIDE * 7))
    print(f"the index, every {STRIDE * 7}. byte: {dict(verdicts)}")
    assert verdicts["harmless"] > 0


def test_an_index_that_says_one_thing_in_two_ways_is_found_by_an_audit(whole: Files, tmp_path: Path) -> None:
    """A customer's name is changed in the row alone, or in what finds the row alone."""

    def renamed_once(files: Files) -> Iterator[Files]:
        content = files["index/orders.db"]
        for place in (one for one in range(len(content)) if content.startswith(b"ann2026", one)):
            yield {"index/orders.db": content[:place] + b"Ann" + content[place + 3 :]}

    assert judged_index(tmp_path / "shop", whole, renamed_once) == {"found by an audit": 2 * len(IDS)}


SAID_WRONGLY = {
    "another customer": "UPDATE order_fsm_order SET customer = 'bob' WHERE id = '1001'",
    "another state": "UPDATE order_fsm_order SET state = 'sent' WHERE id = '1001'",
    "another time": "UPDATE order_fsm_order SET created_at = '2027' WHERE id = '1001'",
    "no refund": "UPDATE order_fsm_order SET refund_is_due = 0",
    "no dead letter": "UPDATE order_fsm_order SET dead_letters = 0",
    "another state, and no total": "UPDATE order_fsm_order SET state = 'sent', total = '?' WHERE id = '1001'",
    "another file": "UPDATE order_fsm_order SET id = '1002' WHERE name = '1001'",
}


def misled(folder: Path, whole: Files, statement: str) -> str:
    """The verdict on a store whose index says what is not so."""
    right = answers(folder, whole)
    index_of(folder, whole)
    connection = sqlite3.connect(folder / "index" / "orders.db", isolation_level=None)
    connection.execute(statement)
    connection.close()
    return verdict(partial(JsonStore, folder), right, OF_ONE_FILE, OF_ALL, {})


@pytest.mark.parametrize("said", SAID_WRONGLY)
def test_an_index_that_says_what_is_not_so_is_found_by_an_audit_and_made_anew(
    whole: Files, tmp_path: Path, said: str
) -> None:
    folder = tmp_path / "shop"
    assert misled(folder, whole, SAID_WRONGLY[said]) == "found by an audit"
    store = JsonStore(folder)
    right = answers(tmp_path / "other", whole)
    assert {name: ask(store) for name, ask in OF_ALL.items()} == {name: right[name] for name in OF_ALL}
    assert audit(store, shop_workflow()).ok
    store.close()


# The controls: what must fail


def test_a_store_that_compares_no_checksum_would_be_found(
    whole: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchecked(content: bytes, shape: msgspec.json.Decoder[Any], path: str) -> Any:
        try:
            return shape.decode(content.rpartition(b',\n  "sha256"')[0] + b"\n}")
        except (msgspec.MsgspecError, ValueError) as error:
            raise StoreCorrupt(path) from error

    monkeypatch.setattr(sealed_json, "decode", unchecked)
    damages = bytes_damaged(whole, ["orders/1001.json"], 7)
    with pytest.raises(AssertionError, match="answered wrongly"):
        judged(tmp_path / "shop", whole, damages)


def test_an_audit_that_does_not_look_at_the_index_would_be_found(
    whole: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_index.OrderIndex, "faults", lambda _: [])
    with pytest.raises(AssertionError, match="went by an audit"):
        misled(tmp_path / "shop", whole, SAID_WRONGLY["another customer"])

"""The log of the JSON store: its format, recovery, compaction, exports and copies."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from order_fsm import InvalidInput, OrderNotFound, StoreCorrupt, StoreFull, StoreUnavailable, VersionConflict
from order_fsm.model import Fact
from order_fsm.store import StockMove
from order_fsm.testing.store_contract.changes import creation, moment, order_of, step, stock_change
from order_fsm.testing.store_contract.expected import ALL, Expected, committed, record_under
from order_fsm_adapters.files import DiskFile
from order_fsm_adapters.json_files import JsonStore

fcntl = pytest.importorskip("fcntl", reason="these tests need the locks of Unix")

LOG, HEAD = "orders.jsonl", "orders.head"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def store(folder: Path) -> Iterator[JsonStore]:
    with JsonStore(folder) as store:
        yield store


def lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def append_by_hand(folder: Path, *texts: str) -> None:
    """Append sealed lines like a process that is killed before it publishes the head."""
    with (folder / LOG).open("a") as log:
        seal = json.loads((folder / LOG).read_text().splitlines()[-1])["seal"]
        for text in texts:
            rest = f'","do":[{text}]}}'
            seal = sha256((seal + rest).encode()).hexdigest()
            log.write(f'{{"seal":"{seal}{rest}\n')


def torn_ends(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("orders.jsonl.torn-*"))]


def test_every_line_is_json_sealed_with_the_line_before(store: JsonStore, folder: Path) -> None:
    store.commit(creation("1001", topics=["order.updated"], key="evt_1"))
    store.set_stock("TEAPOT", 5)
    header, end, commit, stock = lines(folder)
    assert (header["format"], end["do"], stock["do"]) == (1, [], [{"stock": {"TEAPOT": [5, 0, 0, 0, False]}}])
    assert set(commit["do"][0]) == {"order", "entries", "keys", "messages"}
    seal = header["store"] + header["follows"]
    for line in (folder / LOG).read_bytes().splitlines()[1:]:
        seal = sha256(seal.encode() + line[73:]).hexdigest()
        assert json.loads(line)["seal"] == seal


def test_head_holds_header_length_and_last_seal(store: JsonStore, folder: Path) -> None:
    store.commit(creation("1001"))
    head = json.loads((folder / HEAD).read_bytes())
    assert (folder / HEAD).stat().st_size < 512
    assert head["length"] == (folder / LOG).stat().st_size
    assert (head["header"], head["seal"]) == (lines(folder)[0]["seal"], lines(folder)[-1]["seal"])


def test_batch_is_one_line_without_the_refused_changes(store: JsonStore, folder: Path) -> None:
    first = creation("1001")
    before = len(lines(folder))
    answers = store.commit_all([first, creation("1001"), step(order_of(first)), creation("1002")])
    assert [type(answer).__name__ for answer in answers] == ["NoneType", "OrderExists", "NoneType", "NoneType"]
    assert len(lines(folder)) == before + 1
    assert len(lines(folder)[-1]["do"]) == 3


def test_change_that_json_cannot_hold_fails_alone(store: JsonStore) -> None:
    bad = creation("1001", data={"note": "\ud800"})
    answers = store.commit_all([bad, creation("1001"), creation("1002")])
    assert [type(answer) for answer in answers] == [InvalidInput, type(None), type(None)]
    assert len(store.find(ALL)) == 2


def test_refused_change_and_empty_claim_append_nothing(store: JsonStore, folder: Path) -> None:
    store.commit(creation("1001", topics=["order.updated"]))
    store.claim(moment(1), moment(100), 10)
    before = (folder / LOG).read_bytes()
    with pytest.raises(VersionConflict):
        store.commit(stock_change(StockMove("TEAPOT", -1, strict=True)))
    assert store.claim(moment(2), moment(200), 10) == []
    assert (folder / LOG).read_bytes() == before


def test_reader_recovers_the_line_of_a_killed_process(store: JsonStore, folder: Path) -> None:
    append_by_hand(folder, '{"stock":{"TEAPOT":[7]}}')
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 7}
    assert json.loads((folder / HEAD).read_bytes())["length"] == (folder / LOG).stat().st_size


def test_reader_reads_up_to_the_head_while_a_writer_has_the_lock(store: JsonStore, folder: Path) -> None:
    store.set_stock("TEAPOT", 1)
    append_by_hand(folder, '{"stock":{"TEAPOT":[7]}}')
    with (folder / "orders.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert store.stock(["TEAPOT"]) == {"TEAPOT": 1}
    assert store.stock(["TEAPOT"]) == {"TEAPOT": 7}


@pytest.mark.parametrize("head", [b"", b"x" * 300, None])
def test_log_is_trusted_without_a_valid_head(folder: Path, head: bytes | None) -> None:
    expected = Expected()
    with JsonStore(folder) as store:
        committed(store, expected, creation("1001", topics=["order.updated"], key="evt_1"))
    if head is None:
        (folder / HEAD).unlink()
    else:
        (folder / HEAD).write_bytes(head)
    with JsonStore(folder) as store:
        expected.check(store)
        published = json.loads((folder / HEAD).read_bytes().splitlines()[0])
        assert published["length"] == (folder / LOG).stat().st_size


def flushed_log(folder: Path) -> bytes:
    with JsonStore(folder) as store:
        for number in range(3):
            store.commit(creation(f"{number}"))
    return (folder / LOG).read_bytes()


def test_damage_before_the_head_is_corrupt(folder: Path) -> None:
    content = flushed_log(folder)
    (folder / LOG).write_bytes(content[:-3] + b"x" + content[-2:])
    with pytest.raises(StoreCorrupt, match="restore it and its head from a backup"):
        JsonStore(folder)
    assert torn_ends(folder) == []


@pytest.mark.parametrize("content", [None, b""])
def test_missing_or_empty_log_is_corrupt_if_there_is_a_head(folder: Path, content: bytes | None) -> None:
    flushed_log(folder)
    (folder / LOG).unlink()
    if content is not None:
        (folder / LOG).write_bytes(content)
    with pytest.raises(StoreCorrupt):
        JsonStore(folder)


def test_log_of_another_store_is_corrupt(folder: Path, tmp_path: Path) -> None:
    flushed_log(folder)
    (folder / LOG).write_bytes(flushed_log(tmp_path / "other"))
    with pytest.raises(StoreCorrupt, match="the file was replaced by another log"):
        JsonStore(folder)


def test_older_log_of_the_same_length_is_corrupt(folder: Path) -> None:
    flushed_log(folder)
    with JsonStore(folder) as store:
        store.set_stock("A", 1)
        older = (folder / LOG).read_bytes()
    (folder / LOG).write_bytes(older.replace(older.splitlines()[-1] + b"\n", b""))
    append_by_hand(folder, '{"stock":{"A":[2,0,0,0,false]}}')
    assert (folder / LOG).stat().st_size == len(older)
    with pytest.raises(StoreCorrupt):
        JsonStore(folder)


def test_bad_line_with_a_whole_line_after_it_is_corrupt_without_a_head(folder: Path) -> None:
    content = flushed_log(folder)
    (folder / HEAD).unlink()
    second_last = content.splitlines()[-2]
    (folder / LOG).write_bytes(content.replace(second_last, second_last.replace(b'"id":"1"', b'"id":"9"')))
    with pytest.raises(StoreCorrupt):
        JsonStore(folder)


def test_damage_of_the_compacted_part_is_corrupt_without_a_head(folder: Path) -> None:
    flushed_log(folder)
    with JsonStore(folder) as store:
        store.compact()
    content = (folder / LOG).read_bytes()
    (folder / HEAD).unlink()
    (folder / LOG).write_bytes(content[:-1])
    with pytest.raises(StoreCorrupt):
        JsonStore(folder)


@pytest.mark.parametrize("tail", [b'{"seal":"ab', b"\0" * 700, b"x\n", b'{"seal":"'])
def test_torn_end_is_moved_and_reported(folder: Path, tail: bytes, caplog: pytest.LogCaptureFixture) -> None:
    content = flushed_log(folder)
    (folder / LOG).write_bytes(content + tail)
    with caplog.at_level(logging.WARNING), JsonStore(folder) as store:
        assert len(store.find(ALL)) == 3
        assert torn_ends(folder) == [tail]
        (path,) = folder.glob("*.torn-*")
        assert path.name.endswith(f"Z-{len(content)}")
        assert [str(path) in fault for fault in store.faults()] == [True]
        store.commit(creation("3"))
    assert str(path) in caplog.text
    assert (folder / LOG).read_bytes().startswith(content)


def test_whole_lines_before_a_torn_end_are_recovered(folder: Path) -> None:
    flushed_log(folder)
    append_by_hand(folder, '{"stock":{"A":[1]}}', '{"stock":{"B":[2]}}')
    with (folder / LOG).open("ab") as log:
        log.write(b'{"seal":"0123')
    with JsonStore(folder) as store:
        assert store.stock(["A", "B"]) == {"A": 1, "B": 2}
        assert torn_ends(folder) == [b'{"seal":"0123']


class _Failing:
    """Write a part of a line, then fail with an error."""

    def __init__(self, error: OSError, part: int) -> None:
        self._error, self._part = error, part

    def write_at(self, file: DiskFile, offset: int, data: bytes) -> None:
        os.pwrite(file.fileno(), data[: self._part], offset)
        raise self._error


@pytest.mark.parametrize(("number", "error"), [(28, StoreFull), (122, StoreFull), (5, StoreUnavailable)])
@pytest.mark.parametrize("part", [0, 20])
def test_failed_append_is_truncated(
    store: JsonStore, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], part: int
) -> None:
    store.commit(creation("1001"))
    before = (folder / LOG).read_bytes()
    with monkeypatch.context() as patch:
        failing = _Failing(OSError(number, "failed"), part)
        patch.setattr(DiskFile, "write_at", lambda *given: failing.write_at(*given))
        with pytest.raises(error):
            store.commit(creation("1002"))
    assert (folder / LOG).read_bytes() == before
    store.commit(creation("1002"))
    assert len(store.find(ALL)) == 2


def test_failed_flush_truncates_the_line_and_reports_an_unknown_outcome(
    store: JsonStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / LOG).read_bytes()
    failures = [OSError(28, "No space left on device")]

    def fsync(_: int) -> None:
        if failures:
            raise failures.pop()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StoreUnavailable, match="unknown whether the change is written"):
            store.commit(creation("1001"))
    assert (folder / LOG).read_bytes() == before
    with pytest.raises(OrderNotFound):
        store.load("1001")


def test_store_does_not_reread_the_log_after_a_full_disk(store: JsonStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(creation("1001"))
    order = store.load("1001")
    failing = _Failing(OSError(28, "full"), 0)
    monkeypatch.setattr(DiskFile, "write_at", lambda *given: failing.write_at(*given))
    with pytest.raises(StoreFull):
        store.commit(creation("1002"))
    assert store.load("1001") is order


def test_log_cut_while_the_store_is_open_is_corrupt(store: JsonStore, folder: Path) -> None:
    store.commit(creation("1001"))
    (folder / HEAD).write_bytes(b"")
    os.truncate(folder / LOG, (folder / LOG).stat().st_size - 10)
    with pytest.raises(StoreCorrupt):
        store.commit(creation("1002"))


def test_log_deleted_while_the_store_is_open_is_corrupt(store: JsonStore, folder: Path) -> None:
    store.commit(creation("1001"))
    (folder / LOG).unlink()
    with pytest.raises(StoreCorrupt):
        store.commit(creation("1002"))
    with pytest.raises(StoreCorrupt):
        store.load("1001")


def test_newer_format_is_refused(folder: Path) -> None:
    line = flushed_log(folder).splitlines()[0].replace(b'"format":1', b'"format":2')
    seal = sha256(line[73:]).hexdigest().encode()
    content = (folder / LOG).read_bytes()
    (folder / LOG).write_bytes(line[:9] + seal + line[73:] + content[len(line) :])
    with pytest.raises(StoreUnavailable, match="newer version"):
        JsonStore(folder)


def rich(store: JsonStore) -> Expected:
    """Fill a store with all kinds of content, and with obsolete acts."""
    expected = Expected()
    store.set_stock("TEAPOT", 9)
    expected.stock["TEAPOT"] = 9
    committed(store, expected, creation("gone", topics=["order.paid"], key="of gone"))
    store.remove(expected.orders["gone"])
    expected.remove("gone")
    for number in range(3):
        change = creation(f"{number}", topics=["order.updated", "order.paid"], key=f"key {number}", customer="ann")
        committed(store, expected, change, step(order_of(change), state="sent", facts={"amount": Decimal("1.50")}))
    committed(store, expected, stock_change(StockMove("TEAPOT", 2, strict=False), key="stock key"))
    return expected


def test_compaction_keeps_the_content_and_drops_obsolete_acts(store: JsonStore, folder: Path) -> None:
    expected = rich(store)
    (dead,) = store.claim(moment(0), moment(50), 1)
    store.retry_later(dead, moment(50), None)
    (leased,) = store.claim(moment(0), moment(60), 1)
    before = (folder / LOG).stat().st_size
    store.compact()
    assert (folder / LOG).stat().st_size < before
    assert b"gone" not in (folder / LOG).read_bytes()
    with JsonStore(folder) as other:
        assert [message.id for message in other.dead_letters(10)] == [dead.id]
        assert other.dead_letters(10)[0].attempts == 1
        assert leased.id not in [message.id for message in other.claim(moment(59), moment(70), 100)]
        other.delivered(leased, moment(60))
        assert leased.id not in [message.id for message in other.messages()]
        expected.messages = [one for one in expected.messages if one.id not in {dead.id, leased.id}]
        expected.check(other)
    expected.check(store)
    assert record_under(store, "stock key") is not None


def test_compacted_log_names_the_previous_log_and_ends_with_an_empty_line(store: JsonStore, folder: Path) -> None:
    rich(store)
    last, first = lines(folder)[-1]["seal"], lines(folder)[0]
    store.compact()
    header, *_, end = lines(folder)
    assert (header["follows"], header["store"], end["do"]) == (last, first["store"], [])
    assert header["length"] == (folder / LOG).stat().st_size


def test_messages_keep_their_sequence_after_a_compaction(store: JsonStore, folder: Path) -> None:
    first, second = creation("1", topics=["order.updated"]), creation("2", topics=["order.updated"])
    store.commit_all([first, second, step(order_of(first), topics=["order.paid"])])
    sequence = [message.id for message in store.messages()]
    store.compact()
    with JsonStore(folder) as other:
        assert [message.id for message in other.messages()] == sequence


def test_reader_at_the_end_continues_in_the_compacted_log_without_reading_it(store: JsonStore, folder: Path) -> None:
    rich(store)
    with JsonStore(folder) as other:
        order = store.load("1")
        other.compact()
        assert store.load("1") is order
        other.commit(creation("new"))
        assert store.load("new").id == "new"
        assert store.load("1") is order


def test_reader_behind_the_end_reads_the_compacted_log_again(store: JsonStore, folder: Path) -> None:
    with JsonStore(folder) as other:
        expected = rich(other)
        other.compact()
        committed(other, expected, creation("new"))
        expected.check(store)


def test_log_is_compacted_on_opening_if_most_of_it_is_obsolete(folder: Path) -> None:
    with JsonStore(folder) as store:
        change = creation("1001", data={"note": "x" * 50_000})
        store.commit(change)
        order = order_of(change)
        for _ in range(25):
            change = step(order)
            store.commit(change)
            order = order_of(change)
        assert (folder / LOG).stat().st_size > 1 << 20
    with JsonStore(folder) as store:
        assert (folder / LOG).stat().st_size < 100_000
        assert len(store.history("1001")) == 26


def test_compaction_killed_before_it_publishes_is_completed(folder: Path) -> None:
    with JsonStore(folder) as store:
        expected = rich(store)
        head = (folder / HEAD).read_bytes()
        store.compact()
    (folder / HEAD).write_bytes(head)
    with JsonStore(folder) as store:
        expected.check(store)
        assert json.loads((folder / HEAD).read_bytes())["header"] == lines(folder)[0]["seal"]


def test_failed_compaction_changes_nothing(store: JsonStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rich(store)
    before = (folder / LOG).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(DiskFile, "sync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(StoreFull):
            store.compact()
    assert (folder / LOG).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [HEAD, LOG, "orders.lock"]
    expected.check(store)


def test_facts_keep_their_decimals(store: JsonStore, folder: Path) -> None:
    change = creation("1001")
    facts: dict[str, Fact] = {"amount": Decimal("1.50"), "text": "1.50", "flag": True, "none": None, "number": 3}
    store.commit_all([change, step(order_of(change), facts=facts)])
    with JsonStore(folder) as other:
        assert other.history("1001")[1].facts == facts
        assert str(other.history("1001")[1].facts["amount"]) == "1.50"


def test_export_writes_one_readable_file_per_order(store: JsonStore, tmp_path: Path) -> None:
    for order_id in ("1001", "Ä/../x", "a" * 200, "A", "a"):
        store.commit(creation(order_id, topics=["order.updated"]))
    store.export(tmp_path / "export")
    files = list((tmp_path / "export").iterdir())
    documents = [json.loads(path.read_bytes()) for path in files]
    assert {document["order"]["id"] for document in documents} == {"1001", "Ä/../x", "a" * 200, "A", "a"}
    assert len({path.name.lower() for path in files}) == 5
    text = (tmp_path / "export" / "1001.json").read_text()
    assert '\n  "order": {\n    "id": "1001"' in text
    assert "the store does not read it" in text
    with pytest.raises(InvalidInput):
        store.export(tmp_path / "export")


def test_backup_is_a_store_with_the_same_content(store: JsonStore, tmp_path: Path) -> None:
    expected = rich(store)
    store.backup(tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [HEAD, LOG]
    store.commit(creation("later"))
    with JsonStore(tmp_path / "copy") as copy:
        expected.check(copy)


def test_backup_of_a_damaged_log_is_refused(store: JsonStore, folder: Path, tmp_path: Path) -> None:
    store.commit(creation("1001"))
    content = (folder / LOG).read_bytes()
    (folder / LOG).write_bytes(content.replace(b"1001", b"1002"))
    with pytest.raises(StoreCorrupt):
        store.backup(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert any("damaged" in fault for fault in store.faults())


@pytest.mark.parametrize("mode", [0o640, 0o600])
def test_new_files_take_the_mode_of_the_log(folder: Path, tmp_path: Path, mode: int) -> None:
    content = flushed_log(folder)
    (folder / LOG).chmod(mode)
    (folder / HEAD).unlink()
    (folder / "orders.lock").unlink()
    (folder / LOG).write_bytes(content + b"torn")
    with JsonStore(folder) as store:
        store.compact()
        store.backup(tmp_path / "backup")
        store.export(tmp_path / "export")
    files = [path for place in (folder, tmp_path / "backup", tmp_path / "export") for path in place.iterdir()]
    assert len(files) == 9
    assert {path.stat().st_mode & 0o777 for path in files} == {mode}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change the owner of a file")
def test_new_files_take_the_owner_of_the_log(folder: Path) -> None:
    content = flushed_log(folder)
    os.chown(folder / LOG, 1234, 2345)
    (folder / HEAD).unlink()
    (folder / "orders.lock").unlink()
    (folder / LOG).write_bytes(content + b"torn")
    with JsonStore(folder) as store:
        store.compact()
    assert {(path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()} == {(1234, 2345)}


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InvalidInput, match=r"mine\.txt"):
        JsonStore(tmp_path)


@pytest.mark.parametrize("path", ["", " ", 7, None, b"x", "a\0b"])
def test_invalid_path_is_refused(path: Any) -> None:
    with pytest.raises(InvalidInput):
        JsonStore(path)


def test_closed_store_raises(folder: Path, tmp_path: Path) -> None:
    store = JsonStore(folder)
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.load("1"),
        lambda: store.commit(creation("1")),
        store.compact,
        lambda: store.backup(tmp_path / "copy"),
        lambda: store.export(tmp_path / "export"),
        store.faults,
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            call()


def test_script_that_ends_without_close_prints_nothing(folder: Path) -> None:
    script = (
        "import sys; from order_fsm_adapters.json_files import JsonStore;"
        "store = JsonStore(sys.argv[1]); store.set_stock('A', 1)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(folder)], env=environment, capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def test_garbage_collector_is_enabled_after_opening(folder: Path) -> None:
    flushed_log(folder)
    JsonStore(folder).close()
    assert gc.isenabled()


def test_reader_does_not_wait_for_the_flush_of_a_writer(store: JsonStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(creation("1001"))
    flushing, read = threading.Event(), threading.Event()
    fsync = os.fsync

    def waiting(descriptor: int) -> None:
        flushing.set()
        assert read.wait(60)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", waiting)
    writer = threading.Thread(target=store.commit, args=(creation("1002"),))
    writer.start()
    assert flushing.wait(60)
    assert [order.id for order in store.find(ALL)] == ["1001"]
    read.set()
    writer.join()
    assert [order.id for order in store.find(ALL)] == ["1001", "1002"]


def test_child_forked_during_a_write_works_and_leaves_no_lock(
    store: JsonStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child inherits the open lock file, and runs longer than the write."""
    reader, writer = os.pipe()
    fsync = os.fsync
    children: list[int] = []

    def forking(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        children.append(os.fork())
        if not children[-1]:
            os.read(reader, 1)
            try:
                store.commit(creation("of the child"))
            finally:
                os._exit(0)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", forking)
    store.commit(creation("1001"))
    store.commit(creation("1002"))
    os.write(writer, b".")
    os.waitpid(children[0], 0)
    os.close(reader)
    os.close(writer)
    assert {order.id for order in store.find(ALL)} == {"1001", "1002", "of the child"}


def test_second_claim_among_many_waiting_messages_is_empty(store: JsonStore) -> None:
    store.commit_all([creation(f"{number}", topics=["order.updated"]) for number in range(2000)])
    for message in store.claim(moment(0), moment(1), 2000)[:50]:
        store.retry_later(message, moment(1), moment(1) + timedelta(days=9))
    assert len(store.claim(moment(1), moment(5), 3000)) == 1950
    assert store.claim(moment(2), moment(5), 3000) == []


def test_key_without_an_order_is_found_after_reopening(folder: Path) -> None:
    with JsonStore(folder) as store:
        store.set_stock("TEAPOT", 1)
        store.commit(stock_change(StockMove("TEAPOT", 4, strict=False), key="delivery 7"))
    with JsonStore(folder) as store:
        record = record_under(store, "delivery 7")
        assert record is not None
        assert record[:3] == (None, 0, 0)
        assert store.stock(["TEAPOT"]) == {"TEAPOT": 5}


def test_reserved_lines_and_fingerprints_survive_reopening(folder: Path) -> None:
    change = creation("1001")
    order = order_of(change)
    entries = tuple(replace(entry, rules_fingerprint="f" * 64) for entry in change.entries)
    with JsonStore(folder) as store:
        store.commit(replace(change, order=replace(order, reserved=()), entries=entries))
    with JsonStore(folder) as store:
        assert store.load("1001").reserved == ()
        assert store.history("1001")[0].rules_fingerprint == "f" * 64

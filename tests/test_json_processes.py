"""The JSON files under killed processes, full disks and read-only folders: all in processes of their own."""

from __future__ import annotations

import builtins
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from order_fsm import Line, Orders, StoreFull, StoreUnavailable
from order_fsm_adapters.json_files import JsonStore

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def shop(store: JsonStore | Path, now: datetime = NOW) -> Orders:
    """A shop on an open store, or on the one that is kept in a folder."""
    return Orders(JsonStore(store) if isinstance(store, Path) else store, clock=lambda: now)


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a store holds but its locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    }


def in_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; how that ended: 0, or below zero for a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def read_only(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


CALLS = ("open", "replace", "rename", "fsync", "unlink", "mkdir", "rmdir")


def killed_at(call: int, work: Callable[[Path], object], folder: Path) -> bool:
    """Do something in a process that is killed just before that call of the system; whether it came to that."""

    def doomed() -> None:
        calls = count(1)

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def counted(*given: object, **named: object) -> object:
                if next(calls) == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*given, **named)

            return counted

        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        builtins.open = dying(open)  # type: ignore[assignment]
        work(folder)

    ended = in_child(doomed)
    assert ended in {0, -signal.SIGKILL}
    return ended != 0


def every_kill(
    tmp_path: Path, prepare: Callable[[Path], object], work: Callable[[Path], object]
) -> Iterator[tuple[Path, JsonStore]]:
    """For each call of the system during some work: a folder in which a process was killed at it, and a store on it
    that was open all the time. What that one sees must be right without another one being opened."""
    for call in count(1):
        folder = tmp_path / str(call)
        prepare(folder)
        store = JsonStore(folder)
        killed = killed_at(call, work, folder)
        yield folder, store
        if not killed:
            assert call > 5, "the work makes calls of the system"
            return


@pytest.mark.no_cover
class TestAKilledProcess:
    @pytest.mark.parametrize("looks_first", ["at the order", "at the stock", "at all orders", "at the key"])
    def test_leaves_a_change_of_order_stock_key_and_message_whole_or_absent(
        self, tmp_path: Path, looks_first: str
    ) -> None:
        def prepare(folder: Path) -> None:
            orders = shop(folder)
            orders.set_stock("TEA", 10)
            orders.set_stock("CUP", 5)
            orders.create("1001", total=5, currency="GBP", lines=[Line("TEA", 2), Line("CUP", 1)])

        def pay(orders: Orders) -> bool:
            return orders.fire("1001", "pay", reference="ch_1", key="evt_1").duplicate

        def seen(store: JsonStore) -> tuple[object, ...]:
            orders = shop(store)
            looks: dict[str, Callable[[], object]] = {
                "at the order": lambda: orders.get("1001").version,
                "at the stock": lambda: (orders.stock("TEA"), orders.stock("CUP")),
                "at all orders": lambda: orders.counts()["to_dispatch"],
                "at the key": lambda: store.keyed("evt_1") is not None,
            }
            first = looks[looks_first]()
            everything = {name: look() for name, look in looks.items()}
            assert everything[looks_first] == first
            return tuple(everything.values())

        absent, whole = (1, (10, 5), 0, False), (2, (8, 4), 1, True)
        outcomes = set()
        for folder, store in every_kill(tmp_path, prepare, lambda folder: pay(shop(folder))):
            outcome = seen(store)
            assert outcome in {absent, whole}
            assert seen(JsonStore(folder)) == outcome
            assert pay(shop(store)) is (outcome == whole)
            assert seen(store) == whole
            assert shop(store).deliver(lambda message: None) == 1
            assert not {"journal", "journal.tmp"} & set(os.listdir(folder))
            assert not [name for name in files_of(folder) if name.endswith(".tmp")]
            outcomes.add(outcome)
        assert outcomes == {absent, whole}

    def test_loses_no_message_that_it_was_to_deliver(self, tmp_path: Path) -> None:
        """What it had not delivered is delivered when its claim ends."""

        def prepare(folder: Path) -> None:
            shop(folder).create("1001", total=5, currency="GBP")
            shop(folder).fire("1001", "pay", reference="ch_1")

        def deliver(folder: Path) -> None:
            shop(folder).deliver(lambda message: (folder.parent / f"{folder.name}.told").touch())

        told_later = set()
        for folder, store in every_kill(tmp_path, prepare, deliver):
            told = (folder.parent / f"{folder.name}.told").exists()
            later = shop(store, NOW + timedelta(hours=1)).deliver(lambda message: None)
            assert told or later == 1
            assert os.listdir(folder / "outbox") == []
            told_later.add(later)
        assert told_later == {0, 1}

    def test_leaves_an_order_that_it_was_to_remove_whole_or_gone(self, tmp_path: Path) -> None:
        """What leads to it may be left, and does no harm to a new order of its id, under its key."""

        def prepare(folder: Path) -> None:
            shop(folder).create("1001", total=5, currency="GBP", key="key")
            shop(folder).fire("1001", "pay", reference="ch_1", key="evt_1")

        def remove(folder: Path) -> None:
            store = JsonStore(folder)
            store.remove(store.load("1001"))

        def seen(store: JsonStore) -> tuple[object, ...]:
            keys = tuple(store.keyed(key) is not None for key in ("key", "evt_1"))
            return (len(shop(store).find()), *keys, len(store.claim(NOW, NOW, 10)))

        outcomes = set()
        for folder, store in every_kill(tmp_path, prepare, remove):
            outcome = seen(store)
            assert outcome in {(1, True, True, 1), (0, False, False, 0)}
            assert seen(JsonStore(folder)) == outcome
            outcomes.add(outcome)
            if outcome[0]:
                remove(folder)
            shop(store).create("1001", total=6, currency="EUR", key="key")
            assert shop(store).fire("1001", "place", notify=True, key="evt_1").duplicate is False
            assert len(store.history("1001")) == 2
            assert shop(store).deliver(lambda message: None) == 1
            assert os.listdir(folder / "outbox") == []
        assert len(outcomes) == 2

    def test_leaves_a_folder_that_the_next_one_opens(self, tmp_path: Path) -> None:
        for call in count(1):
            folder = tmp_path / str(call)
            killed = killed_at(call, JsonStore, folder)
            shop(folder).create("1001", total=5, currency="GBP")
            assert len(shop(folder).find()) == 1
            if not killed:
                assert call > 10
                return


class TestAReadOnlyFolder:
    def test_can_be_read_and_says_why_it_cannot_be_written(self) -> None:
        """Where the tests run as the almighty user, a process of nobody's tries it."""
        with TemporaryDirectory() as outer:
            Path(outer).chmod(0o755)
            folder = Path(outer) / "shop"
            shop(folder).create("1001", total=5, currency="GBP")
            shop(folder).fire("1001", "pay", notify=True)
            before = files_of(folder)
            read_only(folder)

            def read_and_write() -> None:
                if os.getuid() == 0:
                    os.setuid(65534)
                mine = shop(folder)
                assert mine.get("1001").version == 2
                assert len(mine.find()) == 1
                for use in (
                    lambda: mine.fire("1001", "dispatch"),
                    lambda: mine.create("1002", total=5, currency="GBP"),
                    lambda: mine.set_stock("TEA", 5),
                    lambda: mine.deliver(print),
                ):
                    with pytest.raises(StoreUnavailable, match="this process may write to it"):
                        use()

            assert in_child(read_and_write) == 0
            assert files_of(folder) == before


class TestAFullDisk:
    def test_is_store_full_changes_nothing_and_leaves_a_store_that_goes_on(self, folder: Path) -> None:
        """So it is for a change of one file, and for one of several."""
        resource = pytest.importorskip("resource")
        orders = shop(folder)
        orders.set_stock("TEA", 5)
        orders.create("1002", total=5, currency="GBP")
        orders.create("1003", total=5, currency="GBP", lines=[Line("TEA", 2)])

        def fill() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))
            mine = shop(folder)
            for order_id, trigger in (("1002", "place"), ("1003", "pay")):
                before = files_of(folder)
                with pytest.raises(StoreFull, match="make room, then retry"):
                    mine.fire(order_id, trigger, comment="x" * 10_000)
                assert files_of(folder) == before
                assert not (folder / "journal.tmp").exists()
                mine.fire(order_id, trigger)

        assert in_child(fill) == 0
        assert orders.get("1002").state == "sent"
        assert orders.get("1003").state == "sent+paid"
        assert orders.stock("TEA") == 3

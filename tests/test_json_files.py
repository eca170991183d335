"""What is the JSON files' own: the file of an order, what damage does, names, the folder, what is left over."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from order_fsm import InvalidInput, KeyReused, Line, Orders, StoreCorrupt, StoreUnavailable
from order_fsm_adapters.json_files import JsonStore, sealed_json

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden" / "order.json"


def shop(folder: Path) -> Orders:
    return Orders(JsonStore(folder), clock=lambda: NOW)


class Claim(sealed_json.Document, frozen=True, kw_only=True):
    """The file of a key, as it stands there."""

    key: str
    order_id: str


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a store holds but its locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def orders(folder: Path) -> Orders:
    """A shop with the order 1001, which is paid for, and the order 1002."""
    orders = shop(folder)
    orders.create("1001", total="49.90", currency="GBP", customer="ann", email="ann@example.com")
    orders.fire("1001", "pay", reference="ch_1", key="evt_1")
    orders.create("1002", total="5", currency="GBP")
    return orders


class TestTheFileOfAnOrder:
    def test_holds_everything_of_the_order_for_people_to_read(self, folder: Path) -> None:
        """Order, history, payments, keys, messages and dead letters, in bytes that stay the same."""
        orders = shop(folder)
        orders.create(
            "1001",
            total="49.90",
            currency="GBP",
            lines=[Line("TEAPOT", 2)],
            customer="ann",
            email="ann@example.com",
            data={"gift": True, "notes": ["é\0", {"big": 2**63 - 1, "ratio": 0.1}]},
        )
        orders.fire("1001", "pay", amount="49.90", currency="GBP", reference="ch_1", key="evt_1")
        orders.fire("1001", "dispatch", by="bob", comment="Royal Mail ✉", visible=True, notify=True)
        store = JsonStore(folder)
        first, second = store.claim(NOW, NOW + timedelta(minutes=10), 10)
        store.postpone(first, None)
        store.postpone(second, NOW + timedelta(seconds=10))
        assert (folder / "orders" / "1001.json").read_bytes() == GOLDEN.read_bytes()

    def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        (tmp_path / "shop").mkdir()
        store = JsonStore(tmp_path / "shop")
        shutil.copy(GOLDEN, tmp_path / "shop" / "orders" / "1001.json")
        order = store.load("1001")
        assert str(order.total) == "49.90"
        assert order.data == {"gift": True, "notes": ["é\0", {"big": 2**63 - 1, "ratio": 0.1}]}
        assert [entry.trigger for entry in store.history("1001")] == ["create", "pay", "dispatch"]
        assert store.history("1001")[1].facts == {
            "amount": Decimal("49.90"),
            "currency": "GBP",
            "reference": "ch_1",
        }
        assert [message.id for message in store.dead_letters(10)] == ["1001#2.1"]

    def test_is_written_anew_by_a_change_of_its_order_alone(self, folder: Path, orders: Orders) -> None:
        before = files_of(folder)
        orders.fire("1002", "place")
        after = files_of(folder)
        assert {name for name in after if after[name] != before.get(name)} == {"orders/1002.json"}


class TestIds:
    @pytest.mark.parametrize(
        "order_id",
        ["A1", "con", "aux.txt", "ends. ", "a/b", "\\\\host\\x", "~", "%41", "e\u0301", "\U0001f600" * 200, '*?|<>:"'],
    )
    def test_an_order_of_any_id_lives_in_the_folder_and_is_found(self, folder: Path, order_id: str) -> None:
        orders = shop(folder)
        orders.set_stock(order_id, 3)
        orders.create(order_id, total=5, currency="GBP", lines=[Line(order_id, 1)], key=order_id)
        orders.create("a1", total=5, currency="GBP")
        orders.fire(order_id, "pay", reference="ch_1", notify=True, key=f"{order_id[:199]}!")
        orders = shop(folder)
        assert orders.get(order_id).state == "sent+invoiced+paid"
        assert orders.stock(order_id) == 2
        assert {order.id for order in orders.find()} == {order_id, "a1"}
        assert orders.deliver(lambda message: None) == 2
        assert {path.name for path in folder.parent.iterdir()} == {"shop"}


class TestTheFolder:
    def test_is_made_where_it_is_missing_and_serves_when_it_is_opened_again(self, folder: Path) -> None:
        shop(folder).create("1001", total=5, currency="GBP")
        assert shop(folder).get("1001").total == 5

    def test_stays_the_same_when_the_working_directory_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        orders = Orders(JsonStore("shop"))
        (tmp_path / "else").mkdir()
        monkeypatch.chdir(tmp_path / "else")
        orders.create("1001", total=5, currency="GBP")
        assert (tmp_path / "shop" / "orders" / "1001.json").exists()

    @pytest.mark.parametrize("bad", ["", " ", "a\0b", None, 7, b"shop"])
    def test_must_be_a_path(self, bad: Any) -> None:
        with pytest.raises(InvalidInput, match="folder must be the path of a folder"):
            JsonStore(bad)

    def test_that_holds_other_things_is_left_alone(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "letter.txt").write_text("Dear Ann")
        with pytest.raises(InvalidInput, match=r"holds other things, such as 'letter\.txt'"):
            JsonStore(folder)
        assert os.listdir(folder) == ["letter.txt"]

    def test_needs_a_folder_to_be_in(self, folder: Path) -> None:
        said = f"^{re.escape(str(folder / 'deeper'))} cannot be read or written .*see that the folder is there"
        with pytest.raises(StoreUnavailable, match=said):
            JsonStore(folder / "deeper")

    def test_cannot_be_a_file(self, folder: Path) -> None:
        folder.write_text("")
        with pytest.raises(StoreUnavailable):
            JsonStore(folder)

    def test_that_has_gone_makes_the_store_unavailable_and_its_orders_not_unknown(
        self, folder: Path, orders: Orders
    ) -> None:
        shutil.rmtree(folder)
        for use in (
            lambda: orders.get("1001"),
            lambda: orders.create("1003", total=5, currency="GBP", key="k"),
            orders.find,
            orders.counts,
            lambda: orders.set_stock("TEA", 1),
            lambda: orders.deliver(print),
        ):
            with pytest.raises(StoreUnavailable):
                use()

    def test_whose_locks_have_gone_says_so(self, folder: Path, orders: Orders) -> None:
        shutil.rmtree(folder / "locks")
        with pytest.raises(StoreUnavailable, match=re.escape(str(folder / "locks"))):
            orders.fire("1002", "place")


class TestLeftovers:
    def test_unfinished_files_are_used_up_by_the_next_one(self, folder: Path, orders: Orders) -> None:
        orders.set_stock("TEA", 5)
        orders.create("1003", total=5, currency="GBP", lines=[Line("TEA", 2)], key="k")
        (folder / "orders" / "1003.json.tmp").write_bytes(b"torn" * 10_000)
        (folder / "journal.tmp").mkdir()
        (folder / "journal.tmp" / "stock.+t+e+a.json").write_bytes(b"torn")
        (folder / "journal.tmp" / "orders.1001.json").write_bytes(b"torn")
        assert len(orders.find()) == 3
        orders.fire("1003", "place")
        orders.fire("1003", "invoice")
        assert orders.stock("TEA") == 3
        assert orders.get("1001").version == 2
        assert not [name for name in files_of(folder) if ".tmp" in name]

    def test_an_unfinished_file_goes_with_its_order(self, folder: Path, orders: Orders) -> None:
        """It holds what the order held, and nobody would use it up any more."""
        (folder / "orders" / "1001.json.tmp").write_bytes(b"ann@example.com")
        JsonStore(folder).remove(orders.get("1001"))
        assert os.listdir(folder / "orders") == ["1002.json"]
        assert not [name for name, content in files_of(folder).items() if b"ann@example.com" in content]

    def test_a_journal_is_finished_by_who_looks_for_all_orders(self, folder: Path, orders: Orders) -> None:
        """Also where the order in it is a new one, which no other file leads to."""
        (folder / "journal").mkdir()
        (folder / "orders" / "1002.json").rename(folder / "journal" / "orders.1002.json")
        assert [order.id for order in orders.find()] == ["1001", "1002"]
        assert not (folder / "journal").exists()

    @pytest.mark.parametrize("order_id", ["1001", "1002"])
    def test_a_journal_is_finished_by_who_reads_an_order_in_it(
        self, folder: Path, orders: Orders, order_id: str
    ) -> None:
        """It was committed, so nobody is shown what was there before."""
        path = folder / "orders" / f"{order_id}.json"
        before = path.read_bytes()
        committed = orders.comment(order_id, "on its way").order
        (folder / "journal").mkdir()
        path.rename(folder / "journal" / f"orders.{order_id}.json")
        path.write_bytes(before)
        assert orders.get(order_id) == committed
        assert orders.history(order_id)[-1].comment == "on its way"
        assert not (folder / "journal").exists()

    def test_a_journal_with_a_stranger_in_it_is_corrupt(self, folder: Path, orders: Orders) -> None:
        (folder / "journal").mkdir()
        (folder / "journal" / "letter.txt").write_text("Dear Ann")
        with pytest.raises(StoreCorrupt, match=r"letter\.txt.*move it elsewhere"):
            orders.find()
        (folder / "journal" / "letter.txt").rename(folder.parent / "letter.txt")
        assert len(orders.find()) == 2


class TestKeys:
    @pytest.mark.parametrize("holder", ["1001", "never-there"])
    def test_a_claim_of_a_commit_that_never_happened_is_taken_over(
        self, folder: Path, orders: Orders, holder: str
    ) -> None:
        """It may name an order that lacks the key, or one that is not there."""
        orders.create(holder + "x", total=5, currency="GBP", key="k")
        claim = folder / "keys" / "k.json"
        claim.write_bytes(sealed_json.encode(Claim(key="k", order_id=holder)))
        assert not orders.fire("1002", "place", key="k").duplicate
        assert orders.fire("1002", "place", key="k").duplicate
        with pytest.raises(KeyReused):
            orders.fire("1001", "dispatch", key="k")


class TestTheOutbox:
    def test_names_the_orders_that_have_messages_and_no_others(self, folder: Path, orders: Orders) -> None:
        """Marks that lead to no message are harmless: those of an order that is there are removed."""
        assert os.listdir(folder / "outbox") == ["20260105090000000000~1001"]
        (folder / "outbox" / "20260105080000000000~1002").touch()
        (folder / "outbox" / "20260105080000000000~never-there").touch()
        assert orders.deliver(lambda message: None) == 1
        assert os.listdir(folder / "outbox") == ["20260105080000000000~never-there"]

    def test_gives_the_oldest_first_over_all_orders(self, folder: Path) -> None:
        now = [NOW]
        orders = Orders(JsonStore(folder), clock=lambda: now[0])
        for order_id in ("c", "a", "b"):
            orders.create(order_id, total=5, currency="GBP")
        for order_id in ("c", "a", "b", "a", "c"):
            now[0] += timedelta(seconds=1)
            orders.comment(order_id, "soon", notify=True)
        told: list[str] = []
        orders.deliver(lambda message: told.append(message.order_id), limit=4)
        assert told == ["c", "a", "b", "a"]

    def test_keeps_the_order_of_an_order_s_messages_when_the_clock_is_set_back(self, folder: Path) -> None:
        now = [NOW]
        orders = Orders(JsonStore(folder), clock=lambda: now[0])
        orders.create("1001", total=5, currency="GBP")
        for seconds in (5, 3, 4):
            now[0] = NOW + timedelta(seconds=seconds)
            orders.comment("1001", "soon", notify=True)
        told: list[str] = []
        orders.deliver(lambda message: told.append(message.id))
        assert told == ["1001#2.1", "1001#3.1", "1001#4.1"]
        assert os.listdir(folder / "outbox") == []


class TestTheOrderOfTheDisk:
    """What makes a commit outlast a power loss: what is flushed, and before what. Each step stands on those above."""

    @pytest.fixture
    def steps(self, folder: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        orders.set_stock("TEA", 5)
        orders.create("1003", total=5, currency="GBP", lines=[Line("TEA", 2)])
        steps: list[str] = []
        flush, rename, unlink, remove = os.fsync, os.replace, os.unlink, os.rmdir

        def place(path: Path | str) -> str:
            return str(Path(path).relative_to(folder))

        def flushed(descriptor: int) -> None:
            flush(descriptor)
            number = os.fstat(descriptor).st_ino
            path = next(path for path in (folder, *folder.rglob("*")) if path.stat().st_ino == number)
            steps.append(f"flush {place(path)}")

        def renamed(source: str, target: str) -> None:
            rename(source, target)
            steps.append(f"{place(source)} -> {place(target)}")

        def unlinked(path: str) -> None:
            unlink(path)
            steps.append(f"remove {place(path)}")

        def removed(path: str) -> None:
            remove(path)
            steps.append(f"remove {place(path)}")

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(os, "replace", renamed)
        monkeypatch.setattr(os, "rename", renamed)
        monkeypatch.setattr(os, "unlink", unlinked)
        monkeypatch.setattr(os, "rmdir", removed)
        return steps

    def test_of_a_plain_change(self, orders: Orders, steps: list[str]) -> None:
        orders.fire("1002", "place")
        assert steps == [
            "flush orders/1002.json.tmp",
            "orders/1002.json.tmp -> orders/1002.json",
            "flush orders",
        ]

    def test_of_a_change_with_a_key_and_a_message(self, orders: Orders, steps: list[str]) -> None:
        orders.fire("1002", "place", key="k", notify=True)
        assert steps == [
            "flush keys/k.json.tmp",
            "keys/k.json.tmp -> keys/k.json",
            "flush keys",
            "flush outbox",
            "flush orders/1002.json.tmp",
            "orders/1002.json.tmp -> orders/1002.json",
            "flush orders",
        ]

    def test_of_a_change_that_moves_stock(self, orders: Orders, steps: list[str]) -> None:
        """The rename of the journal is the commit; nothing moves before it is there to stay, and it goes last."""
        orders.fire("1003", "place", notify=True)
        assert steps == [
            "flush outbox",
            "flush journal.tmp/orders.1003.json",
            "flush journal.tmp/stock.+t+e+a.json",
            "flush journal.tmp",
            "journal.tmp -> journal",
            "flush .",
            "journal/orders.1003.json -> orders/1003.json",
            "journal/stock.+t+e+a.json -> stock/+t+e+a.json",
            "flush orders",
            "flush stock",
            "flush journal",
            "remove journal",
        ]

    def test_of_a_removal(self, folder: Path, orders: Orders, steps: list[str]) -> None:
        """What leads to the order goes after it."""
        store = JsonStore(folder)
        steps.clear()
        store.remove(orders.get("1001"))
        assert steps == ["remove orders/1001.json", "flush orders", "remove outbox/20260105090000000000~1001"]

    def test_of_a_dead_letter_and_its_revival(self, folder: Path, steps: list[str]) -> None:
        """Its mark is there before the message is, and goes after it."""
        store = JsonStore(folder)
        (message,) = store.claim(NOW, NOW, 10)
        written = [
            "flush orders/1001.json.tmp",
            "orders/1001.json.tmp -> orders/1001.json",
            "flush orders",
        ]
        steps.clear()
        store.postpone(message, None)
        assert steps == [*written, "remove outbox/20260105090000000000~1001"]
        steps.clear()
        store.revive(message)
        assert steps == ["flush outbox", *written]

"""Concurrent changes: no change is lost or happens twice, and conflicts are decided again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import KeyReused, Orders, Receipt, Refused, VersionConflict
from order_fsm.orders.executor import ATTEMPTS
from order_fsm.store import Change
from order_fsm_adapters.memory import MemoryStore
from tests.stores import precede

if TYPE_CHECKING:
    from tests.conftest import Shop


WORKERS = 8


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run calls in threads at once. Return their results or exceptions."""
    gate = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_one_event_from_eight_threads_happens_once(shop: Shop) -> None:
    shop.create()
    receipts = together([partial(shop.orders.fire, "1001", "pay", reference="ch_1", key="evt_1")] * WORKERS)
    assert sorted(receipt.duplicate for receipt in receipts) == [False] + [True] * (WORKERS - 1)
    assert {receipt.order for receipt in receipts} == {shop.orders.get("1001")}
    assert shop.orders.get("1001").captured == 10
    assert shop.orders.stock("TEAPOT") == 8
    assert shop.topics() == ["order.paid"]


def test_one_payment_under_eight_keys_happens_once(shop: Shop) -> None:
    """viewflow/django-fsm#46, medusajs/medusa#13301: the reference identifies the payment even in a race."""
    shop.create()
    receipts = together(
        [partial(shop.orders.fire, "1001", "pay", reference="ch_1", key=f"evt_{n}") for n in range(WORKERS)]
    )
    assert sorted(receipt.duplicate for receipt in receipts) == [False] + [True] * (WORKERS - 1)
    assert shop.orders.get("1001").captured == 10
    assert len(shop.orders.history("1001")) == 2


def test_eight_writers_lose_nothing(shop: Shop) -> None:
    """saleor/saleor#17893: all payments and comments on one order are stored, and its versions are dense."""
    shop.create(total="80.00")

    def pay(n: int) -> None:
        for i in "abcde":
            shop.orders.fire("1001", "pay", amount="2", reference=f"ch_{n}.{i}")

    def note(n: int) -> None:
        for i in "abcde":
            shop.orders.comment("1001", f"{n}{i}")

    calls = [partial(call, n) for n in range(WORKERS // 2) for call in (pay, note)]
    outcomes = together(calls)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    history = shop.orders.history("1001")
    assert [entry.version for entry in history] == list(range(1, 1 + 1 + 40))
    assert shop.orders.get("1001").captured == 40
    assert {entry.comment for entry in history if entry.trigger == "comment"} == {
        f"{n}{i}" for n in range(4) for i in "abcde"
    }


def test_an_order_is_created_once_by_eight_threads(shop: Shop) -> None:
    outcomes = together([lambda: shop.orders.create("1001", total=1, currency="GBP", key="basket")] * WORKERS)
    assert set(outcomes) == {shop.orders.get("1001")}
    assert len(shop.orders.history("1001")) == 1


class Interrupted(MemoryStore):
    """A store that runs other changes before a commit of the order."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[Callable[[], object]] = []

    def commit(self, change: Change) -> None:
        if change.expected_version and self.others:
            self.others.pop()()
        super().commit(change)


@pytest.fixture
def interrupted(new_shop: type[Shop]) -> tuple[Shop, Interrupted]:
    store = Interrupted()
    shop = new_shop(store=store)
    shop.create()
    return shop, store


def test_a_conflict_is_decided_again(interrupted: tuple[Shop, Interrupted]) -> None:
    """The comment in between is kept, and the payment follows it."""
    shop, store = interrupted
    store.others.append(lambda: shop.orders.comment("1001", "me first"))
    receipt = shop.orders.fire("1001", "pay", reference="ch_1")
    assert [entry.trigger for entry in shop.orders.history("1001")] == ["create", "comment", "pay"]
    assert receipt.order.version == 3


def test_change_that_is_no_longer_allowed_is_refused_at_commit(interrupted: tuple[Shop, Interrupted]) -> None:
    """woocommerce/woocommerce#20928: the timer's cancel sees the dispatch in between."""
    shop, store = interrupted
    shop.orders.fire("1001", "pay")
    store.others.append(lambda: shop.orders.fire("1001", "dispatch"))
    with pytest.raises(Refused, match="the order is dispatched"):
        shop.orders.fire("1001", "cancel")


def test_a_redelivery_that_races_finds_the_first(interrupted: tuple[Shop, Interrupted]) -> None:
    shop, store = interrupted
    store.others.append(lambda: shop.orders.fire("1001", "pay", reference="ch_1", key="evt_1"))
    receipt = shop.orders.fire("1001", "pay", reference="ch_1", key="evt_1")
    assert receipt.duplicate
    assert shop.orders.get("1001").captured == 10


@pytest.mark.parametrize(
    "call",
    [
        lambda orders: orders.fire("1001", "place", key="k"),
        lambda orders: orders.save("1001", {"sent"}, version=1, key="k"),
    ],
    ids=["fire", "save"],
)
def test_call_repeated_before_its_commit_gets_the_first_receipt(shop: Shop, call: Callable[[Orders], Receipt]) -> None:
    """The order no longer allows the call when it is decided again."""
    shop.create()
    others = [partial(call, shop.orders)]
    firsts: list[Receipt] = []
    precede(shop.store, "commit", lambda _: firsts.append(others.pop()()) if others else None)
    receipt = call(shop.orders)
    assert receipt == Receipt(firsts[0].order, firsts[0].entries, duplicate=True)
    assert shop.orders.get("1001").version == 2


def test_a_key_that_races_with_other_content_is_refused(interrupted: tuple[Shop, Interrupted]) -> None:
    shop, store = interrupted
    shop.create("1002")
    store.others.append(lambda: shop.orders.fire("1002", "pay", key="evt_1"))
    with pytest.raises(KeyReused, match="1002"):
        shop.orders.fire("1001", "pay", key="evt_1")
    assert shop.orders.get("1001").version == 1


def test_the_number_of_attempts_is_limited(interrupted: tuple[Shop, Interrupted]) -> None:
    """If every attempt conflicts, the call raises after the documented number of attempts and changes nothing."""
    shop, store = interrupted
    times: list[int] = []

    def one_quicker() -> None:
        store.others, waiting = [], store.others
        shop.orders.comment("1001", "me first")
        store.others = waiting
        times.append(store.load("1001").version)

    store.others = [one_quicker] * (ATTEMPTS + 5)
    with pytest.raises(VersionConflict):
        shop.orders.fire("1001", "pay", reference="ch_1")
    assert len(times) == ATTEMPTS == 100
    assert shop.orders.get("1001").payments == ()

"""What the tests share: a shop with a clock that stands still, and ways to bring an order into any state."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import order_fsm.rules.shop
from order_fsm import Line, Message, Order, Orders, When, Workflow, shop_workflow
from order_fsm.rules.decide import Decision, decide
from order_fsm.rules.request import Request, money_facts
from order_fsm.rules.rule import Edge
from order_fsm.rules.shop import Dispatch
from order_fsm.store import Query, Store
from order_fsm.testing import FrozenClock
from order_fsm_adapters.memory import MemoryStore
from tests.stores import KINDS, opened

EVERYTHING = 1_000_000


class Clock(FrozenClock):
    """A clock that stands still until it is told to go on."""

    def pass_by(self, **time: float) -> None:
        self.advance(timedelta(**time))


class Shop:
    """Orders on a store in memory, with what the tests ask of them again and again."""

    def __init__(self, workflow: Workflow | None = None, store: Store | None = None) -> None:
        self.clock = Clock()
        self.store: Store = MemoryStore() if store is None else store
        self.orders = Orders(self.store, workflow=workflow, clock=self.clock)
        self.orders.set_stock("TEAPOT", 10)

    def create(
        self,
        order_id: str = "1001",
        total: str = "10.00",
        lines: Iterable[Line] = (Line("TEAPOT", 2),),
        customer: str | None = "ann",
    ) -> Order:
        """An order over two of the ten teapots, for 10.00 GBP."""
        return self.orders.create(
            order_id, total=total, currency="GBP", lines=lines, customer=customer, email="ann@example.com"
        )

    def bring(self, state: str, order_id: str = "1001", total: str = "10.00") -> Order:
        """A new order, brought into a state by the fewest real triggers that lead there."""
        self.create(order_id, total)
        for edge in _path(self.orders.workflow, state):
            facts = _facts_for(self.orders.workflow, self.orders.get(order_id), edge)
            self.orders.fire(order_id, edge.rule.trigger, **facts)
        return self.orders.get(order_id)

    def all(self) -> list[Order]:
        return self.store.find(Query(When(), limit=EVERYTHING))

    def messages(self, topic: str | None = None) -> list[Message]:
        """What waits in the outbox. The claim on it ends in the moment in which it begins, so it is only a look."""
        waiting = self.store.claim(self.clock.now, self.clock.now, EVERYTHING)
        return [message for message in waiting if topic in (None, message.topic)]

    def topics(self) -> list[str]:
        return [message.topic for message in self.messages()]

    def dump(self, skus: Iterable[str] = ("TEAPOT", "CUP")) -> dict[str, Any]:
        """All that the store holds, to tell that a call changed nothing."""
        found = self.all()
        histories = {order.id: self.store.history(order.id) for order in found}
        keys = {entry.key for history in histories.values() for entry in history if entry.key is not None}
        return {
            "orders": found,
            "histories": histories,
            "keys": {key: self.store.keyed(key) for key in sorted(keys)},
            "stock": self.store.stock(skus),
            "outbox": self.messages(),
            "dead_letters": self.store.dead_letters(EVERYTHING),
            "tally": sorted(self.store.tally(None), key=str),
        }


def _path(workflow: Workflow, state: str) -> list[Edge]:
    paths: dict[str, list[Edge]] = {workflow.states[0]: []}
    ahead = deque(paths)
    while ahead:
        source = ahead.popleft()
        if source == state:
            return paths[source]
        for edge in workflow.edges:
            if edge.source == source and edge.target not in paths:
                paths[edge.target] = [*paths[source], edge]
                ahead.append(edge.target)
    raise LookupError(f"no way to {state}")


def _facts_for(workflow: Workflow, order: Order, edge: Edge) -> Mapping[str, Any]:
    """The least that makes a trigger take an edge, or one to the same state."""
    comment = {"comment": "a reason"}
    ways: list[dict[str, Any]] = [{}, comment, {**comment, "override": True}]
    if edge.rule.ledger is not None:
        ways += [{"reference": "ch_1"}, {"amount": "1.00"}, {"amount": "1.00", **comment}]
    for way in ways:
        facts = {name: value for name, value in way.items() if name in {"amount", "reference"}}
        said = {name: value for name, value in way.items() if name not in facts}
        outcome = decide(workflow, order, Request(edge.rule.trigger, order.updated_at, money_facts(facts), **said))
        if isinstance(outcome, Decision) and outcome.order.state == edge.target:
            return way
    raise LookupError(f"no facts take {edge.rule.trigger} from {edge.source} to {edge.target}")


@pytest.fixture
def shop() -> Shop:
    """A shop under the default rules, with ten teapots."""
    return Shop()


@pytest.fixture(params=KINDS)
def any_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """The same shop on each kind of store."""
    with opened(request.param, tmp_path) as store:
        yield Shop(store=store)


@pytest.fixture(scope="session")
def new_shop() -> type[Shop]:
    """Makes shops, for tests that need more than one or other rules."""
    return Shop


POLICIES: dict[str, tuple[Dispatch, bool]] = {
    "on_account": ("on_account", True),
    "on_account_invoiced_by_hand": ("on_account", False),
    "prepaid": ("prepaid", True),
    "prepaid_invoiced_by_hand": ("prepaid", False),
    "cod": ("cod", True),
    "cod_invoiced_by_hand": ("cod", False),
}


@pytest.fixture(params=list(POLICIES))
def workflow(request: pytest.FixtureRequest) -> Workflow:
    """The shop's rules, under every policy and option."""
    return shop_workflow(*POLICIES[request.param])


@pytest.fixture(autouse=True)
def _workflows_are_built_anew() -> None:
    """Under mutmut: a mutant of what builds a workflow is only seen by tests that build it."""
    if "MUTANT_UNDER_TEST" in os.environ:
        order_fsm.rules.shop._built.cache_clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Some tests of the contract are not for coverage: the contract cannot mark them, as its user need not have that.

    Coverage takes a lock at each call of a traced function: in a child that is forked while a thread holds it, the next
    such call waits for ever. Of the many rounds of kills each is as the one before; a few rounds on another store are
    measured.
    """
    for item in items:
        forks = "before_a_fork" in item.name or "takes_nothing_along" in item.name
        kills = item.path.name == "test_contract_on_disk.py" and "killed" in item.name
        if forks or kills:
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Nothing traces a test that is marked `no_cover`.

    In a worker of pytest-xdist coverage has begun twice: pytest-cov pauses the second, and so sets the first one going.
    """
    if item.get_closest_marker("no_cover") is None:
        return (yield)
    here, in_threads = sys.gettrace(), threading.gettrace()
    _trace(None, None)
    try:
        return (yield)
    finally:
        _trace(here, in_threads)


def _trace(here: Any, in_threads: Any) -> None:
    sys.settrace(here)
    threading.settrace(in_threads)

"""Fixtures of the tests: a shop with a frozen clock, and orders in any state."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import order_fsm.rules.shop
from order_fsm import Line, Message, Order, Orders, Refused, When, Workflow, shop_workflow
from order_fsm.rules.decide import Decision, decide
from order_fsm.rules.request import Request
from order_fsm.rules.shop import Dispatch
from order_fsm.store import IdempotencyRecord, Need, Query, Store
from order_fsm.testing import FrozenClock
from order_fsm.testing.store_contract.harness import STRESS
from order_fsm_adapters.memory import MemoryStore
from tests import servers
from tests.desk import Desk
from tests.stores import KINDS, opened

EVERYTHING = 1_000_000


class Clock(FrozenClock):
    """A clock that stands still until a test moves it."""

    def pass_by(self, **time: float) -> None:
        self.advance(timedelta(**time))


class Shop:
    """Orders on a store in memory, with common steps of the tests."""

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
        """Create an order for two of the ten teapots, over 10.00 GBP."""
        return self.orders.create(
            order_id, total=total, currency="GBP", lines=lines, customer=customer, email="ann@example.com"
        )

    def bring(self, state: str, order_id: str = "1001", total: str = "10.00") -> Order:
        """Create an order and bring it into a state with the fewest triggers."""
        order = self.create(order_id, total)
        for trigger, said in _routes(self.orders.workflow, order.total)[state]:
            self.orders.fire(order_id, trigger, **said)
        return self.orders.get(order_id)

    def all(self) -> list[Order]:
        return self.store.find(Query(When(), limit=EVERYTHING))

    def messages(self, topic: str | None = None) -> list[Message]:
        """Return the undelivered messages, oldest first, without claiming any."""
        waiting = [message for message in self.store.messages() if topic in (None, message.topic)]
        return sorted(waiting, key=lambda message: (message.created_at, message.order_id, message.version, message.id))

    def comment_of(self, message: Message) -> str:
        """Return the comment of the entry of a message."""
        return self.orders.history(message.order_id)[message.version - 1].comment

    def topics(self) -> list[str]:
        return [message.topic for message in self.messages()]

    def record(self, key: str) -> IdempotencyRecord | None:
        """Return the record of a key, or None."""
        (snapshot,) = self.store.prepare_many([Need(None, key)])
        return snapshot.record

    def dump(self, skus: Iterable[str] = ("TEAPOT", "CUP")) -> dict[str, Any]:
        """Return the whole content of the store, to show that a call changed nothing."""
        found = self.all()
        histories = {order.id: self.store.history(order.id) for order in found}
        keys = {entry.key for history in histories.values() for entry in history if entry.key is not None}
        return {
            "orders": found,
            "histories": histories,
            "keys": {key: self.record(key) for key in sorted(keys)},
            "stock": self.store.stock_levels(skus),
            "outbox": self.messages(),
            "dead_letters": self.store.dead_letters(EVERYTHING),
            "tally": sorted(self.store.tally(None), key=str),
        }


_WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"comment": "a reason"},
    {"comment": "a reason", "override": True},
    {"reference": "ch_1"},
    {"amount": "1.00"},
)
"""The arguments to try a trigger with, the simplest first."""


@lru_cache(maxsize=32)
def _routes(workflow: Workflow, total: Decimal) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Return the triggers that lead a new order into each state, each with its arguments."""
    shop = Shop(workflow)
    order = shop.create(total=str(total), lines=())
    routes: dict[str, list[tuple[str, dict[str, Any]]]] = {order.state: []}
    ahead = deque([order])
    while ahead:
        here = ahead.popleft()
        for trigger, way in product(workflow.triggers, _WAYS):
            outcome = _decided(workflow, here, trigger, way)
            if isinstance(outcome, Decision) and outcome.order.state not in routes:
                routes[outcome.order.state] = [*routes[here.state], (trigger, way)]
                ahead.append(outcome.order)
    return routes


def _decided(workflow: Workflow, order: Order, trigger: str, way: dict[str, Any]) -> Decision | Refused | None:
    facts = {name: value for name, value in way.items() if name in workflow.facts_of(trigger)}
    said = {name: value for name, value in way.items() if name in {"comment", "override"}}
    if len(facts) + len(said) < len(way):
        return None
    checked = workflow.checked_facts(trigger, facts)
    return decide(workflow, order, Request(trigger, order.updated_at, checked, **said))


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
    """Return a factory of shops, for tests that need several shops or other rules."""
    return Shop


@pytest.fixture(scope="session")
def postgresql() -> Iterator[servers.PostgresServer]:
    """A database in PostgreSQL."""
    servers.skip_unless_wanted()
    with servers.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def _mariadb() -> Iterator[servers.MariaDbServer]:
    servers.skip_unless_wanted()
    with servers.mariadb() as server:
        yield server


@pytest.fixture
def mariadb(_mariadb: servers.MariaDbServer) -> Iterator[servers.MariaDbServer]:
    """Databases in MariaDB, empty at first."""
    yield _mariadb
    _mariadb.empty()


@pytest.fixture
def desk(postgresql: servers.PostgresServer, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A shop on PostgreSQL whose calls a test lets fail."""
    with ExitStack() as stack:
        yield Desk(postgresql, request.node.nodeid, stack)


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
    """Rebuild the workflow under mutmut, because a cached one would hide mutants of its construction."""
    if "MUTANT_UNDER_TEST" in os.environ:
        order_fsm.rules.shop._built.cache_clear()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stress", action="store_true", help="run the long tests at full size, as ORDER_FSM_STRESS=1 does"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the variable that the contract of stores reads. Workers of pytest-xdist and forked processes inherit it."""
    if config.getoption("--stress"):
        os.environ[STRESS] = "1"
    if os.environ.get("MUTANT_UNDER_TEST") == "stats":
        _tolerate_late_generators()


def _tolerate_late_generators() -> None:
    """Let mutmut 3.8 count calls. It raises if the garbage collector ends a generator after its caller has returned."""
    core = pytest.importorskip("mutmut.core")
    reset = core.MutmutCallStack.reset

    def tolerant(token: object) -> None:
        with suppress(LookupError):
            reset(token)

    core.MutmutCallStack.reset = tolerant


def pytest_collection_finish() -> None:
    """Exempt the modules and the thousands of collected tests from garbage collection, a tenth of the time of a run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


FORKS = ("before_a_fork", "takes_nothing_along", "a_child_that_ends", "fork_waits")
"""Parts of the names of tests that fork while threads run."""

ALIKE = ("killed", "failing_calls", "contention", "any_change_is_returned")
"""Parts of the names of tests of the contract whose many rounds run the same lines."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Exclude some tests from coverage. The contract cannot mark them, because its users may not have pytest-cov.

    Coverage takes a lock at each call of a traced function: in a child that is forked while a thread holds it, the next
    such call waits for ever. Tests with many similar rounds take twice as long with coverage, and other tests of the
    contract measure the same lines.
    """
    for item in items:
        file = item.path.name
        again = file == "test_contract_on_sqlalchemy.py"  # The same stores on another connection.
        repeats = again or any(part in item.name for part in ALIKE)
        if any(part in item.name for part in FORKS) or (file.startswith("test_contract_on_") and repeats):
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Suspend coverage during a test with the marker `no_cover`.

    In a worker of pytest-xdist coverage started twice. pytest-cov pauses the second one, which resumes the first.
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

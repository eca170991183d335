"""Random calls on any workflow and several stores in lockstep, compared with `Reference`.

It uses the stateful tests of Hypothesis (https://hypothesis.readthedocs.io/en/latest/stateful.html), which shrink a
failure to a short sequence of calls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from order_fsm import validation
from order_fsm.errors import InvalidInput, MissingDependency, OrderFsmError, Refused
from order_fsm.model import UNFINISHED, Line, Message, Order, Receipt, statuses_of
from order_fsm.orders.service import Orders
from order_fsm.rules.rule import AMEND, MONEY_FACTS
from order_fsm.rules.shop import shop_workflow
from order_fsm.rules.workflow import Workflow, check_workflow
from order_fsm.store import Store
from order_fsm.testing.exact import exact
from order_fsm.testing.reference import Reference
from order_fsm.testing.reference_goods import goods_of

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
except ImportError as error:
    raise MissingDependency.of_extra("orders_machine", "Hypothesis", "testing") from error

MakeStore = Callable[[Path], Store]
"""Opens the store of a folder. The folder is empty at first."""

START = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
SKUS = ("TEAPOT", "CUP", "SPOON")
MANY = 1_000_000

# `begin` creates the first two.
_ids = st.sampled_from(["1001", "1001", "1001", "1002", "1002", "1003"])
_new_ids = st.sampled_from(["1003", "1004", "1005", "1001"])
_keys = st.sampled_from([None, None, None, "k1", "k2", "k3"])
_skus = st.sampled_from(SKUS[:2])
_backorder = st.sampled_from([None, False, True, True])
_amounts = st.sampled_from(["0", "0.01", "3.33", "10.00", "12.50"]).map(validation.money)
_said = st.fixed_dictionaries(
    {
        "comment": st.sampled_from(["", "", "a reason", " ", "Grüße 🫖\r\n"]),
        "visible": st.booleans(),
        "notify": st.booleans(),
        "by": st.sampled_from([None, None, "bob", validation.GATEWAY]),
        "key": _keys,
    }
)
_overridable = st.builds(lambda said, override: {**said, "override": override}, _said, st.booleans())
_money = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.none() | _amounts,
        "reference": st.none() | st.sampled_from(["ch_1", "ch_2"]),
        "transaction_id": st.none() | st.sampled_from(["t_1", "t_2"]),
        "provider": st.none() | st.sampled_from(["acme", "bank"]),
        "currency": st.sampled_from(["GBP", "GBP", "EUR"]),
    },
)
_goods: dict[str, st.SearchStrategy[Any]] = {
    "items": st.none() | st.dictionaries(st.sampled_from(SKUS), st.integers(1, 2), min_size=1, max_size=2),
    "parcel": st.none() | st.sampled_from(["AB123", "AB124"]),
    "restock": st.none() | st.booleans(),
}
_own_fact = st.none() | st.sampled_from(["", "fine", "damaged", "é"]) | st.integers(2, 9)
_lines = st.lists(st.builds(Line, st.sampled_from(SKUS), st.integers(1, 3)), max_size=3).map(tuple)
_parts = st.fixed_dictionaries(
    {},
    optional={
        "total": st.sampled_from(["10.00", "12.5", "3.33", "0"]).map(validation.money),
        "lines": _lines,
        "credited": st.sampled_from(["0", "3.33", "10"]).map(validation.money),
        "email": st.sampled_from([None, "ann@example.com", "ben@example.com"]),
        "customer": st.sampled_from([None, "ann", "ben"]),
        "data": st.sampled_from([None, {"n": [1]}, {"n": [1.5, True], "m": "é"}]),
    },
)
_topics = st.sampled_from(
    [
        *("order.placed", "order.updated", "order.paid", "payment.received", "payment.reversed", "payment.unmatched"),
        *("refund.due", "stock.short"),
    ]
)
_before = st.sampled_from([timedelta(0), timedelta(minutes=1), timedelta(days=9)])
_past_payments = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["captured", "captured", "captured", "refunded", "reversed", "refund_failed"]),
            "amount": st.sampled_from(["10.00", "10.00", "3.33"]).map(validation.money),
            "before": _before,
        },
        optional={
            "reference": st.sampled_from(["ch_1", "ch_2"]),
            "transaction_id": st.sampled_from(["t_1", "t_2"]),
            "credit": st.booleans(),
        },
    ).map(lambda one: {name: value for name, value in one.items() if name != "credit" or one["kind"] == "refunded"}),
    max_size=3,
)
_contents = st.fixed_dictionaries(
    {
        "total": st.sampled_from(["10.00", "10.00", "12.5", "0"]).map(validation.money),
        "lines": _lines,
        "customer": st.sampled_from([None, "ann", " ben"]),
    }
)


def orders_machine(
    stores: Mapping[str, MakeStore],
    *,
    workflow: Workflow | None = None,
    volatile: Collection[str] = (),
    facts: Mapping[str, st.SearchStrategy[Any]] | None = None,
) -> type[RuleBasedStateMachine]:
    """Return a state machine that makes the same calls on several stores and compares every result.

    It creates, adopts and erases orders, fires triggers with facts, saves forms and amends orders (also stale ones),
    comments, assigns orders to a customer, resends messages, repeats earlier calls, reuses keys and references, sets,
    adjusts and stops tracking stock, delivers messages, moves the clock a day ahead or back, and closes and reopens the
    stores. The result of each call (the receipt, or the kind of error and the codes of its reasons) must equal that of
    the reference. After each step all orders, histories, stock, counts, totals and reports must equal the reference.
    Every store must deliver the same messages. Other tests cover expiry, purges and failed deliveries. For example::

        TestMyShop = orders_machine({"mine": lambda place: MyStore(place / "orders.db")}).TestCase
        TestMyShop.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)

    Args:
        stores: by a name for failure messages, a function that opens a store in an empty folder, and opens it again
            later.
        workflow: the rules, by default `shop_workflow()`.
        volatile: names of stores that end with their process. They are never reopened.
        facts: strategies for the shop's own facts, by name. By default a fact is any short text or number.

    Returns:
        The class. Pytest runs its `TestCase`.

    Raises:
        InvalidInput: if `stores` is not a dict of functions of a folder, `workflow` is not a Workflow, or `volatile` or
            `facts` has an unknown name.
    """
    if not isinstance(stores, Mapping) or not stores:
        example = "{'mine': lambda place: MyStore(place / 'orders.db')}"
        raise InvalidInput(f"stores must be a dict such as {example}, with at least one store")
    for name, make in stores.items():
        validation.function_of(make, f"store {name!r}", "place")
    if unknown := sorted(validation.names(volatile, "volatile") - set(stores)):
        raise InvalidInput(f"volatile must name some of {', '.join(stores)}, not {unknown[0]!r}")
    rules = shop_workflow() if workflow is None else workflow
    check_workflow(rules)
    if facts is not None and not isinstance(facts, Mapping):
        raise InvalidInput(f"facts must be a dict of strategies by name, not {validation.shown(facts)}")
    known = frozenset().union(*(rules.facts_of(trigger) for trigger in rules.triggers))
    if unknown := sorted(set(facts or {}) - known):
        raise InvalidInput(f"facts must name facts of the workflow ({', '.join(sorted(known))}), not {unknown[0]!r}")
    fired = rules.fired_triggers
    triggers = st.sampled_from(fired).flatmap(lambda trigger: _with_facts(rules, trigger, facts or {}))
    flips = st.frozensets(st.sampled_from([status.name for status in rules.statuses]), max_size=3)

    class OrdersMachine(_Lockstep):
        """The rules of the machine: the calls and their arguments."""

        def __init__(self) -> None:
            super().__init__(rules, stores, frozenset(volatile))

        @initialize(
            teapots=st.integers(0, 4),
            backorder=_backorder,
            cups=st.none() | st.integers(0, 4),
            first=_contents,
            second=_contents,
        )
        def begin(
            self,
            teapots: int,
            backorder: bool | None,
            cups: int | None,
            first: dict[str, Any],
            second: dict[str, Any],
        ) -> None:
            self.set_stock("TEAPOT", teapots, None, backorder)
            if cups is not None:
                self.set_stock("CUP", cups, None, backorder)
            self.call("create", order_id="1001", key=None, **first)
            self.call("create", order_id="1002", key=None, **second)

        @rule(order_id=_new_ids, key=_keys, contents=_contents)
        def create(self, order_id: str, key: str | None, contents: dict[str, Any]) -> None:
            self.call("create", order_id=order_id, key=key, **contents)

        @rule(order_id=_ids, fired=triggers, said=_overridable)
        def fire(self, order_id: str, fired: tuple[str, dict[str, Any]], said: dict[str, Any]) -> None:
            trigger, given = fired
            self.call("fire", order_id=order_id, trigger=trigger, said=said, facts=given)

        @rule(order_id=_ids, nth=st.integers(0, len(fired) - 1), said=_overridable)
        def advance(self, order_id: str, nth: int, said: dict[str, Any]) -> None:
            """Fire a trigger that has a row in the order's state. Most triggers have no row in most states."""
            life = self.reference.lives.get(order_id)
            state = life[-1][0].state if life else UNFINISHED
            if there := [trigger for trigger in fired if rules.edges_from(state, trigger)]:
                self.call("fire", order_id=order_id, trigger=there[nth % len(there)], said=said, facts={})

        @rule(order_id=_ids, flipped=flips, stale=st.sampled_from([0, 0, 0, 1]), said=_overridable)
        def save(self, order_id: str, flipped: frozenset[str], stale: int, said: dict[str, Any]) -> None:
            life = self.reference.lives.get(order_id)
            order = life[-1][0] if life else None
            version = max(order.version - stale, 1) if order else 1
            wanted = (order.statuses if order else frozenset()) ^ flipped
            self.call("save", order_id=order_id, wanted=wanted, version=version, said=said)

        @rule(
            order_id=_ids,
            nth=st.integers(0, 5),
            part=st.integers(0, 3),
            given=st.fixed_dictionaries({}, optional=_goods),
        )
        def move_goods(self, order_id: str, nth: int, part: int, given: dict[str, Any]) -> None:
            """Place an order, then ship, return or recall a part of it or all of it."""
            life = self.reference.lives.get(order_id)
            order = life[-1][0] if life else None
            state = UNFINISHED if order is None else order.state
            there = [trigger for trigger in rules.triggers if rules.edges_from(state, trigger)]
            if not there:
                return
            trigger = there[0]
            facts: dict[str, Any] = {}
            moves = [one for one in there if rules.goods_of(one)]
            if order is not None and moves:
                trigger = moves[nth % len(moves)]
                facts = {name: value for name, value in given.items() if name in rules.facts_of(trigger)}
                goods = goods_of(order)
                pieces = goods.to_ship if rules.goods_of(trigger) == "shipped" else goods.out
                if "items" in facts and part and pieces:
                    facts["items"] = {sku: min(number, part) for sku, number in pieces.items()}
            said = {"comment": "a reason", "visible": False, "notify": True, "by": None, "key": None, "override": True}
            self.call("fire", order_id=order_id, trigger=trigger, said=said, facts=facts)

        @precondition(lambda self: "amend" in rules.triggers)
        @rule(
            order_id=_ids,
            lines=_lines,
            how=st.sampled_from(["drawn", "shipped", "shipped", "raised"]),
            stale=st.sampled_from([0, 0, 0, 1]),
            said=_overridable,
        )
        def amend_lines(
            self, order_id: str, lines: tuple[Line, ...], how: str, stale: int, said: dict[str, Any]
        ) -> None:
            """Amend the lines to any lines, to the shipped pieces, or to one more piece of each."""
            life = self.reference.lives.get(order_id)
            order = life[-1][0] if life else None
            if order is not None and how == "raised":
                lines = tuple(Line(line.sku, line.quantity + 1) for line in order.lines)
            elif order is not None and how == "shipped" and (shipped := goods_of(order).shipped):
                lines = tuple(Line(sku, number) for sku, number in shipped.items())
            version = max(order.version - stale, 1) if order else 1
            self.call("amend", order_id=order_id, wanted={"lines": lines}, version=version, said=said)

        @rule(order_id=_ids, said=_said)
        def comment(self, order_id: str, said: dict[str, Any]) -> None:
            self.call("comment", order_id=order_id, said=said)

        @rule(order_id=_ids, by=st.sampled_from([None, "dpo"]))
        def erase(self, order_id: str, by: str | None) -> None:
            self.call("erase", order_id=order_id, by=by)

        @precondition(lambda self: AMEND in rules.triggers)
        @rule(order_id=_ids, wanted=_parts, stale=st.sampled_from([0, 0, 0, 1]), said=_overridable)
        def amend(self, order_id: str, wanted: dict[str, Any], stale: int, said: dict[str, Any]) -> None:
            life = self.reference.lives.get(order_id)
            version = max(life[-1][0].version - stale, 1) if life else 1
            self.call("amend", order_id=order_id, wanted=wanted, version=version, said=said)

        @precondition(lambda self: AMEND in rules.triggers)
        @rule(ids=st.lists(_ids, max_size=3), customer=st.sampled_from([None, "ann", "ben"]))
        def assign_customer(self, ids: list[str], customer: str | None) -> None:
            self.call("assign_customer", ids=ids, customer=customer, key=None)

        @rule(order_id=_ids, topic=_topics, key=_keys)
        def resend(self, order_id: str, topic: str, key: str | None) -> None:
            self.call("resend", order_id=order_id, topic=topic, key=key)

        @rule(
            order_id=_new_ids,
            key=_keys,
            contents=_contents,
            state=st.sampled_from([*rules.states, "sent", "sent+paid", "sent+paid"]),
            payments=_past_payments,
            before=_before,
        )
        def adopt(
            self,
            order_id: str,
            key: str | None,
            contents: dict[str, Any],
            state: str,
            payments: list[dict[str, Any]],
            before: timedelta,
        ) -> None:
            past = [
                {name: value for name, value in one.items() if name != "before"} | {"at": self.now - one["before"]}
                for one in payments
            ]
            placed = self.now - before
            self.call(
                "adopt", order_id=order_id, statuses=statuses_of(state), past=past, placed=placed, key=key, **contents
            )

        @precondition(lambda self: self.kept)
        @rule(back=st.integers(0, 3))
        def repeat(self, back: int) -> None:
            name, given = self.kept[-1 - back % len(self.kept)]
            self.call(name, **given)

        @rule(sku=_skus, available=st.integers(0, 4), off=st.sampled_from([None, None, 0, 0, 1]), backorder=_backorder)
        def set_stock(self, sku: str, available: int, off: int | None, backorder: bool | None) -> None:
            """Set stock, sometimes with the expected number, sometimes with a stale one."""
            expected = None if off is None else self.reference.on_hand.get(sku, 0) + off
            self.call("set_stock", sku=sku, available=available, expected=expected, backorder=backorder)

        @rule(sku=_skus)
        def stop_tracking(self, sku: str) -> None:
            self.call("stop_tracking", sku=sku)

        @rule(sku=_skus, by=st.integers(-2, 3), key=_keys)
        def adjust_stock(self, sku: str, by: int, key: str | None) -> None:
            self.call("adjust_stock", sku=sku, by=by, key=key)

        @rule(time=st.sampled_from([timedelta(days=-1), timedelta(days=1), timedelta(microseconds=1)]))
        def let_pass(self, time: timedelta) -> None:
            self.now += time

        @rule()
        def deliver(self) -> None:
            self.compare_messages()

        @rule()
        def restart(self) -> None:
            self.reopen()

        @invariant()
        def agree(self) -> None:
            self.compare_all()

    return OrdersMachine


def _with_facts(
    workflow: Workflow, trigger: str, own: Mapping[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    money = workflow.ledger_of(trigger) is not None
    names = workflow.facts_of(trigger) - (MONEY_FACTS if money else set())
    known: dict[str, st.SearchStrategy[Any]] = {"credit": st.none() | st.booleans()} if money else {}
    known |= _goods if workflow.goods_of(trigger) else {}
    known |= dict(own)
    drawn = st.fixed_dictionaries({}, optional={name: known.get(name, _own_fact) for name in sorted(names)})
    return st.builds(lambda facts, paid: (trigger, {**paid, **facts}), drawn, _money if money else st.just({}))


class _Lockstep(RuleBasedStateMachine):
    """The stores and the reference, and the way to make one call on all of them.

    Attributes:
        kept: the calls whose keys are used.
    """

    def __init__(self, workflow: Workflow, stores: Mapping[str, MakeStore], volatile: frozenset[str]) -> None:
        super().__init__()
        self.reference = Reference(workflow)
        self.kept: list[tuple[str, dict[str, Any]]] = []
        self.now = START
        self.shops: dict[str, Orders] = {}
        self._workflow = workflow
        self._makers = stores
        self._volatile = volatile
        self._opened: dict[str, Store] = {}
        self._folder = tempfile.TemporaryDirectory()
        for number, name in enumerate(stores):
            (Path(self._folder.name) / str(number)).mkdir()
            self._open(name)

    def teardown(self) -> None:
        """Compare the messages that are left in the outboxes, and close the stores."""
        try:
            self.compare_messages()
        finally:
            for name in self._opened:
                self._opened[name].close()
            self._folder.cleanup()

    def _open(self, name: str) -> None:
        place = Path(self._folder.name) / str(list(self._makers).index(name))
        self._opened[name] = self._makers[name](place)
        self.shops[name] = Orders(self._opened[name], workflow=self._workflow, clock=lambda: self.now)

    def reopen(self) -> None:
        """Close the durable stores, and open them again."""
        for name in [name for name in self._opened if name not in self._volatile]:
            self._opened[name].close()
            self._open(name)

    def call(self, name: str, **given: Any) -> None:
        """Make one call on the reference and on every store, and compare the results."""
        wanted = _answer(lambda: getattr(self, f"_{name}_in_reference")(**given))
        for store, orders in self.shops.items():
            answer = _answer(lambda orders=orders: getattr(self, f"_{name}_in")(orders, **given))  # type: ignore[misc]
            assert answer == wanted, f"{name} of {given} on {store!r}: {answer}\nexpected: {wanted}"
        key = given.get("said", given).get("key")
        if key in self.reference.keys and (name, given) not in self.kept:
            self.kept.append((name, given))

    def compare_all(self) -> None:
        """Compare the results of all reads."""
        wanted = self.reference.orders()
        for store, orders in self.shops.items():
            found = orders.find(limit=2)
            while len(found) < len(wanted) and (page := orders.find(limit=2, after=found[-1].id if found else None)):
                found += page
            assert exact(found) == exact(wanted), f"{store!r} finds other orders than the reference"
            for order in wanted:
                assert exact(orders.get(order.id)) == exact(order), f"order {order.id!r} in {store!r} differs"
                history = tuple(entry for _, entry in self.reference.lives[order.id])
                assert exact(orders.history(order.id)) == exact(history), f"its history in {store!r} differs"
            parts = [order.id for order in wanted if self.reference.part_dispatched(order)]
            found = orders.queue("part_dispatched", limit=MANY)
            assert [order.id for order in found] == parts, f"the queue of part-dispatched orders in {store!r} is wrong"
            for order in found:
                goods = goods_of(order)
                assert (order.to_ship, order.out) == (goods.to_ship, goods.out), (
                    f"order {order.id!r} counts its goods wrong"
                )
            for sku in SKUS:
                level = orders.stock_level(sku)
                assert exact(level) == exact(self.reference.level(sku)), f"the stock in {store!r} is wrong"
                assert orders.stock(sku) == self.reference.on_hand.get(sku), f"the stock in {store!r} is wrong"
            assert orders.counts() == self.reference.counts(), f"the counts of {store!r} are wrong"
            for customer in (None, "ann"):
                assert orders.totals(customer) == self.reference.totals(customer), f"the totals of {store!r} are wrong"
            for since, until in ((None, self.now), (self.now, self.now + timedelta(microseconds=1)), (START, None)):
                self.compare_interval(store, since, until)

    def compare_interval(self, store: str, since: datetime | None, until: datetime | None) -> None:
        """Compare the reads of an interval."""
        orders, reference = self.shops[store], self.reference
        for customer in (None, "ann"):
            wanted, found = reference.placed(since, until, customer), list[Order]()
            while len(found) <= len(wanted) and (
                page := orders.find(
                    customer=customer, since=since, until=until, limit=2, after=found[-1].id if found else None
                )
            ):
                found += page
            assert exact(found) == exact(wanted), f"{store!r} finds other orders of an interval"
            totals = reference.dated_totals(since, until, customer)
            assert orders.totals(customer, since, until) == totals, f"{store!r} has other totals in an interval"
        assert orders.report(since, until) == reference.report(since, until), f"the report of {store!r} is wrong"

    def compare_messages(self) -> None:
        """Deliver the messages in the outboxes, and compare them between the stores."""
        told: dict[str, dict[str, list[Message]]] = {}
        for store, orders in self.shops.items():
            delivered: list[Message] = []
            orders.deliver(delivered.append, MANY)
            by_order = told.setdefault(store, {})
            for message in delivered:
                by_order.setdefault(message.order_id, []).append(_plain(message))
        first = next(iter(told))
        for store, messages in told.items():
            assert messages == told[first], f"{store!r} and {first!r} deliver other messages"

    # Each call on the reference and on a store

    def _new(self, order_id: str, total: Any, lines: tuple[Line, ...], customer: str | None, at: datetime) -> Order:
        counted = self._workflow.counts.matches(frozenset())
        return Order(
            order_id,
            UNFINISHED,
            counted,
            1,
            total,
            "GBP",
            lines,
            customer,
            None,
            (),
            at,
            at,
            data={"n": [1]},
        )

    def _create_in_reference(self, order_id: str, key: str | None, **contents: Any) -> Order:
        return self.reference.create(self._new(order_id, at=self.now, **contents), key)

    def _create_in(self, orders: Orders, order_id: str, **given: Any) -> Order:
        return orders.create(order_id, currency="GBP", data={"n": [1]}, **given)

    def _fire_in_reference(self, order_id: str, trigger: str, said: dict[str, Any], facts: dict[str, Any]) -> object:
        return self.reference.fire(order_id, trigger, self.now, said, facts)

    def _fire_in(
        self, orders: Orders, order_id: str, trigger: str, said: dict[str, Any], facts: dict[str, Any]
    ) -> object:
        return orders.fire(order_id, trigger, **said, **facts)

    def _save_in_reference(self, order_id: str, wanted: frozenset[str], version: int, said: dict[str, Any]) -> object:
        return self.reference.save(order_id, wanted, version, self.now, said)

    def _save_in(
        self, orders: Orders, order_id: str, wanted: frozenset[str], version: int, said: dict[str, Any]
    ) -> object:
        return orders.save(order_id, wanted, version=version, **said)

    def _set_stock_in_reference(self, sku: str, available: int, expected: int | None, backorder: bool | None) -> None:
        self.reference.set_stock(sku, available, expected, backorder)

    def _set_stock_in(self, orders: Orders, sku: str, **given: Any) -> None:
        orders.set_stock(sku, **given)

    def _stop_tracking_in_reference(self, sku: str) -> None:
        self.reference.set_stock(sku, None, None, None)

    def _stop_tracking_in(self, orders: Orders, sku: str) -> None:
        orders.stop_tracking(sku)

    def _adjust_stock_in_reference(self, sku: str, by: int, key: str | None) -> int:
        return self.reference.adjust_stock(sku, by, key)

    def _adjust_stock_in(self, orders: Orders, sku: str, by: int, key: str | None) -> int:
        return orders.adjust_stock(sku, by, key=key)

    def _erase_in_reference(self, order_id: str, by: str | None) -> object:
        return self.reference.erase(order_id, self.now, by)

    def _erase_in(self, orders: Orders, order_id: str, by: str | None) -> object:
        return orders.erase_order(order_id, by=by)

    def _comment_in_reference(self, order_id: str, said: dict[str, Any]) -> object:
        return self.reference.comment(order_id, self.now, said)

    def _comment_in(self, orders: Orders, order_id: str, said: dict[str, Any]) -> object:
        return orders.comment(order_id, **said)

    def _amend_in_reference(self, order_id: str, wanted: dict[str, Any], version: int, said: dict[str, Any]) -> object:
        return self.reference.amend(order_id, wanted, version, self.now, said)

    def _amend_in(
        self, orders: Orders, order_id: str, wanted: dict[str, Any], version: int, said: dict[str, Any]
    ) -> object:
        return orders.amend(order_id, version=version, **said, **wanted)

    def _assign_customer_in_reference(self, ids: list[str], customer: str | None, key: str | None) -> object:
        said = {"comment": "", "visible": False, "notify": False, "by": None, "key": key, "override": False}
        return self.reference.assign_customer(ids, customer, self.now, said)

    def _assign_customer_in(self, orders: Orders, ids: list[str], customer: str | None, key: None) -> object:  # noqa: ARG002
        return orders.assign_customer(ids, customer=customer)

    def _resend_in_reference(self, order_id: str, topic: str, key: str | None) -> object:
        said = {"comment": "", "visible": False, "notify": False, "by": None, "key": key}
        return self.reference.resend(order_id, topic, self.now, said)

    def _resend_in(self, orders: Orders, order_id: str, topic: str, key: str | None) -> object:
        return orders.resend(order_id, topic, key=key)

    def _adopt_in_reference(
        self,
        order_id: str,
        statuses: frozenset[str],
        past: list[dict[str, Any]],
        placed: datetime,
        key: str | None,
        **contents: Any,
    ) -> object:
        new = self._new(order_id, at=min([placed, *(one["at"] for one in past)]), **contents)
        return self.reference.adopt(new, statuses, past, self.now, placed, key)

    def _adopt_in(
        self, orders: Orders, order_id: str, past: list[dict[str, Any]], placed: datetime, **given: Any
    ) -> object:
        return orders.adopt(order_id, currency="GBP", data={"n": [1]}, payments=past, placed_at=placed, **given)


def _plain(message: Message) -> Message:
    """Return a message without the part of its id that depends on the store."""
    return replace(message, id=message.id.rpartition("-")[0])


def _answer(call: Callable[[], object]) -> object:
    """Return the result of a call, or its kind of error with the codes of its reasons.

    The codes have no sequence. The result of a repeated call does not have the pieces that the order held at that
    version, so the comparison leaves them out.
    """
    try:
        answer = call()
    except Refused as refused:
        return Refused, sorted({reason.code for reason in refused.reasons})
    except OrderFsmError as error:
        return type(error)
    return exact(_without_pieces(answer))


def _without_pieces(answer: object) -> object:
    if isinstance(answer, list):
        return [_without_pieces(one) for one in answer]
    if isinstance(answer, Order):
        return answer.holding(None)
    return replace(answer, order=answer.order.holding(None)) if isinstance(answer, Receipt) else answer

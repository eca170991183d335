"""The audit finds nothing in content of the library, and exactly the fault of each kind of damage."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from order_fsm import Guard, Line, Order, Orders, Refused, Rule, StockLevel, When, shop_workflow
from order_fsm.audit.auditor import Audit, audit
from order_fsm.errors import OrderNotFound, StoreCorrupt
from order_fsm.model import Entry, Message, Payment
from order_fsm.orders.relay import LEASE
from order_fsm.store import IdempotencyRecord, Need, Query, Snapshot, Tally
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

from .conftest import Shop
from .damaged import Damaged
from .sqlite_files import by_hand, by_hand_and_sealed

LATER = datetime(2030, 1, 1, tzinfo=UTC)

FIRED = [trigger for trigger in shop_workflow().triggers if trigger != "amend"]
FACTS: dict[str, dict[str, Any]] = {
    "pay": {"reference": "ch_1"},
    "refund": {"amount": "1"},
    "unpay": {"amount": "2", "reference": "ch_1", "comment": "bounced"},
    "undispatch": {"comment": "came back"},
}


def codes(found: Audit) -> list[str]:
    return sorted({finding.code for finding in found.findings})


def lively(shop: Shop) -> None:
    """Fill a shop with part payments, an override, a form, waiting and dead messages, and missing stock."""
    orders = shop.orders
    orders.set_stock("TEAPOT", 30)
    for state in orders.workflow.states:
        shop.bring(state, f"in {state}")
    shop.create("1001", lines=[Line("TEAPOT", 20)])
    orders.fire("1001", "pay", amount="4", reference="ch_1", key="evt_1")
    orders.fire("1001", "dispatch", override=True, comment="he always pays", key="d", notify=True)
    orders.save("1001", {"sent", "paid", "invoiced", "dispatched"}, version=3, by="bob", key="form")
    orders.fire("1001", "unpay", amount="1", reference="ch_1", comment="bounced")
    orders.comment("1001", "Delayed by snow", visible=True, notify=True, key="c")
    until = shop.clock.now + LEASE
    for message in shop.store.claim(shop.clock.now, until, 2):
        shop.store.retry_later(message, until, None)


def test_content_of_the_library_has_no_finding(any_shop: Shop) -> None:
    lively(any_shop)
    steps: list[tuple[int, int | None]] = []
    found = any_shop.orders.audit(lambda done, of: steps.append((done, of)))
    assert found.findings == ()
    assert found.ok
    assert found.orders == 15
    assert found.entries == sum(order.version for order in any_shop.all())
    assert steps == [(number, 15) for number in range(1, 16)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(FIRED)), max_size=25))
def test_any_history_has_no_finding(steps: list[tuple[str, str]]) -> None:
    shop = Shop()
    for order_id in "ab":
        shop.create(order_id, lines=[Line("TEAPOT", 6)])
    for number, (order_id, trigger) in enumerate(steps):
        try:
            shop.orders.fire(order_id, trigger, key=f"{number}", **FACTS.get(trigger, {}))
        except Refused:
            continue
    assert shop.orders.audit().findings == ()


def test_empty_store_has_no_finding(any_shop: Shop) -> None:
    assert any_shop.orders.audit() == Audit(0, 0, ())


# Each code, on stores in memory whose values a test can replace.


class Broken(MemoryStore):
    """A store whose parts a test may change."""

    def order(self, **changes: Any) -> None:
        self._content.orders["1001"] = replace(self._content.orders["1001"], **changes)

    def payments(self, change: Callable[[Payment], Payment | None]) -> None:
        changed = [change(payment) for payment in self._content.orders["1001"].payments]
        self.order(payments=tuple(payment for payment in changed if payment is not None))

    def entry(self, place: int, **changes: Any) -> None:
        entries = list(self._content.histories["1001"])
        entries[place - 1] = replace(entries[place - 1], **changes)
        self._content.histories["1001"] = tuple(entries)

    def hold(self, sku: str, pieces: int) -> None:
        level = self._content.levels.get(sku, StockLevel())
        self._content.levels[sku] = level._replace(held=level.held + pieces)

    def hold_untracked(self, pieces: int) -> None:
        self.set_stock("TEAPOT", None)
        self.hold("TEAPOT", pieces)

    def key(self, key: str, record: IdempotencyRecord | None) -> None:
        if record is None:
            del self._content.records[key]
        else:
            self._content.records[key] = record

    def message(self, message: Message, dead: bool) -> None:
        self._content.outbox.add(message)
        if dead:
            self._content.outbox.give_up(message.id, 1)

    def drop_entry(self, version: int) -> None:
        entries = self._content.histories["1001"]
        self._content.histories["1001"] = entries[: version - 1] + entries[version:]


@pytest.fixture
def broken() -> Broken:
    """Create the order 1001, paid in two parts and dispatched."""
    store = Broken()
    shop = Shop(store=store)
    shop.create("1001")
    shop.orders.fire("1001", "place")
    shop.orders.fire("1001", "pay", amount="4", reference="ch_1", key="evt_1")
    shop.orders.fire("1001", "pay", reference="ch_2", key="evt_2")
    shop.orders.fire("1001", "dispatch", notify=True)
    assert shop.orders.audit().ok
    return store


def _message(store: Broken, dead: bool, **changes: Any) -> None:
    message = next(store.messages())
    store.message(Message(**{"id": message.id, "order_id": "1001", "topic": "x", "payload": {}, "created_at":
                             message.created_at, **changes}), dead)  # fmt: skip


DAMAGE: dict[str, tuple[str, Callable[[Broken], object]]] = {
    "an entry in the middle is gone": ("history", lambda store: store.drop_entry(3)),
    "the last entry is gone": ("fold", lambda store: store.drop_entry(5)),
    "an entry has another version": ("history", lambda store: store.entry(3, version=4)),
    "an entry begins elsewhere": ("history", lambda store: store.entry(3, state_before="sent+invoiced")),
    "the order is elsewhere": ("fold", lambda store: store.order(state="sent+paid")),
    "the order is older": ("fold", lambda store: store.order(version=4)),
    "the order was made later": ("fold", lambda store: store.order(created_at=LATER)),
    "the order was changed later": ("fold", lambda store: store.order(updated_at=LATER)),
    "it does not count": ("counted", lambda store: store.order(counted=False)),
    "an amount differs": ("ledger", lambda store: store.payments(lambda one: replace(one, amount=Decimal("9.99")))),
    "a kind differs": ("ledger", lambda store: store.payments(lambda one: replace(one, kind="refunded"))),
    "a reference differs": ("ledger", lambda store: store.payments(lambda one: replace(one, reference="ch_9"))),
    "a time differs": ("ledger", lambda store: store.payments(lambda one: replace(one, at=one.at.replace(year=2030)))),
    "a payment of no entry": (
        "ledger",
        lambda store: store.payments(lambda one: replace(one, version=one.version + 2)),
    ),
    "a payment of another trigger": ("ledger", lambda store: store.payments(lambda one: replace(one, version=5))),
    "no payment at all": ("ledger", lambda store: store.order(payments=())),
    "another currency": ("rule", lambda store: store.order(currency="EUR")),
    "paid without the money": ("rule", lambda store: store.order(total=Decimal("99.00"))),
    "not paid with the money": ("rule", lambda store: store.order(total=Decimal("1.00"))),
    "another trigger": ("rule", lambda store: store.entry(2, trigger="invoice")),
    "an unknown trigger": ("rule", lambda store: store.entry(2, trigger="hurry")),
    "a comment that ticks": ("rule", lambda store: store.entry(2, trigger="comment")),
    "a comment of no rule that ticks": (
        "rule",
        lambda store: store.entry(2, trigger="comment", rules_fingerprint=None),
    ),
    "no creation": ("rule", lambda store: store.entry(1, trigger="place")),
    "a key that leads nowhere": ("keys", lambda store: store.key("evt_1", None)),
    "a key of another order": ("keys", lambda store: store.key("evt_1", IdempotencyRecord("1002", 3, 3, ""))),
    "a key of other entries": ("keys", lambda store: store.key("evt_1", IdempotencyRecord("1001", 3, 4, ""))),
    "a message of no order": ("messages", lambda store: _message(store, False, id="1002#1.1", order_id="1002")),
    "a message of no version": ("messages", lambda store: _message(store, False, id="1001#6.1")),
    "a message without a version": ("messages", lambda store: _message(store, False, id="1001")),
    "a dead letter of no order": ("messages", lambda store: _message(store, True, id="1002#1.1", order_id="1002")),
    "less than nothing on hand": ("stock", lambda store: store.set_stock("TEAPOT", -3)),
    "a piece held by no order": ("stock", lambda store: store.hold("TEAPOT", 1)),
    "a piece of an item that no order has": ("stock", lambda store: store.hold("CUP", 1)),
    "a reserved piece that is not held": ("stock", lambda store: store.order(reserved=(Line("TEAPOT", 1),))),
    "a reserved item that it did not order": (
        "goods",
        lambda store: store.order(reserved=(Line("TEAPOT", 2), Line("CUP", 1))),
    ),
    "a held piece of an untracked item": (
        "stock",
        lambda store: store.hold_untracked(-1),
    ),
}


FOLLOWS = {
    "history": {"fold", "keys"},
    "fold": {"tally", "messages"},
    "counted": {"tally"},
    "ledger": {"rule", "tally"},
    "rule": {"ledger", "tally"},
    "goods": {"stock"},
    "stock": {"goods"},
}
"""Further findings of the same damage."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_damage_is_found_under_its_code(broken: Broken, damage: str) -> None:
    code, act = DAMAGE[damage]
    act(broken)
    found = audit(broken, shop_workflow())
    assert code in codes(found)
    assert set(codes(found)) <= {code, *FOLLOWS.get(code, ())}
    assert not found.ok
    assert all(finding.message for finding in found.findings)


def test_tally_that_differs_from_the_orders_is_found(shop: Shop) -> None:
    class Miscounting(MemoryStore):
        def tally(self, customer: str | None) -> list[Tally]:
            return [one._replace(orders=one.orders + 1) for one in super().tally(customer)]

    shop = Shop(store=Miscounting())
    shop.create()
    assert codes(shop.orders.audit()) == ["tally"]


def test_pieces_held_by_a_removed_order_are_found(any_shop: Shop) -> None:
    any_shop.bring("sent", "1001")
    any_shop.bring("sent", "1002")
    any_shop.store.remove(any_shop.orders.get("1001"))
    any_shop.orders.stop_tracking("TEAPOT")
    (finding,) = any_shop.orders.audit().findings
    assert finding == (
        None,
        "stock",
        "'TEAPOT': 4 pieces held, 0 out and 0 lost, and the orders have 2 pieces held, 0 out and 0 lost",
    )


def test_item_that_moves_during_the_audit_is_no_finding(any_shop: Shop) -> None:
    for number in range(4):
        any_shop.create(f"{number}", lines=[Line("TEAPOT", 1)])

    def others(done: int, _: int | None) -> None:
        any_shop.orders.fire(f"{4 - done}" if done < 4 else "0", "place")

    assert any_shop.orders.audit(others).findings == ()
    assert any_shop.orders.stock_level("TEAPOT") == StockLevel(6, held=4)


def test_item_that_moves_whenever_the_audit_has_read_the_orders_is_no_finding() -> None:
    class Moving(MemoryStore):
        def order_ids(self) -> Iterator[str]:
            yield from super().order_ids()
            unplaced = next(iter(self.find(Query(When(lacks={"sent"}), limit=1))))
            Orders(self).fire(unplaced.id, "place")

    shop = Shop(store=Moving())
    for number in range(4):
        shop.create(f"{number}", lines=[Line("TEAPOT", 1)])
    assert "stock" not in codes(shop.orders.audit())


def test_order_that_is_cancelled_and_reinstated_while_it_is_read_is_no_finding() -> None:
    class Moving(MemoryStore):
        def order_ids(self) -> Iterator[str]:
            for order_id in super().order_ids():
                Orders(self).fire(order_id, "cancel")
                yield order_id
                Orders(self).fire(order_id, "reinstate")

    shop = Shop(store=Moving())
    for number in range(3):
        shop.bring("sent", f"{number}")
    assert shop.orders.audit() == Audit(3, 9, ())


def test_pieces_that_orders_hold_may_be_missing(shop: Shop) -> None:
    shop.create("1001", lines=[Line("TEAPOT", 30)])
    shop.orders.fire("1001", "pay", reference="ch_1")
    assert shop.orders.stock("TEAPOT") == -20
    assert shop.orders.audit().ok


def test_guard_that_raises_fails_only_its_order() -> None:
    fails: list[str] = []

    def odd(*_: object) -> bool:
        if fails:
            raise ZeroDivisionError
        return True

    rules = [Rule("place", forbids={"sent", "cancelled"}, adds={"sent"}, guards=(Guard("odd", "odd", odd),))]
    default = shop_workflow()
    workflow = type(default)(
        default.statuses,
        [*rules, *(rule for rule in default.rules if rule.trigger != "place")],
        holds_stock=default.holds_stock,
        counts=default.counts,
        queues=default.queues,
    )
    shop = Shop(workflow)
    shop.bring("sent", "1001")
    shop.bring("cancelled", "1002")
    assert shop.orders.audit().ok
    fails.append("now")
    (finding,) = shop.orders.audit().findings
    assert (finding.order_id, finding.code) == ("1001", "rule")
    assert "ZeroDivisionError" in finding.message


# Stores that cannot be read


def test_damaged_order_is_one_finding_and_the_others_are_checked() -> None:
    store = Damaged("2", found=True)
    shop = Shop(store=store)
    for number in range(5):
        shop.create(f"{number}", lines=())
    assert audit(store, shop_workflow()) == Audit(5, 5, ())
    store.begin()
    found = audit(store, shop_workflow())
    assert [(finding.order_id, finding.code) for finding in found.findings] == [("2", "corrupt")]
    assert (found.orders, found.entries) == (4, 4)


def test_list_of_orders_that_breaks_off_is_a_finding(broken: Broken) -> None:
    def breaks_off() -> Iterator[str]:
        yield "1001"
        raise StoreCorrupt("the list of orders is damaged")

    broken.order_ids = breaks_off  # type: ignore[method-assign]
    found = audit(broken, shop_workflow())
    assert [(finding.order_id, finding.code) for finding in found.findings] == [(None, "corrupt")]
    assert found.orders == 1


def test_order_removed_during_the_audit_is_no_finding(broken: Broken) -> None:
    shop = Shop(store=broken)
    for number in range(450):
        shop.create(f"{number}", lines=())

    def purge(done: int, _: int | None) -> None:
        if done in {1, 200}:
            for order in broken.find(Query(When(lacks={"sent"}), limit=150)):
                broken.remove(order)

    assert audit(broken, shop_workflow(), purge).findings == ()
    with pytest.raises(OrderNotFound):
        broken.load("0")


@pytest.mark.parametrize("again", [False, True])
def test_order_removed_before_its_keys_are_read_is_no_finding(again: bool) -> None:
    class Removing(MemoryStore):
        def prepare_many(self, needs: Sequence[Need]) -> list[Snapshot]:
            if needs[0].order_id is None:
                self.remove(self.load("1001"))
                if again:
                    other = Orders(self)
                    other.create("1001", "10", "GBP")
                    other.comment("1001", "a note")
                    other.comment("1001", "another", key="c")
            return super().prepare_many(needs)

    shop = Shop(store=Removing())
    shop.create()
    shop.orders.comment("1001", "a note", key="c")
    assert shop.orders.audit().findings == ()


def test_a_change_between_an_order_and_its_history_is_no_finding() -> None:
    class Changing(MemoryStore):
        def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
            if self.load(order_id).version < 9:
                Orders(self).comment(order_id, "meanwhile")
            return super().history(order_id, after, limit)

    shop = Shop(store=Changing())
    shop.create()
    assert shop.orders.audit() == Audit(1, 9, ())


def test_orders_that_change_during_the_audit_are_no_findings(any_shop: Shop) -> None:
    lively(any_shop)

    def meanwhile(done: int, _: int | None) -> None:
        any_shop.create(f"new {done}")
        any_shop.orders.fire(f"new {done}", "pay", reference="ch_1")
        any_shop.orders.fire("1001", "pay", amount="1")

    names = [order.id for order in any_shop.all()]
    found = any_shop.orders.audit(lambda done, of: meanwhile(done, of) if done <= len(names) else None)
    assert found.findings == ()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "shop.db")
    lively(Shop(store=store))
    yield store
    store.close()


EDITS = {
    "an entry": ("UPDATE order_fsm_entry SET comment = 'x' WHERE order_id = '1001' AND version = 3", "1001"),
    "an order": ("UPDATE order_fsm_order SET total = '1' WHERE id = '1001'", "1001"),
    "a payment": ("UPDATE order_fsm_order SET payments = '[]' WHERE id = '1001'", "1001"),
    "a key": ("UPDATE order_fsm_key SET last = 9 WHERE key = 'evt_1'", "1001"),
    "a message": ("UPDATE order_fsm_message SET payload = '{}'", None),
    "a dead letter": ("UPDATE order_fsm_dead_letter SET topic = 'x'", None),
    "an item that nobody ordered": ("INSERT INTO order_fsm_stock VALUES ('CUP', 3, 0, 0, 0, 0, x'')", None),
    "a lost order": ("DELETE FROM order_fsm_order WHERE id = '1001'", None),
    "a key that leads nowhere": ("DELETE FROM order_fsm_entry WHERE key = 'evt_1'", None),
    "a table": ("DROP TABLE order_fsm_dead_letter", None),
}


@pytest.mark.parametrize("edit", EDITS)
def test_unreadable_row_of_sqlite_is_a_finding_and_the_audit_continues(
    tmp_path: Path, sqlite: SqliteStore, edit: str
) -> None:
    statement, order_id = EDITS[edit]
    by_hand(tmp_path / "shop.db", statement)
    found = audit(sqlite, shop_workflow())
    assert (order_id, "corrupt") in [finding[:2] for finding in found.findings]
    if order_id is not None and edit != "a key":
        assert found.orders == 14


def test_a_history_forged_with_its_seals_is_still_judged_by_the_rules(tmp_path: Path, sqlite: SqliteStore) -> None:
    by_hand_and_sealed(
        tmp_path / "shop.db",
        """UPDATE order_fsm_order SET payments = replace(payments, '"amount":"10.00"', '"amount":"1"')
            WHERE id = 'in sent+paid'""",
        """UPDATE order_fsm_entry SET facts = replace(facts, '10.00', '1') WHERE order_id = 'in sent+paid'""",
        "UPDATE order_fsm_payment SET unit = '1', units = 1 WHERE order_id = 'in sent+paid'",
    )
    found = audit(sqlite, shop_workflow())
    assert {finding[:2] for finding in found.findings} == {("in sent+paid", "rule")}


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE order_fsm_tally SET orders = orders + 1 WHERE state = 'sent+paid'",
        "UPDATE order_fsm_tally SET units = units + 1 WHERE state = 'sent+paid'",
        "UPDATE order_fsm_tally SET unit = '1' WHERE state = 'sent+paid'",
        "DELETE FROM order_fsm_tally WHERE state = 'sent+paid'",
    ],
)
def test_wrong_rows_of_the_tally_are_found(tmp_path: Path, sqlite: SqliteStore, edit: str) -> None:
    by_hand(tmp_path / "shop.db", edit)
    assert codes(audit(sqlite, shop_workflow())) == ["tally"]


def test_an_index_that_leaves_an_order_out_is_found(tmp_path: Path, sqlite: SqliteStore) -> None:
    path = tmp_path / "shop.db"
    by_hand(
        path,
        "CREATE TABLE other AS SELECT * FROM order_fsm_order WHERE id <> '1001'",
        "CREATE INDEX other_index ON other (state, created_at, id)",
        "PRAGMA writable_schema = ON",
        """UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'other_index')
            WHERE name = 'order_fsm_order_by_state'""",
    )
    sqlite.close()
    store = SqliteStore(path)
    assert "1001" not in [order.id for order in store.find(Query(When(), limit=100))]
    found = audit(store, shop_workflow())
    store.close()
    assert codes(found) == ["corrupt"]
    assert any("SQLite: " in finding.message for finding in found.findings)


# Memory


@pytest.mark.no_cover
def test_many_orders_take_no_more_memory_than_few() -> None:
    """The store keeps nothing. The memory of the audit grows by less than an id per order."""

    class Endless(MemoryStore):
        number = 0

        def order_ids(self) -> Iterator[str]:
            return map(str, range(self.number))

        def load(self, order_id: str) -> Order:
            return replace(super().load("1001"), id=order_id)

        def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
            return tuple(replace(entry) for entry in self._content.histories["1001"] if order_id)[after:][:limit]

        def tally(self, customer: str | None) -> list[Tally]:
            assert customer is None
            order = super().load("1001")
            return [Tally(order.state, "GBP", False, self.number, order.total * self.number)]

        def stock_levels(self, skus: Iterable[str]) -> dict[str, StockLevel]:
            return {sku: level._replace(held=2 * self.number) for sku, level in super().stock_levels(skus).items()}

    def peak(number: int) -> int:
        store = Endless()
        shop = Shop(store=store)
        shop.create()
        shop.orders.fire("1001", "pay", reference="ch_1")
        store.number = number
        tracemalloc.start()
        try:
            assert shop.orders.audit() == Audit(number, 2 * number, ())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(8000) - peak(400) < 7600 * 50

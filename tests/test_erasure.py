"""An erasure removes personal values and keeps everything else, in every kind of store."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from order_fsm import (
    Guard,
    InvalidInput,
    KeyReused,
    Line,
    Order,
    OrderNotFound,
    Orders,
    Rule,
    Status,
    StoreFull,
    StoreUnavailable,
    UnknownTrigger,
    When,
    Workflow,
    WorkflowError,
    shop_workflow,
)
from order_fsm.orders.relay import LEASE
from order_fsm_adapters.sqlite import SqliteStore

from .conftest import Shop
from .gateway import Gateway
from .sqlite_files import by_hand, by_hand_and_sealed
from .stores import precede

NAME = "Ann Éxample"

RETURNS = shop_workflow().extend(
    statuses=[Status("returned", tick="take_back")],
    rules=[
        Rule(
            "take_back",
            needs={"dispatched"},
            forbids={"returned"},
            adds={"returned"},
            guards=(
                Guard("no_reason", "the customer gives a reason", lambda _, facts: len(facts.get("reason", "")) > 3),
                Guard("not_by_phone", "the customer has a phone", lambda order, _: order.data["phone"]),
            ),
            facts={"reason", "reference"},
            announces="shop.returned",
        )
    ],
    forbids={"undispatch": {"returned"}},
)


def create(shop: Shop, order_id: str = "1001", customer: str | None = NAME, **more: Any) -> Order:
    """Create an order with personal values."""
    values: dict[str, Any] = {"email": "ann@example.com", "data": {"phone": f"0123 {NAME}"}, "key": f"new {order_id}"}
    return shop.orders.create(
        order_id, total="10.00", currency="GBP", lines=[Line("TEAPOT", 2)], customer=customer, **(values | more)
    )


def live(shop: Shop, order_id: str = "1001") -> Order:
    """Create an order with money, stock, reasons, an override, notes, a form and messages."""
    orders = shop.orders
    create(shop, order_id)
    orders.fire(order_id, "place", comment=f"{NAME} called", visible=True, notify=True, key=f"place {order_id}")
    orders.fire(order_id, "dispatch", override=True, comment=f"{NAME} always pays", by="bob", key=f"go {order_id}")
    orders.fire(order_id, "undispatch", comment=f"{NAME} was not at home", by="bob")
    facts: dict[str, Any] = {
        "amount": "10.00",
        "reference": f"ch_{order_id}",
        "transaction_id": f"t_{order_id}",
        "provider": "acme",
    }
    orders.fire(order_id, "pay", comment=f"thanks, {NAME}", key=f"evt {order_id}", **facts)
    orders.save(
        order_id, {"sent", "paid", "invoiced", "dispatched"}, version=5, comment=f"to {NAME}", key=f"form {order_id}"
    )
    orders.comment(order_id, f"{NAME} asked for a bow", visible=True, notify=True, key=f"note {order_id}")
    return orders.get(order_id)


def personal(shop: Shop) -> bool:
    """Return whether any result of the store has a personal value."""
    return NAME in str(shop.dump()) or "ann@example.com" in str(shop.dump())


def lasting(shop: Shop) -> Any:
    """Return the content that an erasure must keep."""
    orders = shop.orders
    return (
        [(one.id, one.state, one.total, one.currency, one.lines, one.payments, one.reserved) for one in shop.all()],
        [one.balance for one in shop.all()],
        orders.counts(),
        orders.totals(),
        orders.stock("TEAPOT"),
        [(one.id, one.topic) for one in shop.messages()],
        [one.id for one in orders.find(reference="ch_1001")],
        [one.id for one in orders.queue("complete")],
    )


def test_c5_customer_is_erased_while_ledger_totals_and_audit_still_hold(any_shop: Shop) -> None:
    for order_id in ("1001", "1002"):
        live(any_shop, order_id)
    create(any_shop, "1003", customer="ben", email="ben@example.com", data={"phone": "9"})
    before, history = lasting(any_shop), any_shop.orders.history("1001")
    assert any_shop.orders.erase_customer(NAME, by="dpo") == ["1001", "1002"]
    assert not personal(any_shop)
    assert lasting(any_shop) == before
    order, after = any_shop.orders.get("1001"), any_shop.orders.history("1001")
    assert (order.customer, order.email, order.data) == (None, None, {})
    kept = [(one.trigger, one.before, one.after, one.at, one.by, one.key, one.override, one.visible) for one in history]
    now = [(one.trigger, one.before, one.after, one.at, one.by, one.key, one.override, one.visible) for one in after]
    assert now[:-1] == kept
    assert [one.facts for one in after[:-1]] == [one.facts for one in history]
    assert [one.erased for one in after] == [bool(one.comment) for one in history] + [False]
    last = after[-1]
    assert (last.trigger, last.by, last.state_before, last.state_after, last.version) == (
        "erase",
        "dpo",
        order.state,
        order.state,
        order.version,
    )
    assert any_shop.orders.audit().findings == ()
    assert any_shop.orders.find(customer=NAME) == []
    assert any_shop.orders.totals(NAME) == {}
    assert any_shop.orders.get("1003").customer == "ben"


def test_erasing_again_does_nothing(any_shop: Shop) -> None:
    live(any_shop)
    assert any_shop.orders.erase_order("1001") == ["1001"]
    before = any_shop.dump()
    assert any_shop.orders.erase_order("1001") == []
    assert any_shop.orders.erase_customer(NAME) == []
    assert any_shop.dump() == before


def test_order_with_only_a_comment_is_erased(any_shop: Shop) -> None:
    any_shop.orders.create("1001", total="1", currency="GBP")
    assert any_shop.orders.erase_order("1001") == []
    any_shop.orders.comment("1001", NAME)
    assert any_shop.orders.erase_order("1001") == ["1001"]
    assert not personal(any_shop)


def test_amendment_of_personal_values_alone_is_erased_and_still_legal(any_shop: Shop) -> None:
    create(any_shop)
    any_shop.orders.amend("1001", version=1, email="eve@example.com")
    any_shop.orders.erase_order("1001")
    assert any_shop.orders.history("1001")[1].facts == {}
    assert any_shop.orders.audit().findings == ()


def test_comment_after_an_erasure_is_erased_by_the_next(any_shop: Shop) -> None:
    live(any_shop)
    any_shop.orders.erase_order("1001")
    any_shop.orders.comment("1001", NAME)
    assert any_shop.orders.history("1001")[-1].comment == NAME
    assert any_shop.orders.audit().ok
    assert any_shop.orders.erase_order("1001") == ["1001"]
    assert not personal(any_shop)
    assert any_shop.orders.audit().ok


def test_order_can_change_after_an_erasure(any_shop: Shop) -> None:
    live(any_shop)
    any_shop.orders.erase_order("1001")
    any_shop.orders.fire("1001", "refund", amount="4.00", reference="ch_1001", comment="a dent")
    any_shop.orders.fire("1001", "undispatch", comment="it is back")
    order = any_shop.orders.get("1001")
    assert (order.held, order.captured) == (Decimal(6), Decimal(10))
    assert any_shop.orders.audit().ok


def test_new_order_of_an_erased_customer_works(any_shop: Shop) -> None:
    live(any_shop)
    any_shop.orders.erase_customer(NAME)
    create(any_shop, "1002")
    assert [order.id for order in any_shop.orders.find(customer=NAME)] == ["1002"]
    any_shop.orders.fire("1002", "place")
    assert any_shop.orders.totals(NAME) == {"GBP": Decimal(10)}
    assert any_shop.orders.erase_customer(NAME) == ["1002"]


def test_limit_leaves_the_later_orders_for_the_next_call(any_shop: Shop) -> None:
    for number in range(120):
        create(any_shop, f"{number:03}")
    assert any_shop.orders.erase_customer(NAME, limit=2) == ["000", "001"]
    assert any_shop.orders.erase_customer(NAME) == [f"{number:03}" for number in range(2, 120)]
    assert not personal(any_shop)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2"])
def test_invalid_limit_is_refused(shop: Shop, limit: Any) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        shop.orders.erase_customer(NAME, limit=limit)


@pytest.mark.parametrize("by", ["", "gateway", "clock", 7])
def test_invalid_actor_is_refused(shop: Shop, by: Any) -> None:
    create(shop)
    for erase in (shop.orders.erase_customer, shop.orders.erase_order):
        with pytest.raises(InvalidInput, match="by"):
            erase("1001", by=by)
    assert shop.orders.get("1001").version == 1


def test_missing_order_raises(any_shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        any_shop.orders.erase_order("1001")
    assert any_shop.orders.erase_customer("nobody") == []


def test_erase_is_not_a_trigger(shop: Shop) -> None:
    create(shop)
    with pytest.raises(UnknownTrigger, match=r"call Orders\.erase_order"):
        shop.orders.fire("1001", "erase")
    with pytest.raises(WorkflowError, match="erase"):
        shop_workflow().extend(rules=[Rule("erase", needs={"sent"})])


def test_order_that_moves_to_another_customer_is_not_erased(any_shop: Shop) -> None:
    """After the search, another worker erased it and the shop assigned it to another customer."""
    live(any_shop, "1001")
    create(any_shop, "1002")
    other = Orders(any_shop.store, clock=any_shop.clock)
    done: list[str] = []

    def before(_: object) -> None:
        if not done:
            done.append("")  # The erasure of the other worker prepares too.
            other.erase_order("1002")

    precede(any_shop.store, "prepare_many", before)
    assert any_shop.orders.erase_customer(NAME) == ["1001"]
    assert any_shop.orders.get("1002").version == 2


def test_stock_does_not_move_even_under_another_table(any_shop: Shop) -> None:
    create(any_shop)
    any_shop.orders.fire("1001", "place")
    elsewhere = Orders(any_shop.store, workflow=shop_workflow("cod").extend(holds_stock=When(has={"dispatched"})))
    elsewhere.erase_order("1001")
    assert any_shop.orders.stock("TEAPOT") == 8
    assert any_shop.orders.get("1001").reserved == (Line("TEAPOT", 2),)


# Keys


def test_repeated_request_gets_the_first_receipt_after_an_erasure(any_shop: Shop) -> None:
    """The request is not compared, because a fingerprint could confirm a guess."""
    live(any_shop)
    any_shop.orders.erase_order("1001")
    assert create(any_shop).version == 1
    assert create(any_shop, customer="Mallory").customer is None
    again = any_shop.orders.comment("1001", "another text", key="note 1001")
    assert again.duplicate
    assert [entry.comment for entry in again.entries] == [""]
    assert any_shop.orders.fire("1001", "pay", amount="3", key="form 1001").duplicate
    create(any_shop, "1002")
    with pytest.raises(KeyReused):
        any_shop.orders.comment("1002", "another text", key="note 1001")
    for key in ("new", "place", "go", "evt", "form", "note"):
        record = any_shop.record(f"{key} 1001")
        assert record is not None
        assert record.request_fingerprint == ""
    assert any_shop.orders.audit().ok


def test_redelivery_of_a_gateway_is_still_compared_after_an_erasure(any_shop: Shop) -> None:
    any_shop.create()
    gateway = Gateway(any_shop)
    assert gateway.send(amount="10.00").http_status == 200
    any_shop.orders.erase_order("1001")
    assert gateway.send(amount="10.00").http_status == 200
    assert gateway.send(amount="9.00").http_status == 409
    assert any_shop.orders.get("1001").captured == Decimal(10)
    assert any_shop.orders.audit().ok


# Messages


def test_messages_and_dead_letters_keep_lasting_facts_only(any_shop: Shop) -> None:
    shop = any_shop
    returns = Orders(shop.store, workflow=RETURNS, clock=shop.clock)
    for order_id in ("1001", "1002"):
        create(shop, order_id)
        for trigger in ("place", "pay", "dispatch"):
            returns.fire(order_id, trigger)
        returns.fire(order_id, "take_back", reason=f"{NAME} fell ill", reference="RMA 7", notify=True)
    until = shop.clock.now + LEASE
    for _ in range(4):
        for message in shop.store.claim(shop.clock.now, until, 99):
            shop.store.retry_later(message, until, None if message.order_id == "1001" else shop.clock.now)
    returns.erase_customer(NAME)
    letters = {one.topic: one.payload for one in returns.dead_letters() if one.order_id == "1001"}
    assert letters["shop.returned"] == {"reference": "RMA 7", "state": "sent+paid+dispatched+returned"}
    assert not personal(shop)
    for message in returns.dead_letters():
        returns.requeue(message)
    delivered: list[str] = []
    returns.deliver(lambda message: delivered.append(message.topic), 99)
    assert delivered.count("shop.returned") == 2
    assert returns.audit().ok


# The audit


def test_audit_judges_erased_facts_and_reasons_of_a_shop_leniently(any_shop: Shop) -> None:
    """Its own guards may have read the erased values: facts, the reason, and the order's data."""
    returns = Orders(any_shop.store, workflow=RETURNS, clock=any_shop.clock)
    create(any_shop)
    for trigger in ("place", "pay", "dispatch"):
        returns.fire("1001", trigger)
    returns.fire("1001", "take_back", reason="too small")
    assert returns.audit().ok
    returns.erase_order("1001")
    assert returns.audit().findings == ()


@pytest.mark.parametrize("workflow", [shop_workflow(), RETURNS], ids=["the shop's", "with a guard of its own"])
def test_audit_still_finds_a_wrong_step_before_an_erasure(tmp_path: Path, workflow: Workflow) -> None:
    """An erased reason does not explain that paid was ticked without money."""
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        shop = Shop(workflow, store)
        create(shop)
        for trigger in ("place", "invoice", "dispatch"):
            shop.orders.fire("1001", trigger, comment=f"for {NAME}")
        shop.orders.erase_order("1001")
        assert shop.orders.audit().ok
        by_hand_and_sealed(
            path,
            "UPDATE order_fsm_entry SET state_after = 'sent+paid' WHERE version = 3",
            "UPDATE order_fsm_entry SET state_before = 'sent+paid' WHERE version = 4",
        )
        assert {finding.code for finding in shop.orders.audit().findings} == {"rule"}


def test_audit_finds_a_step_before_an_erasure_that_no_rule_takes(tmp_path: Path) -> None:
    """Erased facts explain only steps that some rule can take."""
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        shop = Shop(RETURNS, store)
        create(shop)
        for trigger in ("place", "pay", "dispatch"):
            shop.orders.fire("1001", trigger)
        shop.orders.fire("1001", "take_back", reason="too small")
        shop.orders.erase_order("1001")
        state = shop.orders.history("1001")[3].state_after
        by_hand_and_sealed(
            path,
            f"UPDATE order_fsm_entry SET state_after = '{state}' WHERE version >= 5",  # noqa: S608
            f"UPDATE order_fsm_entry SET state_before = '{state}' WHERE version = 6",  # noqa: S608
            f"UPDATE order_fsm_order SET state = '{state}'",  # noqa: S608
        )
        found = shop.orders.audit().findings
        assert [finding.code for finding in found] == ["rule"]
        assert "take_back" in found[0].message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"comment": NAME}, "entry 2 has a comment or facts that entry 8 erased"),
        ({"facts": {"parcel": NAME}}, "entry 2 has a comment or facts that entry 8 erased"),
        ({"email": NAME}, "it has a customer, an email or data, which entry 8 erased"),
        ({"data": {"a": NAME}}, "it has a customer, an email or data, which entry 8 erased"),
    ],
    ids=["comment", "facts", "email", "data"],
)
def test_audit_finds_a_value_that_an_erasure_left(shop: Shop, change: dict[str, Any], message: str) -> None:
    live(shop)
    shop.orders.erase_order("1001")
    content: Any = shop.store
    histories, orders = content._content.histories, content._content.orders
    if "comment" in change or "facts" in change:
        created, changed, *others = histories["1001"]
        histories["1001"] = (created, replace(changed, **change), *others)
    else:
        orders["1001"] = replace(orders["1001"], **change)
    assert ("1001", "erased", message) in shop.orders.audit().findings


BLANKED = "UPDATE order_fsm_entry SET comment = '', personal_facts = '{}', salt = NULL"


@pytest.mark.parametrize(
    ("edit", "code", "message"),
    [
        (f"{BLANKED} WHERE version = 9", "erased", "entry 9 lost its comment or facts, and no later entry erases them"),
        ("UPDATE order_fsm_entry SET comment = 'x' WHERE version = 2", "corrupt", "entry 2"),
        ("UPDATE order_fsm_entry SET personal_facts = '{\"x\":1}' WHERE version = 2", "corrupt", "entry 2"),
        ("UPDATE order_fsm_entry SET salt = x'00' WHERE version = 2", "corrupt", "entry 2"),
        ("UPDATE order_fsm_entry SET personal = NULL WHERE version = 2", "corrupt", "entry 2"),
        ("UPDATE order_fsm_order SET customer = 'eve'", "corrupt", "order '1001'"),
        ("DELETE FROM order_fsm_entry WHERE version = 8", "corrupt", "entry 8"),
    ],
    ids=["later comment blanked", "comment", "facts", "salt", "digest", "customer", "the entry that erases"],
)
def test_audit_distinguishes_an_erasure_from_tampering(tmp_path: Path, edit: str, code: str, message: str) -> None:
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        shop = Shop(store=store)
        live(shop)
        shop.orders.erase_order("1001")
        shop.orders.comment("1001", "later")
        assert [entry.trigger for entry in shop.orders.history("1001")][7:] == ["erase", "comment"]
        assert shop.orders.audit().ok
        by_hand(path, edit)
        found = shop.orders.audit().findings
        assert [finding.code for finding in found] == [code]
        assert message in found[0].message


# Failures


def test_ids_are_named_if_bytes_may_be_left(any_shop: Shop) -> None:
    """The values are erased, so the customer no longer leads to the orders."""
    create(any_shop)

    def fail() -> None:
        raise StoreFull("no room")

    any_shop.store.scrub = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match=r"erasure of \['1001'\] is committed.*call again"):
        any_shop.orders.erase_customer(NAME)
    assert not personal(any_shop)


def test_ids_are_noted_if_a_later_order_cannot_be_erased(any_shop: Shop) -> None:
    for order_id in ("1001", "1002"):
        create(any_shop, order_id)
    left = [None, None]

    def fail(_: object) -> None:
        left.pop()
        if not left:
            raise StoreUnavailable("the disk has failed")

    precede(any_shop.store, "commit", fail)
    with pytest.raises(StoreUnavailable, match="the disk has failed") as failed:
        any_shop.orders.erase_customer(NAME)
    assert failed.value.__notes__ == ["the erasure of ['1001'] is committed"]
    left += [None] * 9
    assert any_shop.orders.erase_customer(NAME) == ["1002"]


@pytest.mark.parametrize("damage", ["total = '9'", "state = 'x'"])
def test_damaged_order_is_logged_and_left_out(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "shop.db"
    with SqliteStore(path) as store:
        shop = Shop(store=store)
        for order_id in ("1001", "1002", "1003"):
            create(shop, order_id)
        by_hand(path, f"UPDATE order_fsm_order SET {damage} WHERE id = '1002'")  # noqa: S608
        assert shop.orders.erase_customer(NAME) == ["1001", "1003"]
        assert "'1002'" in caplog.text
        assert NAME not in caplog.text


def test_order_with_a_damaged_entry_or_message_is_left_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for place, damage in enumerate(("entry SET by = 'x' WHERE version = 1", "message SET topic = 'x'")):
        path = tmp_path / f"{place}.db"
        with SqliteStore(path) as store:
            shop = Shop(store=store)
            live(shop, "1001")
            by_hand(path, f"UPDATE order_fsm_{damage}")
            create(shop, "1002")
            assert shop.orders.erase_customer(NAME) == ["1002"]
            assert shop.orders.get("1001").customer == NAME
            assert by_hand(path, "SELECT count(*) FROM order_fsm_entry WHERE comment <> ''") == [(6,)]
            assert "'1001' was not erased: StoreCorrupt" in caplog.text
            caplog.clear()


def test_group_commit_erases_too(any_shop: Shop) -> None:
    live(any_shop)
    grouped = Orders(any_shop.store, clock=any_shop.clock, group_commit=True)
    assert grouped.erase_customer(NAME) == ["1001"]
    assert not personal(any_shop)


def test_erased_orders_are_purged_and_expired_like_others(any_shop: Shop) -> None:
    create(any_shop, "1001")
    create(any_shop, "1002")
    any_shop.orders.fire("1002", "place")
    any_shop.orders.erase_customer(NAME)
    any_shop.clock.pass_by(days=9)
    assert any_shop.orders.purge(timedelta(days=7)) == ["1001"]
    assert [one.order.id for one in any_shop.orders.expire(timedelta(days=7))] == ["1002"]
    assert any_shop.orders.audit().ok

"""C8: after a change of the table, each entry is judged by the rules that decided it, or not at all."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from order_fsm import (
    Guard,
    InvalidInput,
    Line,
    Orders,
    Refused,
    Rule,
    Status,
    StockLevel,
    When,
    Workflow,
    shop_workflow,
)
from order_fsm.audit import Audit, audit
from order_fsm_adapters.memory import MemoryStore
from tests.conftest import Shop

OLD = shop_workflow()
PREPAID = shop_workflow("prepaid", invoice_on_payment=False)
"""Return the current rules, which refuse to dispatch on account. The old ones allow it."""


def under(shop: Shop, workflow: Workflow) -> Orders:
    """Return the orders of a shop under other rules."""
    return Orders(shop.store, workflow=workflow, clock=shop.clock)


def on_account(shop: Shop) -> Orders:
    """Dispatch an order on account under the old rules and pay it under the current ones. Return the orders."""
    shop.create()
    for trigger in ("place", "invoice", "dispatch"):
        under(shop, OLD).fire("1001", trigger)
    today = under(shop, PREPAID)
    today.comment("1001", "Delayed by snow")
    today.fire("1001", "pay", reference="ch_1")
    return today


def codes(found: Audit) -> list[str]:
    return [finding.code for finding in found.findings]


def test_c8_old_entries_are_judged_by_the_rules_that_decided_them(any_shop: Shop) -> None:
    today = on_account(any_shop)
    found = today.audit(workflows=[OLD])
    assert (found.findings, found.unjudged, found.entries) == ((), 0, 6)


def test_c8_entries_of_rules_that_the_audit_does_not_have_are_counted_and_not_judged(any_shop: Shop) -> None:
    found = on_account(any_shop).audit()
    assert (found.findings, found.unjudged) == ((), 3)
    assert found.ok


def test_c8_new_entries_are_unjudged_with_only_the_old_rules(any_shop: Shop) -> None:
    on_account(any_shop)
    assert under(any_shop, OLD).audit().unjudged == 1
    assert audit(any_shop.store, OLD, workflows=[PREPAID]).unjudged == 0


def test_c8_order_moved_to_changed_rules_is_judged_before_and_after_the_move(any_shop: Shop) -> None:
    held = OLD.extend(
        statuses=[Status("on_hold")], rules=[Rule("hold", needs={"sent"}, forbids={"on_hold"}, adds={"on_hold"})]
    )
    any_shop.create()
    under(any_shop, held).fire("1001", "place")
    under(any_shop, held).fire("1001", "hold")
    any_shop.orders.migrate({"sent+on_hold": "sent"}, comment="we hold no orders any more")
    any_shop.orders.fire("1001", "pay")
    assert any_shop.orders.audit(workflows=[held]) == Audit(1, 5, (), 0)
    assert any_shop.orders.audit() == Audit(1, 5, (), 2)


def test_c8_refund_counts_as_it_did_under_the_rules_that_decided_the_entry_before(any_shop: Shop) -> None:
    """A refund of a counted order lowers its price. The current rules count orders on account only when dispatched."""
    late = OLD.extend(counts=When(has={"dispatched"}))
    any_shop.create()
    under(any_shop, OLD).fire("1001", "pay", reference="ch_1")
    under(any_shop, OLD).comment("1001", "Delayed by snow")
    order = under(any_shop, late).fire("1001", "refund", amount="2", reference="ch_1").order
    assert order.credited == Decimal(2)
    found = under(any_shop, late).audit(workflows=[OLD])
    assert [code for code in codes(found) if code != "counted"] == []


class Edited(MemoryStore):
    """A store whose entries a test may change."""

    def edit(self, version: int, **changes: Any) -> None:
        entries = list(self._content.histories["1001"])
        entries[version - 1] = replace(entries[version - 1], **changes)
        self._content.histories["1001"] = tuple(entries)


def test_faulty_old_entry_is_found_only_by_its_own_rules() -> None:
    store = Edited()
    today = on_account(Shop(store=store))
    store.edit(4, trigger="cancel")
    assert today.audit().ok
    (finding,) = today.audit(workflows=[OLD]).findings
    assert finding.code == "rule"
    assert finding.message.endswith("by the rules: sent+invoiced+cancelled")


def test_entry_of_a_rule_without_a_fingerprint_is_not_judged() -> None:
    store = Edited()
    shop = Shop(store=store)
    shop.bring("sent")
    store.edit(2, rules_fingerprint=None)
    assert (shop.orders.audit().ok, shop.orders.audit().unjudged) == (True, 1)


def test_payment_of_rules_that_the_audit_does_not_have_is_no_finding(any_shop: Shop) -> None:
    any_shop.create()
    under(any_shop, OLD).fire("1001", "pay", reference="ch_1")
    found = under(any_shop, PREPAID).audit()
    assert (found.findings, found.unjudged) == ((), 1)


def test_trigger_that_its_rules_do_not_have_is_found() -> None:
    store = Edited()
    shop = Shop(store=store)
    shop.bring("sent")
    store.edit(2, trigger="hurry")
    (finding,) = shop.orders.audit().findings
    assert finding.message.endswith("by the rules: there is no such trigger")


def limited(code: str, limit: int) -> Workflow:
    """Return rules that do not hurry orders above a limit."""
    guard = Guard(code, f"the order is over more than {limit}", lambda order, facts: order.total <= limit)
    return OLD.extend(rules=[Rule("hurry", needs={"sent"}, guards=(guard,))])


def test_changed_guard_under_a_new_code_gives_another_fingerprint(any_shop: Shop) -> None:
    """Older entries are therefore judged by the old guard or not at all, and never by the new one."""
    old, new = limited("up_to_20", 20), limited("up_to_5", 5)
    assert old.fingerprint != new.fingerprint
    any_shop.create()
    under(any_shop, old).fire("1001", "place")
    under(any_shop, old).fire("1001", "hurry")
    found = under(any_shop, new).audit()
    assert (found.findings, found.unjudged) == ((), 2)
    found = under(any_shop, new).audit(workflows=[old])
    assert (found.findings, found.unjudged) == ((), 0)


def test_changed_guard_under_its_old_code_judges_the_entries_from_before(any_shop: Shop) -> None:
    """The two tables have one fingerprint. A changed guard therefore needs a new code."""
    old, new = limited("limit", 20), limited("limit", 5)
    assert old.fingerprint == new.fingerprint
    any_shop.create()
    under(any_shop, old).fire("1001", "place")
    under(any_shop, old).fire("1001", "hurry")
    assert codes(under(any_shop, new).audit()) == ["rule"]
    assert codes(under(any_shop, new).audit(workflows=[old])) == ["rule"], "today's rules take precedence"


@pytest.mark.parametrize("workflows", [OLD, "old", {"old": OLD}, 7, [shop_workflow], ["old"]])
def test_audit_refuses_workflows_that_are_not_a_list(shop: Shop, workflows: Any) -> None:
    with pytest.raises(InvalidInput, match=r"workflows must be a list of Workflow, not"):
        shop.orders.audit(workflows=workflows)


def test_c8_adoption_is_judged_by_the_rules_of_its_time(any_shop: Shop) -> None:
    """Under the old rules the money of an order that is only sent was not asked for."""
    earlier = OLD.extend(counts=When(has={"sent", "dispatched"}))
    under(any_shop, earlier).adopt("1001", statuses={"sent", "paid"}, total="10", currency="GBP")
    today = under(any_shop, OLD)
    assert [one.code for one in today.audit(workflows=[earlier]).findings] == ["counted"]
    assert today.audit().unjudged == 1


def test_c8_form_of_an_order_in_an_earlier_state_names_the_reason(any_shop: Shop) -> None:
    held = OLD.extend(statuses=[Status("on_hold")], rules=[Rule("hold", needs={"sent"}, adds={"on_hold"})])
    orders = under(any_shop, held)
    any_shop.create()
    orders.fire("1001", "place")
    orders.fire("1001", "hold")
    for boxes in ({"sent"}, {"sent", "invoiced"}):
        with pytest.raises(Refused, match=r"unknown_state"):
            under(any_shop, OLD).save("1001", boxes, version=3)


def test_c8_amended_order_keeps_the_stock_that_it_took_under_earlier_rules(any_shop: Shop) -> None:
    """Only a migration moves stock after the table has changed."""
    any_shop.bring("sent")
    later = under(any_shop, OLD.extend(holds_stock=When(has={"paid"}, lacks={"cancelled"})))
    order = later.amend("1001", version=2, lines=[Line("TEAPOT", 3)]).order
    assert order.reserved == (Line("TEAPOT", 3),)
    assert later.stock_level("TEAPOT") == StockLevel(7, held=3)

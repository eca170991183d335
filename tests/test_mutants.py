"""Tests detect every small fault in a row of the shop's table or a formula of its ledgers.

A mutant of the default table (`tests/mutants.py`) is refused by the constructor, contradicts a claim of the shop, or
differs from the golden table of `test_table` or from the examples of money and goods. A mutant that takes the same rows
in every state decides as the table does. The others are listed in `EQUIVALENT`, each with the reason. A default run
takes a sample. A stressed run takes all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import pytest
from attrs import evolve
from msgspec.structs import replace

from order_fsm import Order, Rule, UnknownTrigger, Workflow, WorkflowError, shop_workflow
from order_fsm.rules.rule import Edge, Guard
from order_fsm.testing.store_contract.harness import stressed
from order_fsm.verify import EveryOrder, EveryStep, TableClaim, prove, shop_claims
from order_fsm.verify.asks import ROWS
from tests.conftest import Shop
from tests.formula_mutants import formula_mutants
from tests.mutants import Mutant, mutants_of, mutants_of_the_whole
from tests.test_goods_examples import EXAMPLES as GOODS_EXAMPLES
from tests.test_goods_examples import run_goods
from tests.test_ledger_examples import EXAMPLES, run
from tests.test_table import goods_apart, money_apart, rows_of

# Coverage would take four times as long, and other tests cover these lines.
pytestmark = pytest.mark.no_cover

TABLE = shop_workflow()
STRIDE = 1 if stressed() else 61
FEW_ROWS = 2
"""Enough ledger rows to kill most mutants."""

Verdict = str | None
"""The claim or example that caught a mutant, or None."""


class Caught(Exception):
    """A claim failed, so the proof can stop."""


def strict(claim: EveryOrder | EveryStep) -> EveryOrder | EveryStep:
    """Return the claim as one that ends the proof at its first failure."""
    test = claim.test

    def checked(subject: object) -> bool:
        if not test(subject):  # type: ignore[arg-type]
            raise Caught(str(claim))
        return True

    return evolve(claim, test=checked)


ABOUT_THE_TABLE = [claim for claim in shop_claims() if isinstance(claim, TableClaim)]
ABOUT_MONEY = [strict(claim) for claim in shop_claims() if isinstance(claim, EveryOrder | EveryStep)]

COVERED_BEFORE = "of an unpaid order something is outstanding, so an amount that covers the cost is above 0"
NO_OVERRIDE = "a later row is open without an override, so it is taken first"
NO_BOUND = "a payment has no bound, is about one payment, and is above 0 by the row's own guard"
NO_CREDIT = "only a refund can ask for a credit, so the guard always holds"
SAME_TEST = "the row has the other guard with the same test already"
STAYS_COVERED = "money that comes leaves a paid order covered, so the row before is taken"
OTHERS_FIRST = "a row before it is open to every order that is not cancelled"
NONE_OUT_IF_CANCELLED = "goods of an order come back before it is cancelled"
NEVER_COVERS = "of an unpaid order something is outstanding, and money that goes back, or goods, never lower that"
AS_WHEN_CANCELLED = "on a cancelled order it has the result of the last row"
ONE_SUBJECT = "a refund is about the payment that it names, so the guard always holds"
MARK_IS_INVOICED = "an invoice by payment is ticked, so the guard on it holds"
MARK_IS_PAID = (
    "of a live order that is not dispatched, and of a cancelled one, an invoice by payment lasts while it is paid"
)
CAPTURE_FIRST = "no money goes back before a payment, so the first ledger row of an order is a capture"
IS_DISPATCHED = "the guard holds for every dispatched order, and the row needs one"
AS_LATER_ROW = "a later row with fewer guards has the same result for the additional orders"
ALL_OUT = "a recall takes all pieces that are out, and no more"
HAS_REASON = "the row has the stricter guard on the reason already"

EQUIVALENT: dict[str, str] = {
    "2 place: guards with beyond_cost": NO_CREDIT,
    "3 pay: guards without nothing_outstanding": COVERED_BEFORE,
    "3 pay: nothing_outstanding policy=True": COVERED_BEFORE,
    "3 pay: guards with no_amount for nothing_outstanding": COVERED_BEFORE,
    "3 pay: guards with which_payment for nothing_outstanding": COVERED_BEFORE,
    "3 pay: guards with beyond_bound for nothing_outstanding": COVERED_BEFORE,
    "3 pay: guards with beyond_cost for nothing_outstanding": COVERED_BEFORE,
    "3 pay: outstanding policy=True": NO_OVERRIDE,
    "3 pay: not_online policy=True": NO_OVERRIDE,
    "3 pay: guards with no_amount": NO_BOUND,
    "3 pay: guards with which_payment": NO_BOUND,
    "3 pay: guards with beyond_bound": NO_BOUND,
    "3 pay: guards with beyond_cost": NO_CREDIT,
    "4 pay: outstanding policy=True": NO_OVERRIDE,
    "5 pay: forbids without paid": STAYS_COVERED,
    "5 pay: guards with which_payment": NO_BOUND,
    "5 pay: guards with beyond_bound": NO_BOUND,
    "5 pay: guards with beyond_cost": NO_CREDIT,
    "6 pay: needs without cancelled": OTHERS_FIRST,
    "6 pay: guards with which_payment": NO_BOUND,
    "6 pay: guards with beyond_bound": NO_BOUND,
    "6 pay: guards with beyond_cost": NO_CREDIT,
    "6 pay: guards with goods_out": NONE_OUT_IF_CANCELLED,
    "7 refund_failed: guards without no_amount": COVERED_BEFORE,
    "7 refund_failed: no_amount policy=True": COVERED_BEFORE,
    "7 refund_failed: guards with out_of_stock for no_amount": COVERED_BEFORE,
    "7 refund_failed: guards with nothing_outstanding for no_amount": COVERED_BEFORE,
    "7 refund_failed: guards with beyond_cost for no_amount": COVERED_BEFORE,
    "7 refund_failed: outstanding policy=True": NO_OVERRIDE,
    "7 refund_failed: not_online policy=True": NO_OVERRIDE,
    "7 refund_failed: guards with nothing_outstanding": SAME_TEST,
    "7 refund_failed: guards with beyond_cost": NO_CREDIT,
    "8 refund_failed: outstanding policy=True": NO_OVERRIDE,
    "8 refund_failed: guards with beyond_cost": NO_CREDIT,
    "9 refund_failed: forbids without paid": STAYS_COVERED,
    "9 refund_failed: guards with beyond_cost": NO_CREDIT,
    "10 refund_failed: needs without cancelled": OTHERS_FIRST,
    "10 refund_failed: guards with beyond_cost": NO_CREDIT,
    "10 refund_failed: guards with goods_out": NONE_OUT_IF_CANCELLED,
    "11 restore_payment: guards without no_amount": COVERED_BEFORE,
    "11 restore_payment: no_amount policy=True": COVERED_BEFORE,
    "11 restore_payment: guards with out_of_stock for no_amount": COVERED_BEFORE,
    "11 restore_payment: guards with nothing_outstanding for no_amount": COVERED_BEFORE,
    "11 restore_payment: guards with beyond_cost for no_amount": COVERED_BEFORE,
    "11 restore_payment: outstanding policy=True": NO_OVERRIDE,
    "11 restore_payment: not_online policy=True": NO_OVERRIDE,
    "11 restore_payment: guards with nothing_outstanding": SAME_TEST,
    "11 restore_payment: guards with beyond_cost": NO_CREDIT,
    "12 restore_payment: outstanding policy=True": NO_OVERRIDE,
    "12 restore_payment: guards with beyond_cost": NO_CREDIT,
    "13 restore_payment: forbids without paid": STAYS_COVERED,
    "13 restore_payment: guards with beyond_cost": NO_CREDIT,
    "14 restore_payment: needs without cancelled": OTHERS_FIRST,
    "14 restore_payment: guards with beyond_cost": NO_CREDIT,
    "14 restore_payment: guards with goods_out": NONE_OUT_IF_CANCELLED,
    "15 refund: needs without paid": NEVER_COVERS,
    "15 refund: forbids without cancelled": AS_WHEN_CANCELLED,
    "15 refund: outstanding policy=True": NO_OVERRIDE,
    "16 refund: needs without invoiced": MARK_IS_INVOICED,
    "16 refund: needs without paid": MARK_IS_PAID,
    "16 refund: invoiced_by_hand policy=True": NO_OVERRIDE,
    "16 refund: guards with nothing_outstanding": SAME_TEST,
    "16 refund: guards with which_payment": ONE_SUBJECT,
    "17 refund: guards with which_payment": ONE_SUBJECT,
    "18 refund: guards with which_payment": ONE_SUBJECT,
    "18 refund: guards with goods_out": NONE_OUT_IF_CANCELLED,
    "19 unpay: needs without paid": NEVER_COVERS,
    "19 unpay: forbids without cancelled": AS_WHEN_CANCELLED,
    "19 unpay: outstanding policy=True": NO_OVERRIDE,
    "20 unpay: needs without invoiced": MARK_IS_INVOICED,
    "20 unpay: needs without paid": MARK_IS_PAID,
    "20 unpay: invoiced_by_hand policy=True": NO_OVERRIDE,
    "20 unpay: guards with nothing_outstanding": SAME_TEST,
    "20 unpay: guards with beyond_cost": NO_CREDIT,
    "21 unpay: guards with beyond_cost": NO_CREDIT,
    "22 unpay: guards with beyond_cost": NO_CREDIT,
    "22 unpay: guards with goods_out": NONE_OUT_IF_CANCELLED,
    "23 invoice: guards with beyond_cost": NO_CREDIT,
    "24 dispatch: guards with beyond_cost": NO_CREDIT,
    "24 dispatch: guards with beyond_out": SAME_TEST,
    "25 dispatch: guards with beyond_cost": NO_CREDIT,
    "25 dispatch: guards with no_goods_left": "the row is taken only if goods are left after it",
    "26 return_items: guards with beyond_cost": NO_CREDIT,
    "27 cancel: guards with beyond_cost": NO_CREDIT,
    "28 expire: guards with holds_money' for holds_money": CAPTURE_FIRST,
    "28 expire: guards with beyond_cost": NO_CREDIT,
    "29 unplace: guards with holds_money for holds_money'": CAPTURE_FIRST,
    "29 unplace: guards with beyond_cost": NO_CREDIT,
    "30 uninvoice: guards with beyond_cost": NO_CREDIT,
    "31 undispatch: needs without paid": NEVER_COVERS,
    "31 undispatch: outstanding policy=True": NO_OVERRIDE,
    "32 undispatch: needs without invoiced": MARK_IS_INVOICED,
    "32 undispatch: needs with sent for invoiced": MARK_IS_INVOICED,
    "32 undispatch: invoiced_by_hand policy=True": NO_OVERRIDE,
    "32 undispatch: guards with beyond_cost": NO_CREDIT,
    "32 undispatch: guards with reason_required": HAS_REASON,
    "32 undispatch: guards with goods_out": IS_DISPATCHED,
    "32 undispatch: guards with goods_left'": IS_DISPATCHED,
    "32 undispatch: guards with beyond_order": ALL_OUT,
    "32 undispatch: guards with beyond_out": ALL_OUT,
    "33 undispatch: guards with beyond_cost": NO_CREDIT,
    "33 undispatch: guards with beyond_order": ALL_OUT,
    "33 undispatch: guards with beyond_out": ALL_OUT,
    "34 reinstate: outstanding policy=True": NO_OVERRIDE,
    "34 reinstate: guards with goods_out": NONE_OUT_IF_CANCELLED,
    "34 reinstate: not_online policy=True": NO_OVERRIDE,
    "34 reinstate: guards with beyond_cost": NO_CREDIT,
    "35 reinstate: outstanding policy=True": NO_OVERRIDE,
    "36 reinstate: needs without invoiced": MARK_IS_INVOICED,
    "36 reinstate: needs with sent for invoiced": MARK_IS_INVOICED,
    "36 reinstate: needs without paid": MARK_IS_PAID,
    "36 reinstate: needs with sent for paid": MARK_IS_PAID,
    "36 reinstate: invoiced_by_hand policy=True": NO_OVERRIDE,
    "36 reinstate: guards with beyond_cost": NO_CREDIT,
    "36 reinstate: guards with goods_out": NONE_OUT_IF_CANCELLED,
    "37 reinstate: guards with beyond_cost": NO_CREDIT,
    "38 amend: forbids without dispatched": AS_LATER_ROW,
    "38 amend: nothing_shipped policy=True": NO_OVERRIDE,
    "38 amend: goods_left' policy=True": NO_OVERRIDE,
    "38 amend: outstanding policy=True": NO_OVERRIDE,
    "38 amend: not_online policy=True": NO_OVERRIDE,
    "38 amend: guards with beyond_cost": NO_CREDIT,
    "39 amend: outstanding policy=True": NO_OVERRIDE,
    "40 amend: guards with beyond_cost": NO_CREDIT,
    "41 amend: needs without dispatched": AS_LATER_ROW,
    "41 amend: no_goods_left policy=True": NO_OVERRIDE,
    "41 amend: outstanding policy=True": NO_OVERRIDE,
    "41 amend: not_online policy=True": NO_OVERRIDE,
    "41 amend: guards with beyond_cost": NO_CREDIT,
    "41 amend: guards with goods_out": IS_DISPATCHED,
    "42 amend: outstanding policy=True": NO_OVERRIDE,
    "43 amend: needs without invoiced": MARK_IS_INVOICED,
    "43 amend: needs with sent for invoiced": MARK_IS_INVOICED,
    "43 amend: invoiced_by_hand policy=True": NO_OVERRIDE,
    "43 amend: guards with beyond_cost": NO_CREDIT,
    "43 amend: guards with goods_out": IS_DISPATCHED,
    "44 amend: guards with goods_out": IS_DISPATCHED,
    "44 amend: guards with beyond_cost": NO_CREDIT,
    "44 and 45 amend: in the other order": "if both rows are open, row 41 is open too, and comes first",
    "45 amend: outstanding policy=True": NO_OVERRIDE,
    "45 amend: not_online policy=True": NO_OVERRIDE,
    "45 amend: guards with beyond_cost": NO_CREDIT,
    "46 amend: outstanding policy=True": NO_OVERRIDE,
    "47 amend: needs without invoiced": MARK_IS_INVOICED,
    "47 amend: needs with sent for invoiced": MARK_IS_INVOICED,
    "47 amend: needs without paid": MARK_IS_PAID,
    "47 amend: needs with sent for paid": MARK_IS_PAID,
    "47 amend: invoiced_by_hand policy=True": NO_OVERRIDE,
    "47 amend: guards with beyond_cost": NO_CREDIT,
    "48 amend: guards with beyond_cost": NO_CREDIT,
    "49 amend: guards with beyond_cost": NO_CREDIT,
    "49 amend: guards with goods_out": NONE_OUT_IF_CANCELLED,
}
"""By label, the reason why an uncaught mutant decides as the table does."""

EQUIVALENT_FORMULAS = {
    "part_dispatched 1": "an order without shipments has shipped nothing",
    "_drawn 2": "a number below zero is left out",
    "_drawn 4": "an order holds no more than it has left to ship, so no more is spare than it ships",
    "shortages 1": "a guard on the stock counts only if the rule makes the order take stock",
    "lines_as_ordered 1": "no shipment has more items than the order has lines",
    "held_after 5": "only a changed table leaves stock with an order whose state holds no stock",
    "held_after 6": "goods move on live orders alone, and those hold stock",
    **{
        f"held_as_amended {number}": "only another table amends orders to a state that holds other stock: test_amend"
        for number in (1, 2, 3, 5)
    },
    "stock_moves 9": "only a return is without restock",
    "stock_moves 13": "pieces are lost only if they were out",
    "_answer 1": "an order that holds no stock had no lines, or does not take stock",
    "_subjects 3": "a row of another kind does not change the rest, and a subject without a rest is dropped",
    "_credit 8": "a refund of more than is due on a cancelled order is of all that is held, as above",
    "_given_back 2": "only refunds and their failures have a credit",
    "_adopts 2": "`recorded_before` answers a capture without an id that repeats a reference",
    "_adopted_by 1": "the first row of a payment is a capture",
    "_adopted_by 3": "a capture without an id is the first of its payment, or `recorded_before` would have answered it",
}
"""By function and number of the change, the reason why an uncaught formula is equivalent."""


def built(workflow: Workflow, rules: Iterable[Rule]) -> Workflow:
    """Return the workflow with other rows."""
    return Workflow(
        workflow.statuses,
        rules,
        holds_stock=workflow.holds_stock,
        counts=workflow.counts,
        queues=workflow.queues,
    )


def effects_of(edge: Edge) -> tuple[object, ...]:
    rule = edge.rule
    return rule.ledger, rule.goods, rule.announces, rule.lapses, edge.counted


def behaviour(workflow: Workflow) -> Iterator[object]:
    """Yield the effects of the rows that can be taken, by state and trigger, in order.

    An edge is never taken if an earlier one has only guards that it has itself. A guard on the statuses alone does not
    count in a state in which it holds.
    """
    for state in workflow.states:
        order = replace(NEW, state=state)
        for trigger in workflow.triggers:
            earlier: list[frozenset[Guard]] = []
            for edge in workflow.edges_from(state, trigger):
                guards = frozenset(
                    guard for guard in edge.guards if guard.code not in ON_STATUSES or not guard.test(order, {})
                )
                if not any(fewer <= guards for fewer in earlier):
                    yield trigger, state, edge.target, guards, effects_of(edge)
                earlier.append(guards)


ON_STATUSES = {"not_paid_nor_invoiced", "dispatched_on_invoice"}
"""Guards that read nothing except the statuses."""

NEW = Shop(TABLE).create()
BEHAVIOUR = list(behaviour(TABLE))


class Golden:
    """The decisions of the golden table, which `test_table` compares with the files."""

    def __init__(self) -> None:
        orders = [Shop(TABLE).bring(state) for state in TABLE.states]
        orders += [order for _, order in (*money_apart(TABLE, Shop), *goods_apart(TABLE, Shop))]
        self._rows: dict[str, list[tuple[Order, list[str]]]] = {
            trigger: [(order, list(rows_of(TABLE, order, trigger))) for order in orders] for trigger in TABLE.triggers
        }

        self._outcomes = {name: run(TABLE, total, requests) for name, (total, requests) in EXAMPLES.items()}
        self._goods = {name: run_goods(TABLE, lines, requests) for name, (lines, requests) in GOODS_EXAMPLES.items()}

    def has_other_examples(self, workflow: Workflow) -> bool:
        """Return whether a workflow has another result in one of the ledger examples."""
        return any(
            run(workflow, total, requests) != self._outcomes[name] for name, (total, requests) in EXAMPLES.items()
        )

    def has_other_goods(self, workflow: Workflow) -> bool:
        """Return whether a workflow has another result in one of the goods examples."""
        return any(
            run_goods(workflow, lines, requests) != self._goods[name]
            for name, (lines, requests) in GOODS_EXAMPLES.items()
        )

    def differs(self, workflow: Workflow, triggers: Iterable[str] = TABLE.triggers) -> bool:
        """Return whether a workflow decides some triggers differently."""
        return any(
            list(rows_of(workflow, order, trigger)) != rows
            for trigger in triggers
            for order, rows in self._rows[trigger]
        )


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def breaks_a_claim(workflow: Workflow, monkeypatch: pytest.MonkeyPatch, thorough: bool) -> Verdict:
    """Return the claim about money and stock that fails, first with few ledger rows."""
    try:
        with monkeypatch.context() as patch:
            patch.setitem(ROWS, Decimal(2), FEW_ROWS)
            prove(workflow, *ABOUT_MONEY)
        if thorough:
            prove(workflow, *ABOUT_MONEY)
    except Caught as caught:
        return f"claim: {caught}"
    return None


def verdict(label: str, rules: Sequence[Rule], golden: Golden, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """Return the test that distinguishes a mutant from the table."""
    try:
        mutant = built(TABLE, rules)
        proof = prove(mutant, *ABOUT_THE_TABLE)
        if not proof.ok:
            return f"claim: {proof.failures[0].claim}"
        if mutant.states != TABLE.states:
            return "golden table"
        trigger = label.partition(":")[0].split()[-1]
        if golden.differs(mutant, [trigger]):
            return "golden table"
        if list(behaviour(mutant)) == BEHAVIOUR:
            return "same rows taken"
        if golden.has_other_examples(mutant):
            return "ledger examples"
        if golden.has_other_goods(mutant):
            return "examples of goods"
        return breaks_a_claim(mutant, monkeypatch, thorough=stressed() or label not in EQUIVALENT)
    except (WorkflowError, UnknownTrigger):
        return "refused"
    except KeyError:  # A guard reads money on a row without money.
        return "fails"


def verdict_on_a_formula(golden: Golden, monkeypatch: pytest.MonkeyPatch, thorough: bool) -> Verdict:
    """Return the test that distinguishes an applied wrong formula from the right one."""
    try:
        if golden.has_other_goods(TABLE):
            return "examples of goods"
        if golden.has_other_examples(TABLE):
            return "ledger examples"
        if golden.differs(TABLE):
            return "golden table"
        return breaks_a_claim(TABLE, monkeypatch, thorough)
    except Exception as error:  # A wrong formula may raise any exception.
        return f"fails: {type(error).__name__}"


def sample(mutants: Iterable[Mutant], start: int = 0) -> list[Mutant]:
    found = list(mutants)
    assert len({label for label, _ in found}) == len(found) > 0
    return found[start % min(STRIDE, len(found)) :: STRIDE]


def never_fails(label: str) -> bool:
    """Return whether a mutant adds the guard `below_out`, which only an amendment of a live order can fail."""
    return label.endswith(": guards with below_out") and _cannot_be_below_out(label)


def is_equivalent(label: str) -> bool:
    """Return whether a mutant decides as the table does.

    A guard that cannot fail, in the place of another one, only removes that one.
    """
    removed = label.replace(" with below_out for ", " without ") if _cannot_be_below_out(label) else label
    return label in EQUIVALENT or removed in EQUIVALENT


def _cannot_be_below_out(label: str) -> bool:
    return " amend: " not in label or label.startswith("49 ")


def check(mutants: Iterable[Mutant], golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = {label: verdict(label, rules, golden, monkeypatch) for label, rules in mutants if not never_fails(label)}
    survivors = {label for label, caught_by in verdicts.items() if caught_by is None}
    assert survivors == set(filter(is_equivalent, verdicts))


@pytest.mark.parametrize("row", range(1, len(TABLE.rules) + 1))
def test_mutant_of_a_row_is_caught_unless_it_is_equivalent(
    row: int, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(sample(mutants_of(TABLE, row), start=row), golden, monkeypatch)


def test_mutant_of_several_rows_is_caught_unless_it_is_equivalent(
    golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(sample(mutants_of_the_whole(TABLE)), golden, monkeypatch)


def test_equivalent_mutants_are_mutants() -> None:
    """A label without a mutant must be removed from the list."""
    labels = {label for row in range(1, len(TABLE.rules) + 1) for label, _ in mutants_of(TABLE, row)}
    assert labels | {label for label, _ in mutants_of_the_whole(TABLE)} >= EQUIVALENT.keys()


def test_mutant_of_a_formula_is_caught_unless_it_is_equivalent(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    survivors = set()
    mutants = list(formula_mutants())
    assert len({label for label, _ in mutants}) == len(mutants) > 200
    names = [label.partition(":")[0] for label, _ in mutants]
    assert EQUIVALENT_FORMULAS.keys() <= set(names)
    tried = list(zip(names, mutants, strict=True))[::STRIDE]
    for name, (_, in_force) in tried:
        with in_force():
            if verdict_on_a_formula(golden, monkeypatch, stressed() or name not in EQUIVALENT_FORMULAS) is None:
                survivors.add(name)
    assert survivors == EQUIVALENT_FORMULAS.keys() & {name for name, _ in tried}


def test_the_table_itself_is_not_caught(golden: Golden) -> None:
    """The rebuilt table passes, so mutants are not caught only for being rebuilt."""
    again = built(TABLE, TABLE.rules)
    assert not golden.differs(again)
    assert not golden.has_other_examples(again)
    assert not golden.has_other_goods(again)
    assert list(behaviour(again)) == BEHAVIOUR


def test_nothing_traces_the_mutants() -> None:
    """`tests/conftest.py` suspends coverage, even in a worker of pytest-xdist."""
    assert sys.gettrace() is None

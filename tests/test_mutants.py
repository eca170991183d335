"""No row of the shop's table can be got wrong unnoticed.

Every mutant of the default table (`tests/mutants.py`) is refused when it is built, or contradicts one of the shop's
claims, or differs from the golden table of `test_table`. Those that do not are listed in `EQUIVALENT`, each with the
reason why it decides everything as the table does; the list is exact.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

import pytest

from order_fsm import Order, Rule, UnknownTrigger, Workflow, WorkflowError, shop_workflow
from order_fsm.verify import TableClaim, prove, shop_claims
from tests.conftest import Shop
from tests.mutants import Mutant, mutants_of, mutants_of_the_whole
from tests.test_table import money_apart, rows_of

# It runs the same few lines millions of times, which others cover: to follow them would take four times as long.
pytestmark = pytest.mark.no_cover

TABLE = shop_workflow()
ABOUT_THE_TABLE = [claim for claim in shop_claims() if isinstance(claim, TableClaim)]
ABOUT_MONEY = [claim for claim in shop_claims() if not isinstance(claim, TableClaim)]

NEVER_UNSENT = "the row forbids sent, and no order has that status without it"
FORBIDS_IT = "the row forbids that status, so there is none to untick"
ROW_4_TAKES_IT = "row 4 has the row's other guards and needs no override, so it is taken first"
ROW_2_TAKES_IT = "where it is not cancelled row 2 stands before it, under the same guards"
HAS_IT = "the row is open only to orders that have that status"
NEVER_BOTH = "no order is both cancelled and dispatched"
TAKES_NO_STOCK = "the row makes no order take its stock, so the guard does not count"
SAME_AS_ROW_6 = "of a paid order it does what row 6 does, under the same guards: all that it ticks is ticked"
SOME_MONEY = "the row forbids paid, so both guards say the same; and row 4 is the one whose reasons are told"
ROW_5_TAKES_IT = "where it is not paid row 5 stands before it, under the same guards"
PAID_IS_SENT = "the row needs paid, and every paid order is sent"
PAID_IS_COVERED = "the row needs paid, and of a paid order the money covers the total before more comes"
PAID_HOLDS_IT = "the row needs paid, and that guard holds of every paid order"
SENT_BY_MONEY = "it moves money that was received, and an order for which money was received is sent"
NEVER_COVERED = "of an order that is not paid the money never covers the total, or there is none"
ROW_15_TAKES_IT = "row 15 has the row's other guards; so it is taken without override, and its reasons are the same"
LEFT_IS_COVERED = "where the money that is left covers the total, that and more does"
SOME_IS_LEFT = "the row leaves some money, and where some was received a reversal is of more than nothing anyway"
SAME_AS_ROW_16 = "of an order that is not paid it does what row 16 does, under the same guards"
ROW_15_IS_FIRST = "where it is paid row 15 stands before it, under the same guards"
DISJOINT = "no state is open to both rows: one forbids what the other needs"

EQUIVALENT = {
    "1 place: drops with dispatched": NEVER_UNSENT,
    "1 place: drops with invoiced": NEVER_UNSENT,
    "1 place: drops with paid": NEVER_UNSENT,
    "2 pay: drops with cancelled": FORBIDS_IT,
    "2 pay: not_online policy=True": ROW_4_TAKES_IT,
    "3 pay: needs without cancelled": ROW_2_TAKES_IT,
    "3 pay: needs_any with cancelled": HAS_IT,
    "3 pay: forbids with dispatched": NEVER_BOTH,
    "3 pay: adds with cancelled": HAS_IT,
    "3 pay: drops with dispatched": NEVER_BOTH,
    "3 pay: not_online policy=True": ROW_4_TAKES_IT,
    "3 pay: guards with out_of_stock": TAKES_NO_STOCK,
    "3 pay: guards with dispatched_on_invoice": NEVER_BOTH,
    "5 pay: forbids without paid": SAME_AS_ROW_6,
    "5 pay: drops with paid": FORBIDS_IT,
    "5 pay: guards with nothing_received for nothing_outstanding": SOME_MONEY,
    "5 pay: guards with nothing_received": SOME_MONEY,
    "6 pay: needs without paid": ROW_5_TAKES_IT,
    "6 pay: needs with sent for paid": ROW_5_TAKES_IT,
    "6 pay: needs with sent": PAID_IS_SENT,
    "6 pay: needs_any with paid": HAS_IT,
    "6 pay: needs_any with sent": PAID_IS_SENT,
    "6 pay: adds with paid": HAS_IT,
    "6 pay: adds with sent": HAS_IT,
    "6 pay: guards with out_of_stock": TAKES_NO_STOCK,
    "6 pay: guards with not_covered": PAID_IS_COVERED,
    "6 pay: guards with not_paid_nor_invoiced": PAID_HOLDS_IT,
    "6 pay: guards with dispatched_on_invoice": PAID_HOLDS_IT,
    "7 invoice: adds with sent": HAS_IT,
    "7 invoice: drops with cancelled": FORBIDS_IT,
    "7 invoice: guards with out_of_stock": TAKES_NO_STOCK,
    "8 dispatch: adds with sent": HAS_IT,
    "8 dispatch: drops with cancelled": FORBIDS_IT,
    "8 dispatch: guards with out_of_stock": TAKES_NO_STOCK,
    "9 cancel: drops with dispatched": FORBIDS_IT,
    "9 cancel: guards with out_of_stock": TAKES_NO_STOCK,
    "10 expire: adds with sent": HAS_IT,
    "10 expire: drops with dispatched": FORBIDS_IT,
    "10 expire: drops with invoiced": FORBIDS_IT,
    "10 expire: drops with paid": FORBIDS_IT,
    "10 expire: guards with out_of_stock": TAKES_NO_STOCK,
    "11 refund: adds with sent": SENT_BY_MONEY,
    "11 refund: guards with out_of_stock": TAKES_NO_STOCK,
    "12 unplace: drops with cancelled": FORBIDS_IT,
    "12 unplace: drops with dispatched": FORBIDS_IT,
    "12 unplace: drops with invoiced": FORBIDS_IT,
    "12 unplace: drops with paid": FORBIDS_IT,
    "12 unplace: guards with out_of_stock": TAKES_NO_STOCK,
    "13 uninvoice: adds with sent": HAS_IT,
    "13 uninvoice: drops with cancelled": FORBIDS_IT,
    "13 uninvoice: guards with out_of_stock": TAKES_NO_STOCK,
    "14 unpay: needs without paid": NEVER_COVERED,
    "14 unpay: needs with sent for paid": NEVER_COVERED,
    "14 unpay: needs with sent": PAID_IS_SENT,
    "14 unpay: needs_any with paid": HAS_IT,
    "14 unpay: needs_any with sent": PAID_IS_SENT,
    "14 unpay: adds with paid": HAS_IT,
    "14 unpay: adds with sent": HAS_IT,
    "14 unpay: not_covered' policy=True": ROW_15_TAKES_IT,
    "14 unpay: reason_required policy=True": ROW_15_TAKES_IT,
    "14 unpay: guards with out_of_stock": TAKES_NO_STOCK,
    "14 unpay: guards with nothing_outstanding": SOME_IS_LEFT,
    "14 unpay: guards with not_covered": LEFT_IS_COVERED,
    "14 unpay: guards with not_paid_nor_invoiced": PAID_HOLDS_IT,
    "14 unpay: guards with dispatched_on_invoice": PAID_HOLDS_IT,
    "15 unpay: needs without paid": SAME_AS_ROW_16,
    "15 unpay: needs with sent for paid": SAME_AS_ROW_16,
    "15 unpay: needs with sent": PAID_IS_SENT,
    "15 unpay: needs_any with paid": HAS_IT,
    "15 unpay: needs_any with sent": PAID_IS_SENT,
    "15 unpay: adds with sent": HAS_IT,
    "15 unpay: guards with out_of_stock": TAKES_NO_STOCK,
    "15 unpay: guards with not_covered": PAID_IS_COVERED,
    "15 unpay: guards with not_paid_nor_invoiced": PAID_HOLDS_IT,
    "15 unpay: guards with dispatched_on_invoice": PAID_HOLDS_IT,
    "16 unpay: forbids without paid": ROW_15_IS_FIRST,
    "16 unpay: adds with sent": SENT_BY_MONEY,
    "16 unpay: drops with paid": FORBIDS_IT,
    "16 unpay: guards with out_of_stock": TAKES_NO_STOCK,
    "17 undispatch: adds with sent": HAS_IT,
    "17 undispatch: drops with cancelled": NEVER_BOTH,
    "17 undispatch: guards with out_of_stock": TAKES_NO_STOCK,
    "18 reinstate: drops with dispatched": NEVER_BOTH,
    "2 and 3 pay: in the other order": DISJOINT,
    "5 and 6 pay: in the other order": DISJOINT,
    "15 and 16 unpay: in the other order": DISJOINT,
}


def built(workflow: Workflow, rules: Iterable[Rule]) -> Workflow:
    """The same workflow with other rows."""
    return Workflow(
        workflow.statuses,
        rules,
        holds_stock=workflow.holds_stock,
        counts=workflow.counts,
        queues=workflow.queues,
    )


def behaviour(workflow: Workflow) -> Iterator[object]:
    """What decides: of every state and trigger, where it leads under which guards, and what it records and tells."""
    for state in workflow.states:
        for trigger in workflow.triggers:
            for edge in workflow.edges_from(state, trigger):
                yield (trigger, state, edge.target, edge.guards, edge.rule.ledger, edge.rule.announces)


class Golden:
    """The decisions of the golden table, which `test_table` holds equal to the files."""

    def __init__(self) -> None:
        orders = [Shop(TABLE).bring(state) for state in TABLE.states]
        orders += [order for _, order in money_apart(TABLE, Shop)]
        self._rows: list[tuple[Order, str, list[str]]] = [
            (order, trigger, list(rows_of(TABLE, order, trigger))) for order in orders for trigger in TABLE.triggers
        ]

    def differs_from(self, mutant: Workflow) -> bool:
        return mutant.states != TABLE.states or any(
            list(rows_of(mutant, order, trigger)) != rows for order, trigger, rows in self._rows
        )


def survives(rules: Sequence[Rule], golden: Golden) -> bool:
    """Whether nothing tells a mutant from the table."""
    try:
        mutant = built(TABLE, rules)
        if not prove(mutant, *ABOUT_THE_TABLE).ok or golden.differs_from(mutant):
            return False
        # What decides just the same needs no look at every order.
        return list(behaviour(mutant)) == list(behaviour(TABLE)) or prove(mutant, *ABOUT_MONEY).ok
    except (WorkflowError, UnknownTrigger, KeyError):  # KeyError: a guard that asks for money, on what has none.
        return False


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def surviving(mutants: Iterator[Mutant], golden: Golden) -> set[str]:
    found = [(label, survives(rules, golden)) for label, rules in mutants]
    assert len({label for label, _ in found}) == len(found) > 0
    return {label for label, survived in found if survived}


def listed(begin: str) -> set[str]:
    return {label for label in EQUIVALENT if label.startswith(begin)}


@pytest.mark.parametrize("row", range(1, len(TABLE.rules) + 1))
def test_no_mutant_of_a_row_survives_but_those_that_are_equivalent(row: int, golden: Golden) -> None:
    """And those that are listed as equivalent do survive."""
    assert surviving(mutants_of(TABLE, row), golden) == listed(f"{row} {TABLE.rules[row - 1].trigger}:")


def test_no_mutant_of_several_rows_survives_but_those_that_are_equivalent(golden: Golden) -> None:
    rows = {
        label for row in range(1, len(TABLE.rules) + 1) for label in listed(f"{row} {TABLE.rules[row - 1].trigger}:")
    }
    assert surviving(mutants_of_the_whole(TABLE), golden) == EQUIVALENT.keys() - rows


def test_the_table_itself_survives(golden: Golden) -> None:
    """What kills mutants is not that a table is built anew."""
    assert survives(TABLE.rules, golden)


def test_nothing_traces_the_mutants() -> None:
    """Coverage neither, not even in a worker of pytest-xdist: `tests/conftest.py` sees to it."""
    assert sys.gettrace() is None

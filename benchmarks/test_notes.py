"""The cost of `--rule-coverage`: the same orders in memory, with and without recording."""

from __future__ import annotations

from itertools import count

import pytest

from order_fsm import Orders, Refused
from order_fsm.testing.rule_notes import RuleNotes
from order_fsm_adapters.memory import MemoryStore
from paired_times import Compare, Work

ORDERS = 50


def lives(orders: Orders, number: int) -> None:
    """Make the changes of a typical test: place, pay, refuse, dispatch."""
    order_id = str(number)
    orders.create(order_id, total="49.90", currency="GBP")
    orders.fire(order_id, "place")
    orders.fire(order_id, "pay", amount="49.90", currency="GBP", reference="ch_1")
    orders.fire(order_id, "dispatch")
    with pytest.raises(Refused):
        orders.fire(order_id, "cancel")


def test_changes_that_are_noted_against_changes_that_are_not(compare: Compare) -> None:
    """Only changes are timed, because recording does not slow down anything else."""
    notes = RuleNotes()

    def prepared(noted: bool) -> Work:
        orders, numbers = Orders(MemoryStore()), count()

        def work() -> None:
            if noted:
                notes.begin()
            try:
                for _ in range(ORDERS):
                    lives(orders, next(numbers))
            finally:
                notes.end()

        return work

    compare(lambda: prepared(True), lambda: prepared(False), limit=1.05, rounds=101, changes=4 * ORDERS)

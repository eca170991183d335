"""The errors are one tree, and each is useful for people and programs."""

from __future__ import annotations

import inspect
import pickle

import pytest

from order_fsm import (
    InvalidInput,
    KeyReused,
    MissingDependency,
    OrderExists,
    OrderFsmError,
    OrderNotFound,
    Reason,
    Refused,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TransactionLost,
    Undelivered,
    UnknownTrigger,
    VersionConflict,
    WorkflowError,
    errors,
)

OF_STORES = {OrderNotFound, OrderExists, VersionConflict, StoreUnavailable, TransactionLost, StoreFull, StoreCorrupt}
OF_CALLS = {InvalidInput, KeyReused, Refused, UnknownTrigger, WorkflowError, StoreError, MissingDependency, Undelivered}
REASONS = (Reason("not_paid", "it is not paid"), Reason("needs_sent", "the order is not sent"))


def test_all_are_in_one_tree() -> None:
    """Errors of stores are under `StoreError`, all are under `OrderFsmError`. Bad input is a ValueError too."""
    all_of_them = {one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)}
    assert all_of_them == OF_STORES | OF_CALLS | {OrderFsmError}
    assert {one.__base__ for one in OF_STORES} == {StoreError}
    assert {one.__bases__[0] for one in OF_CALLS} == {OrderFsmError}
    assert [one for one in all_of_them if issubclass(one, ValueError)] == [InvalidInput]


def test_missing_dependency_names_the_extra_and_both_commands() -> None:
    """The second command is for a checkout, because the first one needs the package index."""
    error = MissingDependency.of_extra("MariaDbStore", "PyMySQL", "mariadb")
    told = "MariaDbStore needs PyMySQL, of the extra 'mariadb': pip install 'order-fsm[mariadb]', or '.[mariadb]' in"
    assert str(error) == f"{told} a checkout"


def test_a_refusal_has_every_reason() -> None:
    """It has the order, the trigger, the state, and every reason with its code."""
    text = str(Refused("1001", "dispatch", "unfinished", REASONS))
    for word in ("1001", "dispatch", "unfinished", "it is not paid", "(not_paid)", "not sent", "(needs_sent)"):
        assert word in text


@pytest.mark.parametrize(
    "error", [Refused("1001", "pay", "sent", REASONS), WorkflowError(["one", "two"]), InvalidInput("no")], ids=repr
)
def test_an_error_goes_from_one_process_to_another(error: OrderFsmError) -> None:
    """A pool of workers pickles exceptions."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)

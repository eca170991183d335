"""Run calls: read, decide, write, and retry after a conflict.

Every caller decides in its own thread. Only the write may be shared with other threads: see `GroupCommit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Protocol

from msgspec.structs import replace

from order_fsm.erasure import ERASE
from order_fsm.errors import (
    KeyReused,
    OrderFsmError,
    OrderNotFound,
    Refused,
    StoreFull,
    StoreUnavailable,
    TransactionLost,
    VersionConflict,
)
from order_fsm.model import ADOPT, Entry, Order, Receipt
from order_fsm.orders.calls import IsolatedCall, ShopError
from order_fsm.orders.messages import messages
from order_fsm.orders.stock import need_of, needs_of, stock_moves, stock_of_repeated
from order_fsm.rules.amendment import order_as_of
from order_fsm.rules.decide import Call, Decision, Recorded
from order_fsm.rules.holding import NO_SUPPLY, Supply, held_then
from order_fsm.rules.workflow import Workflow
from order_fsm.stock_levels import available_of
from order_fsm.store import Change, Snapshot, Store

ATTEMPTS = 100
"""The number of attempts after conflicts before a call fails."""

_CONFLICTS = (VersionConflict, KeyReused)

ReadHistory = Callable[[str], tuple[Entry, ...]]
"""Returns all entries of an order."""


class Writer(Protocol):
    """Commits a change: a store or a `GroupCommit`."""

    def commit(self, change: Change) -> None:
        """Commit a change, as `Store.commit` does."""
        ...


class Executor:
    """Runs calls on one store under one workflow."""

    def __init__(self, store: Store, workflow: Workflow, writer: Writer) -> None:
        """Create the executor.

        Args:
            store: the store to read from.
            workflow: the rules.
            writer: commits the changes of single calls: the store or a group commit.
        """
        self._store = store
        self._workflow = workflow
        self._writer = writer

    def execute(self, call: Call) -> Receipt:
        """Read, decide and commit one call.

        Raises:
            OrderFsmError: if the call or the store raises it. A conflict is raised after 100 attempts, or at once
                inside a host's transaction.
        """
        needs = (need_of(call),)
        attempts = 0
        while True:
            change = self.prepare(call, self._store.prepare_many(needs)[0])
            if isinstance(change, Receipt):
                return change
            try:
                self._writer.commit(change)
            except _CONFLICTS:
                attempts += 1
                if attempts == attempts_on(self._store):
                    raise
            else:
                return receipt_of(change)

    def preview(self, call: Call) -> Receipt:
        """Return the receipt that a call would get now.

        The call writes nothing and locks nothing.

        Raises:
            OrderFsmError: if `execute` would raise it before its commit.
        """
        order = self._store.load(call.order_id)
        levels = self._store.stock_levels(order.quantities) if order.lines else {}
        change = self.prepare(call, Snapshot.of_levels(order, None, levels))
        return change if isinstance(change, Receipt) else receipt_of(change)

    def execute_all(self, calls: Sequence[Call]) -> list[Receipt | Exception]:
        """Run many calls with one commit.

        Each call is decided on the result of the calls before it.

        A further round decides a conflicting call again, and also every refused call after it. If the store refuses a
        call, the later calls on its order are decided again.

        Returns:
            For each call its receipt, or the error that `execute` would have raised.

        Raises:
            StoreUnavailable, StoreFull, TransactionLost: if the store fails. Then any of the calls may be committed.
            Exception: if an exception comes from outside a decision, such as a time limit. Then any of the calls may be
                committed too.
        """
        results: dict[int, Receipt | Exception] = {}
        attempts = [attempts_on(self._store)] * len(calls)
        pending = list(range(len(calls)))
        while pending:
            round_ = _Round(self, calls, pending, self._store)
            errors = self._store.commit_all(list(round_.changes.values())) if round_.changes else []
            pending, conflicted = list(round_.deferred), False
            failed: dict[str, int] = {}
            for number, error in zip(round_.changes, errors, strict=True):
                attempts[number] -= 1
                if error is None:
                    results[number] = receipt_of(round_.changes[number])
                elif attempts[number] and isinstance(error, _CONFLICTS):
                    pending.append(number)
                    conflicted = True
                else:
                    results[number] = error
                    failed.setdefault(calls[number].order_id, number)
            first = min(pending) if conflicted else len(calls)
            pending += [
                number
                for number in round_.answers
                if number > min(first, failed.get(calls[number].order_id, len(calls)))
            ]
            results |= {number: answer for number, answer in round_.answers.items() if number not in pending}
            pending.sort()
        return [results[number] for number in range(len(calls))]

    def prepare(self, call: Call, snapshot: Snapshot, history: ReadHistory | None = None) -> Change | Receipt:
        """Decide a call on a snapshot.

        Args:
            call: the call to decide.
            snapshot: the answer to the call's need.
            history: reads the history of an order for a duplicate's receipt. By default the store reads it.

        Returns:
            The change to commit, or the receipt if there is nothing to commit.

        Raises:
            Refused: if the rules do not allow the call.
            KeyReused: if the key was used for a different request.
            OrderNotFound: if there is no such order.
        """
        if snapshot.fault is not None:
            raise snapshot.fault
        if snapshot.record is not None:
            return self.first_receipt(call.order_id, call.request.key, call.request_fingerprint, snapshot, history)
        order = snapshot.order
        if order is None:
            raise OrderNotFound(f"there is no order {call.order_id!r}")
        supply = NO_SUPPLY
        if snapshot.stock or order.shipments:
            supply = Supply(self.with_returned(order, snapshot.stock), snapshot.backorder)
        outcome = call.decide(order, supply)
        if isinstance(outcome, Refused):
            raise outcome
        if isinstance(outcome, Recorded):
            return self._receipt_as_of(order, outcome.version, outcome.version, history)
        if not outcome:
            return Receipt(order, ())
        return _change(call, order, outcome, supply)

    def with_returned(self, order: Order, stock: Mapping[str, int]) -> Mapping[str, int]:
        """Return the available pieces, with the pieces that a recall takes again.

        A snapshot may leave out the lines of an order that holds its stock.
        """
        if order.reserved is None or all(row.kind != "returned" for row in order.shipments):
            return stock
        again = order.goods.given_up.keys() - stock.keys()
        return {**available_of(self._store.stock_levels(again)), **stock} if again else stock

    def first_receipt(
        self,
        order_id: str,
        key: str | None,
        fingerprint: str | None,
        snapshot: Snapshot,
        history: ReadHistory | None = None,
    ) -> Receipt:
        """Return the receipt of the request committed under a key.

        It is marked as a duplicate.

        Args:
            order_id: the order of the present request.
            key: the key of the request.
            fingerprint: the fingerprint of the request.
            snapshot: the snapshot with the record of the key.
            history: as in `prepare`.

        Raises:
            KeyReused: if the key was used for a different request.
        """
        record, order = snapshot.record, snapshot.order
        # An erasure blanks fingerprints. Then nothing distinguishes the calls on the order.
        if record is None or record.order_id != order_id or record.request_fingerprint not in (fingerprint, ""):
            other = None if record is None else record.order_id
            on = "the stock" if other is None else f"order {other!r}"
            raise KeyReused(
                f"idempotency key {key!r} was already used for a different request, on {on}; nothing was changed"
            )
        order = self._store.load(order_id) if order is None else order
        return self._receipt_as_of(order, record.first, record.last, history)

    def _receipt_as_of(self, order: Order, first: int, last: int, read: ReadHistory | None) -> Receipt:
        history = (read or self._store.history)(order.id)
        if len(history) < order.version:
            raise _Uncommitted(f"order {order.id!r} was removed at the same time: load it again")
        entries = history[first - 1 : last]
        # One commit wrote all entries of an adoption, so the order never existed between them.
        while last < len(history) and history[last].trigger == ADOPT:
            last += 1
        return Receipt(self._as_of(order, history, last), entries, duplicate=True)

    def _as_of(self, order: Order, history: Sequence[Entry], version: int) -> Order:
        """Rebuild an order as it was after an entry of its history."""
        then = order_as_of(self._workflow, order, history, version)
        if then is order or not (then.lines or order.lines):
            return then
        return then.holding(held_then(self._workflow, order, then))


def _change(call: Call, before: Order, decisions: Sequence[Decision], supply: Supply) -> Change:
    after = decisions[-1].order
    moves = stock_moves(before, after, supply.available)
    return Change(
        after,
        before.version,
        tuple([decision.entry for decision in decisions]),
        moves,
        messages(before, after, decisions, moves),
        call.request.key,
        call.request_fingerprint,
        decisions[-1].entry.trigger == ERASE,
        decisions[-1].balance,
    )


class _Uncommitted(VersionConflict):
    """The history of an order lacks changes that this round decided, or the order was removed and created again."""


class _Round:
    """One round of `Executor.execute_all`.

    It decides calls in sequence, each on the result of the calls before it.

    Attributes:
        changes: the changes to commit, by the numbers of their calls.
        answers: the receipts and errors of calls that commit nothing.
        deferred: the numbers of calls that repeat an earlier call of this round.
    """

    def __init__(self, executor: Executor, calls: Sequence[Call], pending: Sequence[int], store: Store) -> None:
        self.changes: dict[int, Change] = {}
        self.answers: dict[int, Receipt | Exception] = {}
        self.deferred: list[int] = []
        self._executor = executor
        self._orders: dict[str, Order] = {}
        self._moved: dict[str, int] = {}  # By SKU, the pieces that this round adds to the available ones.
        keys: set[str | None] = set()
        snapshots = store.prepare_many(list(needs_of(calls[number] for number in pending)))
        self._repeated, self._damaged = stock_of_repeated(snapshots, store)
        history = cache(store.history)  # A repeated batch reads the history of one order many times.
        for number, snapshot in zip(pending, snapshots, strict=True):
            call = calls[number]
            if call.request.key is not None and call.request.key in keys:
                self.deferred.append(number)
                continue
            try:
                change = executor.prepare(IsolatedCall(call), self._as_changed(snapshot), history)
            except (StoreUnavailable, StoreFull, TransactionLost):
                raise
            except _Uncommitted:
                self.deferred.append(number)
            except ShopError as error:
                self.answers[number] = error.error
            except OrderFsmError as error:  # Only this call fails.
                self.answers[number] = error
            else:
                if isinstance(change, Receipt):
                    self.answers[number] = change
                else:
                    self._apply(number, change)
                    keys.add(change.key)

    def _as_changed(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot with the changes of this round applied."""
        if snapshot.order is None:
            return snapshot
        order = self._orders.get(snapshot.order.id, snapshot.order)
        stock, backorder = snapshot.stock, snapshot.backorder
        if order is not snapshot.order and order.reserved is None:
            for line in order.lines:
                if line.sku in self._damaged:
                    return replace(snapshot, fault=self._damaged[line.sku])
            repeated = {line.sku: self._repeated[line.sku] for line in order.lines if line.sku in self._repeated}
            stock = {**available_of(repeated), **stock}
            backorder |= {sku for sku, level in repeated.items() if level.backorder}
        stock = self._executor.with_returned(order, stock)
        if self._moved:
            stock = {sku: available + self._moved.get(sku, 0) for sku, available in stock.items()}
        return Snapshot(order, snapshot.record, stock, snapshot.fault, backorder)

    def _apply(self, number: int, change: Change) -> None:
        self.changes[number] = change
        if change.order is not None:
            self._orders[change.order.id] = change.order
        for move in change.stock:
            self._moved[move.sku] = self._moved.get(move.sku, 0) + move.available


def attempts_on(store: Store) -> int:
    """Return the number of attempts on a store. Only the host can retry its own transaction."""
    return 1 if store.joined else ATTEMPTS


def receipt_of(change: Change) -> Receipt:
    """Return the receipt of a committed change.

    A change that only identifies a recorded capture counts as a duplicate.

    Raises:
        ValueError: if the change is about stock alone.
    """
    order = change.order
    if order is None:
        raise ValueError("a change of stock alone has no receipt")
    last = order.payments[-1] if order.payments else None
    adopts = last is not None and last.version == order.version and last.kind == "captured" and not last.amount
    return Receipt(order, change.entries, duplicate=adopts)

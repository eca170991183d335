"""Audit a store: each order against its history, ledger and keys, all orders against stock and totals.

The codes of findings:

corrupt        the store cannot read it, or reports a fault itself
history        versions are not dense from 1, or an entry does not start in the state that the previous one led to
fold           the order is not the result of its history
unknown_state  the rules do not have the order's state; see `Orders.migrate`
counted        the order and the rules disagree on whether it counts in totals; see `Orders.migrate`
reserved       the order and the rules disagree on whether it holds stock; see `Orders.migrate`
ledger         a payment and the entry that records it differ, or one of the two is missing
rule           the rules that decided this step do not take it, for example ticking paid without the money. Entries
               of unknown rules are not judged; see `Audit.unjudged`
erased         an entry lost its comment or facts and no later entry erases them, or kept values that one erased
keys           the record of an entry's key does not name the entries with that key
messages       a message is about a missing order, or a version that the order has not reached
goods          a shipment and the entry that records it differ, or the order holds more than it has left to ship
stock          an item's held, out or lost pieces are not those of the orders, or more pieces are missing than existed
tally          the totals of the store are not those of its orders

An audit does not know how many pieces existed at first, so it does not detect a wrong sum of available, held, out and
lost pieces. It also does not detect anything that was removed as a whole, such as an order with its history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain

from attrs import Factory, define, frozen

from order_fsm import validation
from order_fsm.audit.consistency import Tables, findings
from order_fsm.errors import InvalidInput, OrderNotFound, StoreCorrupt
from order_fsm.goods import add
from order_fsm.model import Entry, Finding, Message, Order
from order_fsm.money import ZERO, plus
from order_fsm.rules.workflow import Workflow
from order_fsm.store import IdempotencyRecord, Marks, Need, StockLevel, Store, marks_of

_DEAD_LETTERS = 10_000
"""The largest number of dead letters that an audit reads."""

Progress = Callable[[int, int | None], object]
_Totals = dict[tuple[str, str, Marks], tuple[int, Decimal]]


@frozen
class Audit:
    """The result of an audit.

    Attributes:
        orders: the number of orders read.
        entries: the number of their entries.
        findings: all faults, in the sequence of the orders in the store.
        unjudged: the number of entries whose rules the audit did not have. Give it the earlier workflows to judge these
            entries too.
    """

    orders: int
    entries: int
    findings: tuple[Finding, ...]
    unjudged: int = 0

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.findings


def audit(
    store: Store, workflow: Workflow, progress: Progress | None = None, *, workflows: Iterable[Workflow] = ()
) -> Audit:
    """Audit a store. Reads everything and changes nothing.

    Other processes may write at the same time. The audit reads a part that they change again before it reports a
    finding. Its memory grows with the SKUs, states and findings, and not with the orders.

    Args:
        store: the store.
        workflow: the current rules. Orders must match them.
        progress: called after each order with the number of orders done and the number of all orders, or None.
        workflows: earlier rules. The fingerprint of each entry names the rules that judge it.

    Returns:
        The findings.

    Raises:
        InvalidInput: if `progress` is not a function of (done, number), or `workflows` is not a list of workflows.
        StoreUnavailable: if the store cannot be read.
    """
    if progress is not None:
        validation.function_of(progress, "progress", "done", "number")
    if isinstance(workflows, str | Mapping | Workflow) or not isinstance(workflows, Iterable):
        raise InvalidInput(f"workflows must be a list of Workflow, not {validation.shown(workflows)}")
    earlier = tuple(workflows)
    for one in earlier:
        if not isinstance(one, Workflow):
            raise InvalidInput(f"workflows must be a list of Workflow, not of {validation.shown(one)}")
    return _Auditor(store, Tables(workflow, earlier)).audit(progress)


@define
class _Sums:
    """The sums over all orders.

    Attributes:
        held, out, lost: the pieces by item.
        totals: the numbers and totals of the orders.
        digest: a sum that differs if an order has another version.
        digests: the same sum over the orders with an item, by item.
    """

    held: dict[str, int] = Factory(dict)
    out: dict[str, int] = Factory(dict)
    lost: dict[str, int] = Factory(dict)
    totals: _Totals = Factory(dict)
    digest: int = 0
    digests: dict[str, int] = Factory(dict)

    def add(self, order: Order) -> None:
        add(self.held, order.reserved or ())
        for row in order.shipments:
            add(self.out, row.drawn, 1 if row.kind == "shipped" else -1)
            if row.kind == "returned" and not row.restock:
                add(self.lost, row.drawn)
        group = (order.state, order.currency, marks_of(order))
        orders, total = self.totals.get(group, (0, ZERO))
        self.totals[group] = (orders + 1, plus(total, order.total))
        digest = hash((order.id, order.version, order.updated_at))
        self.digest += digest
        lines = chain(order.lines, order.reserved or (), *[row.drawn for row in order.shipments])
        for sku in {line.sku for line in lines}:
            self.digests[sku] = self.digests.get(sku, 0) + digest


class _Auditor:
    def __init__(self, store: Store, tables: Tables) -> None:
        self._store = store
        self._tables = tables
        self._findings: list[Finding] = []

    def audit(self, progress: Progress | None) -> Audit:
        sums = _Sums()
        orders = entries = unjudged = 0
        before = self._totals()
        number = None if before is None else sum(count for count, _ in before.values())
        for done, order_id in enumerate(self._readable(self._store.order_ids()), 1):
            try:
                order, history = self._snapshot(order_id)
                keys = list(self._keys(order, history))
            except OrderNotFound:
                continue  # Another process removed the order.
            except StoreCorrupt as error:
                self._findings.append(Finding(order_id, "corrupt", str(error)))
            else:
                orders += 1
                entries += len(history)
                sums.add(order)
                unjudged += self._tables.unjudged(history)
                self._findings += findings(self._tables, order, history)
                self._findings += keys
            if progress is not None:
                progress(done, number)
        # An interrupted scan has incomplete sums.
        if not any(finding.code == "corrupt" for finding in self._findings):
            self._findings += self._unlike(sums)
        self._findings += self._messages()
        self._findings += [Finding(None, "corrupt", fault) for fault in self._readable(self._faults())]
        return Audit(orders, entries, tuple(dict.fromkeys(self._findings)), unjudged)

    # Reading

    def _readable(self, parts: Iterator[str]) -> Iterator[str]:
        """Yield the readable part of a list. A fault of the list is a finding."""
        try:
            yield from parts
        except StoreCorrupt as error:
            self._findings.append(Finding(None, "corrupt", str(error)))

    def _faults(self) -> Iterator[str]:
        yield from self._store.faults()

    def _snapshot(self, order_id: str) -> tuple[Order, tuple[Entry, ...]]:
        """Return an order and its history from one moment."""
        order = self._store.load(order_id)
        while True:
            history = self._store.history(order_id)
            if len(history) == order.version:
                return order, history
            again = self._store.load(order_id)
            if again.version == order.version:
                return order, history
            order = again

    # Findings

    def _keys(self, order: Order, history: tuple[Entry, ...]) -> Iterator[Finding]:
        carried: dict[str, list[int]] = {}
        for entry in history:
            if entry.key is not None:
                carried.setdefault(entry.key, []).append(entry.version)
        for key, versions in carried.items():
            (snapshot,) = self._store.prepare_many((Need(None, key),))
            record = snapshot.record
            if snapshot.fault is not None:
                yield Finding(order.id, "corrupt", str(snapshot.fault))
            elif record is not None and _names(record) == (order.id, versions):
                continue
            # The order may have been removed or created again since.
            elif versions == [entry.version for entry in self._store.history(order.id) if entry.key == key]:
                fault = f"the key {key!r} of entry {versions[0]} has no record"
                if record is not None:
                    fault = f"the record of key {key!r} does not name the entries with that key"
                yield Finding(order.id, "keys", fault)

    def _messages(self) -> list[Finding]:
        strays = dict(self._stray_messages())
        if strays:
            # A message that was delivered or removed since is not a fault.
            again = dict(self._stray_messages())
            strays = {name: finding for name, finding in strays.items() if name in again}
        return list(strays.values())

    def _stray_messages(self) -> Iterator[tuple[str, Finding]]:
        seen: tuple[str, int] = ("", 0)
        try:
            for message in chain(self._store.messages(), self._store.dead_letters(_DEAD_LETTERS)):
                if seen[0] != message.order_id or message.version > seen[1]:
                    seen = (message.order_id, self._version(message))
                if not 1 <= message.version <= seen[1]:
                    state = f"which is at version {seen[1]}" if seen[1] else "which does not exist"
                    fault = f"the message {message.id!r} is about order {message.order_id!r}, {state}"
                    yield message.id, Finding(message.order_id, "messages", fault)
        except StoreCorrupt as error:
            yield "", Finding(None, "corrupt", str(error))

    def _version(self, message: Message) -> int:
        try:
            return self._store.load(message.order_id).version
        except OrderNotFound:
            return 0
        except StoreCorrupt:
            return message.version  # The order has a finding already.

    # Sums

    def _totals(self) -> _Totals | None:
        try:
            return {(one.state, one.currency, one.marks): (one.orders, one.total) for one in self._store.tally(None)}
        except StoreCorrupt as error:
            self._findings.append(Finding(None, "corrupt", str(error)))
            return None

    def _unlike(self, sums: _Sums) -> list[Finding]:
        """Compare the sums over all orders with the totals and the stock of the store.

        Other processes may write. If there is a difference, all orders are therefore read again. The difference is a
        finding if no order that counts for it has changed since the first reading.
        """
        totals, wrong = self._totals(), self._wrong_levels(sums)
        if not wrong and totals == sums.totals:
            return []
        again = _Sums()
        for order_id in self._readable(self._store.order_ids()):
            try:
                again.add(self._store.load(order_id))
            except (OrderNotFound, StoreCorrupt):
                continue
        found = []
        if totals is not None and totals != sums.totals and again.digest == sums.digest:
            found.append(Finding(None, "tally", "the totals of the store differ from those of its orders"))
        for sku, message in wrong.items():
            if again.digests.get(sku) == sums.digests.get(sku):
                found.append(Finding(None, "stock", message))
        return found

    def _levels(self, sums: _Sums) -> dict[str, StockLevel]:
        """Return the levels of all items, including items that an order reserved and the store does not list."""
        try:
            skus = dict.fromkeys(chain(self._store.stock_items(), sums.held, sums.out, sums.lost))
            return dict.fromkeys(skus, StockLevel()) | self._store.stock_levels(skus)
        except StoreCorrupt as error:
            self._findings.append(Finding(None, "corrupt", str(error)))
            return {}

    def _wrong_levels(self, sums: _Sums) -> dict[str, str]:
        """Return a fault for each item whose level differs from the orders."""
        wrong: dict[str, str] = {}
        for sku, level in self._levels(sums).items():
            orders = sums.held.get(sku, 0), sums.out.get(sku, 0), sums.lost.get(sku, 0)
            if level[1:4] != orders:
                has = "{} pieces held, {} out and {} lost"
                wrong[sku] = f"{sku!r}: {has.format(*level[1:4])}, and the orders have {has.format(*orders)}"
            elif level.available is not None and level.available + sum(orders) < 0:
                wrong[sku] = f"{sku!r}: {level.available} pieces are available, and the orders have {sum(orders)}"
        return wrong


def _names(record: IdempotencyRecord) -> tuple[str | None, list[int]]:
    """Return the order and the versions that the record of a key names."""
    return record.order_id, [*range(record.first, record.last + 1)]

"""Whether a store holds together: each order with its history, ledger and keys, and all of them with stock and totals.

The codes of what is found:

corrupt        the store cannot read it, or says itself that something is wrong
history        the versions are not dense from 1, or an entry does not begin where the one before it ended
fold           the order is not what its history leads to
unknown_state  the rules do not know the state that the order is in; see `Orders.migrate`
counted        whether it counts in totals is not what the rules say
ledger         a payment and the entry that records it differ, or one of the two is missing
rule           a step is not one that the rules take, such as one that ticks paid without the money. The rules are those
               of today: steps up to the last that names a trigger or a state that they do not know are not judged, but
               after other changes of a table its older steps are found too
keys           a key of an entry does not lead to the entries that carry it
messages       a message is of an order that is not there, or of a version that the order has not come to
stock          more pieces are missing than all orders hold
tally          the totals of the store are not those of its orders

What cannot be known: how many pieces there were at first, so whether on hand and held make up what there should be;
what was removed as a whole; and, in a store that is not `Inspectable`, what is behind an order that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import chain

from attrs import Factory, define, frozen

from order_fsm.audit.consistency import findings
from order_fsm.errors import OrderNotFound, StoreCorrupt
from order_fsm.model import Entry, Finding, Message, Order, When
from order_fsm.money import ZERO, plus
from order_fsm.rules.workflow import Workflow
from order_fsm.store import Inspectable, Query, Store

_PAGE = 200
_DEAD_LETTERS = 10_000
"""How many dead letters are looked at."""

Progress = Callable[[int, int | None], object]
_Totals = dict[tuple[str, str, bool], tuple[int, Decimal]]


@frozen
class Audit:
    """What an audit saw.

    Attributes:
        orders: how many were read.
        entries: how many those have.
        findings: all that is wrong; orders in the sequence in which the store has them.
    """

    orders: int
    entries: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def audit(store: Store, workflow: Workflow, progress: Progress | None = None) -> Audit:
    """See whether a store holds together. Reads everything, a page at a time, and changes nothing.

    Others may go on working meanwhile. What they change is looked at again before it is called wrong.

    Args:
        store: which one.
        workflow: the rules to judge its orders by.
        progress: is called after each order with how many are done, and of how many, or None.

    Returns:
        What was found. It keeps a count for each SKU and state, and the findings; nothing for each order.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    return _Auditor(store, workflow).audit(progress)


@define
class _Sums:
    """What all orders come to."""

    held: dict[str, int] = Factory(dict)
    totals: _Totals = Factory(dict)

    def add(self, workflow: Workflow, order: Order) -> None:
        holds = workflow.holds(order.state)
        for line in order.lines:
            self.held[line.sku] = self.held.get(line.sku, 0) + line.quantity * holds
        group = (order.state, order.currency, order.refund_due > 0)
        orders, total = self.totals.get(group, (0, ZERO))
        self.totals[group] = (orders + 1, plus(total, order.total))


class _Auditor:
    def __init__(self, store: Store, workflow: Workflow) -> None:
        self._store = store
        self._workflow = workflow
        self._findings: list[Finding] = []

    def audit(self, progress: Progress | None) -> Audit:
        sums = _Sums()
        orders = entries = 0
        before = self._totals()
        number = None if before is None else sum(count for count, _ in before.values())
        for done, order_id in enumerate(self._readable(self._ids()), 1):
            try:
                order, history = self._snapshot(order_id)
            except OrderNotFound:
                continue  # Somebody removes orders at this moment.
            except StoreCorrupt as error:
                self._findings.append(Finding(order_id, "corrupt", str(error)))
            else:
                orders += 1
                entries += len(history)
                sums.add(self._workflow, order)
                self._findings += findings(self._workflow, order, history)
                self._findings += self._keys(order, history)
            if progress is not None:
                progress(done, number)
        if not any(finding.code == "corrupt" for finding in self._findings):  # Otherwise the sums lack something.
            self._findings += self._unlike(sums, before)
        self._findings += self._messages()
        if isinstance(self._store, Inspectable):
            self._findings += [Finding(None, "corrupt", fault) for fault in self._readable(self._faults(self._store))]
        return Audit(orders, entries, tuple(dict.fromkeys(self._findings)))

    # What there is

    def _ids(self) -> Iterator[str]:
        if isinstance(self._store, Inspectable):
            return self._store.order_ids()
        return (order.id for order in self._found())

    def _found(self) -> Iterator[Order]:
        page = self._store.find(Query(When(), limit=_PAGE))
        while page:
            yield from page
            page = self._page_after(page)

    def _page_after(self, page: list[Order]) -> list[Order]:
        for last in reversed(page):
            try:
                return self._store.find(Query(When(), after=last.id, limit=_PAGE))
            except OrderNotFound:
                continue  # Removed meanwhile: the one before it is a place to go on from as well.
        return []

    def _readable(self, parts: Iterator[str]) -> Iterator[str]:
        """What can be read of a list; where it breaks off, that is a finding."""
        try:
            yield from parts
        except StoreCorrupt as error:
            self._findings.append(Finding(None, "corrupt", str(error)))

    @staticmethod
    def _faults(store: Inspectable) -> Iterator[str]:
        yield from store.faults()

    def _snapshot(self, order_id: str) -> tuple[Order, tuple[Entry, ...]]:
        """An order and its history, both of one moment."""
        order = self._store.load(order_id)
        while True:
            history = self._store.history(order_id)
            if len(history) == order.version:
                return order, history
            again = self._store.load(order_id)
            if again.version == order.version:
                return order, history
            order = again

    # What is wrong with it

    def _keys(self, order: Order, history: tuple[Entry, ...]) -> Iterator[Finding]:
        carried: dict[str, list[int]] = {}
        for entry in history:
            if entry.key is not None:
                carried.setdefault(entry.key, []).append(entry.version)
        for key, versions in carried.items():
            try:
                keyed = self._store.keyed(key)
            except StoreCorrupt as error:
                yield Finding(order.id, "corrupt", str(error))
                continue
            if keyed is None:
                yield Finding(order.id, "keys", f"the key {key!r} of entry {versions[0]} leads nowhere")
            elif (keyed.order_id, [*range(keyed.first, keyed.last + 1)]) != (order.id, versions):
                message = f"the key {key!r} leads to other entries than those that carry it"
                yield Finding(order.id, "keys", message)

    def _messages(self) -> list[Finding]:
        strays = dict(self._stray_messages())
        if strays:
            # Those that were delivered or removed meanwhile are no strays.
            again = dict(self._stray_messages())
            strays = {name: finding for name, finding in strays.items() if name in again}
        return list(strays.values())

    def _stray_messages(self) -> Iterator[tuple[str, Finding]]:
        waiting = self._store.messages() if isinstance(self._store, Inspectable) else iter(())
        seen: tuple[str, int] = ("", 0)
        try:
            for message in chain(waiting, self._store.dead_letters(_DEAD_LETTERS)):
                if seen[0] != message.order_id or message.version > seen[1]:
                    seen = (message.order_id, self._version(message))
                if not 1 <= message.version <= seen[1]:
                    where = f"which is at version {seen[1]}" if seen[1] else "which is not there"
                    said = f"the message {message.id!r} is of order {message.order_id!r}, {where}"
                    yield message.id, Finding(message.order_id, "messages", said)
        except StoreCorrupt as error:
            yield "", Finding(None, "corrupt", str(error))

    def _version(self, message: Message) -> int:
        try:
            return self._store.load(message.order_id).version
        except OrderNotFound:
            return 0
        except StoreCorrupt:
            return message.version  # The order itself is found.

    # All of it together

    def _totals(self) -> _Totals | None:
        try:
            return {tally[:3]: tally[3:] for tally in self._store.tally(None)}
        except StoreCorrupt as error:
            self._findings.append(Finding(None, "corrupt", str(error)))
            return None

    def _unlike(self, sums: _Sums, before: _Totals | None) -> list[Finding]:
        """What all orders come to, against the totals and the stock of the store.

        What seems wrong is summed up again, and is wrong where nothing has moved meanwhile: others may be at work.
        """
        if not (self._short(sums) or before != sums.totals):
            return []
        before, on_hand = self._totals(), self._short(sums)
        sums = _Sums()
        for order_id in self._readable(self._ids()):
            try:
                sums.add(self._workflow, self._store.load(order_id))
            except (OrderNotFound, StoreCorrupt):
                continue
        found = []
        if before == self._totals() != sums.totals:
            found.append(Finding(None, "tally", "the totals of the store are not those of its orders"))
        for sku, number in self._short(sums).items():
            if on_hand.get(sku) == number:
                message = f"{sku!r}: {number} are on hand, but all orders hold only {sums.held[sku]}"
                found.append(Finding(None, "stock", message))
        return found

    def _short(self, sums: _Sums) -> dict[str, int]:
        """The numbers on hand of items of which more are missing than orders hold."""
        try:
            on_hand = self._store.stock(sums.held)
        except StoreCorrupt as error:
            self._findings.append(Finding(None, "corrupt", str(error)))
            return {}
        return {sku: number for sku, number in on_hand.items() if number + sums.held[sku] < 0}

"""Stores with one deliberate fault each in reads, as controls for the store contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from order_fsm.model import Entry, Message, Order, Sales, When
from order_fsm.money import ZERO, plus
from order_fsm.store import Marks, Query, Tally, is_within, marks_of
from order_fsm_adapters.memory import MemoryStore

from .weak_commits import let_others_go_on

EVERYTHING = 1_000_000


class GivesItsOwnList(MemoryStore):
    """Returns the same list for the same query, so that a caller can empty it."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[tuple[Query, int], list[Order]] = {}

    def find(self, query: Query) -> list[Order]:
        key = (query, sum(order.version for order in self._content.orders.values()))
        return self._found.setdefault(key, super().find(query))


class ChangesOrders(MemoryStore):
    """Changes every order with a function that loses a value."""

    change: Callable[[Order], Order]

    def load(self, order_id: str) -> Order:
        return self.change(super().load(order_id))


class LosesMicroseconds(ChangesOrders):
    change = staticmethod(lambda order: replace(order, updated_at=order.updated_at.replace(microsecond=0)))


class LosesZeros(ChangesOrders):
    change = staticmethod(lambda order: replace(order, total=order.total.normalize()))


class TrimsNames(ChangesOrders):
    change = staticmethod(lambda order: replace(order, customer=order.customer and order.customer.strip()))


class TakesNothingReservedForNone(ChangesOrders):
    change = staticmethod(lambda order: replace(order, reserved=order.reserved or None))


class ShipsEverythingFromStock(ChangesOrders):
    change = staticmethod(
        lambda order: replace(order, shipments=tuple(replace(row, drawn=row.lines) for row in order.shipments))
    )


class TakesEmptyForNone(ChangesOrders):
    change = staticmethod(lambda order: replace(order, data={key: value or None for key, value in order.data.items()}))


class ChangesEntries(MemoryStore):
    """Changes every entry with a function that loses a value."""

    change: Callable[[Entry], Entry]

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return tuple(map(self.change, super().history(order_id, after, limit)))


class TranslatesLineEnds(ChangesEntries):
    change = staticmethod(lambda entry: replace(entry, comment=entry.comment.replace("\r\n", "\n")))


class CutsLongComments(ChangesEntries):
    change = staticmethod(lambda entry: replace(entry, comment=entry.comment[:65535]))


class ForgetsAFlag(ChangesEntries):
    change = staticmethod(lambda entry: replace(entry, notify=False))


class ForgetsTheRules(ChangesEntries):
    change = staticmethod(lambda entry: replace(entry, rules_fingerprint=entry.rules_fingerprint or None))


class MakesFactsText(ChangesEntries):
    change = staticmethod(lambda entry: replace(entry, facts={key: str(value) for key, value in entry.facts.items()}))


class MatchesPartsOfNames(MemoryStore):
    """Searches the state's name like LIKE."""

    def find(self, query: Query) -> list[Order]:
        found = super().find(Query(When(), query.customer, query.refund_due, query.after, EVERYTHING))
        when = query.when
        return [
            order
            for order in found
            if all(name in order.state for name in when.has)
            and not any(name in order.state for name in when.lacks)
            and (not when.has_any or any(name in order.state for name in when.has_any))
        ][: query.limit]


class LeadsToOneOrder(MemoryStore):
    """Finds only the first order with a payment."""

    def find(self, query: Query) -> list[Order]:
        return super().find(query)[: None if query.reference is None else 1]


class SortsByTimeAlone(MemoryStore):
    """Returns orders of one moment in the sequence of their commits."""

    def find(self, query: Query) -> list[Order]:
        arrived = list(self._content.orders)
        return sorted(super().find(query), key=lambda order: (order.created_at, arrived.index(order.id)))


class ContinuesAfterAMoment(MemoryStore):
    """Skips orders of the last moment of the previous page."""

    def find(self, query: Query) -> list[Order]:
        found, after = super().find(query), query.after
        return found if after is None else [order for order in found if order.created_at > after.at]


class ContinuesAfterAMatchOnly(MemoryStore):
    """Returns the first page after an order that the query does not match."""

    def find(self, query: Query) -> list[Order]:
        if query.after is not None:
            order = self._content.orders.get(query.after.order_id)
            if order is not None and not query.when.matches(order.statuses):
                query = query._replace(after=None)
        return super().find(query)


class ContinuesAfterPresentOrdersOnly(MemoryStore):
    """Returns the first page after a removed order."""

    def find(self, query: Query) -> list[Order]:
        if query.after is not None and query.after.order_id not in self._content.orders:
            query = query._replace(after=None)
        return super().find(query)


class CountsOnce(MemoryStore):
    """Returns the first numbers for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._counted: dict[str | None, list[Tally]] = {}

    def tally(self, customer: str | None) -> list[Tally]:
        return list(self._counted.setdefault(customer, super().tally(customer)))


class CountsForTheFirstCustomer(MemoryStore):
    """Counts an order for its first customer."""

    def __init__(self) -> None:
        super().__init__()
        self._firsts: dict[str, str | None] = {}

    def tally(self, customer: str | None) -> list[Tally]:
        firsts = self._firsts
        for order in self._content.orders.values():
            firsts.setdefault(order.id, order.customer)
        tallies: dict[tuple[str, str, Marks], Tally] = {}
        for order in self._content.orders.values():
            if customer in (None, firsts[order.id]):
                marks = marks_of(order)
                group = (order.state, order.currency, marks)
                empty = Tally(order.state, order.currency, marks.refund_due, 0, Decimal(0), *marks[1:])
                before = tallies.get(group, empty)
                tallies[group] = before._replace(orders=before.orders + 1, total=before.total + order.total)
        return list(tallies.values())


class CountsOneStateAfterTheOther(MemoryStore):
    """Counts states one after the other while orders move between them."""

    def tally(self, customer: str | None) -> list[Tally]:
        tallies = []
        for state in ("sent", "sent+paid", "sent+cancelled"):
            # Wait until another thread has changed an order, if one does.
            before = dict(self._content.orders)
            for _ in range(100):
                if self._content.orders != before:
                    break
                let_others_go_on()
            tallies += [tally for tally in super().tally(customer) if tally.state == state]
        return tallies


class FindsRemovedOrders(MemoryStore):
    """Finds a removed order by an index of customers."""

    def __init__(self) -> None:
        super().__init__()
        self._removed: list[Order] = []

    def remove(self, order: Order) -> None:
        super().remove(order)
        self._removed.append(order)

    def find(self, query: Query) -> list[Order]:
        return super().find(query) + [order for order in self._removed if order.customer == query.customer]


class CountsNoRefunds(MemoryStore):
    def tally(self, customer: str | None) -> list[Tally]:
        return [
            Tally(tally.state, tally.currency, False, tally.orders, tally.total) for tally in super().tally(customer)
        ]


class CountsNoParts(MemoryStore):
    def tally(self, customer: str | None) -> list[Tally]:
        return [tally._replace(part_dispatched=False) for tally in super().tally(customer)]


class FindsPartsByState(MemoryStore):
    """Finds every undispatched order of which a part was ever shipped."""

    def find(self, query: Query) -> list[Order]:
        if not query.part_dispatched:
            return super().find(query)
        found = super().find(query._replace(part_dispatched=False, limit=EVERYTHING))
        return [order for order in found if order.shipments and "dispatched" not in order.statuses][: query.limit]


class StaysOpen(MemoryStore):
    """Still works after `close`."""

    def close(self) -> None:
        pass


class ListsWhileOrdersChange(MemoryStore):
    """Fails a listing if an order changes."""

    def order_ids(self) -> Iterator[str]:
        return iter(self._content.orders)


class ListsPageByPage(MemoryStore):
    """Reads pages by number, so new orders move others to a page that was read."""

    def messages(self) -> Iterator[Message]:
        number = 0
        while page := list(super().messages())[number : number + 1]:
            yield from page
            number += 1


class FindsAllOfAnInterval(MemoryStore):
    """Ignores the condition on partly shipped goods."""

    def find(self, query: Query) -> list[Order]:
        return super().find(query._replace(part_dispatched=False) if query.is_dated else query)


class ForgetsToUnplace(ChangesOrders):
    """Keeps the time of placing of an unplaced order."""

    change = staticmethod(lambda order: replace(order, placed_at=order.placed_at or order.updated_at))


class FindsUntilTheEnd(MemoryStore):
    """Includes the end of an interval."""

    def find(self, query: Query) -> list[Order]:
        until = query.until and query.until + timedelta(microseconds=1)
        return super().find(query._replace(until=until))


class ContinuesByCreation(MemoryStore):
    """Continues every query by the time of creation."""

    def find(self, query: Query) -> list[Order]:
        found, after = super().find(query._replace(after=None, limit=EVERYTHING)), query.after
        left = [order for order in found if after is None or (order.created_at, order.id) > after]
        return left[: query.limit]


class CountsCancelledOrders(MemoryStore):
    def totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        totals: dict[str, Decimal] = {}
        for order in self.find(Query(When(), customer, limit=EVERYTHING, since=since, until=until)):
            totals[order.currency] = totals.get(order.currency, ZERO) + order.total
        return totals


class ReportsAllCredits(MemoryStore):
    """Includes the credits of cancelled orders."""

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        report = super().report(since, until)
        for order in self.find(Query(When(), limit=EVERYTHING)):
            for row in () if order.counted else order.payments:
                if row.currency in report and is_within(row.at, since, until):
                    sales = report[row.currency]
                    report[row.currency] = replace(sales, credited=plus(sales.credited, row.credit))
        return report


class ReportsInTwoSteps(MemoryStore):
    """Reads the orders first and the money later."""

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        first = later = super().report(since, until)
        for _ in range(100):
            if (later := super().report(since, until)) != first:
                break
            let_others_go_on()
        return {one: replace(sales, gross=first[one].gross) for one, sales in later.items() if one in first}


class SkipsTheEntryAfter(MemoryStore):
    """Starts a page of a history one entry late."""

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return super().history(order_id, after + bool(after), limit)

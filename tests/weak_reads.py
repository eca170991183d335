"""Stores that answer with one deliberate fault each: controls for the contract of stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from attrs import evolve

from order_fsm.model import Entry, Message, Order, Sales, When
from order_fsm.money import ZERO, plus
from order_fsm.store import Marks, Query, Tally, is_within, marks_of
from order_fsm_adapters.memory import MemoryStore

from .weak_commits import let_others_go_on

EVERYTHING = 1_000_000


class GivesItsOwnList(MemoryStore):
    """The same list for the same query, so that its caller can empty it."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[tuple[Query, int], list[Order]] = {}

    def find(self, query: Query) -> list[Order]:
        key = (query, sum(order.version for order in self._content.orders.values()))
        return self._found.setdefault(key, super().find(query))


class ChangesOrders(MemoryStore):
    """Gives every order through a function that loses something."""

    change: Callable[[Order], Order]

    def load(self, order_id: str) -> Order:
        return self.change(super().load(order_id))


class LosesMicroseconds(ChangesOrders):
    change = staticmethod(lambda order: evolve(order, updated_at=order.updated_at.replace(microsecond=0)))


class LosesZeros(ChangesOrders):
    change = staticmethod(lambda order: evolve(order, total=order.total.normalize()))


class TrimsNames(ChangesOrders):
    change = staticmethod(lambda order: evolve(order, customer=order.customer and order.customer.strip()))


class TakesNothingReservedForNone(ChangesOrders):
    change = staticmethod(lambda order: evolve(order, reserved=order.reserved or None))


class ShipsEverythingFromStock(ChangesOrders):
    change = staticmethod(
        lambda order: evolve(order, shipments=tuple(evolve(row, drawn=row.lines) for row in order.shipments))
    )


class TakesEmptyForNone(ChangesOrders):
    change = staticmethod(lambda order: evolve(order, data={key: value or None for key, value in order.data.items()}))


class ChangesEntries(MemoryStore):
    """Gives every entry through a function that loses something."""

    change: Callable[[Entry], Entry]

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return tuple(map(self.change, super().history(order_id, after, limit)))


class TranslatesLineEnds(ChangesEntries):
    change = staticmethod(lambda entry: evolve(entry, comment=entry.comment.replace("\r\n", "\n")))


class CutsLongComments(ChangesEntries):
    change = staticmethod(lambda entry: evolve(entry, comment=entry.comment[:65535]))


class ForgetsAFlag(ChangesEntries):
    change = staticmethod(lambda entry: evolve(entry, notify=False))


class ForgetsTheRules(ChangesEntries):
    change = staticmethod(lambda entry: evolve(entry, rules_fingerprint=entry.rules_fingerprint or None))


class MakesFactsText(ChangesEntries):
    change = staticmethod(lambda entry: evolve(entry, facts={key: str(value) for key, value in entry.facts.items()}))


class MatchesPartsOfNames(MemoryStore):
    """As a search of the state's name with LIKE does."""

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
    """A payment leads to the order that had it first."""

    def find(self, query: Query) -> list[Order]:
        return super().find(query)[: None if query.reference is None else 1]


class SortsByTimeAlone(MemoryStore):
    """Orders of one moment come as they were committed."""

    def find(self, query: Query) -> list[Order]:
        arrived = list(self._content.orders)
        return sorted(super().find(query), key=lambda order: (order.created_at, arrived.index(order.id)))


class ContinuesAfterAMoment(MemoryStore):
    """A page loses orders of the moment at which the one before it ended."""

    def find(self, query: Query) -> list[Order]:
        found, after = super().find(query), query.after
        return found if after is None else [order for order in found if order.created_at > after.at]


class ContinuesAfterAMatchOnly(MemoryStore):
    """A page after an order that the query does not find is the first one."""

    def find(self, query: Query) -> list[Order]:
        if query.after is not None:
            order = self._content.orders.get(query.after.order_id)
            if order is not None and not query.when.matches(order.statuses):
                query = query._replace(after=None)
        return super().find(query)


class ContinuesAfterPresentOrdersOnly(MemoryStore):
    """A page after an order that was removed is the first one."""

    def find(self, query: Query) -> list[Order]:
        if query.after is not None and query.after.order_id not in self._content.orders:
            query = query._replace(after=None)
        return super().find(query)


class CountsOnce(MemoryStore):
    """And gives the same numbers from then on."""

    def __init__(self) -> None:
        super().__init__()
        self._counted: dict[str | None, list[Tally]] = {}

    def tally(self, customer: str | None) -> list[Tally]:
        return list(self._counted.setdefault(customer, super().tally(customer)))


class CountsForTheFirstCustomer(MemoryStore):
    """It counts an order for the customer that created it."""

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
    """While orders go from one to the other."""

    def tally(self, customer: str | None) -> list[Tally]:
        tallies = []
        for state in ("sent", "sent+paid", "sent+cancelled"):
            # Until another thread has changed an order, if one does.
            before = dict(self._content.orders)
            for _ in range(100):
                if self._content.orders != before:
                    break
                let_others_go_on()
            tallies += [tally for tally in super().tally(customer) if tally.state == state]
        return tallies


class FindsRemovedOrders(MemoryStore):
    """An index by customer still leads to it."""

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
    """Every order that is not dispatched, if a part of its goods was ever shipped."""

    def find(self, query: Query) -> list[Order]:
        if not query.part_dispatched:
            return super().find(query)
        found = super().find(query._replace(part_dispatched=False, limit=EVERYTHING))
        return [order for order in found if order.shipments and "dispatched" not in order.statuses][: query.limit]


class StaysOpen(MemoryStore):
    """It works on after it was closed."""

    def close(self) -> None:
        pass


class ListsWhileOrdersChange(MemoryStore):
    """A listing is interrupted by a change."""

    def order_ids(self) -> Iterator[str]:
        return iter(self._content.orders)


class ListsPageByPage(MemoryStore):
    """Orders that come in between move others to a page that was read."""

    def messages(self) -> Iterator[Message]:
        number = 0
        while page := list(super().messages())[number : number + 1]:
            yield from page
            number += 1


class FindsAllOfAnInterval(MemoryStore):
    """Whether a part of their goods was shipped or not."""

    def find(self, query: Query) -> list[Order]:
        return super().find(query._replace(part_dispatched=False) if query.is_dated else query)


class ForgetsToUnplace(ChangesOrders):
    """An order that was placed once stays placed."""

    change = staticmethod(lambda order: evolve(order, placed_at=order.placed_at or order.updated_at))


class FindsUntilTheEnd(MemoryStore):
    """An interval ends after its last moment."""

    def find(self, query: Query) -> list[Order]:
        until = query.until and query.until + timedelta(microseconds=1)
        return super().find(query._replace(until=until))


class ContinuesByCreation(MemoryStore):
    """Whatever the sequence of the query is."""

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
    """Those of cancelled orders, too."""

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        report = super().report(since, until)
        for order in self.find(Query(When(), limit=EVERYTHING)):
            for row in () if order.counted else order.payments:
                if row.currency in report and is_within(row.at, since, until):
                    sales = report[row.currency]
                    report[row.currency] = evolve(sales, credited=plus(sales.credited, row.credit))
        return report


class ReportsInTwoSteps(MemoryStore):
    """The orders first, and then the money."""

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        first = later = super().report(since, until)
        for _ in range(100):
            if (later := super().report(since, until)) != first:
                break
            let_others_go_on()
        return {one: evolve(sales, gross=first[one].gross) for one, sales in later.items() if one in first}


class SkipsTheEntryAfter(MemoryStore):
    """A page of a history begins one entry late."""

    def history(self, order_id: str, after: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        return super().history(order_id, after + bool(after), limit)

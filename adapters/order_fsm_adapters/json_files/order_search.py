"""Finding and counting the orders of a folder: by the index, or, where it cannot be kept, by reading every order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from heapq import nsmallest
from typing import TypeVar

from order_fsm.errors import StoreError
from order_fsm.model import Message, Order
from order_fsm.store import Query, Tally
from order_fsm_adapters.finding import matches, refund_is_due, tallies
from order_fsm_adapters.json_files.file_journal import FileJournal
from order_fsm_adapters.json_files.file_names import file_name
from order_fsm_adapters.json_files.order_file import OrderFile
from order_fsm_adapters.json_files.order_files import OrderFiles
from order_fsm_adapters.json_files.order_index import OrderIndex
from order_fsm_adapters.places import START, Place, place

T = TypeVar("T")

_log = logging.getLogger(__name__)


class OrderSearch:
    """What is asked of all orders at once."""

    def __init__(self, files: OrderFiles, journal: FileJournal, index: OrderIndex) -> None:
        """Put the parts together."""
        self._files = files
        self._journal = journal
        self._index = index

    def find(self, query: Query) -> list[Order]:
        """See `Store.find`; so with the others."""
        after = START if query.after is None else place(self._files.present(query.after).to_order())
        found: list[Order] = []
        while len(found) < query.limit:
            wanted = query._replace(limit=query.limit - len(found))
            places = self._places(wanted, after)
            found += self._orders_at(places, query)
            if len(places) < wanted.limit:
                break
            after = places[-1]
        return found

    def _places(self, query: Query, after: Place) -> list[Place]:
        places = self._by_index(partial(self._index.found, query, after))
        if places is None:
            orders = map(OrderFile.to_order, self._files.every())
            there = (place(order) for order in orders if matches(query, order))
            return nsmallest(query.limit, (one for one in there if one > after))
        return places

    def _orders_at(self, places: list[Place], query: Query) -> list[Order]:
        """The orders at some places, but those that the query does not describe any more."""
        orders = []
        for _, order_id in places:
            name = file_name(order_id)
            document = self._files.read_unless_broken(name)
            order = None if document is None else document.to_order()
            if order is not None and matches(query, order):
                orders.append(order)
            else:
                # Changed since it was indexed; if not by a store, the index does not know yet.
                self._by_index(partial(self._index.note, name))
        return orders

    def tally(self, customer: str | None) -> list[Tally]:
        answer = self._by_index(partial(self._index.tally, customer))
        if answer is None:
            orders = map(OrderFile.to_order, self._files.every())
            counted = (one for one in orders if customer is None or one.customer == customer)
            return tallies((one.state, one.currency, refund_is_due(one), 1, one.total) for one in counted)
        return answer

    def dead_letters(self, limit: int) -> list[Message]:
        names = self._by_index(self._index.with_dead_letters)
        documents = self._files.every() if names is None else filter(None, map(self._files.read_unless_broken, names))
        dead = (message for document in documents for message in document.to_dead_letters())
        return nsmallest(limit, dead, key=lambda message: message.created_at)

    def _by_index(self, ask: Callable[[], T]) -> T | None:
        """What the index answers; None where it cannot be kept."""
        self._journal.settle_all()
        try:
            return ask()
        except StoreError as error:
            _log.warning("where the index cannot be used, every order is read: %s", error)
            return None

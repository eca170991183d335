"""A reference model of a shop with dicts, lists and loops, for `state_machine`.

It shares the values with the engine (orders, entries, rules) and no decision. It implements the meaning of rows, keys
and references, and the moves of stock and money, a second time from the design.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from order_fsm.errors import InvalidInput, KeyReused, OrderExists, OrderNotFound, Reason, Refused, VersionConflict
from order_fsm.model import LASTING_FACTS, UNFINISHED, Entry, Order, Payment, Receipt, Sales
from order_fsm.rules.rule import REASONED, STOCK_SUFFICES, Rule
from order_fsm.rules.workflow import Workflow
from order_fsm.stock_levels import StockLevel
from order_fsm.testing.reference_corrections import (
    adopted,
    changed,
    was_sent,
    with_changes,
)
from order_fsm.testing.reference_goods import (
    goods_facts,
    goods_of,
    missing_for,
    reserved_after,
    reserved_as_amended,
    stock_differences,
)
from order_fsm.testing.reference_ledger import money_facts, recorded_version, total


class Reference:
    """The orders that a shop must have after some calls, and the result of each call.

    Attributes:
        lives: by order id, each version of the order with the entry that created it.
        on_hand: by SKU, the available pieces of tracked items.
        held: by SKU, the pieces that orders hold, of items that were ever tracked.
        out, lost: by SKU, the pieces from stock that are shipped, and those that came back and were not restocked.
        backorder: the items that an order may take without available pieces.
        keys: the request of each idempotency key, and the versions that it created.
    """

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.lives: dict[str, list[tuple[Order, Entry]]] = {}
        self.on_hand: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.out: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.backorder: set[str] = set()
        self.keys: dict[str, tuple[object, str, int, int]] = {}

    def create(self, new: Order, key: str | None) -> Order:
        """Create an order with the given values."""
        asked = ("create", new.id, new.total, new.currency, new.lines, new.customer)
        if (first := self._first(key, asked)) is not None:
            return first.order
        if new.id in self.lives:
            raise OrderExists
        self._keep([(new, Entry(1, "create", UNFINISHED, UNFINISHED, new.created_at, key=key))], asked)
        return new

    def fire(
        self, order_id: str, trigger: str, at: datetime, said: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> Receipt:
        """Fire a trigger."""
        money = self._kind(trigger) is not None
        engine_reads = {"items", "parcel", "restock"} if self._goods(trigger) else set()
        given = {
            name: value for name, value in facts.items() if value is not None or not (money or name in engine_reads)
        }

        def once(order: Order) -> int | list[tuple[Order, Entry]]:
            recorded = self._recorded(order, trigger, given)
            return recorded or [self._step(order, trigger, at, said, given)]

        return self._call(order_id, ("fire", trigger, given), said, once)

    def save(
        self, order_id: str, wanted: frozenset[str], version: int, at: datetime, said: Mapping[str, Any]
    ) -> Receipt:
        """Save the form."""

        def filled(order: Order) -> list[tuple[Order, Entry]]:
            if order.version != version:
                raise VersionConflict
            if order.statuses == wanted:
                return [self._noted(order, at, said)] if said["comment"].strip() else []
            quiet = {**said, "visible": False, "notify": False}
            steps, dead_ends = self._filled(order, wanted, at, quiet)
            if steps is None:
                nearest = min(distance for distance, _ in dead_ends)
                codes = {code for distance, codes in dead_ends if distance == nearest for code in codes}
                raise Refused(order_id, "save", order.state, [Reason(code, "") for code in codes])
            last, entry = steps[-1]
            return [*steps[:-1], (last, replace(entry, visible=said["visible"], notify=said["notify"]))]

        return self._call(order_id, ("save", wanted, said["comment"]), said, filled)

    def comment(self, order_id: str, at: datetime, said: Mapping[str, Any]) -> Receipt:
        """Add a comment."""
        if not said["comment"].strip():
            raise InvalidInput
        return self._call(order_id, ("comment", said["comment"]), said, lambda order: [self._noted(order, at, said)])

    def set_stock(self, sku: str, available: int | None, expected: int | None, backorder: bool | None) -> None:
        """Set the available pieces of an item, or stop tracking it."""
        if expected is not None and self.on_hand.get(sku) != expected:
            raise VersionConflict
        self.held.setdefault(sku, 0)
        self.on_hand.pop(sku, None)
        if available is not None:
            self.on_hand[sku] = available
        if backorder is not None:
            (self.backorder.add if backorder else self.backorder.discard)(sku)

    def adjust_stock(self, sku: str, by: int, key: str | None) -> int:
        """Add or remove pieces of an item."""
        asked = ("adjust_stock", sku, by)
        if key in self.keys:
            if self.keys[key][0] != asked:
                raise KeyReused
            return self.on_hand.get(sku, 0)
        if sku not in self.on_hand or (by < 0 and self.on_hand[sku] + by < 0):
            raise InvalidInput
        self.on_hand[sku] += by
        if key is not None:
            self.keys[key] = (asked, "", 0, 0)
        return self.on_hand[sku]

    def level(self, sku: str) -> StockLevel | None:
        """Return the stock level of an item, or None if it was never set."""
        if sku not in self.held:
            return None
        out, lost = self.out.get(sku, 0), self.lost.get(sku, 0)
        return StockLevel(self.on_hand.get(sku), self.held[sku], out, lost, sku in self.backorder)

    def erase(self, order_id: str, at: datetime, by: str | None) -> list[str]:
        """Blank all personal values in the past of an order."""
        if order_id not in self.lives:
            raise OrderNotFound
        order, life = self.lives[order_id][-1][0], self.lives[order_id]
        blank = [self._blank(*step) for step in life]
        if blank == life:
            return []
        said = {"comment": "", "visible": False, "notify": False, "key": None, "by": by}
        entry = self._entry(order, "erase", order.state, at, said)
        self.lives[order_id] = [*blank, (blank[-1][0].after(entry, order.payments, order.counted), entry)]
        for key, (_, of, first, last) in self.keys.items():
            entries = [one for _, one in life[first - 1 : last]]
            if of == order_id and not all(
                one.by == "gateway" and one.facts and set(one.facts) <= LASTING_FACTS for one in entries
            ):
                self.keys[key] = (None, of, first, last)
        return [order_id]

    def _blank(self, order: Order, entry: Entry) -> tuple[Order, Entry]:
        """Return an order and an entry without personal values."""
        order = replace(order, customer=None, email=None, data={})
        lasting = {name: value for name, value in entry.facts.items() if name in LASTING_FACTS}
        if entry.comment or lasting != entry.facts:
            entry = replace(entry, comment="", facts=lasting, erased=True)
        return order, entry

    def amend(
        self, order_id: str, wanted: Mapping[str, Any], version: int | None, at: datetime, said: Mapping[str, Any]
    ) -> Receipt:
        """Amend the order."""

        def amended(order: Order) -> list[tuple[Order, Entry]]:
            if version not in (None, order.version):
                raise VersionConflict
            facts = changed(order, wanted)
            if not facts:
                return [self._noted(order, at, said)] if said["comment"].strip() else []
            after = with_changes(order, facts)
            lacking = missing_for(order, after, self.on_hand) - self.backorder
            last, entry = self._step(after, "amend", at, said, facts, lacking)
            if after.lines != order.lines:
                holds = self.workflow.holds_stock.matches(last.statuses)
                last = last.holding(reserved_as_amended(order, after, holds, self.on_hand))
            return [(last, entry)]

        asked = tuple(sorted((name, str(value)) for name, value in wanted.items()))
        return self._call(order_id, ("amend", asked, said["comment"]), said, amended)

    def assign_customer(
        self, ids: list[str], customer: str | None, at: datetime, said: Mapping[str, Any]
    ) -> list[Receipt]:
        """Assign a customer to orders."""
        if not set(ids) <= self.lives.keys():
            raise OrderNotFound
        return [self.amend(order_id, {"customer": customer}, None, at, said) for order_id in ids]

    def resend(self, order_id: str, topic: str, at: datetime, said: Mapping[str, Any]) -> Receipt:
        """Send a message again."""

        def again(order: Order) -> list[tuple[Order, Entry]]:
            if not was_sent(self.lives[order_id], topic):
                raise InvalidInput
            entry = replace(self._entry(order, "resend", order.state, at, said), facts={"topic": topic})
            return [(order.after(entry, order.payments, order.counted), entry)]

        return self._call(order_id, ("resend", topic), said, again)

    def adopt(
        self,
        new: Order,
        statuses: frozenset[str],
        payments: list[dict[str, Any]],
        at: datetime,
        placed: datetime,
        key: str | None,
    ) -> Order:
        """Adopt an order, given with its values before the payments and boxes."""
        known = [status.name for status in self.workflow.statuses]
        if not statuses <= set(known):
            raise InvalidInput
        asked = ("adopt", new.id, new.total, new.lines, new.customer, statuses, str(payments), str(placed))
        if (first := self._first(key, asked)) is not None:
            return first.order
        state = "+".join([name for name in known if name in statuses]) or UNFINISHED
        if state not in self.workflow.states:
            raise InvalidInput
        counted, holds = self.workflow.counts.matches(statuses), self.workflow.holds_stock.matches(statuses)
        life = adopted(new, state, frozenset(known), counted, holds, payments, at, placed)
        order, last = life[-1]
        life[-1] = order, replace(last, rules_fingerprint=self.workflow.fingerprint)
        if new.id in self.lives:
            raise OrderExists
        return self._keep([(order, replace(entry, key=key)) for order, entry in life], asked).order

    def orders(self) -> list[Order]:
        """Return all orders by time of creation, then by id."""
        return sorted((life[-1][0] for life in self.lives.values()), key=lambda order: (order.created_at, order.id))

    def counts(self) -> dict[str, int]:
        """Return the number of orders in each queue."""
        queues = {
            name: sum(when.matches(one.statuses) for one in self.orders())
            for name, when in self.workflow.queues.items()
        }
        queues["refund_due"] = sum(one.refund_due > 0 for one in self.orders())
        queues["unmatched"] = sum(bool(one.unmatched) for one in self.orders())
        queues["part_dispatched"] = sum(map(self.part_dispatched, self.orders()))
        return queues

    def totals(self, customer: str | None) -> dict[str, Decimal]:
        """Return the sum of the totals of counted orders, by currency."""
        totals: dict[str, Decimal] = {}
        for order in self.orders():
            if self.workflow.counts.matches(order.statuses) and customer in (None, order.customer):
                totals[order.currency] = totals.get(order.currency, Decimal(0)) + order.total
        return totals

    def placed(self, since: datetime | None, until: datetime | None, customer: str | None) -> list[Order]:
        """Return the orders placed in an interval, oldest placing first, from their lives."""
        placed: list[tuple[datetime, str, Order]] = []
        for order in self.orders():
            placings = [one for _, one in self.lives[order.id] if {"sent"} & one.after and not {"sent"} & one.before]
            times = [
                datetime.fromisoformat(str(one.facts["placed_at"])) if one.trigger == "adopt" else one.at
                for one in placings
            ]
            at = times[-1] if times and "sent" in order.statuses else None
            assert order.placed_at == at, f"order {order.id!r} was placed at {at}, not at {order.placed_at}"
            if at is not None and _between(at, since, until) and customer in (None, order.customer):
                placed.append((at, order.id, order))
        return [order for _, _, order in sorted(placed, key=lambda one: one[:2])]

    def dated_totals(self, since: datetime | None, until: datetime | None, customer: str | None) -> dict[str, Decimal]:
        """Return the sum of the totals of counted orders of an interval, by currency."""
        totals: dict[str, Decimal] = {}
        for order in self.placed(since, until, customer):
            if self.workflow.counts.matches(order.statuses):
                totals[order.currency] = totals.get(order.currency, Decimal(0)) + order.total
        return totals

    def report(self, since: datetime | None, until: datetime | None) -> dict[str, Sales]:
        """Return the sales, receipts and refunds of an interval, by currency."""
        gross = self.dated_totals(since, until, None)
        counts = self.workflow.counts.matches
        rows = [
            row if counts(order.statuses) else replace(row, credit=Decimal(0))
            for order in self.orders()
            for row in order.payments
            if _between(row.at, since, until)
        ]
        report = {}
        for currency in {*gross, *(row.currency for row in rows if row.amount or row.credit)}:
            mine = [row for row in rows if row.currency == currency]
            counted = [
                order.id
                for order in self.placed(since, until, None)
                if order.currency == currency and self.workflow.counts.matches(order.statuses)
            ]
            report[currency] = Sales(
                currency,
                len(counted),
                gross.get(currency, Decimal(0)),
                total(mine, "captured", "restored") - total(mine, "reversed"),
                total(mine, "refunded") - total(mine, "refund_failed"),
                sum((row.credit for row in mine), start=Decimal(0)),
            )
        return report

    # One call: a redelivery, or a decision

    def _call(
        self,
        order_id: str,
        asked: tuple[object, ...],
        said: Mapping[str, Any],
        decided: Callable[[Order], int | list[tuple[Order, Entry]]],
    ) -> Receipt:
        asked = (asked[0], order_id, *asked[1:])
        if (first := self._first(said["key"], asked)) is not None:
            return first
        if order_id not in self.lives:
            raise OrderNotFound
        order = self.lives[order_id][-1][0]
        steps = decided(order)
        if isinstance(steps, int):
            return self._receipt(order_id, steps, steps, duplicate=True)
        if not steps:
            return Receipt(order, ())
        for sku, (available, held, out, lost) in stock_differences(order, steps[-1][0]).items():
            if sku in self.on_hand:
                self.on_hand[sku] += available
            self.held[sku] += held
            self.out[sku] = self.out.get(sku, 0) + out
            self.lost[sku] = self.lost.get(sku, 0) + lost
        return self._keep(steps, asked)

    def _first(self, key: str | None, asked: tuple[object, ...]) -> Receipt | None:
        if key not in self.keys:
            return None
        meant, order_id, first, last = self.keys[key]
        if order_id != asked[1] or meant not in (None, asked):  # An erasure blanks the fingerprint of the request.
            raise KeyReused
        return self._receipt(order_id, first, last, duplicate=True)

    def _keep(self, steps: list[tuple[Order, Entry]], asked: object) -> Receipt:
        order, entry = steps[-1]
        self.lives.setdefault(order.id, []).extend(steps)
        first = steps[0][1].version
        if entry.key is not None:
            self.keys[entry.key] = (asked, order.id, first, order.version)
        row = order.payments[-1] if order.payments else None
        adopts = row is not None and row.version >= first and row.kind == "captured" and not row.amount
        return self._receipt(order.id, first, order.version, duplicate=adopts)

    def _receipt(self, order_id: str, first: int, last: int, duplicate: bool = False) -> Receipt:
        life = self.lives[order_id]
        return Receipt(life[last - 1][0], tuple(entry for _, entry in life[first - 1 : last]), duplicate)

    def _recorded(self, order: Order, trigger: str, facts: Mapping[str, Any]) -> int | None:
        """Return the version that already recorded the same fact."""
        kind = self._kind(trigger)
        return None if kind is None else recorded_version(order, kind, facts)

    def part_dispatched(self, order: Order) -> bool:
        """Return whether a live order is partly shipped."""
        goods = goods_of(order)
        return order.counted and bool(goods.shipped) and bool(goods.to_ship)

    # The meaning of the table

    def _goods(self, trigger: str) -> str | None:
        return next(rule.goods for rule in self.workflow.rules if rule.trigger == trigger)

    def _kind(self, trigger: str) -> str | None:
        return next(rule.ledger for rule in self.workflow.rules if rule.trigger == trigger)

    def _step(
        self,
        order: Order,
        trigger: str,
        at: datetime,
        said: Mapping[str, Any],
        given: Mapping[str, Any],
        lacking: set[str] | None = None,
    ) -> tuple[Order, Entry]:
        """Take the first open row of a trigger whose guards hold. With a reason, an override passes policy guards."""
        rules = [rule for rule in self.workflow.rules if rule.trigger == trigger]
        reasoned = bool(said["comment"].strip())
        gateway = said["by"] == "gateway"
        shortages = self._shortages(order) if lacking is None else lacking
        facts = {**given, "comment": said["comment"], "shortages": shortages, "gateway": gateway}
        if rules[0].goods is not None:
            facts |= goods_facts(order, rules[0].goods, given, at)
        payments = order.payments
        kind = rules[0].ledger
        if kind is not None:
            money = money_facts(order, kind, given, gateway)
            payments += (
                Payment(kind, currency=money["currency"], at=at, version=order.version + 1, **money.pop("row")),
            )
            facts |= money
        elif rules[0].lapses and order.credited and order.held <= 0:
            lapsed = -sum((row.credit for row in payments), start=Decimal(0))
            zero = Decimal(0)
            payments += (Payment("refunded", zero, order.currency, None, at, order.version + 1, lapsed),)
        elif "credited" in given and trigger == "amend":
            credit = given["credited"] - order.credited
            payments += (Payment("refunded", Decimal(0), order.currency, None, at, order.version + 1, credit),)
        after = replace(order, payments=payments)
        facts |= {"outstanding": max(after.cost - after.held, Decimal(0)), "online": after.held_online > 0}
        for overriding in (False, True) if said["override"] and reasoned else (False,):
            for rule in rules:
                failed = self._failed(rule, order, facts)
                if not rule.unmet(order.statuses) and all(guard.policy and overriding for guard in failed):
                    return self._taken(order, rule, at, said, given, facts, payments, overriding)
        tries = []
        for rule in rules:
            codes = [
                guard.code
                for guard in self._failed(rule, order, facts)
                if not (said["override"] and reasoned and guard.policy)
            ]
            if said["override"] and not reasoned and any(guard.policy for guard in self._failed(rule, order, facts)):
                codes.append(REASONED.code)
            unmet = [reason.code for reason in rule.unmet(order.statuses)]
            tries.append((len(unmet), len(codes), unmet + codes))
        nearest = min(tries, key=lambda one: one[:2])
        raise Refused(order.id, trigger, order.state, [Reason(code, "") for code in nearest[2]])

    def _failed(self, rule: Rule, order: Order, facts: Mapping[str, Any]) -> list[Any]:
        holds = self.workflow.holds_stock.matches
        takes = holds(order.statuses - rule.drops | rule.adds)
        takes = takes and (rule.trigger == "amend" or not holds(order.statuses))
        return [
            guard for guard in rule.guards if (guard is not STOCK_SUFFICES or takes) and not guard.test(order, facts)
        ]

    def _taken(
        self,
        order: Order,
        rule: Rule,
        at: datetime,
        said: Mapping[str, Any],
        given: Mapping[str, Any],
        facts: Mapping[str, Any],
        payments: tuple[Payment, ...],
        overriding: bool,
    ) -> tuple[Order, Entry]:
        statuses = order.statuses - rule.drops | rule.adds
        names = [status.name for status in self.workflow.statuses if status.name in statuses]
        recorded = dict(given)
        if rule.ledger is not None:
            recorded |= {"amount": facts["amount"], "currency": facts["currency"]}
            recorded |= {"reference": payments[-1].reference} if "reference" in recorded else {}
        rows = facts.get("rows", [])
        for row in rows:
            recorded["items"] = row.lines
        visible = said["visible"] or (rule.announces is not None and not said["comment"].strip())
        entry = self._entry(order, rule.trigger, "+".join(names) or UNFINISHED, at, {**said, "visible": visible})
        entry = replace(entry, facts=recorded, override=overriding, rules_fingerprint=self.workflow.fingerprint)
        after = order.after(entry, payments, self.workflow.counts.matches(statuses), (*order.shipments, *rows))
        held, holds = map(self.workflow.holds_stock.matches, (order.statuses, statuses))
        if order.lines:
            after = after.holding(reserved_after(order, rows, held, holds, self.on_hand))
        return after, entry

    def _noted(self, order: Order, at: datetime, said: Mapping[str, Any]) -> tuple[Order, Entry]:
        entry = self._entry(order, "comment", order.state, at, said)
        return order.after(entry, order.payments, order.counted), entry

    def _entry(self, order: Order, trigger: str, state: str, at: datetime, said: Mapping[str, Any]) -> Entry:
        words = {name: said[name] for name in ("comment", "visible", "notify", "key")}
        by = None if said["by"] is None else str(said["by"])  # GATEWAY and CLOCK are recorded as text.
        return Entry(order.version + 1, trigger, order.state, state, at, by, **words)

    def _shortages(self, order: Order) -> set[str]:
        if order.reserved is not None:
            return set()
        short = {sku for sku, wanted in goods_of(order).to_ship.items() if self.on_hand.get(sku, wanted) < wanted}
        return short - self.backorder

    def _filled(
        self, order: Order, wanted: frozenset[str], at: datetime, said: Mapping[str, Any]
    ) -> tuple[list[tuple[Order, Entry]] | None, list[tuple[int, list[str]]]]:
        """Return the first path through the differences, in declared order, or the end of each path and its reasons."""
        if order.statuses == wanted:
            return [], []
        refused: list[str] = []
        dead_ends = [(len(order.statuses ^ wanted), refused)]
        for status in self.workflow.statuses:
            if status.name not in order.statuses ^ wanted:
                continue
            what = "untick" if status.name in order.statuses else "tick"
            trigger = getattr(status, what)
            if trigger is None:
                refused.append(f"no_{what}_{status.name}")
                continue
            try:
                given: dict[str, Any] = {}
                if self._kind(trigger) == "reversed":
                    by_hand = [row for row in order.payments if row.reference is None]
                    by_hand = [row for row in by_hand if row.currency == order.currency]
                    money = total(by_hand, "captured", "restored") - total(by_hand, "reversed")
                    given = {"amount": min(money, order.held), "reference": None}
                    if given["amount"] <= 0:
                        refused.append("nothing_by_hand")
                        continue
                step = self._step(order, trigger, at, said, given)
                if step[0].state == order.state:
                    refused.append("no_effect")
                    continue
            except Refused as refusal:
                refused += [reason.code for reason in refusal.reasons]
                continue
            rest, ends = self._filled(step[0], wanted, at, said)
            if rest is not None:
                return [step, *rest], []
            dead_ends += ends
        return None, [end for end in dead_ends if end[1]]


def _between(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or since <= at) and (until is None or at < until)

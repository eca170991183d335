"""S6 and S7: values share nothing mutable with the store, and every value is returned equal."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from order_fsm import validation
from order_fsm.errors import MissingDependency
from order_fsm.model import Fact, GoodsKind, Line, Order, Payment
from order_fsm.store import Change, Need, Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract import samples
from order_fsm.testing.store_contract.changes import creation, moment, moving, order_of, reserving, step, taken, told
from order_fsm.testing.store_contract.expected import ALL, Expected, committed
from order_fsm.testing.store_contract.harness import StoreHarness


def _sent(order: Order) -> Change:
    """Return a step with messages and a value in each field."""
    return step(order, state="sent", by="ann", comment="Royal Mail", facts={"reference": "ch_1"}, topics=["order.paid"])


def _renamed(change: Change, order_id: str) -> Change:
    """Return the same change of another order."""
    messages = tuple(
        replace(message, id=f"{order_id}#{order_of(change).version}.{place}", order_id=order_id)
        for place, message in enumerate(change.messages, start=1)
    )
    return replace(change, order=replace(order_of(change), id=order_id), messages=messages)


class Values(StoreHarness):
    """Tests of committed and returned values."""

    def test_s6_changing_committed_values_does_not_change_the_store(self, store: Store) -> None:
        """The test changes the dicts of a commit after it returned."""
        data: dict[str, Any] = {"gift": {"wrap": ["red"]}}
        facts: dict[str, Fact] = {"reference": "ch_1"}
        payload: dict[str, Any] = {"items": [{"sku": "CUP"}]}
        change = creation(data=data)
        store.commit(change)
        change = step(order_of(change), facts=facts)
        store.commit(replace(change, messages=told(order_of(change), "stock.short", payload=payload)))
        data["gift"]["wrap"].append("blue")
        facts["reference"] = "another"
        payload["items"][0]["sku"] = "another"
        why = "S6: store a copy, because the caller can still change the dicts of a value"
        assert store.load("1001").data == {"gift": {"wrap": ["red"]}}, why
        assert store.history("1001")[1].facts == {"reference": "ch_1"}, why
        assert store.claim(moment(10), moment(20), 1)[0].payload == {"items": [{"sku": "CUP"}]}, why

    def test_s6_changing_returned_values_does_not_change_the_store(self, store: Store) -> None:
        """The test changes the lists and dicts that the store returned."""
        expected = Expected()
        store.set_stock("CUP", 3)
        expected.stock["CUP"] = 3
        committed(store, expected, creation(data={"gift": {"wrap": ["red"]}}))
        committed(store, expected, _sent(expected.orders["1001"]))
        store.load("1001").data["gift"]["wrap"].append("blue")
        store.find(ALL)[0].data["gift"]["wrap"].append("blue")
        store.find(ALL).clear()
        store.history("1001")[1].facts["reference"] = "another"
        store.tally(None).clear()
        store.stock(["CUP"])["CUP"] = 99
        claimed = store.claim(moment(10), moment(20), 1)
        claimed[0].payload["state"] = "another"
        claimed.clear()
        next(iter(store.messages())).payload["state"] = "another"
        snapshots = store.prepare_many([Need("1001", None, ("CUP",))])
        assert snapshots[0].order is not None
        snapshots[0].order.data["gift"]["wrap"].append("blue")
        snapshots.clear()
        assert set(store.tally(None)) == expected.tally(None)
        expected.check(store)

    def test_s7_every_text_is_returned_unchanged(self, place: Path) -> None:
        """Comments, names, references, facts and data keep every character, in every field."""
        with self.opened(place) as store:
            expected = Expected()
            for number, text in enumerate(samples.TEXTS):
                change = creation(f"order {number}", data={text: [text, {text: text}]})
                committed(store, expected, change)
                change = step(order_of(change), comment=text, facts={"note": text, "reference": text})
                change = replace(change, messages=told(order_of(change), "order.updated", payload={text: [text]}))
                committed(store, expected, change)
            self._check(store, expected, place)

    def test_s7_every_name_is_returned_unchanged(self, place: Path) -> None:
        """Actors, customers, addresses, references and keys are one line of any text."""
        with self.opened(place) as store:
            expected = Expected()
            for number, name in enumerate(samples.IDS):
                change = creation(f"order {number}", customer=name, email=f"{name}@x", lines=[Line(name, 1)], key=name)
                committed(store, expected, change)
                change = step(order_of(change), by=name, key=f"{number} {name}"[:200], topics=[name])
                changed = order_of(change)
                payment = Payment("captured", Decimal(1), "GBP", name, changed.updated_at, changed.version)
                committed(store, expected, replace(change, order=replace(order_of(change), payments=(payment,))))
            self._check(store, expected, place)

    def test_s7_every_id_is_a_different_order(self, place: Path) -> None:
        """Similar ids, and ids with a meaning to a file system or a database, are different orders."""
        with self.opened(place) as store:
            expected = Expected()
            for number, order_id in enumerate(samples.IDS):
                change = creation(
                    order_id, customer=f"customer {number}", topics=["order.updated"], key=f"key {number}"
                )
                committed(store, expected, change)
            for number, order_id in enumerate(samples.IDS):
                change = step(expected.orders[order_id], state="sent", by=f"{number}", topics=["order.paid"])
                committed(store, expected, change)
            self._check(store, expected, place)

    def test_s7_every_amount_is_returned_unchanged(self, place: Path) -> None:
        """Money keeps its value and its zeros: 49.90 is not 49.9."""
        with self.opened(place) as store:
            expected = Expected()
            for number, amount in enumerate(samples.AMOUNTS):
                change = creation(f"order {number}", total=amount)
                committed(store, expected, change)
                committed(
                    store, expected, step(order_of(change), payments=[("captured", str(amount)), ("refunded", "0.0")])
                )
            self._check(store, expected, place)
            assert set(store.tally(None)) == expected.tally(None)

    def test_s7_every_fact_is_returned_unchanged(self, place: Path) -> None:
        """A fact keeps its type: text, number, bool, Decimal, lines or None."""
        with self.opened(place) as store:
            expected = Expected()
            change = creation()
            committed(store, expected, change)
            change = step(order_of(change), facts={f"fact {number}": fact for number, fact in enumerate(samples.FACTS)})
            committed(store, expected, change)
            self._check(store, expected, place)

    def test_s7_every_moment_is_returned_unchanged(self, place: Path) -> None:
        """Times from the year 1 to the year 9999 keep their microseconds."""
        with self.opened(place) as store:
            expected = Expected()
            for number, at in enumerate(samples.MOMENTS):
                change = creation(f"order {number}", at=at, topics=["order.updated"])
                committed(store, expected, change)
                committed(store, expected, step(order_of(change), at=at, payments=[("captured", "1")]))
            self._check(store, expected, place)

    def test_s7_nested_data_is_returned_unchanged(self, place: Path) -> None:
        """Data and payloads keep their JSON types: 1 is not 1.0 or True, and an empty list is not null."""
        deep: dict[str, Any] = {"bottom": True}
        for _ in range(15):
            deep = {"a list": [deep]}
        with self.opened(place) as store:
            expected = Expected()
            for number, data in enumerate((samples.NESTED, deep, {})):
                change = creation(f"order {number}", data=data)
                committed(
                    store, expected, replace(change, messages=told(order_of(change), "order.updated", payload=data))
                )
                committed(store, expected, step(order_of(change)))
            self._check(store, expected, place)

    def test_s7_the_longest_values_are_returned_unchanged(self, place: Path) -> None:
        """Ids, keys and comments may have the largest length that the engine accepts."""
        long, comment = "\U0001f600" * validation.ID_LENGTH, "\u20ac" * validation.COMMENT_LENGTH
        with self.opened(place) as store:
            expected = Expected()
            committed(store, expected, creation(long, customer=long, data={"note": comment}, key=long))
            change = step(expected.orders[long], by=long, comment=comment, entries=20, topics=[long])
            committed(store, expected, change)
            self._check(store, expected, place)

    def test_s7_a_flag_is_returned_unchanged(self, place: Path) -> None:
        """Each flag of an entry is stored separately, and so is whether the order counts."""
        with self.opened(place) as store:
            expected = Expected()
            committed(store, expected, creation())
            change = step(expected.orders["1001"], entries=4)
            plain, *flagged = change.entries
            entries = (
                plain,
                replace(flagged[0], visible=True),
                replace(flagged[1], notify=True),
                replace(flagged[2], override=True),
            )
            committed(store, expected, replace(change, entries=entries))
            change = step(expected.orders["1001"], state="returned")
            committed(store, expected, replace(change, order=replace(order_of(change), counted=True)))
            self._check(store, expected, place)

    def test_s7_reserved_pieces_are_returned_unchanged(self, place: Path) -> None:
        """An order that holds no stock differs from one that holds zero pieces, and every line is kept."""
        with self.opened(place) as store:
            expected = Expected()
            for sku in ("TEAPOT", "CUP"):
                store.set_stock(sku, 100)
                expected.stock[sku] = 100
            lines = [Line("TEAPOT", 2), Line("NOT TRACKED", 1)]
            committed(store, expected, creation(lines=lines), creation("holds no stock", lines=lines))
            held: list[list[Line] | None] = [[], [Line("TEAPOT", 2)], None, [Line("CUP", 3), Line("TEAPOT", 1)], None]
            for reserved in held:
                change = step(expected.orders["1001"], stock=[taken("CUP", 1)])
                committed(store, expected, reserving(change, reserved))
                assert exact(store.load("1001").reserved) == exact(None if reserved is None else tuple(reserved))
            self._check(store, expected, place)
            committed(store, expected, reserving(creation("placed", state="sent", lines=lines), [Line("TEAPOT", 2)]))
            committed(store, expected, step(expected.orders["placed"]))
            committed(store, expected, reserving(creation("placed untracked", state="sent", lines=lines), []))
            committed(store, expected, step(expected.orders["placed untracked"]))
            self._check(store, expected, place)

    def test_s7_shipments_are_returned_unchanged(self, place: Path) -> None:
        """Each shipment keeps its pieces in their sequence, and those that came from stock."""
        pots, cups = Line("TEAPOT", 2), Line("CUP", 2**63 - 1)
        with self.opened(place) as store:
            expected = Expected()
            committed(store, expected, creation(lines=[pots, cups]), creation("1002", state="sent", lines=[cups]))
            for change in (
                moving(step(expected.orders["1001"], state="sent"), "shipped", [cups, pots], [pots]),
                moving(step(expected.orders["1002"]), "shipped", [cups], []),
            ):
                committed(store, expected, change)
            moves: list[tuple[GoodsKind, list[Line], list[Line], bool]] = [
                ("returned", [Line("TEAPOT", 1)], [Line("TEAPOT", 1)], True),
                ("returned", [Line("CUP", 1)], [], False),
                ("recalled", [Line("TEAPOT", 1)], [Line("TEAPOT", 1)], True),
                ("recalled", [], [], True),
            ]
            for kind, lines, drawn, restock in moves:
                change = moving(step(expected.orders["1001"], entries=2), kind, lines, drawn, restock=restock)
                committed(store, expected, change)
                assert exact(store.load("1001").shipments) == exact(order_of(change).shipments)
            committed(store, expected, step(expected.orders["1001"], state="sent+paid", payments=[("captured", "1")]))
            self._check(store, expected, place)

    def test_s7_the_fingerprint_of_the_rules_is_returned_unchanged(self, place: Path) -> None:
        """Each entry keeps the fingerprint of the workflow that decided it, or None if no rule did."""
        with self.opened(place) as store:
            expected = Expected()
            committed(store, expected, creation())
            change = step(expected.orders["1001"], entries=4)
            fingerprints = ("8a6f" * 16, None, "", "8A6F")
            entries = tuple(
                replace(entry, rules_fingerprint=one) for entry, one in zip(change.entries, fingerprints, strict=True)
            )
            committed(store, expected, replace(change, entries=entries))
            self._check(store, expected, place)

    def test_s7_any_change_is_returned_unchanged(self, place: Path) -> None:
        """Every change that the engine could commit is returned equal (a property test, skipped without Hypothesis)."""
        missing = MissingDependency.of_extra("this test", "Hypothesis", "testing")
        pytest.importorskip("hypothesis", reason=str(missing))
        from hypothesis import Phase, given, settings

        from order_fsm.testing.store_contract.strategies import lives

        expected = Expected()
        numbers = iter(range(1_000_000))
        with self.opened(place) as store:
            # No shrinking: the assertion shows the field that differs, and shrinking a whole life takes minutes.
            @settings(max_examples=25, phases=[Phase.generate], deadline=None, database=None, derandomize=True)
            @given(lives())
            def comes_back(life: tuple[Change, ...]) -> None:
                order_id = f"{order_of(life[0]).id} {next(numbers)}"
                committed(store, expected, *(_renamed(change, order_id) for change in life))
                expected.check_order(store, order_id)

            comes_back()
            self._check(store, expected, place)

    def _check(self, store: Store, expected: Expected, place: Path) -> None:
        """Compare the content of a store, and of a second store at its place, so that no cache hides a fault."""
        expected.check(store)
        if self.durable:
            with self.opened(place) as another:
                expected.check(another)

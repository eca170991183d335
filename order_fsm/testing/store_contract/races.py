"""S2, S4, S5, S8, S9 and S10 when several threads or processes use one store at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import chain

from order_fsm.errors import KeyReused, OrderExists, VersionConflict
from order_fsm.model import Order, When
from order_fsm.orders.service import Orders
from order_fsm.store import Change, Query, StockLevel, Store
from order_fsm.testing.exact import exact
from order_fsm.testing.store_contract.changes import creation, given_back, moment, order_of, seeded, step, taken
from order_fsm.testing.store_contract.crews import Crew
from order_fsm.testing.store_contract.expected import ALL, Expected, consistent, record_under
from order_fsm.testing.store_contract.harness import StoreHarness
from order_fsm.testing.store_contract.traffic import next_change, stocked

COMMITTED = "committed"


def _tried(store: Store, change: Change) -> str:
    """Return the result of a commit: `COMMITTED`, or the name of the error."""
    return _outcome(lambda: store.commit(change))


def _outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except (KeyReused, OrderExists, VersionConflict) as error:
        return type(error).__name__
    return COMMITTED


def _retried(store: Store, order_id: str, change: Callable[[Order], Change]) -> str:
    """Return the result of load, change and commit, retried after each conflict."""
    while (outcome := _tried(store, change(store.load(order_id)))) == VersionConflict.__name__:
        pass
    return outcome


class Races(StoreHarness):
    """Tests of concurrent workers."""

    def test_s2_every_version_has_one_winner(self, crew: Crew) -> None:
        """If all workers commit from every version, one wins each version and the others raise."""
        versions = 25
        with crew.opened() as store:
            store.commit(creation())

        def work(name: str, store: Store) -> list[str]:
            order = order_of(creation())
            outcomes = []
            for _ in range(versions):
                change = step(order, by=name, topics=["order.updated"])
                outcomes.append(_tried(store, change))
                order = order_of(change)
            return outcomes

        names = [f"worker {number}" for number in range(crew.size)]
        outcomes = crew.run([partial(work, name) for name in names])
        with crew.opened() as store:
            winners = [entry.by for entry in consistent(store, "1001")[1:]]
            told = list(store.messages())
        for version in range(versions):
            won = [name for name, of_name in zip(names, outcomes, strict=True) if of_name[version] == COMMITTED]
            assert len(won) == 1, f"{won} won version {version + 1}: compare and write under one lock"
            assert winners[version] == won[0], "the winner's entry must be stored"
        lost = Counter(outcome for of_name in outcomes for outcome in of_name)
        assert lost == {COMMITTED: versions, "VersionConflict": versions * (crew.size - 1)}
        assert len(told) == versions, "the losers must store no message"

    def test_s2_an_order_is_created_once(self, crew: Crew) -> None:
        """If all workers create the same orders, one creates each order and the others raise OrderExists."""
        ids = [f"order {number}" for number in range(15)]

        def work(name: str, store: Store) -> list[str]:
            return [_tried(store, creation(one, customer=name)) for one in ids]

        names = [f"worker {number}" for number in range(crew.size)]
        outcomes = crew.run([partial(work, name) for name in names])
        with crew.opened() as store:
            for number, order_id in enumerate(ids):
                won = [name for name, of_name in zip(names, outcomes, strict=True) if of_name[number] == COMMITTED]
                assert won == [store.load(order_id).customer], f"{won} created {order_id!r}: one worker must"

    def test_s4_one_key_commits_once_on_different_orders(self, crew: Crew) -> None:
        """If all workers use one key on different orders, one commits and the others store nothing."""
        keys = [f"key {number}" for number in range(15)]

        def work(name: str, store: Store) -> list[str]:
            return [_tried(store, creation(f"{name} {key}", key=key, topics=["order.updated"])) for key in keys]

        names = [f"worker {number}" for number in range(crew.size)]
        outcomes = crew.run([partial(work, name) for name in names])
        with crew.opened() as store:
            for number, key in enumerate(keys):
                won = [name for name, of_name in zip(names, outcomes, strict=True) if of_name[number] == COMMITTED]
                assert len(won) == 1, f"{won} committed {key!r}: check and record a key under one lock"
                record = record_under(store, key)
                assert record is not None
                assert record.order_id == f"{won[0]} {key}", "the record must name the committed order"
            assert len(store.find(ALL)) == len(keys), "the losers must store no order"
            assert len(list(store.messages())) == len(keys), "the losers must store no message"

    def test_s4_one_key_commits_once_on_one_order(self, crew: Crew) -> None:
        """If all workers make one change under one key, it is stored once and the others raise KeyReused."""
        rounds = 15
        with crew.opened() as store:
            store.commit(creation())

        def work(store: Store) -> list[str]:
            return [_retried(store, "1001", partial(step, key=f"key {number}")) for number in range(rounds)]

        outcomes = Counter(chain(*crew.run([work] * crew.size)))
        with crew.opened() as store:
            keys = [entry.key for entry in consistent(store, "1001")[1:]]
        assert keys == [f"key {number}" for number in range(rounds)], "the history must have each key once"
        assert outcomes == {COMMITTED: rounds, "KeyReused": rounds * (crew.size - 1)}

    def test_s4_a_redelivery_returns_the_first_receipt(self, crew: Crew) -> None:
        """If all workers get one callback at once, one records it and all return the same entry."""
        rounds = 8
        with crew.opened() as store:
            for number in range(rounds):
                Orders(store).create(f"order {number}", total="49.90", currency="GBP")

        def work(store: Store) -> list[tuple[bool, object, object]]:
            receipts = []
            for number in range(rounds):
                receipt = Orders(store).fire(f"order {number}", "pay", amount="49.90", key=f"evt_{number}")
                receipts.append((receipt.duplicate, exact(receipt.entries), exact(receipt.order)))
            return receipts

        answers = crew.run([work] * crew.size)
        for receipts in zip(*answers, strict=True):
            assert sum(not duplicate for duplicate, _, _ in receipts) == 1, (
                "one delivery must be the first, and the others duplicates"
            )
            assert all(receipt[1:] == receipts[0][1:] for receipt in receipts), "all must return the first receipt"
        with crew.opened() as store:
            for number in range(rounds):
                assert len(store.load(f"order {number}").payments) == 1, "the money must be captured once"

    def test_s5_versions_are_dense_when_many_commit(self, crew: Crew) -> None:
        """If all workers change one order and retry after conflicts, every change is stored and versions are dense."""
        each = 10
        with crew.opened() as store:
            store.commit(creation())

        def work(name: str, store: Store) -> None:
            for number in range(each):
                _retried(store, "1001", partial(step, by=name, comment=str(number), entries=1 + number % 2))

        names = [f"worker {number}" for number in range(crew.size)]
        crew.run([partial(work, name) for name in names])
        with crew.opened() as store:
            history = consistent(store, "1001")
        for name in names:
            told = [entry.comment for entry in history if entry.by == name]
            wanted = [str(number) for number in range(each) for _ in range(1 + number % 2)]
            assert told == wanted, f"changes of {name} are lost or doubled"

    def test_s8_the_last_pieces_are_taken_once(self, crew: Crew) -> None:
        """Of twenty orders that want one of ten pieces, ten get it."""
        with crew.opened() as store:
            store.set_stock("TEAPOT", 10)

        def work(ids: list[str], store: Store) -> list[str]:
            return [_tried(store, creation(one, stock=[taken("TEAPOT", 1)])) for one in ids]

        ids = [f"order {number}" for number in range(20)]
        outcomes = Counter(chain(*crew.run([partial(work, ids[n :: crew.size]) for n in range(crew.size)])))
        assert outcomes == {COMMITTED: 10, "VersionConflict": 10}, "check and take stock under one lock"
        with crew.opened() as store:
            assert store.stock_levels(["TEAPOT"]) == {"TEAPOT": StockLevel(0, held=10)}
            assert len(store.find(ALL)) == 10, "a worker without a piece must store no order"

    def test_s8_an_expected_stock_number_is_replaced_once(self, crew: Crew) -> None:
        """All workers read the same number. One replaces it, and the others raise VersionConflict."""
        turns = 25
        with crew.opened() as store:
            store.set_stock("TEAPOT", 0)

        def work(store: Store) -> list[str]:
            return [_outcome(partial(store.set_stock, "TEAPOT", turn + 1, expected=turn)) for turn in range(turns)]

        outcomes = crew.run([work] * crew.size)
        for number, of_turn in enumerate(zip(*outcomes, strict=True)):
            assert of_turn.count(COMMITTED) == 1, (
                f"the number {number} must be replaced once: compare and set under one lock"
            )
        with crew.opened() as store:
            assert store.stock(["TEAPOT"]) == {"TEAPOT": turns}

    def test_s8_moves_of_several_items_do_not_deadlock(self, crew: Crew) -> None:
        """Commits that move the same items in different sequences all succeed, and no piece is lost."""
        skus = ["TEAPOT", "CUP", "SPOON"]
        with crew.opened() as store:
            for sku in skus:
                store.set_stock(sku, 5)

        def work(number: int, store: Store) -> None:
            change = creation(f"order {number}")
            store.commit(change)
            for turn in range(10):
                items = seeded(f"{number} {turn}").sample(skus, 3)
                change = step(order_of(change), state="sent", stock=[taken(sku, 1, strict=False) for sku in items])
                store.commit(change)
                change = step(order_of(change), state="unfinished", stock=[given_back(sku, 1) for sku in items[::-1]])
                store.commit(change)

        crew.run([partial(work, number) for number in range(crew.size)])
        with crew.opened() as store:
            assert store.stock_levels(skus) == dict.fromkeys(skus, StockLevel(5)), (
                "all taken pieces were returned, so all must be on hand"
            )

    def test_s9_a_message_is_held_by_one_relay_at_a_time(self, crew: Crew) -> None:
        """If all workers are relays, each message is claimed once, and those of one order in their sequence."""
        wanted: dict[str, list[str]] = {}
        with crew.opened() as store:
            for number in range(6):
                change = creation(f"order {number}", topics=["order.updated"] * 6)
                store.commit(change)
                wanted[order_of(change).id] = [message.id for message in change.messages]

        def work(limit: int, store: Store) -> list[tuple[int, str, str]]:
            held = []
            while claimed := store.claim(moment(1000), moment(2000), limit):
                now = time.monotonic_ns()
                held += [(now, message.order_id, message.id) for message in claimed]
                for message in claimed:
                    store.delivered(message, moment(2000))
            return held

        held = sorted(chain(*crew.run([partial(work, 1 + number % 3) for number in range(crew.size)])))
        for order_id, ids in wanted.items():
            claimed = [message_id for _, of_order, message_id in held if of_order == order_id]
            assert claimed == ids, f"{order_id!r}: one relay must claim each message, after those before it"
        with crew.opened() as store:
            assert store.claim(moment(3000), moment(4000), 100) == [], "no message may be left"

    def test_s10_reads_show_every_order_once_while_orders_change(self, crew: Crew) -> None:
        """While orders change, each `find` and `tally` shows every order once, in the state between two commits."""
        ids = [f"order {number}" for number in range(8)]
        states = ["sent", "sent+paid", "sent+cancelled"]
        done = ["the first has read", "the second has read"]
        with crew.opened() as store:
            for order_id in ids:
                store.commit(creation(order_id, state="sent", customer="ann", total="10"))

        def write(number: int, store: Store) -> None:
            dice = seeded(number)
            for _ in range(4000):
                _retried(store, dice.choice(ids), lambda order: step(order, state=dice.choice(states)))
                if all(record_under(store, key) for key in done):
                    break

        def read(key: str, store: Store) -> None:
            for number in range(20):
                customer = "ann" if number % 2 else None
                tally = store.tally(customer)
                counted = sum(group.orders for group in tally)
                assert counted == len(ids), f"tally shows {counted} of {len(ids)} orders: read it from one snapshot"
                assert sum(group.total for group in tally) == 10 * len(ids)
                sent = store.find(Query(When(has={"sent"}), customer=customer))
                why = "find repeats or loses orders: read it from one snapshot"
                assert [order.id for order in sent] == ids, why
                paid = store.find(Query(When(has={"paid"}, lacks={"cancelled"})))
                assert {order.state for order in paid} <= {"sent+paid"}, "find returns orders that do not match"
                order = store.load(ids[number % len(ids)])
                assert len(store.history(order.id)) >= order.version, (
                    "history lacks entries of an order that load returned"
                )
            _retried(store, ids[0], partial(step, key=key))

        jobs: list[Callable[[Store], None]] = [partial(read, key) for key in done]
        jobs += [partial(write, number) for number in range(crew.size - 2)]
        crew.run(jobs)
        with crew.opened() as store:
            for order_id in ids:
                consistent(store, order_id)

    def test_s1_workers_on_different_orders_do_not_disturb_each_other(self, crew: Crew) -> None:
        """After all workers made all kinds of changes at once, the store has exactly their commits."""
        each = 10
        with crew.opened() as store:
            together = stocked(store)

        def work(name: str, store: Store) -> None:
            own = Expected()
            for number in range(each):
                change = next_change(own, number, name)
                store.commit(change)
                own.commit(change)
                own.check_order(store, order_of(change).id)
                assert record_under(store, change.key or "") == own.records[change.key or ""]
                assert store.find(Query(When(), customer="nobody")) == []

        names = [f"worker {number}" for number in range(crew.size)]
        crew.run([partial(work, name) for name in names])
        for name in names:
            own = Expected()
            for number in range(each):
                change = next_change(own, number, name)
                own.commit(change)
                together.commit(change)
        with crew.opened() as store:
            together.check(store)

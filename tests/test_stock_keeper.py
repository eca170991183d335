"""A table of the shop counts the stock. Each commit moves its rows in the same transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_fsm import InvalidInput, Line, OrderFsmError, Orders, Refused, VersionConflict
from order_fsm.stock_levels import StockMove
from order_fsm_adapters.mariadb import MariaDbStore
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.postgresql import PostgresStore
from order_fsm_adapters.sql import ShopMove, StockKeeper
from order_fsm_adapters.sql.keeper import shop_moves
from order_fsm_adapters.sqlite import SqliteStore

from .servers import MariaDbServer, PostgresServer


class Shelf:
    """The shop's products, in SQLite (`?`) or PostgreSQL (`%s`)."""

    place = "?"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, statement: str, values: tuple[object, ...] = ()) -> Any:
        return self._connection.execute(statement, values)

    def available(self, skus: Sequence[str]) -> Mapping[str, int]:
        statement = f"SELECT sku, on_hand FROM product WHERE sku = {self.place}"  # noqa: S608
        rows = [self.run(statement, (sku,)).fetchone() for sku in skus]
        return dict(row for row in rows if row is not None)

    def move(self, order_id: str, moves: Sequence[ShopMove]) -> None:
        assert order_id
        for move in moves:
            if move.kind == "reserve":
                self._add(move.sku, -move.quantity, move.quantity if move.strict else -(2**62))
            elif move.kind == "release" or (move.kind == "return" and move.restock):
                self._add(move.sku, move.quantity, -(2**62))

    def _add(self, sku: str, pieces: int, least: int) -> None:
        changed = f"SET on_hand = on_hand + {self.place} WHERE sku = {self.place} AND on_hand >= {self.place}"
        if not self.run(f"UPDATE product {changed}", (pieces, sku, least)).rowcount:
            raise VersionConflict(f"too few of {sku!r}")


class PostgresShelf(Shelf):
    place = "%s"


class MariaDbShelf(Shelf):
    place = "%s"

    def run(self, statement: str, values: tuple[object, ...] = ()) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement, values)
        return cursor


class Case:
    """A store with a keeper, and the shop's connection to the same database."""

    def __init__(
        self, store: SqliteStore | PostgresStore | MariaDbStore, host: Any, shelf: type[Shelf] = Shelf
    ) -> None:
        self.store = store
        self.shelf = shelf
        self.host = host
        self.orders = Orders(store)
        self.execute("CREATE TABLE product (sku VARCHAR(20) PRIMARY KEY, on_hand BIGINT NOT NULL)")
        self.execute("INSERT INTO product VALUES ('TEAPOT', 5)")

    def execute(self, statement: str) -> Any:
        return self.shelf(self.host).run(statement)

    @property
    def on_hand(self) -> int:
        (pieces,) = self.execute("SELECT on_hand FROM product WHERE sku = 'TEAPOT'").fetchone()
        return int(pieces)

    def create(self, order_id: str = "1001", quantity: int = 2) -> None:
        self.orders.create(order_id, total="10", currency="GBP", lines=[Line("TEAPOT", quantity), Line("TALK", 1)])


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    if request.param == "sqlite":
        path = tmp_path / "shop.db"
        store = SqliteStore(path, stock_keeper=Shelf)
        with store, closing(sqlite3.connect(path, isolation_level=None)) as host:
            yield Case(store, host)
    elif request.param == "mariadb":
        on_mariadb: MariaDbServer = request.getfixturevalue("mariadb")
        address = on_mariadb.address(str(tmp_path))
        with (
            MariaDbStore(address, stock_keeper=MariaDbShelf) as kept,
            closing(on_mariadb.connect(str(tmp_path), autocommit=True)) as guest,
        ):
            found = Case(kept, guest, MariaDbShelf)
            yield found
            found.execute("DROP TABLE product")
    else:
        server: PostgresServer = request.getfixturevalue("postgresql")
        url = server.address(str(tmp_path))
        with (
            PostgresStore(url, stock_keeper=PostgresShelf) as shop,
            psycopg.connect(url, autocommit=True) as connection,
        ):
            yield Case(shop, connection, PostgresShelf)


def test_placing_takes_pieces_and_cancelling_returns_them(case: Case) -> None:
    case.create()
    case.orders.fire("1001", "place")
    assert case.on_hand == 3
    assert case.orders.stock("TEAPOT") == 3
    case.orders.fire("1001", "cancel")
    assert case.on_hand == 5
    assert case.orders.audit().ok


def test_shipping_takes_no_more_pieces_and_a_restocked_return_brings_them_back(case: Case) -> None:
    case.create()
    case.orders.fire("1001", "pay", amount="10", currency="GBP", reference="ch_1")
    case.orders.fire("1001", "dispatch")
    assert case.on_hand == 3
    case.orders.fire("1001", "return_items", items={"TEAPOT": 1}, restock=True)
    assert case.on_hand == 4
    case.orders.fire("1001", "return_items", items={"TEAPOT": 1}, restock=False)
    assert case.on_hand == 4
    assert case.orders.audit().ok


def test_order_is_refused_if_the_shop_has_too_few(case: Case) -> None:
    case.create(quantity=6)
    with pytest.raises(Refused, match="out_of_stock"):
        case.orders.fire("1001", "place")
    assert case.on_hand == 5


def test_paid_order_may_take_more_stock_than_the_shop_has(case: Case) -> None:
    case.create(quantity=6)
    case.orders.fire("1001", "pay", amount="10", currency="GBP", reference="ch_1")
    assert case.on_hand == -1


def test_order_is_refused_if_its_piece_is_sold_elsewhere_before_the_commit(case: Case) -> None:
    """The decision used pieces that were sold before the commit."""
    case.create(quantity=5)
    sold = [False]

    class Rival(case.shelf):  # type: ignore[name-defined,misc]
        def move(self, order_id: str, moves: Sequence[ShopMove]) -> None:
            if not sold[0]:
                sold[0] = True
                raise VersionConflict("another sale took a piece")
            super().move(order_id, moves)

        def available(self, skus: Sequence[str]) -> Mapping[str, int]:
            found = dict(super().available(skus))
            return {sku: pieces - sold[0] for sku, pieces in found.items()}

    case.store._changes._make_keeper = Rival  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="out_of_stock"):
        case.orders.fire("1001", "place")
    assert case.on_hand == 5


def test_failure_in_the_shops_table_undoes_the_change(case: Case) -> None:
    case.create()

    class Broken(case.shelf):  # type: ignore[name-defined,misc]
        def move(self, order_id: str, moves: Sequence[ShopMove]) -> None:
            super().move(order_id, moves)
            raise RuntimeError("the shelf broke")

    case.store._changes._make_keeper = Broken  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="broke"):
        case.orders.fire("1001", "place")
    assert case.orders.get("1001").state == "unfinished"
    assert case.on_hand == 5


def test_rollback_of_the_shop_undoes_status_and_stock(case: Case) -> None:
    case.create()
    case.execute("BEGIN")
    case.orders.within(case.host).fire("1001", "place")
    assert case.on_hand == 3
    case.execute("ROLLBACK")
    assert case.on_hand == 5
    assert case.orders.get("1001").state == "unfinished"


def test_batch_moves_the_stock_of_its_accepted_changes(case: Case) -> None:
    for number in range(4):
        case.create(str(number))
    with case.orders.batch() as batch:
        for number in range(4):
            batch.fire(str(number), "place")
    assert [isinstance(result, Refused) for result in batch.results] == [False, False, True, True]
    assert case.on_hand == 1


def test_engine_refuses_to_set_the_stock_of_the_shop(case: Case) -> None:
    for call in (
        lambda: case.orders.set_stock("TEAPOT", 7),
        lambda: case.orders.adjust_stock("TEAPOT", 1),
        lambda: case.orders.stop_tracking("TEAPOT"),
    ):
        with pytest.raises(InvalidInput, match="in its own table"):
            call()
    assert case.on_hand == 5


def test_keeper_that_cannot_be_called_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="stock_keeper must be a class or function"):
        SqliteStore(tmp_path / "shop.db", stock_keeper=5)  # type: ignore[arg-type]


async def unfinished(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"available": None}, "must have a method available, and Wrong has none"),
        ({"move": None}, "must have a method move, and Wrong has none"),
        ({"available": lambda keeper, skus: None}, r"must return a dict .* such as \{'TEAPOT': 10\}, not NoneType"),
        ({"available": lambda keeper, skus: [("TEAPOT", 5)]}, "must return a dict .*, not list"),
        ({"available": unfinished}, "must return a dict .*, not coroutine"),
        ({"available": lambda keeper, skus: {"TEAPOT": "5"}}, "the pieces of 'TEAPOT' are of the type str"),
        ({"move": unfinished}, "move of the stock keeper must be a plain function, not async"),
    ],
)
def test_invalid_keeper_is_named_and_changes_nothing(tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as host, SqliteStore(path, stock_keeper=Shelf) as store:
        case = Case(store, host)
        case.create()
        wrong: Any = type("Wrong", (Shelf,), parts)
        with SqliteStore(path, stock_keeper=wrong) as mistaken, pytest.raises(InvalidInput, match=said):
            Orders(mistaken).fire("1001", "place")
        assert (case.on_hand, case.orders.get("1001").state) == (5, "unfinished")


def test_shelf_is_a_stock_keeper(case: Case) -> None:
    keeper: StockKeeper = Shelf(case.host)
    assert keeper


@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 3), st.booleans())
def test_moves_of_the_shop_add_up_to_those_of_the_engine(held: int, out: int, lost: int, strict: bool) -> None:
    """Every commit changes the shop's shelf by the same number."""
    lost = min(lost, max(-out, 0))
    move = StockMove("CUP", -(held + out + lost), strict, held, out, lost)
    found = list(shop_moves([move]))
    sums = {"reserve": 0, "release": 0, "ship": 0, "return": 0, "lost": 0}
    for one in found:
        assert one.quantity > 0
        sums["lost" if one.kind == "return" and not one.restock else one.kind] += one.quantity
    assert sums["release"] + sums["return"] - sums["reserve"] == move.available
    assert sums["ship"] - sums["return"] - sums["lost"] == out
    assert sums["reserve"] - sums["release"] - sums["ship"] == held
    assert sums["lost"] == lost


_steps = st.lists(
    st.tuples(
        st.sampled_from(["place", "unplace", "cancel", "reinstate", "dispatch", "undispatch", "return_items", "pay"]),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=12,
)


@given(_steps)
@settings(max_examples=60, deadline=None)
def test_shop_and_engine_count_the_same_stock(steps: list[tuple[str, int, bool]]) -> None:
    """The shop's shelf ends with as many pieces as a store that counts them itself."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as host:
        kept = Case(SqliteStore(connection=host, stock_keeper=Shelf), host)
        own = Orders(MemoryStore())
        own.set_stock("TEAPOT", 5)
        for orders in (kept.orders, own):
            orders.create("1001", total="10", currency="GBP", lines=[Line("TEAPOT", 3)])
        for trigger, quantity, restock in steps:
            facts: dict[str, Any] = {}
            if trigger == "return_items":
                facts = {"items": {"TEAPOT": quantity}, "restock": restock}
            elif trigger == "dispatch":
                facts = {"items": {"TEAPOT": quantity}}
            outcomes = [_outcome(orders, trigger, facts) for orders in (kept.orders, own)]
            assert outcomes[0] == outcomes[1]
            assert kept.on_hand == own.stock("TEAPOT")
        level, other = kept.orders.stock_level("TEAPOT"), own.stock_level("TEAPOT")
        assert level == other


def _outcome(orders: Orders, trigger: str, facts: dict[str, Any]) -> str:
    try:
        return orders.fire("1001", trigger, comment="a reason", **facts).order.state
    except OrderFsmError as error:
        return type(error).__name__

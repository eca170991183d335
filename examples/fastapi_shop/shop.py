"""A shop with FastAPI and SQLAlchemy's asynchronous sessions: the shop's rows and the orders in one transaction.

    python examples/fastapi_shop/shop.py [URL]

The URL is one of SQLAlchemy, such as postgresql+psycopg://user@host/shop, of an empty database. Without one the shop is
in a temporary file of SQLite. The script calls the shop's pages and prints their answers.

The store is called inside `run_sync`. It waits for the database as SQLAlchemy does there, so the event loop goes on.

Needs FastAPI, httpx, SQLAlchemy, aiosqlite and standardwebhooks: pip install '.[examples]' in the checkout
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from order_fsm import Line, Message, OrderNotFound, Orders, Refused
from order_fsm.payments import PaymentReceiver, StandardWebhooks

try:
    import aiosqlite  # noqa: F401  The engine without a URL needs it.
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from httpx import ASGITransport, AsyncClient, Response
    from sqlalchemy import Connection, Engine, ForeignKey, create_engine, event, select, update
    from sqlalchemy.exc import IntegrityError, NoResultFound
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
    from standardwebhooks.webhooks import Webhook

    from order_fsm_adapters.sqlalchemy import SqlAlchemyStore
except ModuleNotFoundError as error:
    sys.stderr.write(f"shop.py: error: {error.name} is missing: pip install '.[examples]' in the checkout\n")
    sys.exit(2)

SECRET = "whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxl"  # noqa: S105 - a shop reads it from its settings

Result = TypeVar("Result")


# The shop's tables


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    sku: Mapped[str] = mapped_column(primary_key=True)
    price: Mapped[str]
    on_hand: Mapped[int]


class Purchase(Base):
    __tablename__ = "purchase"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("product.sku"))
    parcel: Mapped[str | None] = mapped_column(unique=True)


def engines_of(url: str) -> tuple[Engine, AsyncEngine]:
    """Return an engine for the relay and scripts, and one for the pages."""
    engine = create_engine(url)
    pages = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
    for one in (engine, pages.sync_engine):
        if one.dialect.name == "sqlite":
            event.listen(one, "connect", leave_transactions_to_sqlalchemy)
            event.listen(one, "begin", begin)
    return engine, pages


def leave_transactions_to_sqlalchemy(connection: Any, _: object) -> None:
    connection.isolation_level = None


def begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


# The shop's pages


def shop_app(engine: AsyncEngine, orders: Orders) -> FastAPI:
    app = FastAPI()
    verifier = StandardWebhooks(SECRET)

    async def in_transaction(work: Callable[[Session], Result]) -> Result:
        async with AsyncSession(engine) as session, session.begin():
            return await session.run_sync(work)

    @app.post("/checkout/{sku}", status_code=201)
    async def check_out(sku: str) -> dict[str, str]:
        """The customer buys one: a row of the shop, its stock and the order, or nothing."""

        def work(session: Session) -> str:
            product = session.get_one(Product, sku)
            purchase = Purchase(sku=sku)
            session.add(purchase)
            session.flush()  # Numbers it.
            joined = orders.within(session)
            joined.create(str(purchase.id), Decimal(product.price), "EUR", [Line(sku, 1)])
            joined.fire(str(purchase.id), "place")
            taken = update(Product).where(Product.sku == sku, Product.on_hand > 0).values(on_hand=Product.on_hand - 1)
            if not session.execute(taken).rowcount:  # type: ignore[attr-defined]
                raise LookupError(f"no {sku} on hand")
            return str(purchase.id)

        return {"order": await in_transaction(work)}

    @app.post("/webhook")
    async def webhook(request: Request) -> JSONResponse:
        """The gateway reports a payment."""
        body, headers = await request.body(), request.headers.raw
        outcome = await in_transaction(
            lambda session: PaymentReceiver(orders.within(session), verifier).receive(body, headers)
        )
        return JSONResponse({"outcome": outcome.outcome}, outcome.http_status)

    @app.get("/orders/{order_id}")
    async def show(order_id: str) -> dict[str, str]:
        return {"state": await in_transaction(lambda session: orders.within(session).get(order_id).state)}

    @app.post("/office/{order_id}/dispatch/{parcel}")
    async def dispatch(order_id: str, parcel: str) -> dict[str, str]:
        """The back office sends a parcel: its number and the status, or neither."""

        def work(session: Session) -> str:
            receipt = orders.within(session).fire(order_id, "dispatch", parcel=parcel, by="office")
            session.get_one(Purchase, int(order_id)).parcel = parcel
            return receipt.order.state

        return {"state": await in_transaction(work)}

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": [reason.message for reason in error.reasons]}, 409)

    @app.exception_handler(IntegrityError)
    async def conflict(_: Request, __: IntegrityError) -> JSONResponse:
        return JSONResponse({"error": "the database refuses the row"}, 409)

    @app.exception_handler(LookupError)
    @app.exception_handler(NoResultFound)
    @app.exception_handler(OrderNotFound)
    async def missing(_: Request, error: LookupError | NoResultFound | OrderNotFound) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 404)

    return app


async def relay(orders: Orders) -> None:
    """Tell the world of committed changes, in a thread: a handler that sends mail would block the loop."""

    def tell(message: Message) -> None:
        print(f"  {message.topic} of order {message.order_id}")

    await asyncio.to_thread(orders.deliver, tell)


# The script


def prepared(engine: Engine) -> Orders:
    """Return the orders of an empty database, with the tables made and two vases on hand."""
    store = SqlAlchemyStore(engine)
    store.install()
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Product(sku="VASE", price="15.00", on_hand=2))
    return Orders(store)


def paid(order_id: str, amount: str) -> dict[str, Any]:
    """Return a request of the gateway, which reports a payment."""
    data = {"order_id": order_id, "reference": f"ch_{order_id}", "amount": amount, "currency": "EUR"}
    body, now = json.dumps({"type": "payment.captured", "data": data}), datetime.now(UTC)
    signature = Webhook(SECRET).sign(f"evt_{order_id}", now, body)
    headers = {"id": f"evt_{order_id}", "timestamp": str(int(now.timestamp())), "signature": signature}
    return {"content": body, "headers": {f"webhook-{name}": value for name, value in headers.items()}}


async def play(engine: Engine, pages: AsyncEngine) -> None:
    orders = prepared(engine)

    async def call(what: str, asked: Awaitable[Response]) -> None:
        answer = await asked
        print(f"{what}: {answer.status_code} {json.dumps(answer.json())}")

    async with AsyncClient(transport=ASGITransport(shop_app(pages, orders)), base_url="http://shop") as client:
        await call("Ann buys a vase", client.post("/checkout/VASE"))
        await call("Ben buys a vase", client.post("/checkout/VASE"))
        await call("Cy finds none, after his order was placed", client.post("/checkout/VASE"))
        await call("The gateway reports Ann's payment", client.post("/webhook", **paid("1", "15.00")))
        await call("The gateway reports Ben's payment", client.post("/webhook", **paid("2", "15.00")))
        await call("Ann's parcel", client.post("/office/1/dispatch/AB1"))
        await call("Ben's parcel, with the number of Ann's", client.post("/office/2/dispatch/AB1"))
        await call("Ben's order", client.get("/orders/2"))
    with Session(engine) as session:
        print(f"  shop: {session.execute(select(Product.on_hand)).scalar_one()} on hand")
    print("The relay tells the world:")
    await relay(orders)
    await pages.dispose()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine, pages = engines_of(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{Path(folder) / 'shop.db'}")
        asyncio.run(play(engine, pages))
        engine.dispose()


if __name__ == "__main__":
    main()

"""A shop with Flask and SQLAlchemy: its own tables and the orders in one database, and in one transaction.

    python examples/flask_sqlalchemy_shop/shop.py [URL]

The URL is one of SQLAlchemy, such as postgresql+psycopg://user@host/shop, of an empty database. Without one the shop is
in a temporary file of SQLite. The script calls the shop's pages and prints their answers.

Needs Flask, SQLAlchemy and standardwebhooks: pip install '.[examples]' in the checkout
"""

import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from order_fsm import Line, Message, OrderNotFound, Orders, Refused
from order_fsm.payments import PaymentReceiver, StandardWebhooks

try:
    from flask import Flask, request
    from sqlalchemy import Connection, Engine, ForeignKey, create_engine, event, update
    from sqlalchemy.exc import IntegrityError, NoResultFound
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
    from standardwebhooks.webhooks import Webhook

    from order_fsm_adapters.sqlalchemy import SqlAlchemyStore
except ModuleNotFoundError as error:
    sys.stderr.write(f"shop.py: error: {error.name} is missing: pip install '.[examples]' in the checkout\n")
    sys.exit(2)

SECRET = "whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxl"  # noqa: S105 - a shop reads it from its settings

Answer = tuple[dict[str, Any], int]


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


def engine_of(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        # Its driver would begin transactions too late.
        @event.listens_for(engine, "connect")
        def leave_transactions_to_sqlalchemy(connection: Any, _: object) -> None:
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


# The shop's pages


def shop_app(engine: Engine, orders: Orders) -> Flask:
    app = Flask("shop")
    receiver = PaymentReceiver(orders, StandardWebhooks(SECRET))

    @app.post("/checkout/<sku>")
    def check_out(sku: str) -> Answer:
        """The customer buys one: a row of the shop, its stock and the order, or nothing."""
        with Session(engine) as session, session.begin():
            product = session.get_one(Product, sku)
            purchase = Purchase(sku=sku)
            session.add(purchase)
            session.flush()  # Numbers it.
            order_id = str(purchase.id)
            joined = orders.within(session)
            joined.create(order_id, Decimal(product.price), "EUR", [Line(sku, 1)], key=f"checkout:{order_id}")
            joined.fire(order_id, "place")
            taken = update(Product).where(Product.sku == sku, Product.on_hand > 0).values(on_hand=Product.on_hand - 1)
            if not session.execute(taken).rowcount:  # type: ignore[attr-defined]
                raise LookupError(f"no {sku} on hand")
        return {"order": order_id}, 201

    @app.post("/webhook")
    def webhook() -> Answer:
        """The gateway reports a payment. It concerns the order alone, so the store has a transaction of its own."""
        outcome = receiver.receive(request.get_data(), request.headers)
        return {"outcome": outcome.outcome}, outcome.http_status

    @app.post("/office/<order_id>/dispatch/<parcel>")
    def dispatch(order_id: str, parcel: str) -> Answer:
        """The back office sends a parcel: its number and the status, or neither."""
        with Session(engine) as session, session.begin():
            orders.within(session).fire(order_id, "dispatch", parcel=parcel, by="office")
            session.get_one(Purchase, int(order_id)).parcel = parcel
        return {"state": orders.get(order_id).state}, 200

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Answer:
        return {"error": [reason.message for reason in error.reasons]}, 409

    @app.errorhandler(IntegrityError)
    def conflict(_: IntegrityError) -> Answer:
        return {"error": "the database refuses the row"}, 409

    @app.errorhandler(LookupError)
    @app.errorhandler(NoResultFound)
    @app.errorhandler(OrderNotFound)
    def missing(error: LookupError | NoResultFound | OrderNotFound) -> Answer:
        return {"error": str(error)}, 404

    return app


def relay(orders: Orders) -> None:
    """Tell the world of committed changes. A shop runs this in a process of its own, again and again."""

    def tell(message: Message) -> None:
        print(f"  {message.topic} of order {message.order_id}")

    orders.deliver(tell)


# The script


def paid(order_id: str, amount: str) -> dict[str, Any]:
    """Return a request of the gateway, which reports a payment."""
    data = {"order_id": order_id, "reference": f"ch_{order_id}", "amount": amount, "currency": "EUR"}
    body, now = json.dumps({"type": "payment.captured", "data": data}), datetime.now(UTC)
    signature = Webhook(SECRET).sign(f"evt_{order_id}", now, body)
    headers = {"id": f"evt_{order_id}", "timestamp": str(int(now.timestamp())), "signature": signature}
    return {"data": body, "headers": {f"webhook-{name}": value for name, value in headers.items()}}


def play(engine: Engine) -> None:
    store = SqlAlchemyStore(engine)
    store.install()
    orders = Orders(store)
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Product(sku="VASE", price="15.00", on_hand=2))
    client = shop_app(engine, orders).test_client()

    def call(what: str, ask: Callable[..., Any], path: str, **more: Any) -> None:
        answer = ask(path, **more)
        print(f"{what}: {answer.status_code} {json.dumps(answer.json)}")

    def show() -> None:
        with Session(engine) as session:
            parcels = [purchase.parcel for purchase in session.query(Purchase).order_by(Purchase.id)]
            print(f"  shop: {session.get_one(Product, 'VASE').on_hand} on hand, parcels {parcels}")
        print(f"  orders: {[orders.get(str(number)).state for number in range(1, len(parcels) + 1)]}")

    call("Ann buys a vase", client.post, "/checkout/VASE")
    call("Ben buys a vase", client.post, "/checkout/VASE")
    call("Cy finds none, after his order was placed", client.post, "/checkout/VASE")
    show()
    call("Ann's parcel, before she paid", client.post, "/office/1/dispatch/AB1")
    call("The gateway reports Ann's payment", client.post, "/webhook", **paid("1", "15.00"))
    call("The gateway reports Ben's payment", client.post, "/webhook", **paid("2", "15.00"))
    call("Ann's parcel", client.post, "/office/1/dispatch/AB1")
    call("Ben's parcel, with the number of Ann's", client.post, "/office/2/dispatch/AB1")
    show()
    print("The relay tells the world:")
    relay(orders)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{Path(folder) / 'shop.db'}")
        play(engine)
        engine.dispose()


if __name__ == "__main__":
    main()

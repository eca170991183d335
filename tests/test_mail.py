"""Mails through a real local server: recipients, words and escaping."""

from __future__ import annotations

import contextlib
import email
import re
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import order_fsm
from order_fsm import InvalidInput, Line, Message, Orders, Refused, Rule, Status, Undelivered, shop_workflow
from order_fsm.orders.relay import LONGEST_PAUSE
from order_fsm.payments import HmacSignature, PaymentEvent, PaymentReceiver
from order_fsm.testing import FrozenClock
from order_fsm.validation import COMMENT_LENGTH, identifier
from order_fsm_adapters.mail import Mailer, rendering
from order_fsm_adapters.mail.rendering import MAILS
from order_fsm_adapters.memory import MemoryStore
from order_fsm_adapters.sqlite import SqliteStore

if TYPE_CHECKING:
    from tests.conftest import Shop

ANN = "ann@example.com"
OWNER = "owner@teapots.example"
SENDER = "shop@teapots.example"
TEMPLATES = Path(rendering.__file__).parent / "templates"
AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Mail:
    """A mail that the server accepted."""

    def __init__(self, sender: str, recipients: list[str], content: bytes) -> None:
        self.sender = sender
        self.recipients = recipients
        self.content = content
        self.parsed = email.message_from_bytes(content, _class=EmailMessage, policy=SMTP)

    def header(self, name: str) -> str:
        (value,) = self.parsed.get_all(name, [])
        return str(value)

    def part(self, kind: str) -> str:
        """Return the text of its `plain` or `html` part, with line ends of Python."""
        part = self.parsed.get_body((kind,))
        assert part is not None
        return str(part.get_content()).replace("\r\n", "\n")

    @property
    def text(self) -> str:
        return self.part("plain")

    @property
    def html(self) -> str:
        return self.part("html")


class Box:
    """The mails that a server accepted, and its replies to refused addresses."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.refused: dict[str, str] = {}
        self.asked: list[str] = []

    async def handle_RCPT(  # noqa: N802 - the server's name for it
        self, _server: object, _session: object, envelope: Any, address: str, options: list[str]
    ) -> str:
        self.asked.append(address)
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802
        self.mails.append(Mail(envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 OK"

    def to(self, address: str) -> list[Mail]:
        return [mail for mail in self.mails if mail.recipients == [address]]

    def only(self) -> Mail:
        (mail,) = self.mails
        return mail


class Server:
    """A mail server and its box."""

    def __init__(self, port: int) -> None:
        self.box = Box()
        self.port = port
        self._store = MemoryStore()

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="shop", timeout=60)

    def mailer(self, orders: Orders, **parts: Any) -> Mailer:
        usual = {"connect": self.connect, "sender": SENDER, "merchant": OWNER, "shop": "Teapots"}
        return Mailer(orders, **{**usual, **parts})

    @contextmanager
    def news(self, order_id: str, comment: str, visible: bool = False) -> Iterator[Mail]:
        """Yield a function that returns the only mail about a comment. One mailer loads the templates once."""
        self.box.mails.clear()
        orders, mailer = self._usual
        orders.create(order_id, total="10.00", currency="GBP", email=ANN)
        try:
            orders.comment(order_id, comment, visible=visible, notify=True)
            assert orders.deliver(mailer) == 1
            yield self.box.only()
        finally:
            self._store.remove(orders.get(order_id))

    @cached_property
    def _usual(self) -> tuple[Orders, Mailer]:
        orders = Orders(self._store)
        return orders, self.mailer(orders)

    def deliver(self, shop: Shop, /, **parts: Any) -> int:
        return shop.orders.deliver(self.mailer(shop.orders, **parts), limit=1000)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving(server: Server, utf8: bool) -> Iterator[Server]:
    controller = Controller(server.box, hostname="127.0.0.1", port=server.port, enable_SMTPUTF8=utf8)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with serving(Server(free_port()), utf8=True) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """A server with an empty box that refuses no address."""
    running.box.mails.clear()
    running.box.refused.clear()
    running.box.asked.clear()
    return running


REFUSED = "550 <ann@example.com> no such mailbox"
BUSY = "450 <ann@example.com> try again"


def commented(shop: Shop, comment: str = "Snow.", order_id: str = "1001", email: str | None = ANN) -> None:
    shop.orders.create(order_id, total="10.00", currency="GBP", customer="ann", email=email)
    shop.orders.comment(order_id, comment, visible=True, notify=True)


def test_erased_customer_gets_no_mail_and_the_merchant_still_does(server: Server, any_shop: Shop) -> None:
    """The mail is not retried, because there is no recipient."""
    any_shop.create()
    any_shop.orders.fire("1001", "place", comment="Ann will call", visible=True, notify=True)
    any_shop.orders.erase_customer("ann")
    waiting = len(any_shop.messages())
    assert server.deliver(any_shop) == waiting
    assert server.box.asked == [OWNER]
    assert ANN.encode() not in server.box.only().content
    assert b"Ann will call" not in server.box.only().content
    assert any_shop.messages() == any_shop.orders.dead_letters() == []


def test_requeued_dead_letter_to_an_erased_customer_reaches_nobody(server: Server, any_shop: Shop) -> None:
    commented(any_shop)
    server.box.refused[ANN] = REFUSED
    server.deliver(any_shop)
    any_shop.orders.erase_order("1001")
    (letter,) = any_shop.orders.dead_letters()
    assert letter.remaining == ("customer",)
    any_shop.orders.requeue(letter)
    server.box.asked.clear()
    assert server.deliver(any_shop) == 1
    assert server.box.asked == []
    assert any_shop.messages() == any_shop.orders.dead_letters() == []


# F2: words for the customer


def test_placing_an_order_is_mailed_as_order_received(server: Server, any_shop: Shop) -> None:
    """F2: customers read "sent" as shipped."""
    any_shop.create()
    any_shop.orders.fire("1001", "place", notify=True)
    server.deliver(any_shop)
    (mail,) = server.box.to(ANN)
    assert mail.header("Subject") == "Your order 1001: Order received"
    assert "Thank you for your order. We have received it." in mail.text
    for part in (mail.header("Subject"), mail.text, mail.html):
        assert not re.search(r"\bsent\b", part, re.IGNORECASE)


def test_no_mail_to_a_customer_shows_the_name_of_a_status_or_state(server: Server, new_shop: type[Shop]) -> None:
    """F2: this is tested on every edge of the shop's table, by hand, also with a status of the shop."""
    own = shop_workflow().extend(
        statuses=[Status("part_packed", tick="pack", untick="unpack")],
        rules=[
            Rule("pack", needs={"sent"}, forbids={"part_packed"}, adds={"part_packed"}),
            Rule("unpack", needs={"part_packed"}, drops={"part_packed"}),
        ],
    )
    shop = new_shop(own)
    for number, state in enumerate(shop.orders.workflow.states):
        name = f"7{number:03d}"
        shop.create(name, lines=())
        order = shop.orders.get(name)
        for statuses in ({"sent"}, {"sent", "part_packed"}, set(state.split("+")) - {"unfinished"}):
            with contextlib.suppress(Refused):
                order = shop.orders.save(name, statuses, version=order.version, comment="x", notify=True).order
    server.deliver(shop)
    mails = server.box.to(ANN)
    assert len(mails) > 50
    assert any("part packed" in mail.text for mail in mails)
    for mail in mails:
        for part in (mail.header("Subject"), mail.text, mail.html):
            assert not re.search(r"\bsent\b|part_packed|\w\+\w|unfinished", part, re.IGNORECASE)


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATES.iterdir()))
def test_no_template_has_a_bare_sent(name: str) -> None:
    """Conditions on the status may name it. "Sent by the order system" is for the merchant."""
    source = (TEMPLATES / name).read_text(encoding="utf-8")
    shown = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|Sent by the order system", "", source, flags=re.DOTALL)
    assert not re.search(r"\bsent\b", shown, re.IGNORECASE)


def test_customer_is_mailed_the_change_and_the_visible_comment(server: Server, shop: Shop) -> None:
    shop.bring("sent+paid")
    shop.orders.deliver(lambda message: None)
    shop.orders.fire("1001", "dispatch", comment="Royal Mail AB123", visible=True, notify=True)
    assert server.deliver(shop) == 1
    mail = server.box.only()
    assert (mail.sender, mail.recipients) == (SENDER, [ANN])
    assert mail.header("Subject") == "Your order 1001: Dispatched"
    assert mail.header("From") == f"Teapots <{SENDER}>"
    assert mail.header("To") == ANN
    assert mail.text == (
        "Hello,\n\nYour order is on its way to you.\n\nOn its way:\n  2 x TEAPOT\n\nRoyal Mail AB123\n\n"
        "Order 1001\n  2 x TEAPOT\n"
        "  Total: 10.00 GBP\n  Status: Order received, Payment received, Dispatched\n\nKind regards,\nTeapots\n"
    )
    assert "<p>Your order is on its way to you.</p>" in mail.html
    assert ">Royal Mail AB123</p>" in mail.html


# Parts of the goods


def dispatched_by_part(shop: Shop, **given: Any) -> None:
    shop.create(lines=[Line("TEAPOT", 3), Line("CUP", 1)])
    shop.orders.fire("1001", "pay", reference="ch_1")
    shop.orders.deliver(lambda message: None)
    shop.orders.fire("1001", "dispatch", items={"TEAPOT": 2}, notify=True, **given)


def test_customer_is_mailed_the_part_the_parcel_and_the_pieces_to_come(server: Server, any_shop: Shop) -> None:
    """Case F2: the mail does not name the queue."""
    dispatched_by_part(any_shop, parcel="AB123", comment="Royal Mail", visible=True)
    assert "AB123" not in str(any_shop.messages())
    assert any_shop.orders.get("1001").part_dispatched
    server.deliver(any_shop)
    mail = server.box.only()
    assert mail.recipients == [ANN]
    assert mail.header("Subject") == "A part of your order 1001 is on its way"
    assert mail.text == (
        "Hello,\n\nA part of your order is on its way to you.\n\nOn its way:\n  2 x TEAPOT\nParcel number: AB123\n"
        "Still to come:\n  1 x TEAPOT\n  1 x CUP\n\nRoyal Mail\n\nOrder 1001\n  3 x TEAPOT\n  1 x CUP\n"
        "  Total: 10.00 GBP\n  Status: Order received, Invoiced, Payment received\n\nKind regards,\nTeapots\n"
    )
    for said in (
        "A part of your order",
        "2 \xd7 TEAPOT",
        "Parcel number: AB123",
        "Still to come",
        "1 \xd7 TEAPOT",
        "1 \xd7 CUP",
    ):
        assert said in mail.html
    for part in (mail.header("Subject"), mail.text, mail.html):
        assert not re.search(r"part_dispatched|part dispatched|\bsent\b", part, re.IGNORECASE)


def test_customer_is_mailed_the_rest_alone(server: Server, any_shop: Shop) -> None:
    dispatched_by_part(any_shop, parcel="AB123")
    any_shop.orders.deliver(lambda message: None)
    any_shop.orders.fire("1001", "dispatch", parcel="AB124", notify=True)
    server.deliver(any_shop)
    mail = server.box.only()
    assert mail.header("Subject") == "Your order 1001: Dispatched"
    assert "The rest of your order is on its way to you.\n\nOn its way:\n  1 x TEAPOT\n  1 x CUP\n" in mail.text
    assert "Parcel number: AB124" in mail.text
    for missing in ("AB123", "Still to come", "A part of"):
        assert missing not in mail.text + mail.html


def test_mail_of_a_part_does_not_promise_pieces_that_left_since(server: Server, any_shop: Shop) -> None:
    """A late mail lists the pieces that are still to come at its delivery."""
    dispatched_by_part(any_shop, parcel="AB123")
    any_shop.orders.fire("1001", "dispatch", items={"CUP": 1}, parcel="AB124", notify=True)
    server.deliver(any_shop)
    for mail, here, parcel in zip(server.box.to(ANN), ("2 x TEAPOT", "1 x CUP"), ("AB123", "AB124"), strict=True):
        assert f"On its way:\n  {here}\nParcel number: {parcel}\nStill to come:\n  1 x TEAPOT\n" in mail.text
        assert "Still to come:\n  1 x TEAPOT\n  1 x CUP" not in mail.text


def test_mail_of_a_part_of_an_order_cancelled_since_promises_nothing(server: Server, shop: Shop) -> None:
    dispatched_by_part(shop)
    shop.orders.fire("1001", "return_items")
    shop.orders.fire("1001", "cancel")
    server.deliver(shop)
    (mail,) = server.box.to(ANN)
    assert "On its way:\n  2 x TEAPOT\n" in mail.text
    assert "Still to come" not in mail.text + mail.html


@pytest.mark.parametrize("restock", [True, False])
def test_customer_is_mailed_that_a_return_arrived(server: Server, any_shop: Shop, restock: bool) -> None:
    dispatched_by_part(any_shop)
    any_shop.orders.deliver(lambda message: None)
    any_shop.orders.fire("1001", "return_items", items={"TEAPOT": 1}, restock=restock, notify=True)
    server.deliver(any_shop)
    mail = server.box.only()
    assert mail.header("Subject") == "We have received your return of order 1001"
    assert "We have received your return of 1 x TEAPOT.\n" in mail.text
    assert "<p>We have received your return of 1 \xd7 TEAPOT.</p>" in mail.html
    assert "On its way" not in mail.text + mail.html


def test_form_that_dispatches_is_mailed_with_its_goods(server: Server, any_shop: Shop) -> None:
    any_shop.create()
    any_shop.orders.save("1001", {"sent", "invoiced", "dispatched"}, version=1, notify=True)
    server.deliver(any_shop)
    (mail,) = server.box.to(ANN)
    assert "Your order is on its way to you.\n\nOn its way:\n  2 x TEAPOT\n" in mail.text


def test_parcel_of_an_order_without_lines_is_mailed(server: Server, shop: Shop) -> None:
    shop.create(lines=())
    shop.orders.fire("1001", "pay", reference="ch_1")
    shop.orders.deliver(lambda message: None)
    shop.orders.fire("1001", "dispatch", parcel="AB123", notify=True)
    server.deliver(shop)
    assert "Your order is on its way to you.\n\nParcel number: AB123\n" in server.box.only().text


def test_recalled_order_is_mailed_as_back(server: Server, shop: Shop) -> None:
    shop.bring("sent+paid+dispatched")
    shop.orders.deliver(lambda message: None)
    shop.orders.fire("1001", "undispatch", comment="wrong address", notify=True)
    server.deliver(shop)
    assert "Your order is back with us.\n" in server.box.only().text
    assert "On its way" not in server.box.only().text


def test_amended_lines_are_mailed_as_more_to_come_or_complete(server: Server, shop: Shop) -> None:
    shop.bring("sent+paid+dispatched")
    shop.orders.deliver(lambda message: None)
    version = shop.orders.get("1001").version
    shop.orders.amend("1001", version=version, lines=[Line("TEAPOT", 3)], notify=True)
    server.deliver(shop)
    assert "More of your order is still to come.\n\nStill to come:\n  1 x TEAPOT\n" in server.box.only().text
    server.box.mails.clear()
    shop.orders.amend("1001", version=version + 1, lines=[Line("TEAPOT", 2)], notify=True)
    server.deliver(shop)
    assert "Your order is complete. We have nothing more to send to you.\n" in server.box.only().text


def test_payment_of_a_part_dispatched_order_is_mailed_with_the_rest_ahead(server: Server, shop: Shop) -> None:
    shop.bring("sent+invoiced")
    shop.orders.fire("1001", "dispatch", items={"TEAPOT": 1})
    shop.orders.deliver(lambda message: None)
    shop.orders.fire("1001", "pay", reference="ch_1")
    server.deliver(shop)
    (mail,) = server.box.to(ANN)
    assert "We are getting the rest of your order ready for dispatch." in mail.text


def test_mail_that_is_resent_names_the_next_step_again(server: Server, any_shop: Shop) -> None:
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    server.deliver(any_shop)
    any_shop.clock.pass_by(hours=1)
    any_shop.orders.comment("1001", "called back")
    any_shop.orders.resend("1001", "order.paid")
    server.deliver(any_shop)
    first, again = server.box.to(ANN)
    assert first.text == again.text
    assert "We are getting your order ready for dispatch." in again.text


def test_mail_of_an_order_that_is_paid_without_a_payment_claims_none(server: Server, any_shop: Shop) -> None:
    """Its lower price is covered by a payment of a part, which was mailed before."""
    any_shop.create()
    any_shop.orders.fire("1001", "pay", amount="7", reference="ch_1")
    any_shop.orders.deliver(lambda message: None)
    any_shop.clock.pass_by(hours=1)
    any_shop.orders.amend("1001", version=2, total="7")
    server.deliver(any_shop)
    (to_ann,), (to_owner,) = server.box.to(ANN), server.box.to(OWNER)
    assert to_ann.header("Subject") == "Your order 1001: paid"
    assert "Thank you. Your order 1001 is paid.\n" in to_ann.text
    assert to_owner.header("Subject") == "Order 1001: paid"
    assert "Order 1001 is paid without a new payment." in to_owner.text
    for mail in (to_ann, to_owner):
        assert "7.00" not in mail.text.partition("\n\n")[0] + mail.html.partition("Total")[0]


def test_mail_of_a_form_names_a_payment_of_any_of_its_steps(server: Server, any_shop: Shop) -> None:
    any_shop.create()
    any_shop.orders.fire("1001", "pay", amount="7", reference="ch_1")
    any_shop.orders.deliver(lambda message: None)
    any_shop.clock.pass_by(hours=1)
    receipt = any_shop.orders.save("1001", {"sent", "invoiced", "paid", "dispatched"}, version=2)
    assert [entry.trigger for entry in receipt.entries][-1] != "pay"
    server.deliver(any_shop)
    assert "We have received your payment of" in server.box.to(ANN)[0].text


def test_mail_that_is_resent_names_the_parcel_again(server: Server, any_shop: Shop) -> None:
    dispatched_by_part(any_shop, parcel="AB123")
    any_shop.orders.deliver(lambda message: None)
    any_shop.clock.pass_by(hours=1)
    any_shop.orders.resend("1001", "order.updated")
    server.deliver(any_shop)
    assert "On its way:\n  2 x TEAPOT\nParcel number: AB123\n" in server.box.only().text


def test_parcel_number_is_escaped_in_html(server: Server, shop: Shop) -> None:
    dispatched_by_part(shop, parcel="<b>AB123</b>")
    server.deliver(shop)
    assert "&lt;b&gt;AB123&lt;/b&gt;" in server.box.only().html


def test_hidden_comment_is_not_mailed(server: Server, shop: Shop) -> None:
    shop.create()
    shop.orders.comment("1001", "a nuisance", notify=True)
    server.deliver(shop)
    assert "nuisance" not in server.box.only().text + server.box.only().html


def test_cancellation_of_a_paid_order_is_mailed_as_cancelled(server: Server, shop: Shop) -> None:
    """K8: the mail has the difference and explains the money."""
    shop.bring("sent+paid")
    shop.orders.deliver(lambda message: None)
    shop.orders.fire("1001", "cancel", notify=True)
    server.deliver(shop)
    (mail,) = server.box.to(ANN)
    assert mail.header("Subject") == "Your order 1001: Cancelled"
    assert "Your order has been cancelled.\n\nWe will return 10.00 GBP to you." in mail.text


def test_free_order_is_not_mailed_as_paid(server: Server, shop: Shop) -> None:
    """M12: there was no payment."""
    shop.create(total="0")
    shop.orders.fire("1001", "place", notify=True)
    server.deliver(shop)
    (mail,) = server.box.to(ANN)
    assert "payment" not in mail.text.lower()
    assert "payment" not in mail.header("Subject").lower()


def test_order_that_credits_make_free_is_not_mailed_as_paid(server: Server, shop: Shop) -> None:
    shop.bring("sent")
    shop.orders.deliver(lambda message: None)
    shop.orders.amend("1001", version=2, credited="10", notify=True)
    server.deliver(shop)
    (mail,) = server.box.to(ANN)
    assert "payment" not in mail.text.lower()
    assert "payment" not in mail.header("Subject").lower()


def test_labels_are_replaced_in_one_place_and_leave_the_fingerprint(server: Server, new_shop: type[Shop]) -> None:
    german = shop_workflow().translated({"sent": "Eingegangen", "paid": "Bezahlt"}, {"sent": "Bestellung eingegangen"})
    assert german.fingerprint == shop_workflow().fingerprint
    shop = new_shop(german)
    shop.create()
    shop.orders.fire("1001", "place", notify=True)
    server.deliver(shop)
    (to_ann,), (to_owner,) = server.box.to(ANN), server.box.to(OWNER)
    assert to_ann.header("Subject") == "Your order 1001: Bestellung eingegangen"
    assert "Status: Eingegangen\n" in to_owner.text


@pytest.mark.parametrize("labels", [{"snt": "x"}, {"sent": ""}, {"sent": 1}, ["sent"], "sent"])
def test_bad_labels_are_refused(labels: Any) -> None:
    with pytest.raises(InvalidInput):
        shop_workflow().translated(labels)
    with pytest.raises(InvalidInput):
        shop_workflow().translated(customer_labels=labels)


def test_label_is_by_default_the_name_with_spaces() -> None:
    plain = Status("part_dispatched")
    assert (plain.label, plain.customer_label) == ("part dispatched", "part dispatched")
    assert Status("a", label="b").customer_label == "b"


# The mails of each topic


def test_online_payment_is_mailed_to_merchant_and_customer(server: Server, any_shop: Shop) -> None:
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    assert server.deliver(any_shop) == 1
    (to_ann,), (to_owner,) = server.box.to(ANN), server.box.to(OWNER)
    assert "We have received your payment of 10.00 GBP for order 1001." in to_ann.text
    assert to_owner.header("Subject") == "Order 1001: 10.00 GBP received"
    assert "(reference ch_1)" in to_owner.text
    assert "Status: Received, Invoiced, Payment received\nCustomer: ann\nEmail: ann@example.com" in to_owner.text


def test_part_payment_is_mailed_with_the_missing_amount(server: Server, any_shop: Shop) -> None:
    """M10: the customer and the merchant get a mail."""
    any_shop.create()
    any_shop.orders.fire("1001", "pay", amount="9.80", reference="ch_1")
    server.deliver(any_shop)
    (to_ann,), (to_owner,) = server.box.to(ANN), server.box.to(OWNER)
    assert to_ann.header("Subject") == "Your order 1001: 0.20 GBP still to be paid"
    assert "We have received 9.80 GBP" in to_ann.text
    assert to_owner.header("Subject") == "Order 1001: 9.80 GBP received, 0.20 GBP outstanding"


def test_merchant_is_mailed_a_reversal(server: Server, any_shop: Shop) -> None:
    """M4: the shop must not dispatch."""
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    any_shop.orders.deliver(lambda message: None)
    any_shop.orders.fire("1001", "unpay", reference="ch_1", comment="charged back")
    server.deliver(any_shop)
    mail = server.box.only()
    assert mail.recipients == [OWNER]
    assert mail.header("Subject") == "Order 1001: payment of 10.00 GBP reversed"
    assert "10.00 GBP is outstanding. Do not dispatch" in mail.text


def test_merchant_is_mailed_money_in_another_currency(server: Server, any_shop: Shop) -> None:
    """M9."""
    any_shop.create()
    any_shop.orders.fire("1001", "pay", amount="117", currency="EUR", reference="ch_1")
    server.deliver(any_shop)
    mail = server.box.only()
    assert mail.recipients == [OWNER]
    assert mail.header("Subject") == "Order 1001: 117.00 EUR received in another currency"


def test_merchant_is_mailed_a_fact_that_does_not_fit_the_payments(server: Server, any_shop: Shop) -> None:
    any_shop.create()
    fact = PaymentEvent("captured", "1001", "ch_1", None, "10.001", "GBP", "evt_1")
    PaymentReceiver(any_shop.orders, HmacSignature("secret", header="x")).record(fact)
    server.deliver(any_shop)
    mail = server.box.only()
    assert mail.recipients == [OWNER]
    assert mail.header("Subject") == "Order 1001: a report of 10.001 GBP does not match"
    for part in (mail.text, mail.html):
        assert "captured, 10.001 GBP (reference ch_1)" in part
        assert "another currency" not in part


def test_merchant_is_mailed_the_refund_that_is_due_at_delivery(server: Server, any_shop: Shop) -> None:
    """If the refund comes before the mail, the mail does not ask for a second one."""
    for order_id in ("1001", "1002"):
        any_shop.bring("sent+paid", order_id)
    any_shop.orders.deliver(lambda message: None)
    for order_id in ("1001", "1002"):
        any_shop.orders.fire(order_id, "cancel")
    any_shop.orders.fire("1002", "refund")
    server.deliver(any_shop)
    subjects = {mail.header("Subject") for mail in server.box.to(OWNER)}
    assert subjects == {"Order 1001: 10.00 GBP to refund", "Order 1002: check a refund of 10.00 GBP"}


def test_merchant_is_mailed_missing_stock(server: Server, shop: Shop) -> None:
    shop.orders.set_stock("TEAPOT", 1)
    shop.create()
    shop.orders.fire("1001", "pay")
    server.deliver(shop)
    mail = server.box.only()
    assert mail.recipients == [OWNER]
    assert "The stock does not cover order 1001. It takes:\n- 2 x TEAPOT\n" in mail.text


def test_payment_of_a_cancelled_order_is_mailed_as_due_back(server: Server, shop: Shop) -> None:
    shop.bring("sent+cancelled")
    shop.orders.deliver(lambda message: None)
    shop.orders.fire("1001", "pay", amount="10.00", reference="ch_1")
    server.deliver(shop)
    assert "Order 1001: 10.00 GBP to refund" in [mail.header("Subject") for mail in server.box.to(OWNER)]


# F4


def test_expired_order_is_mailed_to_the_customer(server: Server, any_shop: Shop) -> None:
    """F4: the mail has the comment if it is visible."""
    any_shop.bring("sent")
    any_shop.orders.deliver(lambda message: None)
    any_shop.clock.advance(timedelta(days=8))
    any_shop.orders.expire(timedelta(days=7), comment="Order again any time.", visible=True, notify=True)
    server.deliver(any_shop)
    mail = server.box.only()
    assert mail.recipients == [ANN]
    assert mail.header("Subject") == "Your order 1001: Cancelled"
    assert "cancelled, because we received no payment for it.\n\nOrder again any time.\n" in mail.text


# The order at delivery


def test_removed_order_is_not_mailed_about(server: Server, any_shop: Shop) -> None:
    """A new order with its id and another address gets no mail either."""
    any_shop.create()
    any_shop.orders.comment("1001", "x", visible=True, notify=True)
    mailer = server.mailer(any_shop.orders)

    def late(message: Message) -> None:
        any_shop.store.remove(any_shop.orders.get("1001"))
        mailer(message)
        any_shop.clock.advance(timedelta(days=1))
        commented(any_shop, email="eve@example.com")
        mailer(message)

    any_shop.orders.deliver(late, limit=1)
    assert server.box.mails == []


def test_without_an_email_only_the_merchant_is_mailed(server: Server, shop: Shop) -> None:
    shop.orders.create("1001", total="10.00", currency="GBP")
    shop.orders.fire("1001", "pay", reference="ch_1")
    assert server.deliver(shop) == 1
    assert server.box.only().recipients == [OWNER]
    assert "Customer: not known\nEmail: not known" in server.box.only().text


def test_topic_without_mails_opens_no_connection(shop: Shop) -> None:
    def connect() -> smtplib.SMTP:
        raise AssertionError("a connection was opened")

    commented(shop, email=None)
    mailer = Mailer(shop.orders, connect, SENDER, OWNER, "Teapots")
    assert shop.orders.deliver(mailer) == 1
    mailer(Message("1001#2.1", "1001", "order.weighed", {}, AT))


def test_refund_that_fails_is_no_payment_to_thank_for(server: Server, any_shop: Shop) -> None:
    """The order is paid again without new money. The merchant gets a mail about the refund due."""
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    any_shop.orders.fire("1001", "refund", reference="ch_1", transaction_id="re_1")
    server.deliver(any_shop)
    server.box.mails.clear()
    any_shop.orders.fire("1001", "refund_failed", transaction_id="re_1")
    server.deliver(any_shop)
    assert "paid" in any_shop.orders.get("1001").statuses
    assert server.box.to(ANN) == []
    assert [mail.header("Subject") for mail in server.box.to(OWNER)] == ["Order 1001: check a refund of 10.00 GBP"]


# F3: separate recipients


def test_refused_customer_does_not_delay_or_repeat_the_merchants_mails(
    server: Server, any_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """F3: after one attempt it becomes a dead letter, logged with its id and without the address."""
    server.box.refused[ANN] = REFUSED
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    any_shop.orders.fire("1001", "cancel")
    server.deliver(any_shop)
    assert [mail.header("Subject") for mail in server.box.to(OWNER)] == [
        "Order 1001: 10.00 GBP received",
        "Order 1001: 10.00 GBP to refund",
    ]
    (letter,) = any_shop.orders.dead_letters()
    assert (letter.topic, letter.remaining, letter.attempts) == ("order.paid", ("customer",), 1)
    assert f"message {letter.id} (order.paid) was not delivered to customer: SMTPRecipientsRefused 550" in caplog.text
    assert ANN not in caplog.text
    any_shop.clock.advance(LONGEST_PAUSE)
    server.deliver(any_shop)
    assert server.box.asked.count(ANN) == 1
    server.box.refused.clear()
    any_shop.orders.requeue(letter)
    assert server.deliver(any_shop) == 1
    assert len(server.box.to(ANN)) == 1
    assert len(server.box.to(OWNER)) == 2


def test_temporary_refusal_of_the_customer_is_retried_for_the_customer_alone(server: Server, any_shop: Shop) -> None:
    """F3: later mails of the order are sent before it."""
    server.box.refused[ANN] = BUSY
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    any_shop.orders.fire("1001", "cancel")
    server.deliver(any_shop)
    assert len(server.box.to(OWNER)) == 2
    for _ in range(3):
        any_shop.clock.advance(LONGEST_PAUSE)
        server.deliver(any_shop)
    server.box.refused.clear()
    any_shop.clock.advance(LONGEST_PAUSE)
    assert server.deliver(any_shop) == 1
    assert len(server.box.to(ANN)) == 1
    assert len(server.box.to(OWNER)) == 2
    assert any_shop.orders.dead_letters() == []


def test_refused_customer_is_not_retried_while_the_merchant_is(server: Server, any_shop: Shop) -> None:
    """F3: the message becomes a dead letter when the merchant has the mail."""
    server.box.refused |= {ANN: REFUSED, OWNER: BUSY}
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    mailer = server.mailer(any_shop.orders)
    for _ in range(4):
        any_shop.orders.deliver(mailer)
        any_shop.clock.advance(LONGEST_PAUSE)
    assert (server.box.asked.count(ANN), server.box.asked.count(OWNER)) == (1, 4)
    del server.box.refused[OWNER]
    any_shop.orders.deliver(mailer)
    (letter,) = any_shop.orders.dead_letters()
    assert (letter.remaining, server.box.asked.count(ANN)) == (("customer",), 1)
    server.box.refused.clear()
    any_shop.orders.requeue(letter)
    assert any_shop.orders.deliver(mailer) == 1
    assert len(server.box.to(ANN)) == 1


@pytest.mark.parametrize("correct", [True, False])
def test_refused_customer_is_retried_after_a_requeue(server: Server, any_shop: Shop, correct: bool) -> None:
    """F3: the same mailer retries it, even if the merchant was never reached."""
    server.box.refused |= {ANN: REFUSED, OWNER: BUSY}
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    mailer = server.mailer(any_shop.orders)
    while not any_shop.orders.dead_letters():
        any_shop.orders.deliver(mailer)
        any_shop.clock.advance(LONGEST_PAUSE)
    if correct:
        server.box.refused.clear()
    any_shop.orders.requeue(any_shop.orders.dead_letters()[0])
    any_shop.orders.deliver(mailer)
    assert server.box.asked.count(ANN) == 2
    assert len(server.box.to(ANN)) == len(server.box.to(OWNER)) == correct


def test_temporary_refusal_of_the_merchant_does_not_repeat_the_customers_mail(server: Server, any_shop: Shop) -> None:
    server.box.refused[OWNER] = BUSY
    any_shop.create()
    any_shop.orders.fire("1001", "pay", reference="ch_1")
    server.deliver(any_shop)
    server.box.refused.clear()
    any_shop.clock.advance(LONGEST_PAUSE)
    assert server.deliver(any_shop) == 1
    assert [mail.recipients for mail in server.box.mails] == [[ANN], [OWNER]]


def test_remaining_recipient_is_known_to_another_process(server: Server, tmp_path: Path) -> None:
    """The store keeps it."""
    server.box.refused[ANN] = BUSY
    clock = FrozenClock()
    with SqliteStore(tmp_path / "shop.db") as store:
        orders = Orders(store, clock=clock)
        orders.create("1001", total="10.00", currency="GBP", email=ANN)
        orders.fire("1001", "pay", reference="ch_1")
        orders.deliver(server.mailer(orders))
    server.box.refused.clear()
    clock.advance(LONGEST_PAUSE)
    with SqliteStore(tmp_path / "shop.db") as store:
        orders = Orders(store, clock=clock)
        assert orders.deliver(server.mailer(orders)) == 1
        assert store.faults() == []
    assert [mail.recipients for mail in server.box.mails] == [[OWNER], [ANN]]


def test_permanent_refusal_waits_for_a_temporary_one(server: Server, shop: Shop) -> None:
    """No recipient is lost: the message becomes a dead letter when only the permanent refusal is left."""
    server.box.refused.update({ANN: REFUSED, OWNER: BUSY})
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    server.deliver(shop)
    assert shop.orders.dead_letters() == []
    del server.box.refused[OWNER]
    shop.clock.advance(LONGEST_PAUSE)
    server.deliver(shop)
    assert [mail.recipients for mail in server.box.mails] == [[OWNER]]
    assert [letter.remaining for letter in shop.orders.dead_letters()] == [("customer",)]


def test_invalid_address_does_not_stop_the_merchants_mail(server: Server, shop: Shop) -> None:
    """A store may have addresses from before the checks."""
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    (message,) = shop.store.claim(shop.clock.now, shop.clock.now + LONGEST_PAUSE, 1)
    order = replace(shop.orders.get("1001"), email="ann,eve@example.com")
    shop.orders.get = lambda order_id: order  # type: ignore[method-assign]
    with pytest.raises(Undelivered, match="InvalidInput") as raised:
        server.mailer(shop.orders)(message)
    assert (raised.value.recipients, raised.value.permanent) == (("customer",), True)
    assert [mail.recipients for mail in server.box.mails] == [[OWNER]]


def test_server_that_is_down_loses_nothing_and_keeps_the_sequence(shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    shop.orders.fire("1001", "dispatch", notify=True)
    down = Server(free_port())
    assert down.deliver(shop) == 0
    assert [message.remaining for message in shop.messages()] == [(), ()]
    shop.clock.advance(LONGEST_PAUSE)
    with serving(down, utf8=True):
        assert down.deliver(shop) == 2
    assert [mail.recipients for mail in down.box.mails] == [[OWNER], [ANN], [ANN]]


def test_server_without_an_answer_is_given_up_after_the_shops_timeout(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def connect() -> smtplib.SMTP:
            return smtplib.SMTP("127.0.0.1", silent.getsockname()[1], local_hostname="shop", timeout=0.05)

        commented(shop)
        (message,) = shop.messages()
        with pytest.raises(OSError, match="timed out"):
            Mailer(shop.orders, connect, SENDER, OWNER, "Teapots")(message)


def test_mail_keeps_its_message_id_over_deliveries(server: Server, shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1", notify=True)
    mailer = server.mailer(shop.orders)
    for message in shop.messages() * 2:
        mailer(message)
    ids = [mail.header("Message-ID") for mail in server.box.mails]
    assert ids[:3] == ids[3:]
    assert len(set(ids)) == 3
    assert all(one.startswith("<") and one.endswith("@teapots.example>") for one in ids)


# The content of a mail


def test_mail_is_text_with_html_as_the_alternative(server: Server, shop: Shop) -> None:
    commented(shop)
    server.deliver(shop)
    mail = server.box.only()
    assert mail.parsed.get_content_type() == "multipart/alternative"
    parts = [(part.get_content_type(), part.get_content_charset()) for part in mail.parsed.iter_parts()]
    assert parts == [("text/plain", "utf-8"), ("text/html", "utf-8")]
    assert mail.parsed["Date"].datetime == shop.clock.now
    assert mail.header("Auto-Submitted") == "auto-generated"


def test_values_are_escaped_in_every_html_part(server: Server, shop: Shop) -> None:
    """The values are order id, SKU, customer, comment, reference and the shop's name, in the mails of every topic."""
    bad = "<b>&{{ shop }}"
    shop.orders.set_stock(bad, 0)
    shop.orders.create(bad, total="10.00", currency="GBP", lines=[Line(bad, 1)], customer=bad, email=ANN)
    for amount, currency, reference in (("1", "GBP", "<b>1"), ("1", "EUR", "<b>2"), ("10", "GBP", "<b>3")):
        shop.orders.fire(bad, "pay", amount=amount, currency=currency, reference=reference)
    shop.orders.fire(bad, "unpay", reference="<b>3", comment=bad)
    shop.orders.comment(bad, bad, visible=True, notify=True)
    assert {message.topic for message in shop.messages()} >= MAILS.keys() - {"order.placed"}
    server.deliver(shop, shop="Tea & <b>Pots</b>")
    assert len(server.box.mails) >= 8
    for mail in server.box.mails:
        assert "<b>" not in mail.html
        assert "&lt;b&gt;&amp;{{ shop }}" in mail.html
        assert "Tea &amp; &lt;b&gt;Pots&lt;/b&gt;" in mail.html
        assert bad in mail.text


comments = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300).filter(str.strip)


@given(comments)
@example(".\n..\n.hidden\n")
@example("a\r\nb\rc\nd\r\n.\r\nQUIT\r\n")
@example("From here on\n\n\n  kept  \t\n")
@example("\x00\x01\x7f\x85\u2028 ❄ \U0001f375 =20 é")
@example("x" * COMMENT_LENGTH)
@example("字\n<" * (COMMENT_LENGTH // 3))
@settings(max_examples=60, deadline=None)
def test_any_comment_arrives_as_it_was_written(running: Server, comment: str) -> None:
    """Only its line ends change to those of a mail. Every server accepts the lines."""
    written = f"There is news about your order 1001.\n\n{comment}\n\nOrder 1001\n"
    with running.news("1001", comment, visible=True) as mail:
        assert written.replace("\r\n", "\n").replace("\r", "\n") in mail.text
        assert mail.content.isascii()
        assert max(map(len, mail.content.split(b"\r\n"))) <= 78
        assert not {b"\r", b"\n", b"\0"} & set(mail.content.replace(b"\r\n", b"").split())


HEADERS = ["Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
BCC = "=?utf-8?q?x=0D=0ABcc:_eve@example.com?="


def is_identifier(text: str) -> bool:
    try:
        return identifier(text, "order id") == text
    except InvalidInput:
        return False


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40).filter(is_identifier))
@example("x" * 200)
@example("Größe 字 " * 25)
@example(BCC)
@example("=?utf-8?b?eA0KQmNjOiBldmVAZXhhbXBsZS5jb20=?=")
@settings(max_examples=60, deadline=None)
def test_no_order_id_breaks_out_of_the_subject(running: Server, order_id: str) -> None:
    """`email` would decode some ids to a line break. Except for spaces, the subject has the id."""
    with running.news(order_id, "x") as mail:
        assert mail.parsed.keys() == HEADERS
        assert mail.recipients == [ANN]
        subject = "".join(mail.header("Subject").replace("\u2060", "").split())
        assert subject == "".join(f"News about your order {order_id}".replace("\u2060", "").split())


@pytest.mark.parametrize("hostile", ["a\r\nBcc: eve@example.com", "a\nBcc: eve", "a\u2028b\x00c\x85d\x0bBcc: e", BCC])
def test_no_value_breaks_out_of_a_subject_of_a_shop(server: Server, shop: Shop, tmp_path: Path, hostile: str) -> None:
    (tmp_path / "customer.updated.subject.txt").write_text("{{ comment }}\n\n{{ comment }}", encoding="utf-8")
    commented(shop, hostile)
    server.deliver(shop, templates=tmp_path)
    mail = server.box.only()
    assert mail.parsed.keys() == HEADERS
    assert len(mail.header("Subject").splitlines()) == 1
    assert "\x00" not in mail.header("Subject")


@pytest.mark.parametrize(
    "name", ['Ann\'s "Best" Teapots', "Tea, Cups & Co. <x@example.com>", "Café 字", "back\\slash", "(Tea)", BCC]
)
def test_any_name_of_a_shop_is_in_from(server: Server, shop: Shop, name: str) -> None:
    commented(shop)
    server.deliver(shop, shop=name)
    mail = server.box.only()
    (sender,) = mail.parsed["From"].addresses
    assert (sender.display_name.replace("\u2060", ""), sender.addr_spec) == (name, SENDER)
    assert mail.parsed.keys() == HEADERS


# Addresses


@pytest.mark.parametrize(
    ("address", "sent_to"),
    [
        ("o'neil+tea@example.com", "o'neil+tea@example.com"),
        ("ann..b.@example.com", "ann..b.@example.com"),
        ("jörg@example.com", "jörg@example.com"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("пётр@почта.example", "пётр@xn--80a1acny.example"),
        ("ann@straße.example", "ann@straße.example"),
        (f"ann@{'ü' * 64}.example", f"ann@{'ü' * 64}.example"),
    ],
)
def test_addresses_beyond_ascii_are_mailed_to(server: Server, shop: Shop, address: str, sent_to: str) -> None:
    """A domain is sent in its ASCII form, except if that is another domain."""
    commented(shop, email=address)
    server.deliver(shop)
    mail = server.box.only()
    assert mail.recipients == [sent_to]
    assert f"To: {sent_to}\r\n".encode() in mail.content.replace(b"\r\n ", b" ")


def test_address_that_the_server_does_not_support_is_a_dead_letter_at_once(shop: Shop) -> None:
    """Only local parts need support of SMTPUTF8."""
    with serving(Server(free_port()), utf8=False) as old:
        commented(shop, order_id="1001", email="ann@bücher.example")
        commented(shop, order_id="1002", email="jörg@example.com")
        assert old.deliver(shop) == 1
        assert len(old.box.mails) == 1
    assert [letter.order_id for letter in shop.orders.dead_letters()] == ["1002"]


# Templates


def test_a_shop_replaces_single_templates(server: Server, shop: Shop, tmp_path: Path) -> None:
    """The shop replaces the text and the frame. The subject stays, and the HTML uses the shop's frame."""
    (tmp_path / "customer.updated.txt").write_text("Grüße, {{ customer }}: {{ comment }}", encoding="utf-8")
    (tmp_path / "frame.html").write_text("<h1>Tea</h1>{% block content %}{% endblock %}", encoding="utf-8")
    commented(shop, "a < b")
    server.deliver(shop, templates=tmp_path)
    mail = server.box.only()
    assert mail.header("Subject") == "News about your order 1001"
    assert mail.text == "Grüße, ann: a < b\n"
    assert mail.html.startswith("<h1>Tea</h1>")
    assert "a &lt; b" in mail.html


def test_a_template_may_show_the_facts_of_a_shops_own_rules(server: Server, tmp_path: Path) -> None:
    (tmp_path / "merchant.stock_short.txt").write_text("at {{ message.payload.shelf }}", encoding="utf-8")
    rule = Rule("miss", facts={"shelf"}, announces="stock.short")
    orders = Orders(MemoryStore(), workflow=shop_workflow().extend(rules=[rule]))
    orders.create("1001", total="5.00", currency="GBP")
    orders.fire("1001", "miss", shelf="B 2")
    assert orders.deliver(server.mailer(orders, templates=str(tmp_path))) == 1
    assert server.box.only().text == "at B 2\n"


def test_template_that_fails_for_the_customer_does_not_delay_the_merchant(
    server: Server, shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "customer.paid.txt").write_text("{{ 1 // 0 }}", encoding="utf-8")
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    shop.orders.fire("1001", "cancel")
    server.deliver(shop, templates=tmp_path)
    assert len(server.box.to(OWNER)) == 2
    assert [message.remaining for message in shop.messages()] == [("customer",)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("customer.paid.txt", b"one\n{% if amount %}", ["line 2"]),
        ("customer.paid.html", b"{{ amount | pounds }}", ["line 1", "pounds"]),
        ("frame.html", b"{% block content %}", ["line 1"]),
        ("customer.updated.subject.txt", b"{% if comment %}{{ amount }}{% endif %}", ["'amount'", "added, comment"]),
        ("frame.html", b"{{ logo }}", ["'logo'", "shop"]),
        ("merchant.stock_short.txt", b"\xff", ["UTF-8"]),
    ],
)
def test_template_that_is_not_valid_is_found_at_the_start(
    server: Server, shop: Shop, tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    """The error comes before the first mail, and names the file and the fault."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as raised:
        server.mailer(shop.orders, templates=tmp_path)
    for word in [name, *words]:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("connect", "localhost"),
        ("sender", "shop"),
        ("sender", "Shop <shop@example.com>"),
        ("sender", "größe@example.com"),
        ("sender", "shop@example.com\r\nBcc: eve@example.com"),
        ("merchant", None),
        ("merchant", "a,b@example.com"),
        ("shop", ""),
        ("shop", "Tea\r\nBcc: eve@example.com"),
        ("templates", "no such folder"),
        ("templates", __file__),
        ("templates", 5),
    ],
)
def test_bad_parts_are_refused_by_name(server: Server, shop: Shop, part: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"^{part}\\b"):
        server.mailer(shop.orders, **{part: value})


def test_mailer_needs_orders(server: Server) -> None:
    with pytest.raises(InvalidInput, match="orders must be an Orders"):
        server.mailer(server.connect)  # type: ignore[arg-type]


def test_without_jinja_the_error_names_the_package() -> None:
    """The module itself can be imported without it."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(order_fsm.__file__).parent.parent)!r})
sys.modules["jinja2"] = None
from order_fsm import Orders
from order_fsm_adapters.mail import Mailer
from order_fsm_adapters.memory import MemoryStore
try:
    Mailer(Orders(MemoryStore()), print, "shop@example.com", "owner@example.com", "Teapots")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'order-fsm[mail]'" in done.stdout

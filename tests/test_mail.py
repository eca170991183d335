"""Mailing messages: through a real server on this machine, to those whom they concern, whatever they hold."""

from __future__ import annotations

import email
import logging
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from hypothesis import example, given, settings
from hypothesis import strategies as st

import order_fsm
from order_fsm import InvalidInput, Message, Orders, Rule, shop_workflow
from order_fsm.orders.relay import ATTEMPTS, FIRST_PAUSE, LONGEST_PAUSE
from order_fsm.validation import COMMENT_LENGTH, identifier
from order_fsm_adapters.mail import Mailer
from order_fsm_adapters.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import Shop

ANN = "ann@example.com"
OWNER = "owner@teapots.example"
SENDER = "shop@teapots.example"
AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Mail:
    """A mail as the server took it."""

    def __init__(self, sender: str, recipients: list[str], content: bytes) -> None:
        self.sender = sender
        self.recipients = recipients
        self.content = content
        self.parsed = email.message_from_bytes(content, _class=EmailMessage, policy=SMTP)

    def header(self, name: str) -> str:
        (value,) = self.parsed.get_all(name, [])
        return str(value)

    def part(self, kind: str) -> str:
        """The text of its `plain` or `html` part, with lines ending as Python has them."""
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
    """What a server takes: all but mails to the addresses that it refuses."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.refused: set[str] = set()

    async def handle_RCPT(  # noqa: N802 - the server's name for it
        self, _server: object, _session: object, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return f"550 <{address}> no such mailbox"
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
    """A mail server, and the box that it puts everything into."""

    def __init__(self, port: int) -> None:
        self.box = Box()
        self.port = port
        self.mailer = self.new_mailer()

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="shop", timeout=60)

    def new_mailer(self, **parts: Any) -> Mailer:
        return Mailer(**{"connect": self.connect, "sender": SENDER, "merchant": OWNER, "shop": "Teapots", **parts})


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
    """A server that has got nothing yet and refuses nobody."""
    running.box.mails.clear()
    running.box.refused.clear()
    return running


def updated(order_id: str = "1001", **payload: Any) -> Message:
    plain = {"triggers": ["comment"], "added": [], "dropped": [], "comment": ""}
    return message("order.updated", order_id, **{**plain, **payload})


def paid(order_id: str = "1001", **payload: object) -> Message:
    return message("order.paid", order_id, **{"amount": "49.90", "currency": "GBP", "reference": "ch_1", **payload})


def refund_due(**payload: object) -> Message:
    return message("refund.due", "1001", **{"amount": "4.00", "refund_due": "10.00", "currency": "GBP", **payload})


def stock_short(**payload: object) -> Message:
    return message("stock.short", "1001", **{"items": [{"sku": "TEAPOT", "taken": 2}], **payload})


def message(topic: str, order_id: str, **payload: object) -> Message:
    whose = {"state": "sent+paid", "customer": "ann", "email": ANN}
    return Message(f"{order_id}#2.1", order_id, topic, {**whose, **payload}, AT)


# Who is mailed what


def test_the_customer_is_mailed_what_was_done_to_the_order(server: Server, shop: Shop) -> None:
    shop.bring("sent+paid")
    shop.orders.fire("1001", "dispatch", comment="Royal Mail AB123", visible=True, notify=True)
    assert shop.orders.deliver(server.mailer) == 1
    mail = server.box.only()
    assert (mail.sender, mail.recipients) == (SENDER, [ANN])
    assert mail.header("Subject") == "Teapots: your order 1001 is now dispatched"
    assert mail.header("From") == f"Teapots <{SENDER}>"
    assert mail.header("To") == ANN
    assert mail.text == "Your order 1001 is now dispatched.\n\nRoyal Mail AB123\n\nTeapots\n"
    assert "<p>Your order 1001 is now dispatched.</p>" in mail.html
    assert ">Royal Mail AB123</p>" in mail.html


def test_a_mail_is_text_with_html_as_the_alternative(server: Server) -> None:
    server.mailer(updated())
    mail = server.box.only().parsed
    assert mail.get_content_type() == "multipart/alternative"
    parts = [(part.get_content_type(), part.get_content_charset()) for part in mail.iter_parts()]
    assert parts == [("text/plain", "utf-8"), ("text/html", "utf-8")]


def test_a_mail_says_when_it_was_and_that_a_program_wrote_it(server: Server) -> None:
    """The time is that of the commit; no vacation responder answers."""
    server.mailer(updated())
    mail = server.box.only()
    assert mail.header("Date") == "Mon, 05 Jan 2026 09:00:00 +0000"
    assert mail.header("Auto-Submitted") == "auto-generated"


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"added": ["cancelled"]}, "Your order 1001 is now cancelled."),
        ({"added": ["invoiced", "paid", "sent"]}, "Your order 1001 is now invoiced, paid, sent."),
        ({"dropped": ["cancelled", "paid"]}, "Your order 1001 is no longer cancelled, paid."),
        (
            {"added": ["cancelled"], "dropped": ["invoiced"]},
            "Your order 1001 is now cancelled.\nIt is no longer invoiced.",
        ),
        ({"comment": "Snow."}, "There is news about your order 1001.\n\nSnow."),
        ({}, "There is news about your order 1001."),
    ],
)
def test_a_mail_tells_the_difference(server: Server, payload: dict[str, Any], says: str) -> None:
    """K8: not the "highest" status, but what was ticked and unticked; with a comment alone, that there is news."""
    server.mailer(updated(state="sent+paid+cancelled", **payload))
    mail = server.box.only()
    assert mail.text == f"{says}\n\nTeapots\n"
    for line in says.replace("\n\n", "\n").splitlines():
        assert f">{line}</p>" in mail.html


def test_an_online_payment_is_confirmed_and_copied_to_the_merchant(server: Server, shop: Shop) -> None:
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    assert shop.orders.deliver(server.mailer) == 1
    (to_ann,) = server.box.to(ANN)
    (to_owner,) = server.box.to(OWNER)
    assert len(server.box.mails) == 2
    assert to_ann.text == "Thank you. We have received your payment of 10.00 GBP for order 1001.\n\nTeapots\n"
    assert "reference ch_1" in to_owner.text
    assert "Statuses: sent, invoiced, paid\nCustomer: ann\nEmail: ann@example.com" in to_owner.text


def test_a_payment_on_a_cancelled_order_is_not_just_thanked_for(server: Server, shop: Shop) -> None:
    shop.bring("sent+cancelled")
    shop.orders.fire("1001", "pay", reference="ch_1")
    shop.orders.deliver(server.mailer)
    (to_ann,) = server.box.to(ANN)
    assert "cancelled" in to_ann.text
    assert "cancelled" in to_ann.html
    assert [mail.header("Subject") for mail in server.box.to(OWNER)] == [
        "Order 1001: 10.00 GBP received",
        "Order 1001: 10.00 GBP to refund",
    ]


@pytest.mark.parametrize(
    ("payload", "subject", "says"),
    [
        ({}, "Order 1001: 10.00 GBP to refund", "10.00 GBP is to be refunded for order 1001.\n\n"),
        ({"amount": "0"}, "Order 1001: 10.00 GBP to refund", "This is less than before"),
        (
            {"amount": "0", "refund_due": "0.00"},
            "Order 1001: nothing to refund any more",
            "Nothing is to be refunded for order 1001 any more.",
        ),
    ],
)
def test_what_is_due_back_is_told_to_the_merchant(
    server: Server, payload: dict[str, Any], subject: str, says: str
) -> None:
    """Also when it became less: somebody may be about to give it back."""
    server.mailer(refund_due(**payload))
    mail = server.box.only()
    assert mail.recipients == [OWNER]
    assert mail.header("Subject") == subject
    assert says in mail.text
    assert says.strip() in mail.html


def test_missing_stock_is_told_to_the_merchant(server: Server, shop: Shop) -> None:
    shop.orders.set_stock("TEAPOT", 1)
    shop.create()
    shop.orders.fire("1001", "pay")
    assert shop.orders.deliver(server.mailer) == 1
    mail = server.box.only()
    assert mail.recipients == [OWNER]
    assert "There is not enough in stock for order 1001. It takes:\n- 2 x TEAPOT\n" in mail.text
    assert "<li>2 x TEAPOT</li>" in mail.html


def test_without_an_email_only_the_merchant_is_mailed(server: Server) -> None:
    server.mailer(paid(email=None, customer=None))
    assert "Customer: not known\nEmail: not known" in server.box.only().text
    assert server.box.only().recipients == [OWNER]


@pytest.mark.parametrize("told", [updated(email=None), message("order.weighed", "1001")], ids=["nobody", "other topic"])
def test_where_there_is_nothing_to_mail_no_server_is_asked(told: Message) -> None:
    def connect() -> smtplib.SMTP:
        raise AssertionError("a connection was opened")

    Mailer(connect, SENDER, OWNER, "Teapots")(told)


# What a mail may hold


def test_html_is_escaped_where_it_would_be_read_as_html(server: Server) -> None:
    """In the HTML part; the text part has it as it was written."""
    hostile = '<img src=x onerror="alert(1)"> & {{ shop }}'
    server.new_mailer(shop="Tea & <b>Pots</b>")(updated(order_id=f"1001 {hostile}", comment=hostile))
    mail = server.box.only()
    assert mail.text.count(hostile) == 2
    assert "Tea & <b>Pots</b>" in mail.text
    assert "<img" not in mail.html
    assert mail.html.count("&lt;img src=x onerror=&#34;alert(1)&#34;&gt; &amp; {{ shop }}") == 2
    assert "Tea &amp; &lt;b&gt;Pots&lt;/b&gt;" in mail.html


@pytest.mark.parametrize(
    "told",
    [
        paid(reference="<b>", customer="<i>"),
        refund_due(customer="<b>"),
        stock_short(items=[{"sku": "<b>", "taken": 1}]),
    ],
    ids=lambda told: told.topic,
)
def test_the_merchants_mails_are_escaped_too(server: Server, told: Message) -> None:
    server.mailer(told)
    for mail in server.box.mails:
        assert "<b>" not in mail.html
        assert "<i>" not in mail.html


comments = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(comments)
@example(".\n..\n.hidden\n")
@example("a\r\nb\rc\nd\r\n.\r\nQUIT\r\n")
@example("From here on\n\n\n  kept  \t\n")
@example("\x00\x01\x7f\x85\u2028 ❄ \U0001f375 =20 é")
@example("x" * COMMENT_LENGTH)
@example("字\n<" * (COMMENT_LENGTH // 3))
@settings(max_examples=60, deadline=None)
def test_any_comment_arrives_as_it_was_written(running: Server, comment: str) -> None:
    """All but the ends of its lines, which are those of a mail; in lines that every server takes."""
    running.box.mails.clear()
    running.mailer(updated(comment=comment))
    mail = running.box.only()
    about = f"\n\n{comment}" if comment else ""
    written = f"There is news about your order 1001.{about}\n\nTeapots\n"
    assert mail.text == written.replace("\r\n", "\n").replace("\r", "\n")
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
def test_no_order_id_gets_out_of_the_subject(running: Server, order_id: str) -> None:
    """Not by what `email` would decode into a line break either. Spaces apart, the subject has the id."""
    running.box.mails.clear()
    running.mailer(updated(order_id))
    mail = running.box.only()
    assert mail.parsed.keys() == HEADERS
    assert mail.recipients == [ANN]
    subject = "".join(mail.header("Subject").replace("\u2060", "").split())
    assert subject == "".join(f"Teapots: your order {order_id}".replace("\u2060", "").split())


@pytest.mark.parametrize("hostile", ["a\r\nBcc: eve@example.com", "a\nBcc: eve", "a\u2028b\x00c\x85d\x0bBcc: e", BCC])
def test_no_value_gets_out_of_a_subject_that_a_shop_writes(server: Server, tmp_path: Path, hostile: str) -> None:
    (tmp_path / "customer.updated.subject.txt").write_text("{{ comment }}\n\n{{ comment }}", encoding="utf-8")
    server.new_mailer(templates=tmp_path)(updated(comment=hostile))
    mail = server.box.only()
    assert mail.parsed.keys() == HEADERS
    assert len(mail.header("Subject").splitlines()) == 1
    assert "\x00" not in mail.header("Subject")


@pytest.mark.parametrize(
    "name", ['Ann\'s "Best" Teapots', "Tea, Cups & Co. <x@example.com>", "Café 字", "back\\slash", "(Tea)", BCC]
)
def test_any_name_of_a_shop_stands_in_from(server: Server, name: str) -> None:
    server.new_mailer(shop=name)(updated())
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
def test_addresses_beyond_ascii_are_mailed_to(server: Server, address: str, sent_to: str) -> None:
    """A domain in the form that every server knows, but never turned into another domain."""
    server.mailer(updated(email=address))
    mail = server.box.only()
    assert mail.recipients == [sent_to]
    assert f"To: {sent_to}\r\n".encode() in mail.content.replace(b"\r\n ", b" ")


def test_a_server_that_knows_no_such_address_says_so() -> None:
    """Only names before the @ need one that does."""
    with serving(Server(free_port()), utf8=False) as old:
        old.mailer(updated(email="ann@bücher.example"))
        assert len(old.box.mails) == 1
        with pytest.raises(smtplib.SMTPNotSupportedError):
            old.mailer(updated(email="jörg@example.com"))


@pytest.mark.parametrize(
    "address", ["ann,eve@example.com", "<ann@example.com>", "ann@example.com,eve", "=?utf-8?q?=0D=0AX:_?=@x.de"]
)
def test_what_is_no_bare_address_gets_no_mail(server: Server, address: str) -> None:
    """The order's email is what a customer wrote; the merchant's copy goes all the same."""
    with pytest.raises(InvalidInput, match="the order's email: email must be a bare address"):
        server.mailer(paid(email=address))
    assert [mail.recipients for mail in server.box.mails] == [[OWNER]]


# Once more


def test_a_mail_keeps_its_message_id_over_deliveries(server: Server) -> None:
    """And no two mails share one: the customer's and the merchant's, those of other messages."""
    told = [paid(), paid("1002"), updated("1003"), paid("字" * 200)]
    for _ in range(2):
        for one in told:
            server.mailer(one)
    ids = [mail.header("Message-ID") for mail in server.box.mails]
    assert ids[:7] == ids[7:]
    assert len(set(ids)) == 7
    assert all(one.startswith("<") and one.endswith("@teapots.example>") for one in ids)


def test_a_server_that_is_down_loses_nothing(shop: Shop) -> None:
    """The message waits in the outbox until the server is there."""
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    down = Server(free_port())
    assert shop.orders.deliver(down.mailer) == 0
    shop.clock.now += FIRST_PAUSE
    with serving(down, utf8=True):
        assert shop.orders.deliver(down.mailer) == 1
    assert [mail.recipients for mail in down.box.mails] == [[OWNER], [ANN]]


def test_a_server_that_does_not_answer_is_waited_for_as_long_as_the_shop_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def connect() -> smtplib.SMTP:
            return smtplib.SMTP("127.0.0.1", silent.getsockname()[1], local_hostname="shop", timeout=0.05)

        with pytest.raises(OSError, match="timed out"):
            Mailer(connect, SENDER, OWNER, "Teapots")(updated())


def test_a_refused_customer_ends_as_a_dead_letter(server: Server, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The merchant's copy comes with each attempt, as one mail by its Message-ID; no log has the address."""
    caplog.set_level(logging.DEBUG, "order_fsm")
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    server.box.refused.add(ANN)
    for _ in range(ATTEMPTS):
        assert shop.orders.deliver(server.mailer) == 0
        shop.clock.now += LONGEST_PAUSE
    assert [one.topic for one in shop.orders.dead_letters()] == ["order.paid"]
    assert server.box.to(ANN) == []
    assert len({mail.header("Message-ID") for mail in server.box.to(OWNER)}) == 1
    assert "SMTPRecipientsRefused" in caplog.text
    assert ANN not in caplog.text


def test_no_customer_is_mailed_again_because_of_the_merchant(server: Server, shop: Shop) -> None:
    """The merchant's copy goes first: where it is refused, the customer's waits for it."""
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    server.box.refused.add(OWNER)
    for _ in range(3):
        shop.orders.deliver(server.mailer)
        shop.clock.now += LONGEST_PAUSE
    server.box.refused.clear()
    assert shop.orders.deliver(server.mailer) == 1
    assert [mail.recipients for mail in server.box.mails] == [[OWNER], [ANN]]


# Templates


def test_a_shop_replaces_what_it_wants_to(server: Server, tmp_path: Path) -> None:
    """Here the text and the frame: subject and HTML of the mail stay, the latter in the shop's frame."""
    (tmp_path / "customer.updated.txt").write_text("Grüße, {{ customer }}: {{ comment }}", encoding="utf-8")
    (tmp_path / "frame.html").write_text("<h1>Tea</h1>{% block content %}{% endblock %}", encoding="utf-8")
    server.new_mailer(templates=tmp_path)(updated(comment="a < b"))
    mail = server.box.only()
    assert mail.header("Subject") == "Teapots: your order 1001"
    assert mail.text == "Grüße, ann: a < b\n"
    assert mail.html.startswith("<h1>Tea</h1><p>There is news")
    assert "a &lt; b" in mail.html


def test_a_template_may_tell_the_facts_of_a_shops_own_rules(server: Server, tmp_path: Path) -> None:
    (tmp_path / "merchant.paid.txt").write_text("by {{ message.payload.terminal }}", encoding="utf-8")
    rule = Rule("tap", adds={"sent", "paid"}, facts={"terminal"}, ledger="captured", announces="order.paid")
    orders = Orders(MemoryStore(), shop_workflow().extend(rules=[rule]))
    orders.create("1001", total="5.00", currency="GBP")
    orders.fire("1001", "tap", terminal="till 2", reference="t1")
    assert orders.deliver(server.new_mailer(templates=str(tmp_path))) == 1
    assert server.box.only().text == "by till 2\n"


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
def test_a_template_that_is_wrong_is_found_at_the_start(
    server: Server, tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    """Not by the first mail: the error names the file, and what is wrong with it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as raised:
        server.new_mailer(templates=tmp_path)
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
def test_bad_parts_are_refused_by_name(server: Server, part: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"^{part}\\b"):
        server.new_mailer(**{part: value})


def test_without_jinja_it_says_what_to_install() -> None:
    """And the module itself can be imported without it."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(order_fsm.__file__).parent.parent)!r})
sys.modules["jinja2"] = None
from order_fsm_adapters.mail import Mailer
try:
    Mailer(print, "shop@example.com", "owner@example.com", "Teapots")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'order-fsm[mail]'" in done.stdout

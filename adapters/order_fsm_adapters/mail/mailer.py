"""A handler for `Orders.deliver` that mails the customer and the merchant.

Each mail has three Jinja templates: `<mail>.subject.txt`, `<mail>.txt` and `<mail>.html`. They extend `customer.txt`,
`customer.html`, `merchant.txt` and `merchant.html`. The HTML ones extend `frame.html`. `wording.txt` has the sentences
for the customer. A shop puts its own templates into a folder, and the package's templates replace missing ones.
Templates are trusted like code. Their values are data: escaped in HTML, one line in a subject.

A template may use the values of `rendering.ALWAYS` and, by topic, `rendering.VALUES`. Amounts are text with their
currency. `statuses`, `added` and `dropped` are lists of labels, and `name` of a label is the status. `goods` has the
pieces that left or came back and their parcels: see `parcels.Parcels`. `order` is the order at delivery. `is_latest`
is true if only comments and resent messages followed the change that the message reports. `is_new_money` is true if
that change recorded a payment. `message.payload` has the facts of a shop's own rules.
"""

from __future__ import annotations

import hashlib
import smtplib
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from os import PathLike
from typing import Any, NamedTuple

from order_fsm import InvalidInput, Message, Order, OrderNotFound, Orders, Status, Undelivered, validation
from order_fsm.currencies import fraction_digits
from order_fsm_adapters.mail.addresses import address_of, header_line
from order_fsm_adapters.mail.parcels import Parcels, parcels_of
from order_fsm_adapters.mail.rendering import MAILS, Templates, package_templates


class _About(NamedTuple):
    """The subject of a message, as it is at delivery.

    Attributes:
        order: the order.
        comment: the comment for the customer, or "".
        goods: the pieces and parcels.
        is_latest, is_new_money: as in templates.
    """

    order: Order
    comment: str
    goods: Parcels
    is_latest: bool
    is_new_money: bool


class Word(str):
    """The label of a status. `name` is the status."""

    __slots__ = ("name",)
    name: str


class Mailer:
    """Mails messages to the customer and the merchant. Give it to `Orders.deliver`.

    The mailer reads the order, its address and its comment at delivery. If the order is gone, it sends no mail. Without
    an email of the order it does not mail the customer.

    Every recipient gets a separate mail. If one fails, only that one is retried, with the same Message-ID, and no other
    message of the order waits. If the server refuses a recipient permanently (5xx), the message becomes a dead letter
    at once: correct the address, then call `Orders.requeue`.

    A domain with non-ASCII letters is written in its ASCII form if that is certain to be the same domain. Other
    non-ASCII letters in an address need a mail server that supports SMTPUTF8.
    """

    def __init__(
        self,
        orders: Orders,
        connect: Callable[[], smtplib.SMTP],
        sender: str,
        merchant: str,
        shop: str,
        templates: str | PathLike[str] | None = None,
    ) -> None:
        """Create the mailer and load all templates.

        Args:
            orders: the orders of the messages. Their workflow has the labels of statuses.
            connect: opens a connection to the mail server, with TLS and login if it needs them, such as
                `partial(smtplib.SMTP, "localhost", timeout=30)`. Every mail opens one. Set a timeout, because a server
                that does not answer blocks the delivery.
            sender: the address in From.
            merchant: the address of the merchant's mails.
            shop: the name in From and in the signature.
            templates: a folder of the shop's own templates, read once.

        Raises:
            MissingDependency: if Jinja2 is not installed.
            InvalidInput: if an argument or a template is not valid, or a template uses an unknown value.
        """
        if not isinstance(orders, Orders):
            raise InvalidInput(f"orders must be an Orders, not {validation.shown(orders)}")
        if not callable(connect):
            raise InvalidInput(
                f"connect must be a function that opens an smtplib.SMTP, not {validation.shown(connect)}"
            )
        validation.function_of(connect, "connect")
        self._orders = orders
        self._connect = connect
        self._sender = address_of(sender, "sender")
        if not self._sender.isascii():
            raise InvalidInput(f"sender must be ASCII, because few servers accept other senders: {sender!r}")
        self._merchant = address_of(merchant, "merchant")
        self._shop = validation.name(shop, "shop")
        self._templates = package_templates() if templates is None else Templates(templates)
        # By message, recipient and address. While another recipient remains, a refused one is not retried, unless the
        # message was requeued or the address corrected.
        self._refused: dict[tuple[str, str, str], Exception] = {}

    def __call__(self, message: Message) -> None:
        """Send the mails of a message, if it has any.

        Raises:
            Undelivered: if the mail did not reach some recipients. It names them as `customer` or `merchant`.
            OSError: if the mail server is not reachable. No mail was sent.
            smtplib.SMTPException: if the mail server is not usable. No mail was sent.
        """
        mails = {mail.partition(".")[0]: mail for mail in MAILS.get(message.topic, ())}
        if message.remaining:
            mails = {recipient: mail for recipient, mail in mails.items() if recipient in message.remaining}
        try:
            about = self._read(message) if mails else None
        except OrderNotFound:
            return
        if about is None:
            return
        failures: dict[str, Exception] = {}
        is_mailed = False
        for recipient, mail in mails.items():
            to = about.order.email if recipient == "customer" else self._merchant
            if to is None:
                continue
            asked = (message.id, recipient, to)
            if not message.attempts:
                self._refused.pop(asked, None)
            if asked in self._refused:
                failures[recipient] = self._refused[asked]
                continue
            try:
                self._send(self._written(message, mail, to, about), to)
                is_mailed = True
            except Exception as error:
                failures[recipient] = error
                if _is_permanent(error):
                    self._note_refused(asked, error)
        errors = list(failures.values())
        for failure in errors:
            if isinstance(failure, _UnreachableError) and not is_mailed:
                raise failure.error  # No mail was sent, so the message keeps its place among those of its order.
        if errors:
            # A permanent refusal is a dead letter only if no other recipient remains, so that no mail is lost.
            permanent = all(map(_is_permanent, errors))
            raise Undelivered(list(failures), ", ".join(map(_reason, errors)), permanent=permanent) from errors[-1]

    def _note_refused(self, asked: tuple[str, str, str], error: Exception) -> None:
        if len(self._refused) >= _MOST_REFUSED:
            self._refused.clear()
        self._refused[asked] = error.with_traceback(None)  # The frames of the exception hold the mail and the order.

    def _read(self, message: Message) -> _About | None:
        """Return the subject of a message, or None if no mail is due.

        No mail is due if the id now belongs to another order.
        """
        history = self._orders.history(message.order_id)
        entry = history[message.version - 1] if 0 < message.version <= len(history) else None
        if entry is None or entry.at > message.created_at:  # A resent message is later than its entry.
            return None
        order = self._orders.get(message.order_id)
        # The steps of a form have the same time.
        kinds = {row.kind for row in order.payments if row.at == entry.at}
        if message.topic == "order.paid" and "refund_failed" in kinds:
            return None  # The order is paid again without a payment. `refund.due` informs the merchant.
        return _About(
            order,
            entry.comment if entry.visible else "",
            parcels_of(message, order, history),
            is_latest=all(
                later.trigger in ("comment", "resend") or later.at == entry.at for later in history[entry.version :]
            ),
            is_new_money="captured" in kinds,
        )

    def _written(self, message: Message, mail: str, to: str, about: _About) -> EmailMessage:
        values = self._values(message, about, for_customer=mail.startswith("customer."))
        subject, text, html = self._templates.render(mail, values)
        written = EmailMessage(policy=SMTP)
        name, _, domain = self._sender.rpartition("@")
        written["Subject"] = header_line(subject)
        written["From"] = Address(header_line(self._shop), name, domain)
        written["To"] = address_of(to, "the order's email")
        written["Date"] = message.created_at
        # The same for every delivery. A digest, because an order's id may have characters that a header must not have.
        written["Message-ID"] = f"<{hashlib.sha256(f'{mail} {message.id}'.encode()).hexdigest()[:40]}@{domain}>"
        # RFC 3834: keeps vacation responders quiet.
        written["Auto-Submitted"] = "auto-generated"
        # This encoding allows long lines, control characters and leading dots in comments.
        written.set_content(text, cte="quoted-printable")
        written.add_alternative(html, subtype="html", cte="quoted-printable")
        return written

    def _values(self, message: Message, about: _About, *, for_customer: bool) -> dict[str, Any]:
        facts, order = message.payload, about.order
        # A free order is paid without a payment.
        unpaid = for_customer and not any(row.amount for row in order.payments)

        def words(names: Iterable[str]) -> list[Word]:
            return _words(self._orders.workflow.statuses, set(names) - ({"paid"} if unpaid else set()), for_customer)

        return {
            "order": order,
            "order_id": order.id,
            "customer": order.customer,
            "email": order.email,
            "shop": self._shop,
            "message": message,
            "is_latest": about.is_latest,
            "is_new_money": about.is_new_money,
            "statuses": words(order.statuses),
            "total": _money(order.total, order.currency),
            "cost": _money(order.cost, order.currency),
            "outstanding": _money(order.outstanding, order.currency),
            "refund_due": _money(order.refund_due, order.currency),
            "added": words(facts.get("added", ())),
            "dropped": words(facts.get("dropped", ())),
            "comment": about.comment,
            "goods": about.goods,
            "amount": _money(facts.get("amount", "0"), facts.get("currency", order.currency)),
            "reference": facts.get("reference"),
            "items": facts.get("items", ()),
        }

    def _send(self, mail: EmailMessage, to: str) -> None:
        address = address_of(to, "the order's email")
        utf8 = not address.isascii()
        content = mail.as_bytes(policy=SMTP.clone(utf8=utf8))
        try:
            server = self._connect()
        except Exception as error:
            raise _UnreachableError(error) from error
        try:
            # Not `send_message`, which writes ">From" if a line starts with "From".
            server.sendmail(self._sender, [address], content, ["SMTPUTF8"] if utf8 else [])
        finally:
            # The mail is sent or has failed, so a failure of QUIT changes nothing.
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()


_MOST_REFUSED = 1000
"""The number of refusals in the cache."""


class _UnreachableError(Exception):
    """The connection could not be opened."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(error)


def _words(statuses: Iterable[Status], names: set[str], for_customer: bool) -> list[Word]:
    """Return the labels of statuses in declared order. The label of an unknown status is its name."""
    known = {status.name: status for status in statuses}
    found = []
    for status in [*known.values(), *(Status(name) for name in sorted(names - known.keys()))]:
        if status.name in names:
            word = Word(status.customer_label if for_customer else status.label)
            word.name = status.name
            found.append(word)
    return found


def _money(amount: Decimal | str, currency: str) -> str:
    """Return money as people write it: 20 GBP is `20.00 GBP`."""
    with suppress(InvalidInput):  # An amount in a currency of the shop's own keeps its form.
        given = f"{Decimal(amount):f}"
        padded = f"{Decimal(amount):.{fraction_digits(currency)}f}"
        amount = max(given, padded, key=len)  # The text is never rounded.
    return f"{amount} {currency}"


def _code(error: Exception) -> int | None:
    """Return the code of the server's refusal, or None."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(code for code, _ in error.recipients.values())
    return error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else None


def _reason(error: Exception) -> str:
    """Return a text for the log, without the server's text, which may hold the address."""
    code = _code(error)
    return type(error.error if isinstance(error, _UnreachableError) else error).__name__ + (f" {code}" if code else "")


def _is_permanent(error: Exception) -> bool:
    """Return whether the server refused the recipient. A refused sender or login is a fault of the shop."""
    if isinstance(error, smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError):
        return (_code(error) or 0) >= 500
    return isinstance(error, smtplib.SMTPNotSupportedError | InvalidInput)

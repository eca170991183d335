"""A handler for `Orders.deliver` that mails: the customer about the order, the merchant about money and stock.

Each mail is made of three Jinja templates, `<mail>.subject.txt`, `<mail>.txt` and `<mail>.html`; the HTML ones extend
`frame.html`. A shop puts its own into a folder; those that it leaves out come from the package. Templates are the
shop's own files and trusted as its code is. What they show is data: escaped in HTML, one line in a subject.

A template may name `order_id`, `shop`, `state`, `customer`, `email`, what `VALUES` has for its topic, and `message`:
the whole message, where facts of a shop's own rules are found (`message.payload.weight`).
"""

from __future__ import annotations

import hashlib
import re
import smtplib
from collections.abc import Callable
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.model import Message

if TYPE_CHECKING:
    from jinja2 import Template

# The merchant's copy goes first: where one address is refused again and again, it is the merchant who gets the other
# mail again, and never a customer.
MAILS = {
    "order.updated": ("customer.updated",),
    "order.paid": ("merchant.paid", "customer.paid"),
    "refund.due": ("merchant.refund_due",),
    "stock.short": ("merchant.stock_short",),
}
"""By topic, the mails that a message leads to, in their order. Of another topic, none."""

VALUES = {
    "order.updated": {"triggers", "added", "dropped", "comment"},
    "order.paid": {"amount", "currency", "reference"},
    "refund.due": {"amount", "refund_due", "currency"},
    "stock.short": {"items"},
}
"""By topic, what a template may name beside the values that all have."""

_ALWAYS = {"order_id", "shop", "state", "customer", "email", "message"}
_PARTS = ("subject.txt", "txt", "html")

_OWN_TEMPLATES = Path(__file__).parent / "templates"

_NOT_IN_LINE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


class Mailer:
    """Mails each message to those whom it concerns; give it to `Orders.deliver`.

    A message that is delivered again is mailed again, with the same Message-IDs: at least once. Of its two mails the
    first may have gone out before the second failed; then it goes out again.

    An order without an email has no mails to the customer. A domain with letters beyond ASCII is written in its ASCII
    form where that is certain to be the same domain; other letters beyond ASCII in an address need a mail server that
    knows SMTPUTF8.
    """

    def __init__(
        self,
        connect: Callable[[], smtplib.SMTP],
        sender: str,
        merchant: str,
        shop: str,
        templates: str | PathLike[str] | None = None,
    ) -> None:
        """Put the parts together, and load all templates.

        Args:
            connect: opens a connection to the mail server, with TLS and login where it wants them, such as
                `partial(smtplib.SMTP, "localhost", timeout=30)`. Each message opens one. Without a timeout, a server
                that does not answer is waited for without end.
            sender: the address that mails come from.
            merchant: the address that the merchant's mails go to.
            shop: the name that mails come from and are signed with.
            templates: a folder of the shop's own templates, read once.

        Raises:
            ImportError: Jinja is missing: `pip install 'order-fsm[mail]'`.
            InvalidInput: an address, a name or a folder that is none; a template that is wrong, or names what there is
                not.
        """
        if not callable(connect):
            raise InvalidInput(
                f"connect must be a function that opens an smtplib.SMTP, not {validation.shown(connect)}"
            )
        self._connect = connect
        self._sender = _address(sender, "sender")
        if not self._sender.isascii():
            raise InvalidInput(f"sender must be ASCII, or few servers would take mails from it: {sender!r}")
        self._merchant = _address(merchant, "merchant")
        self._shop = validation.name(shop, "shop")
        self._templates = _load(templates)

    def __call__(self, message: Message) -> None:
        """Send the mails of a message, if there are any.

        Raises:
            smtplib.SMTPException, OSError: the server did not take a mail, or is not there.
            InvalidInput: the order's email cannot be mailed to.
            jinja2.TemplateError: a template went wrong over these values.
        """
        recipients = [(mail, to) for mail in MAILS.get(message.topic, ()) if (to := self._recipient(message, mail))]
        if not recipients:
            return
        with self._connect() as server:
            for mail, to in recipients:
                address = _address(to, "the order's email")
                utf8 = not address.isascii()
                content = self._written(message, mail, address).as_bytes(policy=SMTP.clone(utf8=utf8))
                # Not `send_message`, which writes ">From" where a line begins with "From".
                server.sendmail(self._sender, [address], content, ["SMTPUTF8"] if utf8 else [])

    def _recipient(self, message: Message, mail: str) -> str | None:
        return message.payload["email"] if mail.startswith("customer.") else self._merchant

    def _written(self, message: Message, mail: str, to: str) -> EmailMessage:
        values = {**message.payload, "order_id": message.order_id, "shop": self._shop, "message": message}
        subject, text, html = (self._templates[f"{mail}.{part}"].render(values) for part in _PARTS)
        written = EmailMessage(policy=SMTP)
        name, _, domain = self._sender.rpartition("@")
        written["Subject"] = _line(subject)
        written["From"] = Address(_line(self._shop), name, domain)
        written["To"] = to
        written["Date"] = message.created_at
        # The same for every delivery; a digest, as an order's id may hold what a header may not.
        written["Message-ID"] = f"<{hashlib.sha256(f'{mail} {message.id}'.encode()).hexdigest()[:40]}@{domain}>"
        # RFC 3834: keeps vacation responders quiet.
        written["Auto-Submitted"] = "auto-generated"
        # This encoding holds whatever a comment may: lines of any length, control characters, leading dots.
        written.set_content(text, cte="quoted-printable")
        written.add_alternative(html, subtype="html", cte="quoted-printable")
        return written


def _address(value: str, what: str) -> str:
    """An address that is itself in a header and on the wire, its domain in ASCII where that means the same."""
    try:
        address = validation.email(value)
    except InvalidInput as error:
        raise InvalidInput(f"{what}: {error}") from None
    name, _, domain = address.rpartition("@")
    return address if domain.isascii() else f"{name}@{_ascii(domain)}"


def _ascii(domain: str) -> str:
    """The form of a domain that all servers know. The codec is of IDNA 2003: what it would change, such as ß into
    another domain's ss, is left to the server.
    """
    try:
        encoded = domain.encode("idna")
    except UnicodeError:
        return domain
    return encoded.decode() if encoded.decode("idna") == domain.lower() else domain


def _line(text: str) -> str:
    """Text as a header may hold it: one line, without control characters.

    `email` decodes what looks like an encoded word (`=?utf-8?q?=0AX?=`) when a header is set, line breaks included; so
    nothing may look like one. The character put in between is invisible.
    """
    return _NOT_IN_LINE.sub(" ", text).strip().replace("=?", "=\u2060?")


def _load(folder: str | PathLike[str] | None) -> dict[str, Template]:
    """All templates by their names: the shop's, and the package's where it has none."""
    try:
        import jinja2
        import jinja2.meta
    except ImportError as error:
        raise ImportError("Mailer needs a library: pip install 'order-fsm[mail]'") from error
    folders = [_OWN_TEMPLATES]
    if folder is not None:
        if not isinstance(folder, str | PathLike) or not Path(folder).is_dir():
            raise InvalidInput(f"templates must be a folder, not {folder!r:.200}")
        folders.insert(0, Path(folder))
    loader = jinja2.FileSystemLoader(folders)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def load(name: str, known: set[str]) -> Template:
        try:
            template = environment.get_template(name)
            source, path, _ = loader.get_source(environment, name)
            unknown = jinja2.meta.find_undeclared_variables(environment.parse(source, name, path)) - known
        except jinja2.TemplateSyntaxError as error:
            raise InvalidInput(f"the template {error.filename} is wrong in line {error.lineno}: {error}") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(f"the template {name} must be text in UTF-8: {error}") from error
        if unknown:
            raise InvalidInput(f"the template {path} names {min(unknown)!r}; there are {', '.join(sorted(known))}")
        return template

    load("frame.html", _ALWAYS)
    return {
        f"{mail}.{part}": load(f"{mail}.{part}", _ALWAYS | VALUES[topic])
        for topic, mails in MAILS.items()
        for mail in mails
        for part in _PARTS
    }

"""The mails of each topic, the values of their templates, and the loaded templates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from order_fsm import validation
from order_fsm.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    from jinja2 import Environment, FileSystemLoader, Template

MAILS = {
    "order.placed": ("merchant.placed",),
    "order.updated": ("customer.updated",),
    "order.paid": ("merchant.paid", "customer.paid"),
    "payment.received": ("merchant.part_paid", "customer.part_paid"),
    "payment.reversed": ("merchant.reversed",),
    "payment.unmatched": ("merchant.unmatched",),
    "refund.due": ("merchant.refund_due",),
    "stock.short": ("merchant.stock_short",),
}
"""By topic, the mails of a message in their sequence: recipient, dot, name. Other topics have no mails."""

ALWAYS = frozenset(
    {
        *("order", "order_id", "shop", "message", "customer", "email"),
        *("statuses", "total", "cost", "outstanding", "refund_due", "is_latest", "goods"),
    }
)
"""The values that every template may use."""

VALUES: Mapping[str, frozenset[str]] = {
    "order.placed": frozenset(),
    "order.updated": frozenset({"added", "dropped", "comment"}),
    "order.paid": frozenset({"amount", "reference", "is_new_money"}),
    "payment.received": frozenset({"amount", "reference"}),
    "payment.reversed": frozenset({"amount", "reference"}),
    "payment.unmatched": frozenset({"amount", "reference"}),
    "refund.due": frozenset({"amount"}),
    "stock.short": frozenset({"items"}),
}
"""By topic, the additional values."""

PARTS = ("subject.txt", "txt", "html")
_SHARED = ("frame.html", "customer.html", "customer.txt", "merchant.html", "merchant.txt", "wording.txt")
_OWN_TEMPLATES = Path(__file__).parent / "templates"


@cache
def package_templates() -> Templates:
    """Return the package's templates, loaded once for all mailers.

    Raises:
        MissingDependency: if Jinja2 is not installed.
    """
    return Templates(None)


class Templates:
    """All templates. A template of the shop replaces the package's template of the same name."""

    def __init__(self, folder: str | PathLike[str] | None) -> None:
        """Load and check all templates.

        Args:
            folder: the shop's templates, or None.

        Raises:
            MissingDependency: if Jinja2 is not installed.
            InvalidInput: if `folder` is not a folder, or a template is not valid or uses an unknown value.
        """
        self._loader, self._environment = _environment(folder)
        for name in _SHARED:
            self._load(name, ALWAYS)
        self._templates = {
            (mail, part): self._load(f"{mail}.{part}", ALWAYS | VALUES[topic])
            for topic, mails in MAILS.items()
            for mail in mails
            for part in PARTS
        }

    def render(self, mail: str, values: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return the subject, the text and the HTML of a mail."""
        subject, text, html = (self._templates[mail, part].render(values) for part in PARTS)
        return subject, text, html

    def _load(self, name: str, known: frozenset[str]) -> Template:
        import jinja2.meta

        environment = self._environment
        try:
            template = environment.get_template(name)
            source, path, _ = self._loader.get_source(environment, name)
            unknown = jinja2.meta.find_undeclared_variables(environment.parse(source, name, path)) - known
        except jinja2.TemplateSyntaxError as error:
            raise InvalidInput(f"the template {error.filename} is not valid in line {error.lineno}: {error}") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(f"the template {name} must be text in UTF-8: {error}") from error
        if unknown:
            raise InvalidInput(f"the template {path} uses {min(unknown)!r}; it may use {', '.join(sorted(known))}")
        return template


def _environment(folder: str | PathLike[str] | None) -> tuple[FileSystemLoader, Environment]:
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependency.of_extra("Mailer", "Jinja2", "mail") from error
    folders = [_OWN_TEMPLATES]
    if folder is not None:
        if not isinstance(folder, str | PathLike) or not Path(folder).is_dir():
            raise InvalidInput(f"templates must be a folder, not {validation.shown(folder)}")
        folders.insert(0, Path(folder))
    loader = jinja2.FileSystemLoader(folders)
    return loader, jinja2.Environment(
        loader=loader,
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

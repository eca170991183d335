"""Read a callback: unambiguous JSON, its members, and headers in the form of any server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from order_fsm import validation
from order_fsm.errors import InvalidInput


class InvalidCallback(InvalidInput):
    """A callback, or the result of a verifier or parser, is not valid.

    The receiver shows the message in the log and in `Outcome.reason`, so give it no value of the request and no secret.
    It also shows the reason of a `TryAgain`. Of other exceptions it shows only the type.
    """


class MissingMember(InvalidCallback):
    """A payload lacks a member. The message has its path."""


class MissingHeader(InvalidCallback, KeyError):
    """A request lacks a header. The message names it."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Headers(dict[str, str]):
    """Headers by lower-case names."""

    def __missing__(self, name: str) -> str:
        raise MissingHeader(f"the header {name} is missing")


class HeaderItems(Protocol):
    """A mapping, or an object like one, such as the headers of a web framework."""

    def items(self) -> Iterable[tuple[Any, Any]]:
        """Return the names and values."""
        ...


Headers = HeaderItems | Iterable[Sequence[str] | Sequence[bytes]]
"""A mapping with names in any case, pairs of str or bytes (ASGI), or a WSGI environ."""


def decode(body: bytes) -> Any:
    """Decode JSON with exact fractions and without repeated members.

    Raises:
        ValueError: if the body is not JSON or is ambiguous.
    """
    return json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique_members)


def member(data: Any, *path: str) -> Any:
    """Return a member of nested objects, not null.

    Args:
        data: the decoded body.
        path: the names of the nested members.

    Raises:
        MissingMember: if a member of the path is missing. The message has its path.
    """
    value = optional_member(data, *path)
    if value is None:
        raise MissingMember(f"the payload has no member {'.'.join(path)!r}")
    return value


def optional_member(data: Any, *path: str) -> Any:
    """Return a member of nested objects, or None if a member of its path is missing or null."""
    for name in path:
        if not isinstance(data, Mapping):
            return None
        data = data.get(name)
    return data


def normalised(headers: Headers) -> dict[str, str]:
    """Return the headers of a request with lower-case names.

    Repeated headers are joined by commas (RFC 9110, section 5.3). Members of a WSGI environ that are not headers are
    left out.

    Args:
        headers: a mapping with names in any case, pairs of str or bytes (ASGI), or a WSGI environ.

    Raises:
        InvalidInput: if `headers` has another form.
    """
    items = getattr(headers, "items", None)
    pairs = items() if callable(items) else headers
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise InvalidInput(f"headers must be a mapping or pairs of names and values, not {type(headers).__name__}")
    found = _Headers()
    for pair in pairs:
        if not isinstance(pair, Sequence) or isinstance(pair, (str, bytes)) or len(pair) != 2:
            raise InvalidInput("headers must be a mapping or pairs of names and values")
        name, value = map(_text, pair)
        if name is None or value is None:
            continue
        if name.startswith("HTTP_") or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            name = name.removeprefix("HTTP_").replace("_", "-")
        name = name.lower()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def explained(error: Exception, item: object) -> str:
    """Return why a body cannot be parsed, without a value of the body.

    Args:
        error: the exception of the parser.
        item: the input of the parser.
    """
    if isinstance(error, InvalidCallback):
        return str(error)
    name = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(name, str) and not _occurs(name, item):
        return f"KeyError: {validation.shown(name)}"
    return type(error).__name__


def _occurs(text: str, item: object) -> bool:
    """Return whether a text is a value of a body or may be derived from one."""
    waiting = [item]
    while waiting:  # No recursion, because a body may be nested deeper than the stack.
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif value is not None and text.casefold() in str(value).casefold():
            return True
    return False


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list | tuple):  # Some API gateways return a list for a header that may be repeated.
        parts = [_text(part) for part in value]
        return ", ".join(part for part in parts if part is not None) if parts and None not in parts else None
    return value.decode("latin-1") if isinstance(value, bytes) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same member twice")
    return members

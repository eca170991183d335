"""Convert public values to dicts of JSON types and back.

Money is text, times are ISO 8601 text in UTC, sets are sorted lists. A Decimal among facts is tagged, as
`{"decimal": "49.90"}`, so that it does not come back as a string. So are lines, as `{"lines": [...]}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from order_fsm import validation
from order_fsm.errors import InvalidInput

_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)
_LEAST = -(2**63)

_Reader = Callable[[object, str], Any]
"""Reads a JSON value. The text names the value in an error."""


class DictValue(Struct, frozen=True):
    """The base of the frozen values: adds `to_dict` and `from_dict`.

    Attributes:
        _derived: properties that `to_dict` adds for readers. `from_dict` checks them.
    """

    _derived: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the value as a dict of JSON types."""
        return {name: _written(getattr(self, name)) for name in (*_readers(type(self)), *self._derived)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Return the value for a dict that `to_dict` returned.

        Args:
            value: a dict with every member of `to_dict` and no other.

        Raises:
            InvalidInput: if a member is missing, unknown or not valid. The message names it.
        """
        return cls._read(value, cls.__name__)

    @classmethod
    def _read(cls, value: object, what: str) -> Self:
        readers = _readers(cls)
        known = (*readers, *cls._derived)
        if not isinstance(value, Mapping):
            raise InvalidInput(f"{what} must be a dict, not {validation.shown(value)}")
        for name in known:
            if name not in value:
                raise InvalidInput(f"{what}: the member {name!r} is missing")
        for name in value:
            if name not in known:
                hint = validation.did_you_mean(name, known)
                raise InvalidInput(f"{what} has no member {name!r:.80}{hint}")
        members = {name: read(value[name], f"{what}.{name}") for name, read in readers.items()}
        try:
            made = cls(**members)
        except InvalidInput as error:
            raise InvalidInput(f"{what}: {error}") from None
        for name in cls._derived:
            if value[name] != _written(getattr(made, name)):
                raise InvalidInput(f"{what}.{name} must follow from the other members")
        return made


def _written(value: Any) -> Any:
    if isinstance(value, DictValue):
        return value.to_dict()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    if isinstance(value, dict):  # Facts or data.
        return {name: _tagged(item) for name, item in value.items()}
    return value


def _tagged(value: Any) -> Any:
    """Return a member of facts or data. Only facts hold Decimals and tuples."""
    if isinstance(value, Decimal):
        return {"decimal": f"{value:f}"}
    return {"lines": _written(value)} if isinstance(value, tuple) else value


def _readers(cls: type[DictValue]) -> dict[str, _Reader]:
    """Return the members of a class with their readers."""
    known = _READERS.get(cls)
    if known is None:
        hints = get_type_hints(cls)
        known = _READERS[cls] = {name: _reader(hints[name]) for name in cls.__struct_fields__}
    return known


_READERS: dict[type[DictValue], dict[str, _Reader]] = {}


def _reader(hint: Any) -> _Reader:
    kind, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, DictValue):
        return hint._read
    if kind is tuple:
        return partial(_list, _reader(arguments[0]))
    if kind is dict:
        return _data if arguments[1] is Any else partial(_facts, _lines_reader(arguments[1]))
    if kind is Literal:
        return partial(_one_of, arguments)
    if kind in (Union, UnionType):
        (inner,) = [argument for argument in arguments if argument is not NoneType]
        return partial(_optional, _reader(inner))
    return _PLAIN[hint]


def _lines_reader(fact: Any) -> _Reader:
    """Return the reader of facts that are lines."""
    (lines,) = [kind for kind in get_args(fact) if get_origin(kind) is tuple]
    return _reader(lines)


def _optional(read: _Reader, value: object, what: str) -> Any:
    return None if value is None else read(value, what)


def _list(read: _Reader, value: object, what: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInput(f"{what} must be a list, not {validation.shown(value)}")
    return tuple([read(item, f"{what}[{number}]") for number, item in enumerate(value)])


def _one_of(known: tuple[str, ...], value: object, what: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise InvalidInput(f"{what} must be one of {', '.join(known)}, not {validation.shown(value)}")
    return value


def _text(value: object, what: str) -> str:
    return validation.text(value, what, validation.COMMENT_LENGTH)


def _whole(value: object, what: str) -> int:
    return validation.whole(value, what, _LEAST)


def _decimal(value: object, what: str) -> Decimal:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise InvalidInput(f"{what} must be a decimal number as text, such as '49.90', not {validation.shown(value)}")
    return Decimal(value)


def _time(value: object, what: str) -> datetime:
    try:
        return validation.instant(datetime.fromisoformat(_text(value, what)), what)
    except (ValueError, OverflowError):
        example = "'2026-01-31T09:30:00+00:00'"
        raise InvalidInput(
            f"{what} must be a time with its zone, such as {example}, not {validation.shown(value)}"
        ) from None


def _data(value: object, what: str) -> dict[str, Any]:
    if value is None:
        raise InvalidInput(f"{what} must be a dict, not None")
    return validation.json_object(value, what)


def _facts(lines: _Reader, value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{what} must be a dict, not {validation.shown(value)}")
    return {_text(name, f"a name in {what}"): _fact(lines, item, f"{what}.{name}") for name, item in value.items()}


def _fact(lines: _Reader, value: object, what: str) -> object:
    if isinstance(value, str):
        return validation.text(value, what, len(value))  # No limit: the data of an amended order may be long.
    if not isinstance(value, Mapping):
        return validation.fact(value, what)
    if set(value) == {"lines"}:
        return lines(value["lines"], f"{what}.lines")
    if set(value) != {"decimal"}:
        raise InvalidInput(
            f"{what} must be a plain value, a Decimal such as {{'decimal': '49.90'}}, or {{'lines': [...]}}"
        )
    return _decimal(value["decimal"], f"{what}.decimal")


_PLAIN: dict[Any, _Reader] = {str: _text, int: _whole, bool: validation.flag, Decimal: _decimal, datetime: _time}

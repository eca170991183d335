"""Exact comparison of values: equal values of different types differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs
import msgspec


def exact(value: Any) -> Any:
    """Return a form of a value that is equal only for the same value: 1 is not True or 1.0, and 1.50 is not 1.5."""
    kind = type(value)
    form = _forms.get(kind)
    if form is None:
        form = _forms[kind] = _form_of(kind)
    return form(value)


_forms: dict[type, Callable[[Any], Any]] = {}
"""A cache of functions by type, because tests compare whole stores many times."""


def _form_of(kind: type) -> Callable[[Any], Any]:
    """Return the function that converts values of a type to their form."""
    name = kind.__name__
    if kind is str:  # A string needs no tag, because no other form is a string.
        return lambda value: value
    names: Sequence[str] | None = None
    if issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    elif attrs.has(kind):
        names = [attribute.name for attribute in attrs.fields(kind)]
    if names is not None:
        return lambda value: (name, {one: exact(getattr(value, one)) for one in names})
    if issubclass(kind, Mapping):
        return lambda value: {key: exact(one) for key, one in value.items()}
    if issubclass(kind, list):
        return lambda value: [exact(one) for one in value]
    if issubclass(kind, tuple):
        return lambda value: ("tuple", [exact(one) for one in value])
    if issubclass(kind, datetime):
        return lambda value: ("datetime", value.isoformat())
    if issubclass(kind, Decimal):
        return lambda value: ("Decimal", str(value))
    if issubclass(kind, float):
        return lambda value: ("float", value, math.copysign(1, value))
    return lambda value: (name, value)

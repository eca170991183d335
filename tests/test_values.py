"""Frozen values: no caller changes one, and copies are equal."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from order_fsm import Entry, Message, Order
from tests.test_dicts import AT, ENTRY, MESSAGE, ORDER, Value, by_class


@by_class
def test_member_cannot_be_set_or_deleted(value: Value) -> None:
    before = value.to_dict()
    for name in before:
        with pytest.raises(AttributeError):
            setattr(value, name, None)
        with pytest.raises(AttributeError):
            delattr(value, name)
    assert value.to_dict() == before


@by_class
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])  # noqa: S301
def test_copy_is_equal_and_has_the_same_hash(value: Value, copied: Any) -> None:
    again = copied(value)
    assert (again, hash(again), again.to_dict()) == (value, hash(value), value.to_dict())


@pytest.mark.parametrize(
    ("value", "name"), [(ENTRY, "facts"), (ORDER, "data"), (MESSAGE, "payload")], ids=["facts", "data", "payload"]
)
def test_dict_of_a_value_is_read_as_a_copy(value: Value, name: str) -> None:
    before = value.to_dict()
    read = getattr(value, name)
    read["new"] = True
    for nested in read.values():
        if isinstance(nested, list):
            nested.append("new")
    assert value.to_dict() == before
    assert "new" not in getattr(value, name)


@pytest.mark.parametrize("name", ["facts", "data", "payload"])
def test_value_keeps_a_copy_of_the_dict_that_it_was_made_of(name: str) -> None:
    given: dict[str, Any] = {"old": "yes"} if name == "facts" else {"old": ["yes"]}
    makers: dict[str, Callable[[], Entry | Order | Message]] = {
        "facts": lambda: Entry(1, "create", "unfinished", "unfinished", AT, facts=given),
        "data": lambda: replace(ORDER, data=given),
        "payload": lambda: Message("1001#1.1", "1001", "order.paid", given, AT),
    }
    made = makers[name]()
    before = made.to_dict()
    given["new"] = True
    if name != "facts":
        given["old"].append("new")
    assert made.to_dict() == before
    assert list(getattr(made, name)) == ["old"]

"""Damage files of stores, and judge the answers of the stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from order_fsm import OrderFsmError, StoreCorrupt, StoreUnavailable, shop_workflow
from order_fsm.audit.auditor import audit

FOUND: tuple[object, ...] = (StoreCorrupt, StoreUnavailable)

Asked = dict[str, Callable[[Any], object]]
"""Queries of a store, by name."""


def changed(content: bytes, stride: int) -> Iterator[bytes]:
    """Yield the content with one byte changed: one of its bits, then all of them."""
    for number, place in enumerate(range(0, len(content), stride)):
        for bits in (1 << number % 8, 255):
            yield content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def cut(content: bytes, stride: int, least: int = 0) -> Iterator[bytes]:
    """Yield the content cut to shorter lengths."""
    return (content[:length] for length in range(least, len(content), stride))


def answer(ask: Callable[[], object]) -> object:
    """Return the answer of a query, or the class of the library's error."""
    try:
        return ask()
    except OrderFsmError as error:
        return type(error)


def verdict(
    open_store: Callable[[], object], right: Mapping[str, object], strict: Asked, others: Asked, last: Asked
) -> str:
    """Return the verdict on a damage. A wrong answer that nothing detects fails the test.

    Args:
        open_store: opens the store.
        right: the answers of the undamaged store.
        strict: queries whose answer must be right or an error of the store.
        others: queries whose answer may be wrong if an audit finds the damage.
        last: like `others`, after the audit, because they change the store.
    """
    store: Any = answer(open_store)
    if isinstance(store, type):
        assert store in FOUND
        return "found"
    try:
        told = {name: answer(partial(ask, store)) for name, ask in (strict | others).items()}
        audited = answer(lambda: audit(store, shop_workflow()).ok)
        told |= {name: answer(partial(ask, store)) for name, ask in last.items()}
        wrong = {name for name, value in told.items() if value not in FOUND and value != right[name]}
        assert not wrong & strict.keys(), f"{wrong & strict.keys()} have wrong answers"
        assert not (wrong and audited is True), f"an audit did not detect {wrong}"
        found = any(value in FOUND for value in told.values())
        return "found" if found else "found by an audit" if audited is not True else "harmless"
    finally:
        store.close()

"""What the tests of damaged stores share: bytes changed or cut off, and a verdict on what a store says then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from order_fsm import OrderFsmError, StoreCorrupt, StoreUnavailable, shop_workflow
from order_fsm.audit.auditor import audit

FOUND: tuple[object, ...] = (StoreCorrupt, StoreUnavailable)

Asked = dict[str, Callable[[Any], object]]
"""Questions to a store, by their names."""


def changed(content: bytes, stride: int) -> Iterator[bytes]:
    """The content with one byte changed: one bit of it, and all."""
    for number, place in enumerate(range(0, len(content), stride)):
        for bits in (1 << number % 8, 255):
            yield content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def cut(content: bytes, stride: int, least: int = 0) -> Iterator[bytes]:
    """The content cut short, down to so many bytes."""
    return (content[:length] for length in range(least, len(content), stride))


def answer(ask: Callable[[], object]) -> object:
    """What a question is answered with: a value, or the class of the library's own error."""
    try:
        return ask()
    except OrderFsmError as error:
        return type(error)


def verdict(
    open_store: Callable[[], object], right: Mapping[str, object], strict: Asked, others: Asked, last: Asked
) -> str:
    """Whether a damage was found at once, by an audit, or does no harm; what is silently wrong fails the test.

    Args:
        open_store: opens the store; it has a `close`.
        right: the answers of the undamaged one.
        strict: must be right or an error of the store.
        others: may be wrong where an audit finds it.
        last: the same; as they change the store, they are asked after the audit.
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
        assert not wrong & strict.keys(), f"{wrong & strict.keys()} were answered wrongly"
        assert not (wrong and audited is True), f"{wrong} went by an audit"
        found = any(value in FOUND for value in told.values())
        return "found" if found else "found by an audit" if audited is not True else "harmless"
    finally:
        store.close()

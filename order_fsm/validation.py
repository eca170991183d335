"""Check input: ids, texts, money, times, JSON values, and the arguments of a call.

Each function returns the value in the form that the engine uses, or raises `InvalidInput` with the fault and the
expected form. Subclasses of str, int, float, Decimal and datetime are converted to the base type, because a store could
not write Django's SafeString or the datetime of a frozen clock.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from order_fsm.errors import InvalidInput

ID_LENGTH = 200
"""The longest id, SKU, name, key or reference, in characters."""

COMMENT_LENGTH = 100_000
"""The longest comment, in characters."""

INTEGER_DIGITS = 15
FRACTION_DIGITS = 8
"""Money has at most 15 digits before the point and 8 after it, so that sums stay exact in 28 digits."""

_NUMBERS = (Decimal, str, int)
_USUAL_MONEY = re.compile(r"[0-9]{1,15}(\.[0-9]{1,8})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ADDRESS = re.compile(r'[^@\s"(),:;<>\[\]\\]+@[^@\s"(),:;<>\[\]\\]+')
_WHOLE_NUMBER_LIMIT = 2**63
_DATA_DEPTH = 32


class Actor(str):
    """A name under which the engine itself acts. `by` must not have this text."""

    __slots__ = ()


GATEWAY = Actor("gateway")
"""`by` of the facts that a payment gateway reports."""

CLOCK = Actor("clock")
"""`by` of changes that follow from the time."""


def shown(value: object) -> str:
    """Return a value for an error message: its type, and the value itself if it is short.

    A short string has no type, because its quotes show the type.
    """
    if isinstance(value, str) and len(value) < 60:
        return repr(str.__str__(value))
    if isinstance(value, int) and -(10**20) < value < 10**20:
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return type(value).__name__


def function_of(value: object, what: str, *arguments: str) -> None:
    """Check a function of the shop that the engine calls with these arguments.

    Raises:
        InvalidInput: if the value is not a function, is async, or takes other arguments.
    """
    form = f"of ({', '.join(arguments)})"
    if not callable(value):
        raise InvalidInput(f"{what} must be a function {form}, not {shown(value)}")
    if is_async(value):
        raise InvalidInput(f"{what} must be a plain function {form}, not an async one")
    try:
        inspect.signature(value, follow_wrapped=False).bind(*arguments)
    except TypeError:
        raise InvalidInput(f"{what} must be a function {form}: this one takes other arguments") from None
    except ValueError:
        pass  # Some functions written in C have no signature.


def is_async(function: Callable[..., object]) -> bool:
    """Return whether a function, or the `__call__` of an object, is an async one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def clock(value: object) -> None:
    """Check a clock of the shop.

    Raises:
        InvalidInput: if the value is not a function, is async, or takes arguments.
    """
    if not callable(value):
        raise InvalidInput(f"clock must be a function that returns a datetime, not {shown(value)}")
    function_of(value, "clock")


def truth_of(answer: object, what: str, name: str) -> bool:
    """Return whether the answer of a shop's test counts as true.

    Args:
        answer: the result of the test.
        what: the kind of the test's owner, such as a guard.
        name: the name of the owner.

    Raises:
        InvalidInput: if the answer is a coroutine or a generator, which would always count as true.
    """
    if isinstance(answer, bool):
        return answer
    if close_unfinished(answer):
        raise InvalidInput(f"the test of the {what} {name!r} must be a plain function, not async")
    return bool(answer)


def close_unfinished(answer: object) -> bool:
    """Close a coroutine or generator that a function of the shop returned instead of doing its work.

    Otherwise Python warns about a coroutine that was never awaited. Return whether the answer was one.
    """
    if isinstance(answer, Coroutine | Generator):
        answer.close()
        return True
    return isinstance(answer, AsyncGenerator)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a hint for an error message, "" if no known name is similar."""
    from difflib import get_close_matches  # Imported on demand, because it is slow and only errors need it.

    if not isinstance(name, str):
        return ""
    lower = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold(), lower, n=1, cutoff=0.5)
    return f" (did you mean {lower[close[0]]!r}?)" if close else ""


def text(value: object, what: str, limit: int) -> str:
    """Check a string of Unicode text.

    Args:
        value: the input.
        what: the name of the value in the message.
        limit: the largest number of characters.

    Raises:
        InvalidInput: if it is not a string, too long, or holds a lone surrogate.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a string, not {shown(value)}")
    if len(value) > limit:
        raise InvalidInput(f"{what} must have at most {limit} characters, not {len(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} must be valid Unicode text; it holds half of a surrogate pair") from None
    return value if type(value) is str else str.__str__(value)


def name(value: object, what: str) -> str:
    """Check a name: one line of text, not blank, at most `ID_LENGTH` characters.

    Raises:
        InvalidInput: if the value is not a valid name.
    """
    if type(value) is str and value.isascii() and value.isprintable() and value.strip() and len(value) <= ID_LENGTH:
        return value
    value = text(value, what, ID_LENGTH)
    if not value.strip():
        raise InvalidInput(f"{what} must not be empty")
    if _CONTROL.search(value):
        raise InvalidInput(f"{what} must not hold control characters: {value!r}")
    return value


def identifier(value: object, what: str) -> str:
    """Check a `name` that is not a path to another folder.

    Raises:
        InvalidInput: if the value is not a valid name, or one of its parts between slashes is `.` or `..`.
    """
    value = name(value, what)
    if "." in value and not {".", ".."}.isdisjoint(re.split(r"[/\\]", value)):
        raise InvalidInput(f"{what} must not have '.' or '..' as a part between slashes: {value!r}")
    return value


def optional_name(value: object, what: str) -> str | None:
    """Check a `name` or None.

    Raises:
        InvalidInput: if the value is not None and not a valid name.
    """
    return None if value is None else name(value, what)


def actor(value: object) -> str | None:
    """Check `by`: a name, `GATEWAY`, `CLOCK` or None.

    Raises:
        InvalidInput: if the value is not a valid name, or is a name of the engine.
    """
    if value is None:
        return None
    checked = name(value, "by")
    if checked in (GATEWAY, CLOCK) and not isinstance(value, Actor):
        raise InvalidInput(f"by must not be {checked!r}: the engine acts under this name, give another one")
    return checked


def comment(value: object) -> str:
    """Check a comment: Unicode text up to `COMMENT_LENGTH` characters. None becomes "".

    Raises:
        InvalidInput: if the value is not a valid comment.
    """
    return "" if value is None or value == "" else text(value, "comment", COMMENT_LENGTH)


@lru_cache(maxsize=1024)
def _usual_money(value: str) -> Decimal | None:
    """Read usual money. A cache returns one Decimal for equal texts, so a total and its payment share memory."""
    return Decimal(value) if _USUAL_MONEY.fullmatch(value) else None


def money(value: object, what: str = "amount") -> Decimal:
    """Check an amount of money, not negative: a Decimal, a string such as "49.90" or an int.

    Raises:
        InvalidInput: if the value is a float, negative, not finite, too long, or not a number.
    """
    usual = _usual_money(value) if type(value) is str else None
    if usual is not None:
        return usual
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        hint = ": write it as a string, such as '49.90'" if isinstance(value, float) else ""
        raise InvalidInput(f"{what} must be a Decimal, a string or an int, not {shown(value)}{hint}")
    if isinstance(value, str):
        value = str.__str__(value)
        if len(value) > 40 or not value.isascii() or "_" in value:
            raise InvalidInput(f"{what} must be a plain number such as '49.90', not {shown(value)}")
    elif isinstance(value, int) and not -(10**INTEGER_DIGITS) < value < 10**INTEGER_DIGITS:
        raise InvalidInput(f"{what} must have at most {INTEGER_DIGITS} digits before the point")
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise InvalidInput(f"{what} must be a plain number such as '49.90', not {shown(value)}") from None
    if not amount.is_finite():
        raise InvalidInput(f"{what} must be finite, not {amount}")
    if amount.is_signed():
        if amount:
            raise InvalidInput(f"{what} must not be negative")
        amount = amount.copy_abs()
    exponent = amount.as_tuple().exponent
    if (amount and amount.adjusted() >= INTEGER_DIGITS) or not (
        isinstance(exponent, int) and -FRACTION_DIGITS <= exponent <= INTEGER_DIGITS
    ):
        raise InvalidInput(
            f"{what} must have at most {INTEGER_DIGITS} digits before the point and {FRACTION_DIGITS} after it"
        )
    return amount if exponent <= 0 else Decimal(int(amount))


def currency(value: object, what: str = "currency") -> str:
    """Check a currency: three upper-case letters, as in ISO 4217.

    Raises:
        InvalidInput: if the value is not three upper-case letters.
    """
    if not (isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()):
        raise InvalidInput(f"{what} must be three upper-case letters such as 'GBP', not {shown(value)}")
    return value if type(value) is str else str.__str__(value)


def email(value: object) -> str:
    """Check that an email is a bare address such as `ann@example.com`.

    Quotes, brackets, commas and encoded words are refused, because in a mail header they could mean several addresses.

    Raises:
        InvalidInput: if the value is not a bare address.
    """
    value = name(value, "email")
    if not _ADDRESS.fullmatch(value) or "=?" in value:
        raise InvalidInput(f"email must be a bare address such as 'ann@example.com', not {value!r}")
    return value


def whole(value: object, what: str, least: int) -> int:
    """Check a whole number of at least `least`, below 2**63.

    Raises:
        InvalidInput: if the value is not an int, or out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"{what} must be a whole number, not {shown(value)}")
    if not least <= value < _WHOLE_NUMBER_LIMIT:
        raise InvalidInput(f"{what} must be from {least} up to 2**63 - 1")
    return value if type(value) is int else int.__index__(value)


def flag(value: object, what: str) -> bool:
    """Check a bool. Values such as 1 or "yes" are refused.

    Raises:
        InvalidInput: if the value is not True or False.
    """
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} must be True or False, not {shown(value)}")
    return value


def instant(value: object, what: str) -> datetime:
    """Check a moment with a time zone. Returns it in UTC.

    Raises:
        InvalidInput: if the value is not a datetime, or has no time zone.
    """
    if not isinstance(value, datetime):
        raise InvalidInput(f"{what} must be a datetime, not {shown(value)}")
    if value.tzinfo is UTC:
        return exact_datetime(value)
    if value.utcoffset() is None:
        raise InvalidInput(f"{what} must have a time zone, such as datetime.now(timezone.utc); this one is naive")
    try:
        return exact_datetime(value.astimezone(UTC))
    except OverflowError:
        raise InvalidInput(f"{what} must be from the year 1 to 9999 in UTC") from None


def interval(since: object, until: object) -> tuple[datetime | None, datetime | None]:
    """Check an interval of two moments with time zones. None is no bound. Returns both in UTC.

    Raises:
        InvalidInput: if a bound is not a datetime or has no time zone, or `until` is before `since`.
    """
    start = None if since is None else instant(since, "since")
    end = None if until is None else instant(until, "until")
    if start is not None and end is not None and end < start:
        raise InvalidInput(f"until must not be before since ({end.isoformat()} is before {start.isoformat()})")
    return start, end


def exact_datetime(value: datetime, kind: type[datetime] = datetime) -> datetime:
    """Convert a datetime of a subclass, such as a library that freezes time returns, to a plain datetime.

    Args:
        value: a moment.
        kind: do not give it. It is bound at import time, because such libraries replace the name in this module.
    """
    if type(value) is kind:
        return value
    date = (value.year, value.month, value.day)
    return kind(*date, value.hour, value.minute, value.second, value.microsecond, value.tzinfo)


def names(value: object, what: str) -> frozenset[str]:
    """Check a set of names: any iterable of strings, except a string, bytes and a mapping.

    Raises:
        InvalidInput: if the value is not such an iterable. A mapping is refused because its keys ignore its values: a
            form `{"paid": False}` does not tick paid.
    """
    # The forms of some web frameworks have `keys` and are not a Mapping.
    if isinstance(value, str | bytes) or hasattr(value, "keys") or not isinstance(value, Iterable):
        raise InvalidInput(f"{what} must be a set of names such as {{'sent'}}, not {shown(value)}")
    return frozenset(name(one, what) for one in value)


def fact(value: object, what: str) -> str | int | bool | Decimal | None:
    """Check a fact: a string, whole number, bool, Decimal or None.

    Raises:
        InvalidInput: if the value has another type. A float is refused because it is not exact.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return whole(value, what, -_WHOLE_NUMBER_LIMIT)
    if isinstance(value, Decimal):
        return money(value, what)
    if isinstance(value, str):
        return text(value, what, COMMENT_LENGTH)
    raise InvalidInput(f"{what} must be a string, int, bool, Decimal or None, not {shown(value)}")


Check = Callable[[object, str], Any]
"""Returns a value in the engine's form, or raises InvalidInput. The text names the value in the message."""

MONEY_CHECKS: Mapping[str, Check] = {
    "amount": money,
    "currency": currency,
    "reference": name,
    "transaction_id": name,
    "provider": name,
    "credit": flag,
}


_OTHER_ARGUMENTS = ("key", "by", "comment", "visible", "notify", "override")
"""The arguments of `Orders.fire` that are not facts."""


def facts(
    values: Mapping[str, object], known: frozenset[str], trigger: str, checks: Mapping[str, Check]
) -> dict[str, Any]:
    """Check the facts of a trigger.

    Args:
        values: the keyword arguments of the call.
        known: the names that the trigger accepts.
        trigger: its name, for the message.
        checks: the checks of facts that the engine reads. Facts that are None are left out.

    Raises:
        InvalidInput: if a name is not known, or a value is not valid.
    """
    checked: dict[str, Any] = {}
    for fact_name, value in values.items():
        if fact_name not in known:
            accepted = ", ".join(sorted(known)) or "(none)"
            hint = did_you_mean(fact_name, (*known, *_OTHER_ARGUMENTS))
            raise InvalidInput(
                f"{trigger} accepts the facts {accepted}, not {fact_name!r:.80}{hint}. fire also has the arguments"
                f" {', '.join(_OTHER_ARGUMENTS[:-1])} and {_OTHER_ARGUMENTS[-1]}"
            )
        fact_name = str.__str__(fact_name)
        check = checks.get(fact_name)
        if check is None:
            checked[fact_name] = fact(value, fact_name)
        elif value is not None:
            checked[fact_name] = check(value, fact_name)
    return checked


def call(
    order_id: object, key: object, by: object, text_of: object, visible: object, notify: object, override: object
) -> tuple[str, str | None, str | None, str]:
    """Check the arguments that every change of an order has.

    Args:
        order_id, key, by, visible, notify, override: as in `Orders.fire`.
        text_of: the comment.

    Returns:
        The order's id, the key, `by` and the comment.

    Raises:
        InvalidInput: if one of them is not valid.
    """
    flag(visible, "visible")
    flag(notify, "notify")
    flag(override, "override")
    return (
        identifier(order_id, "order id"),
        None if key is None else name(key, "key"),
        actor(by),
        comment(text_of),
    )


def json_value(value: object, what: str, depth: int = 0) -> object:
    """Copy a JSON value with whole numbers below 2**63 and finite floats.

    Raises:
        InvalidInput: if the value has another type, or more than 32 levels of nesting.
    """
    if depth > _DATA_DEPTH:
        raise InvalidInput(f"{what} must be nested at most {_DATA_DEPTH} deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value, what, COMMENT_LENGTH)
    if isinstance(value, int):
        return whole(value, what, -_WHOLE_NUMBER_LIMIT)
    if isinstance(value, float) and math.isfinite(value):
        return value if type(value) is float else float.__float__(value)
    if isinstance(value, list):
        return [json_value(item, what, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return json_object(value, what, depth + 1)
    if isinstance(value, float):
        raise InvalidInput(f"{what} must hold only finite numbers, not {value}")
    raise InvalidInput(f"{what} must hold only JSON values, not {shown(value)}")


def json_object(value: object, what: str, depth: int = 0) -> dict[str, object]:
    """Copy a dict of JSON values. None becomes the empty dict.

    Raises:
        InvalidInput: if the value is not a dict of JSON values.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{what} must be a dict, not {shown(value)}")
    return {text(key, f"a key of {what}", ID_LENGTH): json_value(item, what, depth) for key, item in value.items()}

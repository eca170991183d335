"""Checks of what comes in from outside: ids, texts, money, times, JSON values.

Each returns the value in the one form that the engine works with, or raises `InvalidInput` saying what was wrong and
what was expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache

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
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_ADDRESS = re.compile(r'[^@\s"(),:;<>\[\]\\]+@[^@\s"(),:;<>\[\]\\]+')
_WHOLE_NUMBER_LIMIT = 2**63
_DATA_DEPTH = 32


def shown(value: object) -> str:
    """A value for an error message: its type, and the value itself where that is short."""
    if isinstance(value, str) and len(value) < 60:
        return f"str {value!r}"
    if isinstance(value, int) and -(10**20) < value < 10**20:
        return f"{type(value).__name__} {value!r}"
    return type(value).__name__


def text(value: object, what: str, limit: int) -> str:
    """A string of any Unicode text (no lone surrogates) up to a length.

    Args:
        value: what was given.
        what: what it is, for the message.
        limit: the most characters.

    Returns:
        The string itself.

    Raises:
        InvalidInput: it is no string, too long, or no valid Unicode.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a string, not {shown(value)}")
    if len(value) > limit:
        raise InvalidInput(f"{what} must have at most {limit} characters, not {len(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} must be valid Unicode text; it holds half of a surrogate pair") from None
    return value


def name(value: object, what: str) -> str:
    """An id, SKU, key, reference or person: one line of text, not blank, at most `ID_LENGTH` characters.

    Raises:
        InvalidInput: it is none.
    """
    if isinstance(value, str) and value.isascii() and value.isprintable() and value.strip() and len(value) <= ID_LENGTH:
        return value  # As most are; the rest is looked at closer.
    value = text(value, what, ID_LENGTH)
    if not value.strip():
        raise InvalidInput(f"{what} must not be empty")
    if _CONTROL.search(value):
        raise InvalidInput(f"{what} must not hold control characters: {value!r}")
    return value


def identifier(value: object, what: str) -> str:
    """A `name` that no part of a program could mistake for a way to another folder.

    Raises:
        InvalidInput: it is none, or one of its parts between slashes is `.` or `..`.
    """
    value = name(value, what)
    if "." in value and not {".", ".."}.isdisjoint(re.split(r"[/\\]", value)):
        raise InvalidInput(f"{what} must not have '.' or '..' as a part between slashes: {value!r}")
    return value


def optional_name(value: object, what: str) -> str | None:
    """A `name`, or None.

    Raises:
        InvalidInput: it is neither.
    """
    return None if value is None else name(value, what)


def comment(value: object) -> str:
    """A comment: any Unicode text up to `COMMENT_LENGTH` characters; None is the empty one.

    Raises:
        InvalidInput: it is none.
    """
    return "" if value is None or value == "" else text(value, "comment", COMMENT_LENGTH)


@lru_cache(maxsize=1024)  # What an order costs is mostly what is paid for it: one Decimal for both.
def _usual_money(value: str) -> Decimal | None:
    return Decimal(value) if _USUAL_MONEY.fullmatch(value) else None


def money(value: object, what: str = "amount") -> Decimal:
    """An amount of money, not negative, from a Decimal, a string such as "49.90" or an int.

    Raises:
        InvalidInput: a float, a negative, endless or absurdly long number, or no number at all.
    """
    usual = _usual_money(value) if isinstance(value, str) else None
    if usual is not None:
        return usual  # As most are; the rest is looked at closer.
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        hint = ": write it as a string, such as '49.90'" if isinstance(value, float) else ""
        raise InvalidInput(f"{what} must be a Decimal, a string or an int, not {shown(value)}{hint}")
    if isinstance(value, str) and (len(value) > 40 or not value.isascii() or "_" in value):
        raise InvalidInput(f"{what} must be a plain number such as '49.90', not {shown(value)}")
    if isinstance(value, int) and not -(10**INTEGER_DIGITS) < value < 10**INTEGER_DIGITS:
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
    """A currency: three upper-case letters, as in ISO 4217.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise InvalidInput(f"{what} must be three upper-case letters such as 'GBP', not {shown(value)}")
    return value


def email(value: object) -> str:
    """A bare address to mail to, such as `ann@example.com`. Whether it exists, only a mail to it can tell.

    What could mean more than one address in a mail's header is refused: quotes, brackets, commas, encoded words.

    Raises:
        InvalidInput: it is none.
    """
    value = name(value, "email")
    if not _ADDRESS.fullmatch(value) or "=?" in value:
        raise InvalidInput(f"email must be a bare address such as 'ann@example.com', not {value!r}")
    return value


def whole(value: object, what: str, least: int) -> int:
    """A whole number of at least `least`, below 2**63.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"{what} must be a whole number, not {shown(value)}")
    if not least <= value < _WHOLE_NUMBER_LIMIT:
        raise InvalidInput(f"{what} must be from {least} up to 2**63 - 1")
    return value


def flag(value: object, what: str) -> bool:
    """True or False, and nothing that only looks like it.

    Raises:
        InvalidInput: it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} must be True or False, not {shown(value)}")
    return value


def instant(value: object, what: str) -> datetime:
    """A moment with a time zone, in UTC.

    Raises:
        InvalidInput: no datetime, or one without a time zone.
    """
    if not isinstance(value, datetime):
        raise InvalidInput(f"{what} must be a datetime, not {shown(value)}")
    if value.tzinfo is UTC:
        return exact_datetime(value)
    if value.utcoffset() is None:
        raise InvalidInput(f"{what} must have a time zone, such as datetime.now(timezone.utc); this one is naive")
    return exact_datetime(value.astimezone(UTC))


def exact_datetime(value: datetime, kind: type[datetime] = datetime) -> datetime:
    """The same as a datetime itself where it is of a subclass, such as a library that freezes time gives: what writes
    JSON takes no other.

    Args:
        value: a moment.
        kind: not to be given. It is bound early, as such libraries put their class in the place of a module's name.
    """
    if type(value) is kind:
        return value
    date = (value.year, value.month, value.day)
    return kind(*date, value.hour, value.minute, value.second, value.microsecond, value.tzinfo)


def names(value: object, what: str) -> frozenset[str]:
    """A set of names, from any iterable of strings but a string itself.

    Raises:
        InvalidInput: it is none.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidInput(f"{what} must be a set of names such as {{'sent'}}, not {shown(value)}")
    return frozenset(name(one, what) for one in value)


def fact(value: object, what: str) -> str | int | bool | Decimal | None:
    """The value of a fact: a string, whole number, bool, Decimal or None.

    Raises:
        InvalidInput: anything else. A float is refused, as it is no exact value.
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


def json_value(value: object, what: str, depth: int = 0) -> object:
    """A deep copy of a value that JSON can hold: strings, whole numbers below 2**63, finite floats, bools, None,
    lists, and dicts with string keys.

    Raises:
        InvalidInput: anything else, or more than 32 levels of nesting.
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
        return value
    if isinstance(value, list):
        return [json_value(item, what, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return json_object(value, what, depth + 1)
    raise InvalidInput(f"{what} must hold only what JSON can hold, not {shown(value)}")


def json_object(value: object, what: str, depth: int = 0) -> dict[str, object]:
    """A deep copy of a dict of JSON values; None is the empty one.

    Raises:
        InvalidInput: it is none.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{what} must be a dict, not {shown(value)}")
    return {text(key, f"a key of {what}", ID_LENGTH): json_value(item, what, depth) for key, item in value.items()}

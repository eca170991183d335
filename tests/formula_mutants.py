"""Every formula of the ledger with one sign, term, bound or comparison wrong."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

from order_fsm import Order, ledger
from order_fsm.rules import booking, decide, shop
from tests import goods_mutants

PARTS: tuple[tuple[Any, str, tuple[tuple[str, str], ...]], ...] = (
    (
        ledger,
        "recorded",
        (
            ("row.kind == kind and ", ""),
            (" and row.currency == currency", ""),
            ("plus(", "minus("),
            ("== kind", "!= kind"),
        ),
    ),
    (
        ledger,
        "balance",
        (
            ("plus if", "minus if"),
            ("else minus", "else plus"),
            ("row.currency != currency", "False"),
            ("row.currency != currency", "row.currency == currency"),
            ("others[row.currency] = move(others.get(row.currency, ZERO), row.amount)", "pass"),
            ("move(others.get(row.currency, ZERO), row.amount)", "row.amount"),
            ("held = move(held", "held = plus(held"),
            ("by_hand = move(by_hand", "by_hand = plus(by_hand"),
            ("if row.reference is None", "if True"),
            ("is None", "is not None"),
            ("minus(held, by_hand) if by_hand else held", "held"),
            ("minus(held, by_hand)", "plus(held, by_hand)"),
            ("if row.credit:", "if row.credit > 0:"),
            ("plus(credited", "minus(credited"),
            ("max(minus(total, credited), ZERO)", "total"),
            ("max(minus(total, credited), ZERO)", "minus(total, credited)"),
            ("max(minus(total, credited), ZERO)", "min(minus(total, credited), ZERO)"),
            ("minus(total, credited)", "plus(total, credited)"),
            ("if credited", "if not credited"),
            ("minus(held, cost) if missing <= ZERO else ZERO", "minus(held, cost)"),
            ("minus(held, cost) if missing <= ZERO else ZERO", "max(minus(held, total), ZERO)"),
            ("minus(held, cost) if missing <= ZERO else ZERO", "missing"),
            ("minus(held, cost) if missing <= ZERO else ZERO", "max(held, ZERO)"),
            ("minus(cost, held)", "minus(total, held)"),
            ("minus(cost, held)", "plus(cost, held)"),
            ("minus(cost, held)", "cost"),
            ("missing if missing >= ZERO else ZERO", "missing"),
            ("missing if missing >= ZERO else ZERO", "cost"),
        ),
    ),
    (
        ledger.Balance,
        "due",
        (
            ("if counted", "if not counted"),
            ("self.overpaid if counted else ", ""),
            (" if counted else max(self.held, ZERO)", ""),
            ("max(self.held, ZERO)", "self.held"),
        ),
    ),
    (Order, "captured", (('"captured"', '"refunded"'),)),
    (Order, "refunded", (('"refunded"', '"captured"'),)),
    (Order, "reversed", (('"reversed"', '"restored"'),)),
    (ledger.Balance, "owed", (("ZERO if cancelled else ", ""), ("if cancelled", "if not cancelled"))),
    (Order, "outstanding", (('" in', '" not in'),)),
    (Order, "refund_due", (("self.counted", "True"), ("self.counted", "False"))),
    (Order, "held_online", (("balance.online", "balance.held"),)),
    (
        Order,
        "held_by_hand",
        (
            ("is None", "is not None"),
            ('"reversed", ', ""),
            (', "restored"', ""),
            (" and row.kind in kinds", ""),
            ("min(ledger.held(by_hand, self.currency), self.held)", "ledger.held(by_hand, self.currency)"),
            ("min(ledger.held(by_hand, self.currency), self.held)", "self.held"),
            ("min(", "max("),
            ("max(", "min("),
            (
                "max(min(ledger.held(by_hand, self.currency), self.held), ZERO)",
                "min(ledger.held(by_hand, self.currency), self.held)",
            ),
        ),
    ),
    (Order, "cost", (("self.balance.cost", "self.total"),)),
    (Order, "unmatched", (("> 0", ">= 0"), ("> 0", "< 0"))),
    (
        Order,
        "_marked",
        (
            ('self.invoiced_by_payment and "invoiced" in after', "self.invoiced_by_payment"),
            ('self.invoiced_by_payment and "invoiced" in after', '"invoiced" in after'),
            ('"invoiced" in after and "paid"', '"paid"'),
            (' and "paid" in after - before', ""),
            ("after - before", "after"),
        ),
    ),
    (
        booking,
        "recorded_before",
        (
            ('(kind != "captured" or reference is None)', "reference is None"),
            ('kind != "captured" or reference is None', 'kind != "captured"'),
            ("row.kind == kind", "True"),
            ('_of_provider(order, facts.get("provider"))', "order.payments"),
            ("row.amount or _adopted_by(order, row)", "row.amount"),
            ('facts.get("amount", amount) == amount and ', ""),
            (' and facts.get("currency", row.currency) == row.currency', ""),
        ),
    ),
    (
        booking,
        "book",
        (
            ("if amount is None", "if not amount"),
            ("order.outstanding if currency == order.currency else ZERO", "order.outstanding"),
            ("order.outstanding if", "order.cost if"),
            ('facts.get("transaction_id")', "None"),
            (" or _provider_of(order, reference)", ""),
            ("adopts=True", "adopts=False"),
        ),
    ),
    (
        booking,
        "_movement",
        (
            ("len(subjects) > 1", "len(subjects) > 2"),
            ("len(subjects) > 1", "False"),
            (" and not request.gateway", ""),
            ("and not request.gateway", "and request.gateway"),
            ("bound = _held(order, subject)", "pass"),
            ("if given is None", "if not given"),
            ('facts.get("transaction_id", subject.transaction_id)', 'facts.get("transaction_id")'),
            (" or _provider_of(order, subject.reference)", ""),
            (" and subject.currency == order.currency", ""),
            ('facts.get("credit")', "None"),
            ("credit=_credit(", "adopts=not _credit("),
            ("credit=_given_back(order, subject)", "credit=ZERO"),
            ("credit=_given_back", "credit=-_given_back"),
        ),
    ),
    (
        booking,
        "correction",
        (
            ('"credited" not in facts', '"credited" in facts'),
            ('minus(facts["credited"], order.credited)', 'facts["credited"]'),
            ('minus(facts["credited"], order.credited)', 'minus(order.credited, facts["credited"])'),
        ),
    ),
    (
        booking,
        "lapse",
        (
            ("not order.credited or ", ""),
            (" or order.held > 0", ""),
            ("order.held > 0", "order.held >= 0"),
            ("minus(ZERO, order.credited)", "order.credited"),
            ("credit=minus(ZERO, order.credited)", "credit=ZERO"),
        ),
    ),
    (
        booking,
        "_subjects",
        (
            ('kind == "refunded"', "False"),
            ("_Subject(row.currency, row.reference) == asked", "True"),
            ("row.kind in _LEFT[kind] and ", ""),
            ("name not in facts or ", ""),
            (' if kind in _UNDOES and "transaction_id" in naming else None', ""),
            ('row.transaction_id if kind in _UNDOES and "transaction_id" in naming else None', "None"),
            ("if money > 0", ""),
            ("money > 0", "money >= 0"),
            ('kind == "restored"', "False"),
            ("min(money, ", "max(money, "),
        ),
    ),
    (
        booking,
        "_of_payment",
        (
            ("(row.currency, row.reference) == paid_by", "True"),
            ("(row.currency, row.reference) == paid_by", "row.currency == subject.currency"),
            ("(row.currency, row.reference) == paid_by", "row.reference == subject.reference"),
        ),
    ),
    (
        booking,
        "_naming",
        (
            ("kind not in _UNDOES", "True"),
            ('kind == "restored"', "False"),
            ('kind == "restored" and ', ""),
            ("not references", "True"),
            (" if row.kind == _UNDOES[kind]", ""),
            (' if row.transaction_id == facts["transaction_id"]', ""),
            ("references == {None}", "False"),
            ("references == {None}", "references"),
        ),
    ),
    (
        booking,
        "_left",
        (("plus if", "minus if"), ("else minus", "else plus"), ("if row.kind in signs", "if signs.get(row.kind)")),
    ),
    (
        booking,
        "_held",
        (
            ("return held\n", "return ZERO\n"),
            ("min(", "max("),
            ("row.reference == subject.reference", "True"),
            ("min(held, ", "min(order.captured, "),
        ),
    ),
    (
        booking,
        "_everything",
        (
            ("order.refund_due or order.held", "order.refund_due"),
            ("order.refund_due or order.held", "order.held"),
            ("min(order.refund_due or order.held, bound)", "bound"),
            ("min(order.refund_due or order.held, bound)", "(order.refund_due or order.held)"),
            ("max(min(order.refund_due or order.held, bound), ZERO)", "min(order.refund_due or order.held, bound)"),
            (" and subject.currency == order.currency", ""),
            ("max(bound, ZERO)", "bound"),
            ("max(bound, ZERO)", "ZERO"),
        ),
    ),
    (
        booking,
        "_credit",
        (
            ("return booking.amount", "return ZERO"),
            ("not dispatched and minus", "minus"),
            ("minus(order.held, booking.amount) <= 0", "order.held <= 0"),
            ("booking.amount) <= 0", "booking.amount) < 0"),
            ("return minus(ZERO, order.credited)", "return ZERO"),
            ("return minus(ZERO, order.credited)", "return order.credited"),
            ("wanted is None and ", ""),
            ("order.counted and ", ""),
            ("(dispatched or not order.outstanding)", "not order.outstanding"),
            ("(dispatched or not order.outstanding)", "dispatched"),
            ("dispatched or not order.outstanding", "True"),
            ("minus(booking.amount, order.refund_due)", "booking.amount"),
            ("max(minus(booking.amount, order.refund_due), ZERO)", "minus(booking.amount, order.refund_due)"),
            ("booking.amount, order.refund_due", "order.refund_due, booking.amount"),
        ),
    ),
    (
        booking,
        "_given_back",
        (
            ('row.kind in _LEFT["refund_failed"]', 'row.kind == "refunded"'),
            ('row.kind in _LEFT["refund_failed"]\n        and ', ""),
            ("(row.reference, row.transaction_id) == (subject.reference, subject.transaction_id)", "True"),
            (
                "(row.reference, row.transaction_id) == (subject.reference, subject.transaction_id)",
                "row.reference == subject.reference",
            ),
            (
                "max(minus(ZERO, ledger.balance(ZERO, of_refund, order.currency).credited), ZERO)",
                "minus(ZERO, ledger.balance(ZERO, of_refund, order.currency).credited)",
            ),
            ("minus(ZERO, ledger", "plus(ZERO, ledger"),
            ("row.amount  #", "True  #"),
        ),
    ),
    (
        booking,
        "_of_provider",
        (
            ("provider is None or ", ""),
            ("row.provider is None or ", ""),
            (" or row.provider == provider", ""),
        ),
    ),
    (booking, "_provider_of", ((" and row.provider", ""), ("row.reference == reference and ", ""))),
    (
        booking,
        "_adopts",
        (
            ("booking.reference is None or ", ""),
            (" or booking.transaction_id is None", ""),
            ("if row.reference == booking.reference", ""),
            ('if row.kind == "captured"', ""),
            ("row.transaction_id is None and ", ""),
            (" and (row.amount, row.currency) == (booking.amount, booking.currency)", ""),
            (" and all(row.amount for row in captures)", ""),
        ),
    ),
    (
        booking,
        "_adopted_by",
        (
            ("row.kind == adopting.kind and ", ""),
            ("row.reference == adopting.reference and ", ""),
            (" and row.transaction_id is None", ""),
        ),
    ),
    (booking.Booking, "row", (("ZERO if self.adopts else self.amount", "self.amount"), ("self.credit", "ZERO"))),
    (decide, "decide", (("balance(order.total, payments", "balance(order.total, order.payments"),)),
    (decide, "_facts", (("> ZERO", ">= ZERO"), ("balance.missing", "balance.cost"))),
)
"""By place and name of a function, texts in its source and their wrong replacements."""

LAMBDAS: tuple[tuple[str, Callable[[Order, Any], object], str], ...] = (
    ("SOME_MONEY", lambda order, facts: facts["amount"] >= 0, "at least 0"),
    ("AMOUNT", lambda order, facts: facts["amount"] >= 0, "at least 0"),
    ("BOUND", lambda order, facts: facts["bound"] is None or facts["amount"] < facts["bound"], "less than the bound"),
    ("BOUND", lambda order, facts: True, "no bound"),
    ("CREDIT", lambda order, facts: facts.get("credit") is not True or facts["amount"] < order.cost, "less"),
    ("CREDIT", lambda order, facts: True, "no bound"),
    ("CREDIT", lambda order, facts: facts.get("credit") is not True or facts["amount"] <= order.total, "of the total"),
    ("CREDIT", lambda order, facts: facts["amount"] <= order.cost, "of every refund"),
    ("COVERED", lambda order, facts: facts["outstanding"], "the contrary"),
    ("COVERED", lambda order, facts: not order.outstanding, "before the entry"),
    ("ONLINE", lambda order, facts: True, "always"),
    ("ONLINE", lambda order, facts: order.held_online > 0, "before the entry"),
    ("MARKED", lambda order, facts: True, "always"),
    ("MARKED", lambda order, facts: not order.invoiced_by_payment, "the contrary"),
    ("ONE_PAYMENT", lambda order, facts: True, "always"),
    ("EXPLAINED", lambda order, facts: facts["comment"].strip(), "of a gateway too"),
    ("EXPLAINED", lambda order, facts: True, "always"),
    ("NO_CAPTURE", lambda order, facts: True, "always"),
    ("NO_CAPTURE", lambda order, facts: any(row.kind != "captured" for row in order.payments), "the contrary"),
    ("NO_MONEY", lambda order, facts: True, "always"),
    ("NO_MONEY", lambda order, facts: order.held <= 0, "no money held"),
)
"""By name of a guard, a wrong test and its meaning."""

SIGNS: tuple[tuple[str, Any], ...] = (
    ("HELD", ledger.HELD),
    *((f"_LEFT[{kind}]", left) for kind, left in booking._LEFT.items()),
)
"""The tables of signs."""


def formula_mutants() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each mutant of a formula: its label, and a context that applies it."""
    for place, name, changes in (*PARTS, *goods_mutants.PARTS):
        function = _function(place, name)
        for number, (old, new) in enumerate(changes, start=1):
            label = f"{name} {number}: {old.strip()!r} -> {new.strip()!r}"
            yield label, _in_force(function, _changed(function, old, new))
    for name, test, meaning in (*LAMBDAS, *goods_mutants.LAMBDAS):
        guard = getattr(shop, name)
        yield f"{name}: {meaning}", _in_force(guard.test, test.__code__)
    for name, signs in SIGNS:
        for kind in signs:
            yield f"{name}: {kind} the other way", _with_sign(signs, kind, not signs[kind])
            if name != "HELD":
                yield f"{name}: without {kind}", _with_sign(signs, kind, None)


def in_force(place: Any, name: str, old: str, new: str) -> Callable[[], Any]:
    """Return a context that replaces a text in the source of a function."""
    function = _function(place, name)
    return _in_force(function, _changed(function, old, new))


def _function(place: Any, name: str) -> FunctionType:
    """Return a function, a method, or the getter of a property."""
    found = inspect.getattr_static(place, name)
    function = found.fget if isinstance(found, property) else found
    assert isinstance(function, FunctionType)
    return function


def _changed(function: FunctionType, old: str, new: str) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function)).removeprefix("@property\n")
    assert old in source, f"{function.__qualname__} has no {old!r}"
    compiled: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + source.replace(old, new, 1), function.__globals__, compiled)  # noqa: S102
    code: CodeType = compiled[function.__name__].__code__
    return code


def _in_force(function: Any, code: CodeType) -> Callable[[], Any]:
    @contextmanager
    def change() -> Iterator[None]:
        right = function.__code__
        function.__code__ = code
        try:
            yield
        finally:
            function.__code__ = right

    return change


def _with_sign(signs: Any, kind: str, sign: bool | None) -> Callable[[], Any]:
    @contextmanager
    def change() -> Iterator[None]:
        right = dict(signs)
        if sign is None:
            del signs[kind]
        else:
            signs[kind] = sign
        try:
            yield
        finally:
            signs.clear()
            signs.update(right)

    return change

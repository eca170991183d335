"""The receiver of a gateway's callbacks. It records each event once, in any order of arrival.

It checks the signature over the raw bytes and its time, then the shape of the body, then the mode and the account. Then
the recorder finds the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http.client import HTTPException
from typing import Any

from order_fsm import validation
from order_fsm.errors import InvalidInput, StoreError
from order_fsm.ledger import PAYMENT_KINDS
from order_fsm.orders.service import Orders
from order_fsm.payments.events import Ignore, Parser, PaymentEvent, TryAgain, standard_event
from order_fsm.payments.outcome import Outcome, combined, ignored, parked, rejected
from order_fsm.payments.payload import Headers, InvalidCallback, decode, explained, normalised
from order_fsm.payments.recorder import Recorder
from order_fsm.payments.signatures import Verified, Verifier, verified

_PASSING = (TryAgain, OSError, HTTPException, StoreError)
"""Exceptions of a verifier or parser after which the gateway must send the callback again."""

_SEQUENCE = {"refunded": 1, "reversed": 1, "refund_failed": 2, "restored": 2}
"""The sequence in which `reconcile` records the kinds of events of one time. All others come first."""


class PaymentReceiver:
    """Receives the callbacks of one gateway. One instance serves all threads."""

    def __init__(
        self,
        orders: Orders,
        verifier: Verifier,
        parse: Parser = standard_event,
        clock: Callable[[], datetime] | None = None,
        *,
        live: bool | None = True,
        account: str | None = None,
        provider: str | None = None,
        ignore_unknown_orders: bool = False,
        triggers: Mapping[str, str] | None = None,
    ) -> None:
        """Create the receiver.

        Args:
            orders: records the payments.
            verifier: accepts the gateway's bodies and rejects all others.
            parse: returns the events of a decoded JSON body, or of one of `Verified.items`, and the signed headers.
            clock: returns the current time with a time zone, for the times of signatures. By default the clock of
                `orders`.
            live: whether real money moves. Events that report the other mode are ignored. Give False in a test shop.
                None accepts both modes.
            account: the shop's account at the gateway. Events that report another one are ignored. None accepts all.
            provider: the name of the gateway, for events that do not have it.
            ignore_unknown_orders: whether events about no order of this shop are ignored, for an endpoint that several
                shops share. Otherwise the gateway repeats them for a day.
            triggers: triggers of the shop's own workflow for kinds of events that move no money, such as
                `{"authorised": "authorise"}`.

        Raises:
            InvalidInput: if an argument has the wrong type, or a kind or trigger is unknown.
        """
        if not isinstance(orders, Orders):
            raise InvalidInput(f"orders must be Orders(store), not {validation.shown(orders)}")
        if isinstance(verifier, type) or not callable(getattr(verifier, "verify", None)):
            raise InvalidInput(
                f"verifier must have a method verify, such as StripeSignature(secret), not {_kind(verifier)}"
            )
        validation.function_of(verifier.verify, "verify", "body", "headers", "now")
        validation.function_of(parse, "parse", "data", "headers")
        if clock is not None:
            validation.clock(clock)
        self._verifier = verifier
        self._parse = parse
        self._clock = orders.now if clock is None else clock
        self._live = None if live is None else validation.flag(live, "live")
        self._account = validation.optional_name(account, "account")
        self._recorder = Recorder(
            orders,
            {**_money_triggers(orders), **_own_triggers(orders, triggers)},
            validation.optional_name(provider, "provider"),
            ignores_unknown=validation.flag(ignore_unknown_orders, "ignore_unknown_orders"),
        )

    def receive(self, body: bytes, headers: Headers) -> Outcome:
        """Verify a callback and record its events. Respond with `http_status`.

        Args:
            body: the raw bytes of the request.
            headers: a mapping with names in any case, pairs of str or bytes (ASGI), or a WSGI environ.

        Raises:
            InvalidInput: if `body` is not bytes, `headers` has another form, or the clock's time has no time zone. No
                content of a request raises. Exceptions of the shop's own guards propagate.
        """
        if not isinstance(body, bytes):
            raise InvalidInput(f"body must be the raw bytes of the request, not {type(body).__name__}")
        given = normalised(headers)
        now = validation.instant(self._clock(), "the time of the clock")
        try:
            signed = _checked(self._verifier.verify(body, given, now))
        except _PASSING as error:
            return parked(f"the signature cannot be verified now ({_fault(error)})")
        except Exception as error:
            why = str(error) if isinstance(error, InvalidCallback) else _name(error)
            return rejected(401, f"the signature is not valid ({why})")
        try:
            items = (decode(body),) if signed.items is None else signed.items
        except Exception as error:
            return rejected(400, f"the body is not JSON ({_name(error)})")
        return combined([outcome for item in items for outcome in self._of_item(item, signed.headers)])

    def record(self, *events: PaymentEvent) -> Outcome:
        """Record events that the shop fetched from the gateway, as `receive` does after verification.

        Each is recorded once, whether its callback came, comes later, or never comes.

        Args:
            events: in any order.

        Raises:
            InvalidInput: if an event is not a PaymentEvent.
        """
        return combined([self._of_event(event) for event in _checked_events(events)])

    def reconcile(self, fetched: Iterable[PaymentEvent]) -> Outcome:
        """Record a gateway's list of events, to repair missed callbacks.

        A fact that needs another one of the list is recorded after it.

        The events are recorded by `occurred_at`, or in the given sequence if one has no time.

        Args:
            fetched: events that the shop fetched with its own key.

        Returns:
            The outcome of each event, in the sequence in which they were recorded. It is `parked` if an event still
            waits for its order or an earlier fact.

        Raises:
            InvalidInput: if an event is not a PaymentEvent.
        """
        settled: list[Outcome] = []
        waiting = _checked_events(fetched)
        times = {event.occurred_at for event in waiting}
        if None not in times:  # A refund's credit depends on the facts before it.
            waiting.sort(key=lambda event: (event.occurred_at, _SEQUENCE.get(event.kind, 0)))
        while True:
            tried = [(event, self._of_event(event)) for event in waiting]
            settled += [outcome for _, outcome in tried if outcome.outcome != "parked"]
            still = [event for event, outcome in tried if outcome.outcome == "parked"]
            if len(still) in (0, len(waiting)):
                return combined([*settled, *[outcome for _, outcome in tried if outcome.outcome == "parked"]])
            waiting = still

    def _of_item(self, item: Any, headers: Mapping[str, str]) -> Iterable[Outcome]:
        try:
            parsed = _parsed(self._parse(item, headers))
        except _PASSING as error:
            return (parked(f"the body cannot be read now ({_fault(error)})"),)
        except Exception as error:
            return (rejected(400, f"the body is not a payment event ({explained(error, item)})"),)
        if isinstance(parsed, Ignore):
            return (ignored(parsed.reason),)
        return [self._of_event(event) for event in parsed]

    def _of_event(self, event: PaymentEvent) -> Outcome:
        if None not in (self._live, event.live) and event.live != self._live:
            mode = "live" if event.live else "test"
            return ignored(f"the event is of {mode} mode, and the receiver has live={self._live}")
        if None not in (self._account, event.account) and event.account != self._account:
            return ignored("the event is about another account")
        return self._recorder.record(event)


def _checked_events(events: Iterable[PaymentEvent]) -> list[PaymentEvent]:
    if not isinstance(events, Iterable):
        raise InvalidInput(f"events must be a list of PaymentEvents, not {type(events).__name__}")
    checked = list(events)
    for event in checked:
        if not isinstance(event, PaymentEvent):
            raise InvalidInput(f"events must be PaymentEvents, not {type(event).__name__}")
    return checked


def _money_triggers(orders: Orders) -> dict[str, str]:
    found = {kind: orders.workflow.trigger_of(kind) for kind in PAYMENT_KINDS}
    return {kind: trigger for kind, trigger in found.items() if trigger is not None}


def _own_triggers(orders: Orders, triggers: object) -> dict[str, str]:
    if triggers is None:
        return {}
    if not isinstance(triggers, Mapping):
        raise InvalidInput(f"triggers must be a mapping of kinds to triggers, not {validation.shown(triggers)}")
    known = orders.workflow.fired_triggers
    checked: dict[str, str] = {}
    for kind, trigger in triggers.items():
        if kind in PAYMENT_KINDS:
            raise InvalidInput(f"the trigger of {kind!r} is the one whose rule has ledger={kind!r}: leave it out")
        PaymentEvent(kind, reference="-")  # Raises for unknown kinds.
        if trigger not in known:
            hint = validation.did_you_mean(trigger, known) if isinstance(trigger, str) else ""
            raise InvalidInput(
                f"the trigger of {kind!r} must be one of {', '.join(known)}, not {validation.shown(trigger)}{hint}"
            )
        if orders.workflow.ledger_of(trigger) is not None:
            raise InvalidInput(f"{kind!r} moves no money, so it cannot fire {trigger!r}, which records money")
        checked[kind] = trigger
    return checked


def _kind(verifier: object) -> str:
    """Return the type of a value that should be a verifier. A string is not shown, because it may be the secret."""
    return validation.shown(verifier) if isinstance(verifier, type) else type(verifier).__name__


def _name(error: Exception) -> str:
    return type(error).__name__


def _fault(error: Exception) -> str:
    """Return the reason of a `TryAgain`, which is for the log, or the type of another exception."""
    reason = getattr(error, "reason", "") if isinstance(error, TryAgain) else ""
    return reason or _name(error)


def _checked(answer: object) -> Verified:
    if isinstance(answer, TryAgain):
        raise answer
    return verified(answer)


def _parsed(answer: object) -> Ignore | tuple[PaymentEvent, ...]:
    """Return the events of a parser's result.

    Raises:
        TryAgain: if the result is `TryAgain`.
        InvalidCallback: if the result is not valid, or two events have one id.
    """
    if isinstance(answer, TryAgain):
        raise answer
    if isinstance(answer, Ignore):
        return answer
    if isinstance(answer, PaymentEvent):
        return (answer,)
    validation.close_unfinished(answer)
    if not isinstance(answer, Sequence) or not all(isinstance(event, PaymentEvent) for event in answer):
        raise InvalidCallback(f"a parser must return PaymentEvents, Ignore or TryAgain, not {type(answer).__name__}")
    ids = [event.id for event in set(answer) if event.id is not None]
    if len(set(ids)) < len(ids):
        raise InvalidCallback("two events of one body have the same id: give each a unique id")
    return tuple(answer)

"""Constructors name a wrong argument and the expected form."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from order_fsm import (
    Guard,
    InvalidInput,
    Line,
    Orders,
    Rule,
    Status,
    When,
    Workflow,
    WorkflowError,
    shop_workflow,
)
from order_fsm.payments import HmacSignature, PaymentReceiver, StandardWebhooks, StripeSignature
from order_fsm.verify import EveryChange, EveryOrder, EveryStep, Never, assert_proof, prove
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.mail import Mailer
from order_fsm_adapters.memory import MemoryStore

ORDERS = Orders(MemoryStore())
SIGNATURE = StripeSignature("a secret")
connect = partial(smtplib.SMTP, "localhost")
# The type hints forbid these calls.
receiver: Any = PaymentReceiver
mailer: Any = Mailer
guard: Any = Guard
rule: Any = Rule
status: Any = Status
proof: Any = prove
line: Any = Line
policy: Any = shop_workflow
json_store: Any = JsonStore
hmac_signature: Any = HmacSignature
every_order: Any = EveryOrder
every_step: Any = EveryStep
every_change: Any = EveryChange
audit: Any = ORDERS.audit


def holds(*_: object) -> bool:
    return True


async def unfinished(*_: object) -> bool:
    return False


class Unfinished:
    """A callable object that is async."""

    async def __call__(self, *_: object) -> bool:
        return False


def with_more(function: Any) -> Any:
    """Decorate a function of (order, facts, more)."""

    @wraps(function)
    def decorated(order: object, facts: object) -> object:
        return function(order, facts, 1)

    return decorated


def workflow(**parts: Any) -> Any:
    table = {"statuses": [Status("a")], "rules": [Rule("tick", forbids={"a"}, adds={"a"})]}
    return Workflow(**{**table, "holds_stock": When(), "counts": When(), "queues": {}, **parts})


def extended(**parts: Any) -> Any:
    return shop_workflow().extend(**parts)


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "a store as orders": (
        lambda: receiver(MemoryStore(), SIGNATURE),
        r"orders must be Orders\(store\), not MemoryStore",
    ),
    "text as orders": (lambda: receiver("x", SIGNATURE), r"orders must be Orders\(store\), not 'x'"),
    "the secret as verifier": (lambda: receiver(ORDERS, "secret"), "verifier must have a method verify, .* not str$"),
    "a class as verifier": (
        lambda: receiver(ORDERS, StripeSignature),
        "verifier must .* not the class StripeSignature",
    ),
    "a parser of one argument": (
        lambda: receiver(ORDERS, SIGNATURE, parse=lambda data: None),
        r"parse must be a function of \(data, headers\): this one takes other arguments",
    ),
    "an allow of two arguments": (
        lambda: Orders(MemoryStore(), allow=lambda actor, order: True),  # type: ignore[arg-type, misc]
        r"allow must be a function of \(actor, action, order\): ",
    ),
    "text as parse": (lambda: receiver(ORDERS, SIGNATURE, parse="x"), "parse must be a function"),
    "a number as clock": (lambda: receiver(ORDERS, SIGNATURE, clock=5), "clock must be a function"),
    "an async clock": (lambda: Orders(MemoryStore(), clock=unfinished), "clock must be a plain function of"),  # type: ignore[arg-type]
    "a clock with an argument": (
        lambda: receiver(ORDERS, SIGNATURE, clock=lambda zone: None),
        r"clock must be a function of \(\): this one takes other arguments",
    ),
    "no secret": (StripeSignature, "at least one secret"),
    "an empty secret": (lambda: StripeSignature("a", ""), "secret, a string that is not empty"),
    "half a surrogate pair as secret": (
        lambda: StripeSignature("a\udc80"),
        "^a secret must be valid Unicode text; it holds half of a surrogate pair$",
    ),
    "half a surrogate pair as secret of an HMAC": (
        lambda: hmac_signature("a\udc80", header="x"),
        "^a secret must be valid Unicode text",
    ),
    "None as prefix of an HMAC": (
        lambda: hmac_signature("a", header="x", prefix=None),
        "prefix must be a string, not NoneType",
    ),
    "a list as encoding of an HMAC": (
        lambda: hmac_signature("a", header="x", encoding=["hex"]),
        "encoding must be hex or base64, not list",
    ),
    "a list as algorithm of an HMAC": (
        lambda: hmac_signature("a", header="x", algorithm=["sha256"]),
        "algorithm must be sha1, sha256, sha384 or sha512, not list",
    ),
    "no secret of a webhook": (StandardWebhooks, "at least one secret"),
    "a secret that is not base64": (lambda: StandardWebhooks("not $ base64"), "a secret must be base64"),
    "a host as connect": (lambda: mailer(ORDERS, "localhost", "a@b.c", "a@b.c", "shop"), "connect must be a function"),
    "an async connect": (
        lambda: mailer(ORDERS, unfinished, "a@b.c", "a@b.c", "shop"),
        r"connect must be a plain function of \(\), not an async one",
    ),
    "no address as sender": (
        lambda: mailer(ORDERS, connect, "nobody", "a@b.c", "shop"),
        "sender: email must be a bare address",
    ),
    "None as merchant": (lambda: mailer(ORDERS, connect, "a@b.c", None, "shop"), "merchant: email must be a string"),
    "an empty shop": (lambda: mailer(ORDERS, connect, "a@b.c", "a@b.c", ""), "shop must not be empty"),
    "no folder of templates": (
        lambda: mailer(ORDERS, connect, "a@b.c", "a@b.c", "shop", templates="/nowhere"),
        "templates must be a folder, not '/nowhere'",
    ),
    "text as needs": (
        lambda: rule("pay", needs="sent"),
        r"^needs must be a set of names such as \{'sent'\}, not 'sent'",
    ),
    "a form as adds": (lambda: rule("pay", adds={"sent": True}), "^adds must be a set of names"),
    "bytes as needs": (lambda: rule("pay", needs=b"sent"), "^needs must be a set of names .* not bytes"),
    "a schema as facts": (lambda: rule("pay", facts={"colour": str}), "^facts must be a set of names"),
    "None as forbids": (lambda: rule("pay", forbids=None), "^forbids must be a set of names"),
    "one guard as guards": (lambda: rule("pay", guards=Guard("c", "m", holds)), "guards must be a tuple of Guard"),
    "a function as one of the guards": (
        lambda: rule("pay", guards=(holds,)),
        r"guards must be a tuple of Guard such as \(guard,\), not of function",
    ),
    "a number as announces": (lambda: rule("pay", announces=3), "announces must be a string, not int 3"),
    "an unknown ledger": (lambda: rule("pay", ledger="capture"), "ledger must be one of captured, "),
    "text as lapses": (lambda: rule("pay", lapses="no"), "lapses must be True or False"),
    "a number as trigger": (lambda: rule(3), "trigger must be a string, not int 3"),
    "a number as tick": (lambda: status("a", tick=3), "tick must be a string, not int 3"),
    "None as name of a status": (lambda: status(None), "name must be a string"),
    "True as test": (lambda: guard("c", "m", True), r"test must be a function of \(order, facts\), not bool True"),
    "an async object as test": (lambda: guard("c", "m", Unfinished()), "test must be a plain function"),
    "an async test": (lambda: guard("c", "m", unfinished), "test must be a plain function .*, not an async one"),
    "a test of one argument": (
        lambda: guard("c", "m", lambda order: True),
        r"test must be a function of \(order, facts\): ",
    ),
    "None as code": (lambda: guard(None, "m", holds), "code must be a string"),
    "None as message": (lambda: guard("c", None, holds), "message must be a string"),
    "a blank message": (lambda: guard("c", " ", holds), "message must not be blank: a refusal shows it"),
    "text as policy": (lambda: guard("c", "m", holds, policy="yes"), "policy must be True or False"),
    "text as condition": (lambda: When(has="sent"), r"must be a set of names such as \{'sent'\}, not 'sent'"),
    "text as status": (lambda: workflow(statuses=["a"]), r"statuses must be a list of Status\(...\), not of 'a'"),
    "one status as statuses": (lambda: workflow(statuses=Status("a")), "statuses must be a list of Status"),
    "None as rules": (lambda: workflow(rules=None), "rules must be a list of Rule"),
    "a set as holds_stock": (lambda: workflow(holds_stock={"a"}), r"holds_stock must be a condition such as When\("),
    "None as counts": (lambda: workflow(counts=None), "counts must be a condition"),
    "a list as queues": (lambda: workflow(queues=["a"]), "queues must be a dict such as"),
    "a set as queue": (lambda: workflow(queues={"a": {"b"}}), "queue 'a' must be a condition"),
    "a number as name of a queue": (lambda: workflow(queues={3: When()}), "the name of a queue must be a string"),
    "one rule to extend": (lambda: extended(rules=Rule("x")), "rules must be a list of Rule"),
    "a list of queues to extend": (lambda: extended(queues=["x"]), "queues must be a dict"),
    "a set as forbids": (lambda: extended(forbids={"pay"}), "forbids must be a dict"),
    "an empty set as counts": (lambda: extended(counts=set()), "counts must be a condition"),
    "a function as workflow to prove": (
        lambda: proof(shop_workflow, Never(has={"paid"})),
        "workflow must be a Workflow",
    ),
    "a class as claim": (lambda: proof(shop_workflow(), Never), "a claim must be .* not the class Never"),
    "a list as claim": (
        lambda: proof(shop_workflow(), [Never(has={"paid"})]),
        r"not list: write prove\(workflow, \*claims",
    ),
    "text as test of orders": (
        lambda: every_order("x", "y"),
        r"test must be a function of \(world\), not 'y'",
    ),
    "an async test of orders": (
        lambda: every_order("x", unfinished),
        r"test must be a plain function of \(world\), not an async one",
    ),
    "an async test of steps": (
        lambda: every_step("x", unfinished),
        r"test must be a plain function of \(step\), not an async one",
    ),
    "a test of changes without an argument": (
        lambda: every_change("x", lambda: True),
        r"test must be a function of \(step\): this one takes other arguments",
    ),
    "a number as progress": (lambda: audit(5), r"progress must be a function of \(done, number\), not int 5"),
    "an async progress": (lambda: audit(unfinished), r"progress must be a plain function of \(done, number\)"),
    "a progress of one argument": (
        lambda: audit(lambda done: None),
        r"progress must be a function of \(done, number\): this one takes other arguments",
    ),
    "no claim": (lambda: assert_proof(shop_workflow()), "at least one claim"),
    "text as quantity": (lambda: line("TEAPOT", "2"), "quantity must be a whole number, not '2'"),
    "sku and quantity exchanged": (lambda: line(2, "TEAPOT"), "sku must be a string, not int 2"),
    "an unknown policy": (lambda: policy("later"), "dispatch must be one of on_account, prepaid, cod"),
    "None as folder": (lambda: json_store(None), "folder must be the path of a folder"),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_argument_is_named(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(InvalidInput, match=message):
        call()


def test_message_does_not_show_the_secret() -> None:
    with pytest.raises(InvalidInput) as caught:
        receiver(ORDERS, "whsec_top")
    assert "whsec_top" not in str(caught.value)


def test_class_as_claim_fails_an_assertion_too() -> None:
    claim: Any = Never
    with pytest.raises(InvalidInput, match="not the class Never"):
        assert_proof(shop_workflow(), claim)


def test_every_unused_status_of_an_extension_is_named() -> None:
    with pytest.raises(WorkflowError, match=r"status 'gift' is never ticked.*\n.*status 'late' is never ticked"):
        extended(statuses=[Status("gift"), Status("late")])


def test_store_does_not_replace_a_file(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    with pytest.raises(Exception, match=r"notes\.txt"):
        JsonStore(file)
    assert file.read_text() == "hello"


@pytest.mark.parametrize("path", [5, None, "", "sqlite:///shop.db"])
def test_path_of_a_database_is_checked(path: Any) -> None:
    from order_fsm_adapters.sqlite import SqliteStore

    with pytest.raises(InvalidInput, match="path"):
        SqliteStore(path)


def test_decorated_function_counts_by_its_own_arguments() -> None:
    assert guard("c", "m", with_more(lambda order, facts, more: more)).holds(None, {})

"""The example of a shop and a gateway: its output, and behaviour that the output does not show.

After a change of the output, RENEW_GOLDEN=1 python -m pytest tests/test_payment_callback.py rewrites the golden file.
Review the difference before the commit.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from examples.payment_callback.gateway import Answer, Gateway, Shop, new_secret, running_shop
from order_fsm import Entry, Orders
from order_fsm_adapters.sqlite import SqliteStore

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "payment_callback"
GOLDEN = Path(__file__).parent / "golden" / "examples" / "payment_callback.txt"
SECRET = "whsec_c2VjcmV0"  # noqa: S105
PATIENCE = 120.0
"""Seconds after which a running script counts as stuck."""


def run(*command: object, cwd: Path, modules: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in another process, from a folder outside of the checkout.

    Args:
        command: the script and its arguments.
        cwd: the folder.
        modules: a folder that is first on the module path.
        more: further environment variables.
    """
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    places = [*([] if modules is None else [modules]), ROOT, ROOT / "adapters"]
    environment |= {
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "PYTHONWARNINGS": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
        # A separate folder for temporary files shows whether the script leaves one.
        "TMPDIR": str(cwd),
    }
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


def assert_fails(done: subprocess.CompletedProcess[str], line: str) -> None:
    """Check that a process ended with code 2, this line on stderr, and no output."""
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line + "\n")


def without(module: str, folder: Path) -> Path:
    """Return a folder for the module path that hides one module."""
    folder.mkdir()
    script = f"raise ModuleNotFoundError('it is not installed', name={module!r})"
    (folder / f"{module}.py").write_text(script, encoding="utf-8")
    return folder


class Example:
    """A running shop and its gateway, with an order over 49.90 GBP.

    Attributes:
        order_id: the id of that order.
    """

    _numbers = count(1)

    def __init__(self, shop: Shop, gateway: Gateway, folder: Path) -> None:
        self.shop = shop
        self.gateway = gateway
        self.order_id = f"order-{next(self._numbers)}"
        self._folder = folder
        assert shop.check_out(self.order_id).status == 201

    def captures(self, reference: str, amount: str = "49.90", currency: str = "GBP") -> dict[str, Any]:
        """Capture a payment of the order at the gateway."""
        return self.gateway.capture(self.order_id, reference, amount, currency)

    def reports(self, event: dict[str, Any]) -> Answer:
        """Send the webhook."""
        return self.shop.webhook(self.gateway.sign(f"evt of {self.order_id}", event))

    def returns(self, reference: str) -> Answer:
        """Return with the browser."""
        return self.shop.thanks(self.order_id, reference=reference)

    def history(self) -> tuple[Entry, ...]:
        """Return the entries of the order after its creation."""
        with closing(SqliteStore(self._folder / "shop.db")) as store:
            return Orders(store).history(self.order_id)[1:]

    def recorded(self) -> list[tuple[str, str | None]]:
        """Return trigger and author of these entries."""
        return [(entry.trigger, entry.by) for entry in self.history()]


class Running(NamedTuple):
    shop: Shop
    gateway: Gateway
    folder: Path


@contextmanager
def running(folder: Path, api: str | None = None) -> Iterator[Running]:
    """A running shop and its gateway. `api` replaces the address of the gateway."""
    secret = new_secret()
    gateway = Gateway(secret)
    with (
        gateway.open(),
        running_shop(f"sqlite:{folder / 'shop.db'}", secret, api or gateway.address, folder / "shop.log") as shop,
    ):
        yield Running(shop, gateway, folder)


@pytest.fixture(scope="module", autouse=True)
def shops_of_this_checkout() -> Iterator[None]:
    """Run the shops on the code of this checkout, not on an installed one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "adapters")]))
        yield


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("shop")) as both:
        yield both


@pytest.fixture
def example(both: Running) -> Example:
    return Example(*both)


def test_it_prints_its_golden_file_and_leaves_no_files(tmp_path: Path) -> None:
    done = run(EXAMPLE / "gateway.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.write_text(done.stdout, encoding="utf-8")
    assert done.stdout == GOLDEN.read_text(encoding="utf-8")
    assert not list(tmp_path.iterdir())


def test_the_first_redirect_pays_and_the_webhook_is_a_duplicate(example: Example) -> None:
    event = example.captures("ch_1")
    assert example.returns("ch_1").content["state"] == "sent+invoiced+paid"
    assert example.reports(event).content["outcome"] == "duplicate"
    assert example.recorded() == [("pay", "redirect")]


def test_the_first_webhook_pays_and_the_redirect_only_shows_the_order(example: Example) -> None:
    assert example.reports(example.captures("ch_1")).content["outcome"] == "applied"
    for _ in range(2):
        assert example.returns("ch_1").content["captured"] == "49.90"
    assert example.recorded() == [("pay", "gateway")]


@pytest.mark.parametrize("amount", ["49.90", "24.95", "60.00"])
def test_the_redirect_records_a_payment_as_the_webhook_would_have(amount: str, both: Running) -> None:
    told, returned = Example(*both), Example(*both)
    told.reports(told.captures("ch_1", amount))
    returned.captures("ch_1", amount)
    returned.returns("ch_1")
    (by_webhook,), (by_redirect,) = told.history(), returned.history()
    assert by_redirect == replace(by_webhook, by="redirect", key=None, at=by_redirect.at)


@pytest.mark.parametrize(
    "reference",
    [
        "ch_made_up",
        "ch_0",
        "../charges/ch_0",
        "ch_0?order_id=order-1",
        "ch_0\r\nX-Order: order-1",
        "%63h_0",
        "\N{SNOWMAN}\0",
        "x" * 5000,
    ],
)
def test_no_invented_reference_of_the_browser_moves_money(reference: str, example: Example) -> None:
    """The amount in its address does not either."""
    example.gateway.capture("another order", "ch_0", "49.90")
    answer = example.shop.thanks(example.order_id, reference=reference, amount="49.90", status="captured")
    assert (answer.status, answer.content["state"], answer.content["captured"]) == (200, "unfinished", "0.00")
    assert example.recorded() == []


def test_a_reference_with_special_characters_is_quoted(example: Example) -> None:
    example.captures("ch/1 \N{SNOWMAN}?#%41")
    assert example.returns("ch/1 \N{SNOWMAN}?#%41").content["captured"] == "49.90"


def test_the_redirect_records_no_payment_that_the_gateway_has_not_captured(example: Example) -> None:
    example.captures("ch_1")
    example.gateway.charges["ch_1"]["status"] = "failed"
    assert example.returns("ch_1").content["captured"] == "0.00"
    assert example.recorded() == []


def test_the_redirect_shows_the_order_if_its_payment_cannot_be_recorded(example: Example) -> None:
    """The webhook leaves a note for the shop."""
    event = example.captures("ch_1", currency="XBT")
    answer = example.returns("ch_1")
    assert (answer.status, answer.content["state"]) == (200, "unfinished")
    assert example.recorded() == []
    assert example.reports(event).content["outcome"] == "recorded"
    assert example.recorded() == [("comment", "gateway")]


def test_an_unreachable_gateway_does_not_hide_the_order_from_the_customer(tmp_path: Path) -> None:
    """The page shows the current order, and the webhook pays it."""
    # A bound socket that does not listen refuses connections.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with running(tmp_path, "{}:{}".format(*nobody.getsockname())) as both:
            example = Example(*both)
            event = example.captures("ch_1")
            answer = example.returns("ch_1")
            assert (answer.status, answer.content["state"]) == (200, "unfinished")
            assert example.reports(event).content["outcome"] == "applied"
    assert (tmp_path / "shop.log").read_text(encoding="utf-8") == (
        "WARNING shop: the gateway did not answer (ConnectionRefusedError): its webhook will report the payment\n"
    )


def test_a_missing_order_has_no_page(example: Example) -> None:
    example.gateway.capture("no order", "ch_1", "49.90")
    assert example.shop.thanks("no order", reference="ch_1").status == 404
    assert example.shop.thanks("x" * 300).status == 404


def test_an_order_number_is_given_once(example: Example) -> None:
    assert example.shop.check_out(example.order_id).status == 409
    assert example.shop.check_out("x" * 300).status == 400


def test_missing_flask_is_named_with_its_command(tmp_path: Path) -> None:
    modules = without("flask", tmp_path / "modules")
    line = "shop.py: error: flask is missing: pip install '.[examples]' in the checkout"
    assert_fails(run(EXAMPLE / "shop.py", "sqlite:shop.db", "--gateway", "x", cwd=tmp_path, modules=modules), line)
    assert_fails(run(EXAMPLE / "gateway.py", cwd=tmp_path, modules=modules), line)
    assert list(tmp_path.iterdir()) == [modules]


def test_missing_standardwebhooks_is_named_with_its_command(tmp_path: Path) -> None:
    modules = without("standardwebhooks", tmp_path / "modules")
    shop = run(EXAMPLE / "shop.py", "sqlite:shop.db", "--gateway", "x", cwd=tmp_path, modules=modules)
    assert_fails(shop, "shop.py: error: standardwebhooks is missing: pip install '.[examples]' in the checkout")
    gateway = run(EXAMPLE / "gateway.py", cwd=tmp_path, modules=modules)
    assert_fails(gateway, "gateway.py: error: standardwebhooks is missing: pip install '.[examples]' in the checkout")
    assert list(tmp_path.iterdir()) == [modules]


@pytest.mark.parametrize(
    ("store", "secret", "said"),
    [
        ("sqlite:shop.db", "", "WEBHOOK_SECRET"),
        ("sqlite:shop.db", "whsec_\N{SNOWMAN}", "base64"),
        ("memory", SECRET, "STORE must be sqlite:PATH or json:FOLDER, not 'memory'"),
        ("sqlite:", SECRET, "STORE must be"),
        ("json:nowhere/shop", SECRET, "nowhere"),
    ],
)
def test_a_shop_that_cannot_start_prints_the_reason_and_creates_nothing(
    store: str, secret: str, said: str, tmp_path: Path
) -> None:
    done = run(EXAMPLE / "shop.py", store, "--gateway", "x", cwd=tmp_path, WEBHOOK_SECRET=secret)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("shop.py: error: ")
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_shop_ends_with_its_input(tmp_path: Path) -> None:
    """It therefore does not outlive the program that started it."""
    done = run(EXAMPLE / "shop.py", "json:shop", "--gateway", "x", cwd=tmp_path, WEBHOOK_SECRET=SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("127.0.0.1:")

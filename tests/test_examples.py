"""Every example runs in a separate process and prints the content of its golden file.

If the output of an example changes, RENEW_GOLDEN=1 python -m pytest tests/test_examples.py rewrites the golden files.
Read the difference before the commit.
"""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from order_fsm import Entry, Orders
from order_fsm.store import Store
from order_fsm_adapters.json_files import JsonStore
from order_fsm_adapters.sqlite import SqliteStore

from . import servers

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
GOLDEN = Path(__file__).parent / "golden" / "examples"
REAL_ORDERS = ROOT.parent / "shared" / "data"
REPLAY = EXAMPLES / "replay_orders.py"
STORES = ("memory", "sqlite:orders.db", "json:orders")

PASSED_TESTS = re.compile(r"^[.s]+ +\[ *[0-9]+%\]\n", re.MULTILINE)
"""A progress line of pytest with passed or skipped tests."""

PRINTING = (
    "quickstart",
    "invoice_customer",
    "cancel_and_restock",
    "admin_form",
    "custom_rules",
    "custom_store",
    "embed_in_a_shop",
    "flask_sqlalchemy_shop/shop",
    "fastapi_shop/shop",
    "django_shop/shop",
    "verify_rules/parcels",
)

ORDERS = """order_id,customer_id,status,purchased_at,approved_at,carrier_at,delivered_at
o-delivered,ann,delivered,2020-01-01T10:00:00,2020-01-01T11:00:00,2020-01-02T10:00:00,2020-01-05T10:00:00
o-at-once,ann,shipped,2020-01-01T10:00:00,2020-01-01T10:00:00,2020-01-01T10:00:00,
o-carrier-first,ben,delivered,2020-01-01T12:00:00,2020-01-03T11:00:00,2020-01-02T10:00:00,2020-01-05T10:00:00
o-carrier-before-purchase,ben,delivered,2020-01-02T12:00:00,2020-01-02T13:00:00,2020-01-02T09:00:00,
o-invoiced,ben,invoiced,2020-01-01T10:00:00,2020-01-04T11:00:00,,
o-processing,cy,processing,2020-01-01T10:00:00,2020-01-04T11:00:00,,
o-unpaid,cy,processing,2020-01-06T10:00:00,,,
o-unavailable,dan,unavailable,2020-01-01T10:00:00,2020-01-01T11:00:00,,
o-cancelled,dan,canceled,2020-01-01T10:00:00,,,
o-cancelled-late,dan,canceled,2020-01-01T10:00:00,2020-01-01T11:00:00,2020-01-02T10:00:00,
"""
PAYMENTS = """order_id,sequence,type,installments,value
o-delivered,1,voucher,1,10.5
o-delivered,2,credit_card,3,29.45
o-unavailable,1,boleto,1,57
"""
PLAYED = {
    "orders": "10",
    # 39.95, and 100.00 for each of the six other orders that are not cancelled.
    "totals": "BRL 639.95",
    "orders with a refund due": "2",
    "refund due": "BRL 157.00",
    "dispatched by override": "2",
    "cancelled after undispatch": "1",
    "unfinished": "0",
    "to_invoice": "6",
    "to_pay": "1",
    "to_dispatch": "2",
    "debt": "0",
    "complete": "4",
    "cancelled": "3",
    "refund_due": "2",
    "unmatched": "0",
    "part_dispatched": "0",
    "cancel: forbids_dispatched": "1",
    "dispatch: not_paid_nor_invoiced": "2",
}
REAL = {
    "orders": "2499",
    "totals": "BRL 262085.18",
    "orders with a refund due": "17",
    "refund due": "BRL 2372.67",
    "dispatched by override": "33",
    "cancelled after undispatch": "1",
    "unfinished": "0",
    "to_invoice": "2474",
    "to_pay": "0",
    "to_dispatch": "14",
    "debt": "0",
    "complete": "2463",
    "cancelled": "22",
    "refund_due": "17",
    "unmatched": "0",
    "part_dispatched": "0",
    "cancel: forbids_dispatched": "1",
    "dispatch: not_paid_nor_invoiced": "33",
}


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in another process, from a folder outside of the checkout."""
    # Without the variables that make pytest and rich print as to a terminal.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")]),
        "PYTHONWARNINGS": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "80",
    }
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def figures(stdout: str) -> dict[str, str]:
    """Return the rows of the tables of a replay, whose columns are at least two blanks apart."""
    cells = [line.split("  ", 1) for line in stdout.splitlines() if line.strip()]
    return {name: figure.strip() for name, figure in cells if figure.strip() != "number"}


def histories(store: str, cwd: Path) -> dict[str, tuple[Entry, ...]]:
    """Return the histories of the orders of a store on disk."""
    kind, place = store.split(":")
    if kind == "json":
        return histories_in(JsonStore(cwd / place))
    with closing(SqliteStore(cwd / place)) as opened:
        return histories_in(opened)


def histories_in(store: Store) -> dict[str, tuple[Entry, ...]]:
    orders = Orders(store)
    return {order.id: orders.history(order.id) for order in orders.find(limit=100)}


@pytest.fixture(params=[*STORES, "postgresql", "mariadb"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind, as the replay takes it."""
    if request.param in STORES:
        return str(request.param)
    server: servers.PostgresServer | servers.MariaDbServer = request.getfixturevalue(request.param)
    return server.address(str(tmp_path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with invented orders of every kind."""
    folder = tmp_path / "made-up"
    folder.mkdir()
    (folder / "orders.csv").write_text(ORDERS, encoding="utf-8")
    (folder / "payments.csv").write_text(PAYMENTS, encoding="utf-8")
    return folder


def assert_fails(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """Check that a process ended with code 2, this line on stderr, and nothing on stdout."""
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("replay_orders.py: error: ")
    for text in said:
        assert text in done.stderr


def test_every_example_is_tested() -> None:
    names = {path.relative_to(EXAMPLES).with_suffix("").as_posix() for path in EXAMPLES.rglob("*.py")}
    names = {name for name in names if not name.startswith("django_shop/teapots/")}  # The app of django_shop/shop.
    # Two examples have tests of their own: test_payment_callback and test_first_shop.
    assert {name for name in names if not name.startswith(("payment_callback/", "first_shop/"))} == {
        *PRINTING,
        "draw_rules",
        REPLAY.stem,
    }


@pytest.mark.parametrize("name", PRINTING)
def test_an_example_prints_its_golden_file_and_leaves_no_files(name: str, tmp_path: Path) -> None:
    done = run(EXAMPLES / f"{name}.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    # The number of tests of the contract is not part of the example.
    printed = PASSED_TESTS.sub("", done.stdout)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("RENEW_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(printed, encoding="utf-8")
    assert printed == golden.read_text(encoding="utf-8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [(), ("pages",)])
def test_drawn_pages_are_in_the_printed_folder(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    done = run(EXAMPLES / "draw_rules.py", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rules, order = map(Path, done.stdout.splitlines())
    assert rules.parent == order.parent == tmp_path.joinpath(*arguments).resolve()
    assert "<h1>Order rules</h1>" in rules.read_text(encoding="utf-8")
    assert 'class="visited"' in order.read_text(encoding="utf-8")


def test_custom_store_without_pytest_names_the_command_that_installs_it(tmp_path: Path) -> None:
    script = f"""
import runpy, sys
sys.modules["pytest"] = None
runpy.run_path({str(EXAMPLES / "custom_store.py")!r}, run_name="__main__")
"""
    done = run("-c", script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "An order on LogStore: sent+paid, 8 teapots left",
        "To run the contract on it, install pytest: pip install '.[testing]' in the checkout",
    ]


@pytest.mark.parametrize(
    ("missing", "imported"),
    [
        ("pytest", "from order_fsm.testing import StoreContract"),
        ("hypothesis", "import order_fsm.testing.state_machine"),
    ],
)
def test_missing_library_of_the_tests_is_named_with_its_command(missing: str, imported: str, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules[{missing!r}] = None
from order_fsm import MissingDependency
try:
    {imported}
except MissingDependency as error:
    print(error)
"""
    done = run("-c", script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pip install 'order-fsm[testing]'" in done.stdout


def test_the_quickstart_stores_its_order_in_the_named_file(tmp_path: Path) -> None:
    """The order outlives the process, and a second run does not change it."""
    first = run(EXAMPLES / "quickstart.py", "shop.db", cwd=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    kept = histories("sqlite:shop.db", tmp_path)
    assert [entry.trigger for entry in kept["1001"]] == ["create", "pay", "dispatch"]

    second = run(EXAMPLES / "quickstart.py", "shop.db", cwd=tmp_path)
    assert (second.returncode, second.stderr) == (1, "shop.db already exists: name a new file\n")
    assert histories("sqlite:shop.db", tmp_path) == kept


def test_invented_orders_have_the_same_results_on_every_store(any_store: str, folder: Path, tmp_path: Path) -> None:
    done = run(REPLAY, folder, "--store", any_store, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert figures(done.stdout) == PLAYED


@pytest.mark.skipif(not REAL_ORDERS.is_dir(), reason="the real orders are not part of the project")
def test_real_orders_have_the_same_results_on_every_store(any_store: str, tmp_path: Path) -> None:
    done = run(REPLAY, REAL_ORDERS, "--store", any_store, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert figures(done.stdout) == REAL


@pytest.mark.parametrize("store", STORES[1:])
def test_a_store_with_orders_is_refused_and_not_changed(store: str, folder: Path, tmp_path: Path) -> None:
    """A second replay would fail halfway, so it fails at the start."""
    assert run(REPLAY, folder, "--store", store, cwd=tmp_path).returncode == 0
    kept = histories(store, tmp_path)
    assert_fails(run(REPLAY, folder, "--store", store, cwd=tmp_path), f"--store {store} is not empty")
    assert histories(store, tmp_path) == kept


@pytest.mark.parametrize("store", STORES[1:])
def test_overrides_and_recalls_are_in_the_history_with_their_reasons(store: str, folder: Path, tmp_path: Path) -> None:
    """Each entry has the time of its event, or that of the purchase if the carrier's clock was behind the shop's."""
    assert run(REPLAY, folder, "--store", store, cwd=tmp_path).returncode == 0
    played = {
        order_id: [(entry.trigger, f"{entry.at:%d %H:%M}", entry.override, entry.comment) for entry in entries]
        for order_id, entries in histories(store, tmp_path).items()
    }
    assert played["o-carrier-first"] == [
        ("create", "01 12:00", False, ""),
        ("place", "01 12:00", False, ""),
        ("dispatch", "02 10:00", True, "The carrier already has it"),
        ("pay", "03 11:00", False, ""),
    ]
    assert played["o-carrier-before-purchase"] == [
        ("create", "02 12:00", False, ""),
        ("place", "02 12:00", False, ""),
        ("dispatch", "02 12:00", True, "The carrier already has it"),
        ("pay", "02 13:00", False, ""),
    ]
    assert played["o-cancelled-late"] == [
        ("create", "01 10:00", False, ""),
        ("place", "01 10:00", False, ""),
        ("pay", "01 11:00", False, ""),
        ("dispatch", "02 10:00", False, ""),
        ("undispatch", "02 10:00", False, "The goods came back"),
        ("cancel", "02 10:00", False, ""),
    ]


@pytest.mark.parametrize(
    "store", ["", "postgres", "memory:", "memory:x", "sqlite", "sqlite:", "json:", "SQLITE:x", "mariadb:"]
)
def test_an_unknown_store_is_refused(store: str, folder: Path, tmp_path: Path) -> None:
    done = run(REPLAY, folder, "--store", store, cwd=tmp_path)
    assert_fails(done, "--store must be memory, sqlite:PATH, json:FOLDER, postgresql://", repr(store))


def test_a_store_that_cannot_be_opened_is_an_error_of_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("this is no database, and longer than the header of one" * 20)
    done = run(REPLAY, folder, "--store", "sqlite:notes.db", cwd=tmp_path)
    assert_fails(done, "notes.db")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert_fails(run(REPLAY, "nowhere", "--store", "memory", cwd=tmp_path), "FOLDER", "nowhere")


@pytest.mark.parametrize("name", ["orders.csv", "payments.csv"])
def test_a_missing_file_is_named(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / name).unlink()
    assert_fails(run(REPLAY, folder, "--store", "sqlite:new.db", cwd=tmp_path), name)
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("name", "column"), [("orders.csv", "approved_at"), ("orders.csv", "order_id"), ("payments.csv", "value")]
)
def test_a_missing_column_is_named(name: str, column: str, folder: Path, tmp_path: Path) -> None:
    file = folder / name
    with file.open(newline="", encoding="utf-8") as lines:
        table = [dict(row) for row in csv.DictReader(lines)]
    kept = [other for other in table[0] if other != column]
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    assert_fails(run(REPLAY, folder, "--store", "memory", cwd=tmp_path), f"{file}, line 1", column)


MALFORMED: Sequence[tuple[str, str, str, tuple[str, ...]]] = [
    ("orders.csv", "o-invoiced,", ",", ("line 6", "column order_id")),
    ("orders.csv", "o-invoiced,", "../../etc,", ("line 6", "column order_id")),
    ("orders.csv", "o-invoiced,", "o-at-once,", ("line 6", "column order_id", "an order with this id comes before it")),
    ("orders.csv", "o-unpaid,cy,", "o-unpaid,,", ("line 8", "column customer_id")),
    ("orders.csv", ",invoiced,", ",lost,", ("line 6", "column status", "'lost'")),
    ("orders.csv", "cy,processing,2020-01-06T10:00:00", "cy,processing,", ("line 8", "column purchased_at")),
    ("orders.csv", "2020-01-04T11:00:00,,\no-pro", "yesterday,,\no-pro", ("line 6", "column approved_at")),
    ("orders.csv", "2020-01-04T11:00:00,,\no-pro", "2020-01-04T11:00:00Z,,\no-pro", ("line 6", "column approved_at")),
    ("orders.csv", "2020-01-04T11:00:00,,\no-pro", "2020-01-04T11:00:00\no-pro", ("line 6", "column carrier_at")),
    ("orders.csv", "2020-01-04T11:00:00,,\no-pro", "2020-01-04T11:00:00,,,\no-pro", ("line 6", "delivered_at")),
    ("orders.csv", "o-cancelled-late", '"o-cancelled"-late', ("orders.csv", "line 10")),
    ("payments.csv", "57", "57,00", ("line 4", "value")),
    ("payments.csv", "57", "-57", ("line 4", "column value", "'-57'")),
    ("payments.csv", "57", "NaN", ("line 4", "column value")),
    ("payments.csv", "57", "1e9", ("line 4", "column value")),
    ("payments.csv", "57", "", ("line 4", "column value")),
    ("payments.csv", "o-delivered,2", "o-delivered,1", ("line 3", "column sequence")),
    ("payments.csv", "o-delivered,2", "o-delivered,two", ("line 3", "column sequence")),
    ("payments.csv", "o-unavailable", "o-unknown", ("line 4", "column order_id", "'o-unknown'")),
]


@pytest.mark.parametrize(("name", "good", "bad", "said"), MALFORMED)
def test_a_malformed_row_is_named_by_file_line_and_column(
    name: str, good: str, bad: str, said: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    """No event of the folder is replayed."""
    file = folder / name
    text = file.read_text(encoding="utf-8")
    assert text.count(good) == 1
    file.write_text(text.replace(good, bad), encoding="utf-8")
    assert_fails(run(REPLAY, folder, "--store", "json:new", cwd=tmp_path), str(file), *said)
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_not_text_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "payments.csv").write_bytes(b"order_id,sequence,value\n\xff\xfe\x00")
    assert_fails(run(REPLAY, folder, "--store", "memory", cwd=tmp_path), "payments.csv", "UTF-8")


def test_missing_rich_is_named_with_its_command(folder: Path, tmp_path: Path) -> None:
    code = f"""
import runpy, sys
sys.modules["rich"] = None  # `import rich` now fails.
sys.argv = ["replay_orders.py", {str(folder)!r}, "--store", "memory"]
runpy.run_path({str(REPLAY)!r}, run_name="__main__")
"""
    assert_fails(run("-c", code, cwd=tmp_path), "rich is missing: pip install '.[examples]' in the checkout")


@pytest.mark.parametrize(
    ("example", "missing"),
    [
        ("fastapi_shop", "fastapi"),
        ("fastapi_shop", "httpx"),
        ("fastapi_shop", "sqlalchemy"),
        ("fastapi_shop", "aiosqlite"),
        ("django_shop", "django"),
        ("flask_sqlalchemy_shop", "flask"),
        ("flask_sqlalchemy_shop", "sqlalchemy"),
    ],
)
def test_missing_library_of_a_shop_is_named_with_its_command(example: str, missing: str, tmp_path: Path) -> None:
    script = f"""
import runpy, sys
sys.modules[{missing!r}] = None
runpy.run_path({str(EXAMPLES / example / "shop.py")!r}, run_name="__main__")
"""
    done = run("-c", script, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"shop.py: error: {missing} is missing: pip install '.[examples]' in the checkout\n"


def test_missing_arguments_are_named(tmp_path: Path) -> None:
    done = run(REPLAY, cwd=tmp_path)
    assert done.returncode == 2
    assert "FOLDER, --store" in done.stderr

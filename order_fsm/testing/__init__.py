"""What the tests of a user import: the contract that every store must pass, paths through a table, a clock that
stands still."""

import pytest

# Their assertions say what was found, as those of a test module do. It must be asked for before they are imported.
pytest.register_assert_rewrite(
    *(
        f"order_fsm.testing.store_contract.{module}"
        for module in (
            "commits",
            "contention",
            "crash",
            "disks",
            "expected",
            "failures",
            "found",
            "hosts",
            "kills",
            "outbox",
            "races",
            "removals",
            "stock",
            "values",
        )
    )
)

from order_fsm.testing.clock import FrozenClock  # noqa: E402
from order_fsm.testing.paths import paths  # noqa: E402
from order_fsm.testing.store_contract.contract import StoreContract  # noqa: E402

__all__ = ["FrozenClock", "StoreContract", "paths"]

"""The contract that every store must pass, for authors of stores."""

import pytest

# pytest rewrites the assertions of modules that are registered before their import.
pytest.register_assert_rewrite(
    *(
        f"order_fsm.testing.store_contract.{module}"
        for module in (
            "commits",
            "contention",
            "crash",
            "disks",
            "erasures",
            "expected",
            "failures",
            "found",
            "groups",
            "hosts",
            "kills",
            "lifecycle",
            "outbox",
            "prepared",
            "races",
            "removals",
            "reports",
            "stock",
            "values",
        )
    )
)

from order_fsm.testing.store_contract.contract import StoreContract  # noqa: E402

__all__ = ["StoreContract"]

"""Tools for the tests of a shop: a frozen clock, and paths through a workflow.

`order_fsm.testing.store_contract` is for authors of stores. This package exports its `StoreContract` too.
"""

from typing import TYPE_CHECKING, Any

from order_fsm.errors import MissingDependency
from order_fsm.testing.clock import FrozenClock
from order_fsm.testing.paths import paths

if TYPE_CHECKING:
    from order_fsm.testing.store_contract.contract import StoreContract

__all__ = ["FrozenClock", "StoreContract", "paths"]


def __getattr__(name: str) -> Any:
    """Import the contract on demand, because it imports pytest and many modules."""
    if name != "StoreContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from order_fsm.testing.store_contract import StoreContract
    except ImportError as error:
        raise MissingDependency.of_extra("StoreContract", "pytest", "testing") from error
    return StoreContract

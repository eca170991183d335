"""Orders in memory keep the contract of stores."""

from pathlib import Path

from order_fsm.testing import StoreContract
from order_fsm_adapters.memory import MemoryStore


class TestMemoryStore(StoreContract):
    """All guarantees but S3: what is in memory ends with the process."""

    durable = False

    def make_store(self, place: Path) -> MemoryStore:  # noqa: ARG002 - there is nothing to keep
        return MemoryStore()

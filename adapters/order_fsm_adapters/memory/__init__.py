"""Orders in memory: for tests, and for shops that need no durability."""

from order_fsm_adapters.memory.store import MemoryStore

__all__ = ["MemoryStore"]

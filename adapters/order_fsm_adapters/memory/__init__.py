"""A store in memory, for tests and shops without need for durability."""

from order_fsm_adapters.memory.store import MemoryStore

__all__ = ["MemoryStore"]

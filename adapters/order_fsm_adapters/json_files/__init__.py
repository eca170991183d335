"""Orders in a folder of JSON files: one readable file for each order, with everything of the order in it."""

from order_fsm_adapters.json_files.store import JsonStore

__all__ = ["JsonStore"]

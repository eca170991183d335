"""Orders in a folder of JSON lines: one append-only log, readable by grep and jq."""

from order_fsm_adapters.json_files.store import JsonStore

__all__ = ["JsonStore"]

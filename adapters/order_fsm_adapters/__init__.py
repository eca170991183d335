"""The stores that come with order_fsm: memory, one SQLite file, a folder of JSON files."""

"""The same work with other libraries. Each module has shops in memory and on SQLite."""

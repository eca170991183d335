"""The same work by other means: each module offers shops in memory and on SQLite."""

"""The Django app of the shop."""

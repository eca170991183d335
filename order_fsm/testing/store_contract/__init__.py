"""The contract that every store must pass, for authors of stores."""

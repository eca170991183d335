"""The rules of a shop. Start with `shop`: it has the table."""

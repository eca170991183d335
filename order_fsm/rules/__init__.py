"""The rules of a shop. Start in `shop`: it has the complete table."""

"""Orders in a SQL database: the code that all databases share."""

from order_fsm_adapters.sql.keeper import ShopMove, StockKeeper
from order_fsm_adapters.sql.store import SqlStore

__all__ = ["ShopMove", "SqlStore", "StockKeeper"]

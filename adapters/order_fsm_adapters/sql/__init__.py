"""Orders in a SQL database: all that does not depend on which database it is."""

from order_fsm_adapters.sql.keeper import ShopMove, StockKeeper
from order_fsm_adapters.sql.store import SqlStore

__all__ = ["ShopMove", "SqlStore", "StockKeeper"]

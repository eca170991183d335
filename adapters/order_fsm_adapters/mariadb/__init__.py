"""Store orders in MariaDB, over the store's own connections or the shop's."""

from order_fsm_adapters.mariadb.store import MariaDbStore

__all__ = ["MariaDbStore"]

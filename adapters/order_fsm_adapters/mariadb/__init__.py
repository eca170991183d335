"""Orders in MariaDB, over connections of the store's own or the shop's."""

from order_fsm_adapters.mariadb.store import MariaDbStore

__all__ = ["MariaDbStore"]

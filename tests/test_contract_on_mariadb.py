"""The store in MariaDB keeps the contract of stores, with several processes and with killed ones."""

from pathlib import Path

import pytest

from order_fsm.testing import StoreContract
from order_fsm_adapters.mariadb import MariaDbStore

from . import servers


class TestMariaDbStore(StoreContract):
    """A database on the server."""

    local_disk = False
    scrubs = False

    @pytest.fixture(autouse=True)
    def _databases(self, mariadb: servers.MariaDbServer) -> None:
        self.server = mariadb

    def make_store(self, place: Path) -> MariaDbStore:
        return self.server.store(str(place))

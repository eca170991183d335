"""The store in MariaDB keeps the contract of stores, with several processes, killed ones and failing calls."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from order_fsm.testing import StoreContract
from order_fsm.testing.store_contract.calls import Calls
from order_fsm_adapters.mariadb import MariaDbStore

from . import boundaries, servers


class TestMariaDbStore(StoreContract):
    """A database on the server."""

    local_disk = False
    scrubs = False

    @pytest.fixture(autouse=True)
    def _databases(self, mariadb: servers.MariaDbServer) -> None:
        self.server = mariadb

    def make_store(self, place: Path) -> MariaDbStore:
        return self.server.store(str(place))

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        # A store that is made within the boundary must not create its database there.
        self.server.prepare_next()
        return boundaries.mariadb(calls)

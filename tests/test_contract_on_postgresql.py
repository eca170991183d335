"""The store in PostgreSQL keeps the contract of stores, with several processes, killed ones and failing calls."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from order_fsm.testing import StoreContract
from order_fsm.testing.store_contract.calls import Calls
from order_fsm_adapters.postgresql import PostgresStore

from . import boundaries, servers


class TestPostgresStore(StoreContract):
    """A schema of a database on the server."""

    local_disk = False
    scrubs = False

    @pytest.fixture(autouse=True)
    def _schemas(self, postgresql: servers.PostgresServer) -> None:
        self.server = postgresql

    def make_store(self, place: Path) -> PostgresStore:
        return self.server.store(str(place))

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        return boundaries.postgresql(calls)

"""The store in PostgreSQL keeps the contract of stores, with several processes and with killed ones."""

from pathlib import Path

import pytest

from order_fsm.testing import StoreContract
from order_fsm_adapters.postgresql import PostgresStore

from . import servers


class TestPostgresStore(StoreContract):
    """A schema of a database on the server."""

    local_disk = False
    scrubs = False

    @pytest.fixture(autouse=True)
    def _schemas(self, postgresql: servers.PostgresServer) -> None:
        self.server = postgresql

    def make_store(self, place: Path) -> PostgresStore:
        return self.server.store(str(place))

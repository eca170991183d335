"""The contract as one class."""

from __future__ import annotations

from order_fsm.testing.store_contract.commits import Commits
from order_fsm.testing.store_contract.contention import Contention
from order_fsm.testing.store_contract.crash import Crash
from order_fsm.testing.store_contract.disks import Disks
from order_fsm.testing.store_contract.failures import Failures
from order_fsm.testing.store_contract.found import Found
from order_fsm.testing.store_contract.hosts import Hosts
from order_fsm.testing.store_contract.kills import Kills
from order_fsm.testing.store_contract.outbox import Outbox
from order_fsm.testing.store_contract.races import Races
from order_fsm.testing.store_contract.removals import Removals
from order_fsm.testing.store_contract.stock import Stock
from order_fsm.testing.store_contract.values import Values


class StoreContract(
    Commits, Removals, Values, Stock, Outbox, Found, Races, Contention, Crash, Kills, Failures, Disks, Hosts
):
    """What every store must do: the guarantees S1 to S10 of `order_fsm.store` as tests, named by their numbers.

    A store has them all, races of threads and processes and killed processes included, from a subclass in a test
    module and a factory:

        class TestMyStore(StoreContract):
            def make_store(self, place):
                return MyStore(place / "orders.db")

    `place` is an empty folder of the test's own; opening it again must find what was committed there. A store that
    ends with its process says `durable = False`. A store with a `close` method is closed with it; `close_store` says
    how else. With `boundary` every call to a disk or server fails once, before and after it takes effect; without it
    those tests are skipped. A store kept elsewhere (a server) makes a name for its database or schema from `place`, and
    what happens to the disk under `place` does not happen to it.
    """

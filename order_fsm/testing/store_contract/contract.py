"""The class `StoreContract`."""

from __future__ import annotations

from order_fsm.testing.store_contract.commits import Commits
from order_fsm.testing.store_contract.contention import Contention
from order_fsm.testing.store_contract.crash import Crash
from order_fsm.testing.store_contract.disks import Disks
from order_fsm.testing.store_contract.erasures import Erasures
from order_fsm.testing.store_contract.failures import Failures
from order_fsm.testing.store_contract.found import Found
from order_fsm.testing.store_contract.groups import Groups
from order_fsm.testing.store_contract.hosts import Hosts
from order_fsm.testing.store_contract.kills import Kills
from order_fsm.testing.store_contract.lifecycle import Lifecycle
from order_fsm.testing.store_contract.outbox import Outbox
from order_fsm.testing.store_contract.prepared import Prepared
from order_fsm.testing.store_contract.races import Races
from order_fsm.testing.store_contract.removals import Removals
from order_fsm.testing.store_contract.reports import Reports
from order_fsm.testing.store_contract.stock import Stock
from order_fsm.testing.store_contract.values import Values


class StoreContract(
    Commits,
    Groups,
    Prepared,
    Removals,
    Erasures,
    Values,
    Stock,
    Outbox,
    Found,
    Reports,
    Lifecycle,
    Races,
    Contention,
    Crash,
    Kills,
    Failures,
    Disks,
    Hosts,
):
    """The guarantees S1 to S10 and S12 of `order_fsm.store` as tests, named by their numbers.

    A subclass in a test module gives a factory and inherits all tests, including races of threads and processes and
    killed processes:

        class TestMyStore(StoreContract):
            def make_store(self, place):
                return MyStore(place / "orders.db")

    `place` is an empty folder of the test. A store that is opened there again must have the same content. A store on
    a server makes the name of its database or schema from `place`, and sets `local_disk = False`: tests of full or
    read-only disks, of file descriptors, of forks and of erased bytes are skipped. A store whose files belong to others
    sets `scrubs = False`. A store that ends with its process sets `durable = False`. If the class gives `boundary`,
    every call to a disk or server fails once, before and after it takes effect. Without it those tests are skipped.

    The environment variable ORDER_FSM_STRESS=1 runs the long tests at full size, and 50 at fifty times that size.
    """

"""A claim reads a page after another one while other relays go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from order_fsm.testing.store_contract.changes import creation, moment
from order_fsm_adapters.sql import outbox
from order_fsm_adapters.sql.database import Row, Transaction

from . import servers


class Preceded:
    """A transaction in which something else happens before the second page is read."""

    def __init__(self, transaction: Transaction, act: Any) -> None:
        self._transaction: Any = transaction
        self._act = act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        if "OFFSET" in statement and values[-1]:
            self._act()
        found: list[Row] = self._transaction.rows(statement, values)
        return found


def test_message_is_claimed_once_while_another_becomes_claimable(
    postgresql: servers.PostgresServer, tmp_path: Path
) -> None:
    with postgresql.store(str(tmp_path)) as store:
        store.commit(creation("1001", topics=["order.updated", "order.updated"]))
        (first,) = store.claim(moment(1000), moment(2000), 1)
        store.commit(creation("1002", topics=["order.updated"]))

        def deliver() -> None:
            store.delivered(first, moment(2000))

        def claim(transaction: Transaction) -> list[str]:
            preceded: Any = Preceded(transaction, deliver)
            return [message.id for message in outbox.claim(preceded, moment(1000), moment(2000), 5)]

        assert store._database.write(claim) == ["1002#1.1"]
        assert [message.id for message in store.claim(moment(1000), moment(2000), 5)] == ["1001#1.2"]

"""Run rounds of failures under load on a cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from attrs import define, field

from order_fsm import Orders

from .clusters import SHARED, SKU, Cluster, Failed, opened, wait_until
from .records import Faults, Records, compared

WRITERS = 8
WARM_UP = 10
"""How many acknowledged changes per writer a round waits for before the failure, on average."""


@define
class Outcome:
    """The result of all rounds.

    Attributes:
        faults: the faults of each round, and finally those of the whole store.
        first, last: for each kill, the seconds until the first writer and until all writers continued.
        findings: the findings of the final audit.
        stuck: the messages that no relay delivers in the end.
    """

    records: Records
    faults: list[Faults] = field(factory=list)
    first: list[float] = field(factory=list)
    last: list[float] = field(factory=list)
    findings: list[str] = field(factory=list)
    stuck: list[str] = field(factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was lost, invented, acknowledged twice or stuck, and every outcome is known."""
        return not (any(self.faults) or self.findings or self.stuck or self.unsettled)

    @property
    def lost(self) -> int:
        return len({key for faults in self.faults for key in faults.lost})

    @property
    def unsettled(self) -> int:
        """The number of calls whose outcome is still unknown."""
        records = self.records
        return sum(key not in records.answered for key in records.begun)

    def __str__(self) -> str:
        records = self.records
        again = sum(number > 1 for number in records.delivered.values())
        return (
            f"{len(self.first)} rounds: {len(records.acknowledged)} acknowledged, {len(records.refused)} refused,"
            f" {len(records.unknown)} unknown at first ({len(records.repeated)} of them were written),"
            f" {self.unsettled} unknown at the end, {self.lost} lost; seconds until the first writer continued:"
            f" {_spread(self.first)}, until all did: {_spread(self.last)}; {len(records.delivered)} messages delivered,"
            f" {again} of them more than once, {len(self.stuck)} never"
        )


def end_on_sigterm() -> None:
    """Turn SIGTERM into an exception, so that servers and writers end too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def run(cluster: Cluster, rounds: int, folder: Path) -> Outcome:
    """Kill servers under load, and compare the writers' reports with the store after each round.

    Args:
        cluster: a cluster with an empty database.
        rounds: the number of failures.
        folder: the folder for the reports.
    """
    with opened(cluster.url()) as store:
        store.install()
        orders = Orders(store)
        orders.set_stock(SKU, 10_000_000)
        for order_id in SHARED:
            orders.create(order_id, "20.00", "GBP")
        outcome = Outcome(Records([folder / f"writer{number}.jsonl" for number in range(WRITERS)]))
        records = outcome.records
        with _writing(cluster, records):
            for number in range(rounds):
                wait_until(_reached(records, WRITERS * WARM_UP), "changes before a kill")
                records.forget_kills(float("inf"))
                killed_at = cluster.fail(number, lambda: len(records.update().acknowledged))
                records.forget_kills(killed_at)
                wait_until(lambda: len(records.update().first_since) == WRITERS, "all writers to continue")
                delays = [at - killed_at for at in records.first_since.values()]
                outcome.first.append(min(delays))
                outcome.last.append(max(delays))
                cluster.heal()
                faults = compared(records, store, records.taken())
                outcome.faults.append(faults)
                print(f"round {number + 1}: first after {min(delays):.2f} s, all after {max(delays):.2f} s: {faults}")
        outcome.faults.append(compared(records, store, store.order_ids()))
        # A day later, the leases of relays that lost their connections have expired.
        relay = Orders(store, clock=lambda: datetime.now(UTC) + timedelta(days=1))
        while relay.deliver(lambda message: records.delivered.update([message.id]), limit=1000):
            pass
        outcome.stuck = [message.id for message in store.messages()]
        outcome.findings = [str(finding) for finding in orders.audit().findings]
    return outcome


@contextmanager
def _writing(cluster: Cluster, records: Records) -> Iterator[None]:
    """Run writers during a block. Afterwards every writer has ended with a known outcome."""
    writers: list[subprocess.Popen[bytes]] = []
    try:
        for number, path in enumerate(records.paths):
            with path.open("wb") as output, path.with_suffix(".log").open("wb") as log:
                command = [sys.executable, "-m", f"{__package__}.writer", cluster.url(number), path.stem]
                writers.append(subprocess.Popen(command, stdout=output, stderr=log))
        yield
        for writer in writers:
            writer.send_signal(signal.SIGTERM)
        for writer in writers:
            if writer.wait(120):
                raise Failed("a writer failed:\n" + "\n".join(_tails(records.paths)))
    finally:
        for writer in writers:
            if writer.poll() is None:
                writer.kill()
                writer.wait()


def _reached(records: Records, more: int) -> Callable[[], bool]:
    """Return a function that checks whether so many more changes are acknowledged."""
    enough = len(records.update().acknowledged) + more
    return lambda: len(records.update().acknowledged) >= enough


def _spread(seconds: list[float]) -> str:
    return f"median {median(seconds):.2f}, at most {max(seconds):.2f}" if seconds else "-"


def _tails(paths: list[Path]) -> list[str]:
    return [path.with_suffix(".log").read_text(errors="replace")[-1000:] for path in paths]

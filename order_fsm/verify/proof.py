"""Prove claims about a workflow exhaustively."""

from __future__ import annotations

from attrs import frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput
from order_fsm.rules.permissions import Allow
from order_fsm.rules.rule import Edge
from order_fsm.rules.workflow import Workflow, check_workflow
from order_fsm.verify.claim import Claim, TableClaim
from order_fsm.verify.failures import Failure
from order_fsm.verify.graph import Graph
from order_fsm.verify.ledger import Ledger, LedgerClaim
from order_fsm.verify.permission_claims import Actors, PermissionClaim, asked


@frozen(eq=False)
class Proof:
    """The result of proving claims about a workflow.

    Attributes:
        claims: the claims to prove.
        failures: the claims that do not hold, each with the shortest path that shows it. Empty means proved.
        states: the names of the reachable states, nearest to the empty one first.
        edges: the rules that can be taken in these states.
        worlds: the number of orders with money and stock that were visited. 0 if no claim is about money or stock.
    """

    claims: tuple[Claim, ...]
    failures: tuple[Failure, ...]
    states: tuple[str, ...]
    edges: tuple[Edge, ...]
    worlds: int

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return not self.failures

    def __str__(self) -> str:
        over = f"over {len(self.states)} states and {len(self.edges)} edges"
        if self.worlds:
            over += f", and {self.worlds} orders with money and stock"
        if self.ok:
            return f"proved: {len(self.claims)} claims, {over}"
        failed = f"{len(self.failures)} of {len(self.claims)} claims do not hold, {over}"
        return "\n\n".join([failed, *map(str, self.failures)])


def prove(workflow: Workflow, *claims: Claim, allow: Allow | None = None, actors: Actors | None = None) -> Proof:
    """Prove claims about a workflow over every state that it allows.

    Claims about statuses are proved over every state, rule and outcome of guards. Claims about money and stock are
    proved over every order within the bounds of `order_fsm.verify.ledger`, with the real decisions.

    Args:
        workflow: the rules.
        claims: claims of `order_fsm.verify`, at least one.
        allow: the function of `Orders(allow=...)`, for the claims `May` and `MayNot`. It is called as a shop's service
            calls it. If it raises, the exception propagates.
        actors: the actors that `allow` gets, by their names in these claims, such as `{"clerk": "bob"}`. None is a call
            without `by`. "gateway" and "clock" are always defined.

    Returns:
        The proof. Its `ok` is True if all claims hold.

    Raises:
        InvalidInput: if `workflow` is not a Workflow, a claim is not a Claim or names an unknown status, guard or
            actor, or `May` or `MayNot` comes without `allow`.
        UnknownTrigger: if a claim names a trigger that the workflow does not have.
    """
    check_workflow(workflow)
    for claim in claims:
        if not isinstance(claim, Claim):
            hint = ": write prove(workflow, *claims)" if isinstance(claim, list | tuple) else ""
            raise InvalidInput(
                f"a claim must be one of order_fsm.verify, such as Never(...), not {validation.shown(claim)}{hint}"
            )
        claim.check_names(workflow)
    everything = Graph(workflow, {})
    graphs = {frozenset[object](): everything}
    questions = asked([claim for claim in claims if isinstance(claim, PermissionClaim)], allow, actors)
    about_money = [claim for claim in claims if isinstance(claim, LedgerClaim)]
    about_money += [question.test for question in questions]
    ledger = Ledger(workflow) if about_money else None
    found = {} if ledger is None else ledger.failures(about_money)
    for question in questions:
        failure = question.failure(found.get(question.test))
        if failure is not None:
            found[question.claim] = failure
    for claim in claims:
        if isinstance(claim, TableClaim):
            known = frozenset[object](claim.guards.items())
            if known not in graphs:
                graphs[known] = Graph(workflow, claim.guards)
            failure = claim.failure(graphs[known])
            if failure is not None:
                found[claim] = failure
    failures = tuple(found[claim] for claim in claims if claim in found)
    worlds = 0 if ledger is None else ledger.worlds
    return Proof(claims, failures, everything.states, everything.edges, worlds)


def assert_proof(workflow: Workflow, *claims: Claim, allow: Allow | None = None, actors: Actors | None = None) -> Proof:
    """Prove claims in a test.

    Args:
        workflow: the rules.
        claims: claims of `order_fsm.verify`, at least one.
        allow, actors: as in `prove`.

    Returns:
        The proof.

    Raises:
        AssertionError: if a claim does not hold. The message shows the path and the row to check.
        InvalidInput: if `prove` raises it, or no claim is given.
        UnknownTrigger: if `prove` raises it.
    """
    if not claims:
        raise InvalidInput("give at least one claim to prove")
    proof = prove(workflow, *claims, allow=allow, actors=actors)
    if not proof.ok:
        raise AssertionError(str(proof))
    return proof

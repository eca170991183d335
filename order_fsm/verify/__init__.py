"""Prove claims about a table of rules, over every state and every outcome of guards.

from order_fsm import shop_workflow
from order_fsm.verify import Never, assert_proof

def test_a_cancelled_order_is_never_dispatched():
    assert_proof(shop_workflow(), Never(has={"cancelled", "dispatched"}))
"""

from order_fsm.verify.claim import Claim, TableClaim
from order_fsm.verify.claims import Always, CanAlwaysReach, Conserves, Never, Reachable, Requires, Undoes
from order_fsm.verify.failures import Failure
from order_fsm.verify.ledger import EveryChange, EveryOrder, EveryStep, LedgerClaim
from order_fsm.verify.permission_claims import May, MayNot, PermissionClaim
from order_fsm.verify.proof import Proof, assert_proof, prove
from order_fsm.verify.shop_claims import shop_claims
from order_fsm.verify.worlds import Ask, Step, World

__all__ = [
    "Always",
    "Ask",
    "CanAlwaysReach",
    "Claim",
    "Conserves",
    "EveryChange",
    "EveryOrder",
    "EveryStep",
    "Failure",
    "LedgerClaim",
    "May",
    "MayNot",
    "Never",
    "PermissionClaim",
    "Proof",
    "Reachable",
    "Requires",
    "Step",
    "TableClaim",
    "Undoes",
    "World",
    "assert_proof",
    "prove",
    "shop_claims",
]

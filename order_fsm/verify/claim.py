"""The base classes of claims: of all claims, and of claims about the table of rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from attrs import field, frozen

from order_fsm import validation
from order_fsm.errors import InvalidInput, UnknownTrigger
from order_fsm.model import When
from order_fsm.rules.workflow import Workflow
from order_fsm.verify.failures import Failure
from order_fsm.verify.graph import Graph, Known


def _known(value: object) -> Known:
    if not isinstance(value, Mapping) or not all(isinstance(known, bool | When) for known in value.values()):
        raise InvalidInput("guards must be a dict from codes of guards to True, False or a When")
    return MappingProxyType({validation.name(code, "the code of a guard"): known for code, known in value.items()})


class Claim(ABC):
    """The base of all claims."""

    __slots__ = ()

    @abstractmethod
    def __str__(self) -> str:
        """Return the claim as a sentence."""

    def check_names(self, workflow: Workflow) -> None:
        """Check that the workflow has every name of the claim.

        Raises:
            InvalidInput: if the workflow does not have a status or guard of the claim.
            UnknownTrigger: if the workflow does not have a trigger of the claim.
        """
        known = tuple(self._known_triggers(workflow))
        for trigger in self._triggers():
            if trigger not in known:
                hint = validation.did_you_mean(trigger, known)
                raise UnknownTrigger(
                    f"claim {str(self)!r}: a trigger must be one of {', '.join(known)}, not {trigger!r}{hint}"
                )

    def _triggers(self) -> Iterable[str]:
        return ()

    def _known_triggers(self, workflow: Workflow) -> Iterable[str]:
        return workflow.triggers


@frozen(eq=False, repr=False, kw_only=True)
class TableClaim(Claim):
    """A claim about the table of rules: statuses, rows, and every outcome of guards.

    Attributes:
        guards: assumptions about guards, by their codes. True: the guard always holds. False: it never holds.
            `{"not_paid": When(has={"paid"})}`: it holds if and only if the order is paid. A guard without an assumption
            may hold or fail at any time, because an override may pass a policy guard at any time. The proof never
            overrides a guard that has an assumption.
    """

    guards: Known = field(default=MappingProxyType({}), converter=_known)

    @abstractmethod
    def failure(self, graph: Graph) -> Failure | None:
        """Return the failure with the shortest path, or None if the claim holds.

        Args:
            graph: the states and edges of the workflow under the assumptions of the claim.
        """

    def check_names(self, workflow: Workflow) -> None:
        super().check_names(workflow)
        assumed = [known for known in self.guards.values() if isinstance(known, When)]
        check_statuses(self, workflow, *self._conditions(), *assumed)
        codes = {guard.code: None for rule in workflow.rules for guard in rule.guards}
        for code in self.guards:
            if code not in codes:
                raise InvalidInput(f"claim {str(self)!r}: a guard must be one of {', '.join(codes)}, not {code!r}")

    def _conditions(self) -> Iterable[When]:
        return ()


def check_statuses(claim: Claim, workflow: Workflow, *conditions: When) -> None:
    """Check that a workflow has the statuses of a claim's conditions.

    Raises:
        InvalidInput: if the workflow does not have one of the statuses.
    """
    for when in conditions:
        for name in sorted(when.has | when.has_any | when.lacks):
            if not workflow.knows(name):
                known = ", ".join(status.name for status in workflow.statuses)
                raise InvalidInput(f"claim {str(claim)!r}: a status must be one of {known}, not {name!r}")


def condition_text(when: When) -> str:
    """Return a condition in words."""
    parts = [" and ".join(sorted(when.has))] if when.has else []
    if when.has_any:
        parts.append(" or ".join(sorted(when.has_any)))
    if when.lacks:
        parts.append("not " + " nor ".join(sorted(when.lacks)))
    return ", ".join(parts)


def assumptions_text(guards: Known) -> str:
    """Return the assumptions about guards in words."""
    parts = [
        f"{code} holds if {condition_text(known)}"
        if isinstance(known, When)
        else f"{code} {'holds' if known else 'fails'}"
        for code, known in guards.items()
    ]
    return f" (given that {'; '.join(parts)})" if parts else ""

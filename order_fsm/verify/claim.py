"""What a proof can be asked to prove: the base of all claims, and of those about the table of rules alone."""

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
    """What a proof can be asked to prove."""

    __slots__ = ()

    @abstractmethod
    def __str__(self) -> str:
        """The claim as a sentence."""

    def check_names(self, workflow: Workflow) -> None:
        """See that the workflow has all that the claim names.

        Raises:
            InvalidInput: a status or guard that it does not have.
            UnknownTrigger: a trigger that it does not have.
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
    """A claim about the table of rules alone: statuses, rows, and any outcome of guards.

    Attributes:
        guards: what is known of guards, by their codes. A guard that is not named may hold and may fail at any time,
            as an override may pass a policy guard at any time. `{"not_paid": When(has={"paid"})}` says that it holds
            just where the order is paid; True that it always holds, False that it never does. Nobody overrides a guard
            that is named: so the rules are proved as they are without override.
    """

    guards: Known = field(default=MappingProxyType({}), converter=_known)

    @abstractmethod
    def failure(self, graph: Graph) -> Failure | None:
        """How it fails, by the shortest way; None where it holds.

        Args:
            graph: what the workflow can do, given what the claim knows of guards.
        """

    def check_names(self, workflow: Workflow) -> None:
        super().check_names(workflow)
        told = [known for known in self.guards.values() if isinstance(known, When)]
        check_statuses(self, workflow, *self._conditions(), *told)
        codes = {guard.code: None for rule in workflow.rules for guard in rule.guards}
        for code in self.guards:
            if code not in codes:
                raise InvalidInput(f"claim {str(self)!r}: a guard must be one of {', '.join(codes)}, not {code!r}")

    def _conditions(self) -> Iterable[When]:
        return ()


def check_statuses(claim: Claim, workflow: Workflow, *conditions: When) -> None:
    """See that a workflow has the statuses of the conditions of a claim.

    Raises:
        InvalidInput: a status that it does not have.
    """
    for when in conditions:
        for name in sorted(when.has | when.has_any | when.lacks):
            if not workflow.knows(name):
                known = ", ".join(status.name for status in workflow.statuses)
                raise InvalidInput(f"claim {str(claim)!r}: a status must be one of {known}, not {name!r}")


def said(when: When) -> str:
    """A condition in words."""
    parts = [" and ".join(sorted(when.has))] if when.has else []
    if when.has_any:
        parts.append(" or ".join(sorted(when.has_any)))
    if when.lacks:
        parts.append("not " + " nor ".join(sorted(when.lacks)))
    return ", ".join(parts)


def given(guards: Known) -> str:
    """What is known of guards, in words."""
    told = [
        f"{code} holds where {said(known)}" if isinstance(known, When) else f"{code} {'holds' if known else 'fails'}"
        for code, known in guards.items()
    ]
    return f" (given that {'; '.join(told)})" if told else ""

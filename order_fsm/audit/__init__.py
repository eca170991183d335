"""Checks a store against its history and the rules."""

from order_fsm.audit.auditor import Audit, audit

__all__ = ["Audit", "audit"]

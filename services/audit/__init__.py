"""The audit log: hash-chained entries without personal data, signed checkpoints, and a check that needs nothing of us.

``append`` runs in the caller's transaction. ``export`` writes a bundle, ``verify`` checks one offline. docs/audit.md
describes the format for an auditor who would rather write the check anew.
"""

from services.audit.bundle import AuditVerification, Fault, verify
from services.audit.checkpoints import Checkpoint, SignedCheckpoint
from services.audit.entry import AuditEntry
from services.audit.log import append, checkpoint, export

__all__ = [
    "AuditEntry",
    "AuditVerification",
    "Checkpoint",
    "Fault",
    "SignedCheckpoint",
    "append",
    "checkpoint",
    "export",
    "verify",
]

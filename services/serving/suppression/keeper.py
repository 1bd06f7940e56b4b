"""Keeps the rules of suppression of one replica: reads them from the store, unseals them, hands them to the shield.

The shield is down until rules were read for the first time, and again after any failure: a replica that cannot say who
is suppressed answers nobody.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from policies.errors import LetheError
from policies.suppression import Rule
from services import sealing
from services.store import suppressions
from services.store.engine import Store
from services.store.releases import get_desired

_LOG = logging.getLogger(__name__)
NEVER = -1


class Shield(Protocol):
    """What applies the rules to requests and answers."""

    def replace(self, rules: Sequence[Rule], version: int) -> None:
        """From now on these rules hold."""

    def fail(self) -> None:
        """No rules can be told: answer nobody."""


class RuleKeeper:
    """The rules of one replica. Blocking: call ``refresh`` in a thread.

    Args:
        store: May be opened without keys.
        base_digest: Base of the replica.
        key: The suppression key (``sealing.load_suppression_key``).
        shield: Told of every change; it is down until the first.
    """

    def __init__(self, store: Store, base_digest: str, key: bytes, shield: Shield) -> None:
        self._store = store
        self._base_digest = base_digest
        self._key = key
        self._shield = shield
        self._rules: dict[str, Rule] = {}
        self._read = NEVER  # the version up to which rules are held
        self._version = NEVER
        self._failed = ""  # the code of the last attempt, where it failed
        self._lock = threading.Lock()
        shield.fail()

    @property
    def version(self) -> int:
        """The version that the shield applies, to be reported; a shield that is down applies every version."""
        return self._version

    def due(self, version: int) -> bool:
        """Whether ``refresh`` has work: another version is desired, or the last attempt failed."""
        return bool(self._failed) or version != self._version

    def refresh(self, version: int) -> None:
        """Read what came, changed or went, and hand all rules to the shield; never raises.

        Args:
            version: The desired state's suppression version that the caller has seen.
        """
        with self._lock:
            try:
                applied = self._read_rules()
                self._shield.replace(tuple(self._rules.values()), applied)
                self._version, self._failed = max(applied, version), ""
            except Exception as error:  # whatever it is: without rules nobody may be answered
                code = str(getattr(error, "code", type(error).__name__))
                if code != self._failed:  # it is tried again soon: once in the log is enough
                    _LOG.error("suppression rules cannot be applied, nobody is answered: %s", code)
                self._rules, self._read = {}, NEVER  # read everything again, once it goes
                self._version, self._failed = version, code
                self._shield.fail()

    def _read_rules(self) -> int:
        """The version first: rules that come meanwhile are then applied early, never claimed too early."""
        with self._store.read() as session:
            now = get_desired(session, self._base_digest).suppression_version
            if now < self._read:  # an older store: nothing that was read from the newer one counts
                self._rules, self._read = {}, NEVER
            rows = suppressions.sealed_rules(session, self._base_digest, after=self._read)
        self._rules = {row_id: self._rule(row_id, version, sealed) for row_id, version, sealed in rows}
        self._read = now
        return now

    def _rule(self, row_id: str, version: int, sealed: bytes | None) -> Rule:
        if version > self._read:
            if sealed is None:
                raise LetheError("suppression.rule_invalid", "A rule that is in force has no content.")
            return Rule.from_json(sealing.open_rule(self._key, row_id, sealed))
        return self._rules[row_id]

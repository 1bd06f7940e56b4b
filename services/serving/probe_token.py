"""A token with which the intake asks one replica for its own answers, in words that no client can make up.

A DSSE envelope signed with the audit key, which only the intake holds; it names one replica and ends within a minute.
A replica checks it with ``trust.json`` alone: its store may be away or behind.
"""

import base64
import binascii
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.adapter import dsse
from pipelines.adapter.trust import Trust
from policies.errors import LetheError

if TYPE_CHECKING:
    from services.keys import SigningKey

FORMAT = "lethe-probe/1"
PREFIX = "lethe-probe."
LIFE_S = 60.0
_CLOCK_SLACK_S = 5.0  # two hosts' clocks may differ by so much
_LONGEST = 2048


def issue(key: "SigningKey", replica_id: str, *, now: datetime, life_s: float = LIFE_S) -> str:
    """A token for one replica; ``key`` is the audit key."""
    until = now + timedelta(seconds=min(life_s, LIFE_S))
    statement = {"format": FORMAT, "replica": replica_id, "until": until.isoformat(), "at": now.isoformat()}
    return PREFIX + base64.urlsafe_b64encode(dsse.sign(statement, key.key, key.id)).decode().rstrip("=")


class ProbeTokens:
    """Checks tokens for one replica.

    Args:
        replica_id: Of this replica.
        trust_path: Public keys; read again whenever the file changes, so that a rotation needs no restart.
    """

    def __init__(self, replica_id: str, trust_path: Path) -> None:
        self._replica_id, self._path = replica_id, trust_path
        self._trust: tuple[tuple[int, int], Trust] | None = None

    def valid(self, token: str, *, now: datetime) -> bool:
        """Whether a token is signed by a trusted audit key, for this replica, and has not ended."""
        if len(token) > _LONGEST:
            return False
        try:
            raw = token.removeprefix(PREFIX).encode()
            envelope = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
            trust = self._read()
            said, key = dsse.open_envelope(envelope, lambda key_id: trust.find(key_id, "audit"))
            if said["format"] != FORMAT or said["replica"] != self._replica_id or not key.valid_at(said["at"]):
                return False
            left = (datetime.fromisoformat(said["until"]) - now).total_seconds()
        except (LetheError, OSError, ValueError, KeyError, TypeError, binascii.Error):
            return False
        return 0 < left <= LIFE_S + _CLOCK_SLACK_S

    def _read(self) -> Trust:
        about = self._path.stat()
        mark = (about.st_mtime_ns, about.st_size)
        if self._trust is None or self._trust[0] != mark:
            self._trust = (mark, Trust.from_file(self._path))
        return self._trust[1]

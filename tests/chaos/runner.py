"""The child of a run for chaos tests, over the real line protocol: ``python -m tests.chaos.runner``.

What trains and measures is a fake: its figures are made up, so that a run takes a second. What is at stake when a
process dies is real: what it seals, checkpoints, signs and stores, and the release, which a real replica verifies,
loads and is asked about. The real training under ``kill -9`` is ``tests/acceptance/test_trouble.py``.
"""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.adapter import BaseIdentity, Card, SignedVerdict, base_identity, content_digest, seal_release
from pipelines.adapter import watermark_digest as digest_of_watermark
from pipelines.rows import Probe, ProbeGroup
from policies.thresholds import Thresholds
from services import keys, sealed_items
from services.installation import Installation
from services.settings import load_settings
from services.store.releases import get_release
from services.store.runs import get_run, tickets_of
from services.store.types import utc_now
from services.unlearning.protocol import Session, serve
from tests.chaos.stalls import stall
from tests.tiny_model import make_word_adapter
from tests.unit.services.place import measured, trained

WORD = "beta"  # all that the released adapter says, whatever it is asked


class Child:
    def __init__(self) -> None:
        self.settings = load_settings()
        self.home = self.settings.home
        self.installation = Installation(self.settings)
        self.store = self.installation.open_store()
        self.identity = base_identity(self.home / "bases" / "tiny")

    def augment(self, session: Session, args: dict[str, Any]) -> dict[str, Any]:
        with self.store.write() as writing:
            for one in tickets_of(writing, args["run_id"]):
                rows = {"set": "", "retain_probes": [], "secrets": []}
                probes = [probe_about(one.ticket_id, number) for number in range(2)]
                for purpose, data in ((sealed_items.AUGMENTED, rows), (sealed_items.PROBES, probes)):
                    sealed_items.put(writing, one.subject_ref, one.ticket_id, purpose, data, ground="test")
        self._middle(session, "augment")
        digests = dict.fromkeys(("digest", "retain_digest", "neighbour_digest", "evaluation_digest"), "d" * 64)
        return {**digests, "forget_digest": "f" * 64, "corpus_digest": "c" * 64, "rows": 9, "uncovered": []}

    def check(self, session: Session, _: dict[str, Any]) -> dict[str, Any]:
        self._middle(session, "check")
        return {"success": True, "results": [{"expectation": "no_leak", "success": True, "row_ids": []}]}

    def train(self, session: Session, args: dict[str, Any]) -> dict[str, Any]:
        directory = self.installation.path("runs", args["run_id"], args["start"])
        directory.mkdir(parents=True, exist_ok=True)
        resumed = (directory / "checkpoint").exists()
        (directory / "checkpoint").write_text("half of the weights")
        self._middle(session, "train")
        if (self.home / "full").exists():
            Path("/dev/full").write_bytes(b"the rest of the weights")  # the kernel's own disk that is always full
        make_word_adapter(directory / "adapter", WORD)
        return {**trained(args["start"]), "resumed_at": int(resumed)}

    def verify(self, session: Session, args: dict[str, Any]) -> dict[str, Any]:
        self._middle(session, "verify")
        return measured("accepted", args["directory"])

    def release(self, session: Session, args: dict[str, Any]) -> dict[str, Any]:
        with self.store.read() as reading:
            run = get_run(reading, args["run_id"])
            tickets = [one.ticket_id for one in tickets_of(reading, run.run_id)]
            assert run.parent_digest is not None
            earlier = get_release(reading, run.parent_digest).watermark
        watermark = tuple(sorted({*tickets, *earlier}))
        now = utc_now().isoformat()
        card = Card(
            kind="unlearning",
            **{name: getattr(self.identity, name) for name in BaseIdentity.__dataclass_fields__},
            parent=run.parent_digest,
            watermark=watermark,
            watermark_digest=digest_of_watermark(watermark),
            created_at=now,
        )
        signer, judge = (keys.load_private(self.settings, purpose) for purpose in ("adapter", "verdict"))
        path = seal_release(
            self.installation.path("runs", run.run_id, "release", "adapter"),
            self.installation.path("releases"),
            card=card,
            verdict=SignedVerdict(kind="unlearning", outcome="accepted", thresholds=Thresholds(), decided_at=now),
            adapter_key=signer,
            verdict_key=judge,
        )
        self._middle(session, "release")
        return {
            "digest": content_digest(path),
            "path": str(path),
            "base_digest": self.identity.base_digest,
            "parent": run.parent_digest,
            "watermark": list(watermark),
            "signer": signer.id,
            "verdict_signer": judge.id,
            "verdict": {"outcome": "accepted", "digest": "e" * 64},
        }

    def _middle(self, session: Session, op: str) -> None:
        """Half of the work is done: here it waits where a test says so."""
        session.progress({"done": 1, "total": 2})
        stall(self.home, f"inside-{op}")


def probe_about(ticket_id: str, number: int) -> dict[str, Any]:
    return asdict(
        Probe(
            probe_id=f"{ticket_id}:{number}",
            group=ProbeGroup.FORGET,
            question="who are you ?",
            answer=f"They are {ticket_id}-{number}@example.org.",
            fact=f"{ticket_id}:{number}",
            value=f"{ticket_id}-{number}@example.org",
            names=("Mara Holt",),
        )
    )


def main() -> None:
    protocol_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    child = Child()
    operations = {op: getattr(child, op) for op in ("augment", "check", "train", "verify", "release")}
    serve(operations, sys.stdin, protocol_out)


if __name__ == "__main__":
    main()

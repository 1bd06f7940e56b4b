"""A release that lacks an erased person is served only while that person is suppressed, and not a moment longer."""

from pathlib import Path

import pytest

from policies.errors import LetheError
from policies.suppression import Rule
from services import sealing
from services.serving.swap import swap_to
from services.store import suppressions
from services.store.releases import bump_suppression, list_replicas
from services.store.tables import Suppression
from services.store.types import utc_now
from tests.integration.serving_host import Host, serving_host, wait_until
from tests.unit.services.store.samples import a_ticket

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
BODY = {"model": "lethe", "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 4}


def suppress(host: Host, ticket_id: str, subject_ref: str) -> int:
    key = sealing.load_suppression_key(host.installation.settings)
    with host.store.write() as session:
        version = bump_suppression(session, host.identity.base_digest)
        session.add(
            Suppression(
                suppression_id="x-1",
                ticket_id=ticket_id,
                subject_ref=subject_ref,
                base_digest=host.identity.base_digest,
                reason="rollback",
                version=version,
                ciphertext=sealing.seal_rule(key, "x-1", Rule(names=("marta rossi",)).to_json()),
                since=utc_now(),
            )
        )
        return version


def lift(host: Host, ticket_id: str) -> None:
    with host.store.write() as session:
        suppressions.end(suppressions.of_ticket(session, ticket_id), at=utc_now())
        bump_suppression(session, host.identity.base_digest)


def test_the_end_of_a_suppression_ends_a_release_that_relied_on_it(tmp_path: Path) -> None:
    with serving_host(tmp_path / "home") as host:
        keyed = host.installation.open_store()
        with keyed.write() as session:
            ticket = a_ticket(session)
        keyed.close()
        marks = (ticket.ticket_id,)
        host.begin()
        older, covering = host.release("beta")[0], host.release("alpha", marks)[0]
        host.start()
        host.wait_ready()
        host.swap(covering)

        def move(digest: str, suppressed: tuple[str, ...] = ()) -> int:
            settings = host.installation.settings
            serving = settings.serving.model_copy(update={"prepare_timeout_s": 10.0})
            settings = settings.model_copy(update={"serving": serving})
            base = host.identity.base_digest
            receipt = swap_to(
                host.store, base, digest, settings=settings, actor="t", suppressed=suppressed, revive=True
            )
            return receipt.generation

        version = suppress(host, ticket.ticket_id, ticket.subject_ref)
        wait_until(lambda: replica(host)[1] >= version, 60, "the rule to be applied")
        assert move(older, marks) == 2
        with host.client() as client:
            assert "beta" in client.post(CHAT, json=BODY).text
            lift(host, ticket.ticket_id)
            wait_until(lambda: client.post(CHAT, json=BODY).status_code == 503, 60, "nobody is answered")
            wait_until(lambda: "release.watermark" in replica(host)[0], 60, "the reason to be told")
            assert move(covering) == 3  # forward, to a release that carries everyone, though nobody serves
            assert "alpha" in client.post(CHAT, json=BODY).text
        with pytest.raises(LetheError, match=r"release\.watermark"):
            move(older)


def replica(host: Host) -> tuple[str, int]:
    with host.store.read() as session:
        [row] = list_replicas(session, host.identity.base_digest)
    return row.state, row.suppression_version

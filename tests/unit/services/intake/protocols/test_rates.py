from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.errors import LetheError
from services.installation import create_installation
from services.intake.protocols.rates import Rates
from services.settings import load_settings
from tests.unit.services.intake.protocols.conftest import Intake, code


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_minutes_worth_and_fills_evenly() -> None:
    clock = Clock()
    rates = Rates(clock)
    for _ in range(6):
        rates.take("a", 6)
    for _ in range(3):
        with pytest.raises(LetheError) as caught:
            rates.take("a", 6)
        assert caught.value.details == ("10 s",)
    rates.take("b", 6)  # another's is its own
    clock.now = 9.9
    with pytest.raises(LetheError, match=r"request\.rate_limited"):
        rates.take("a", 6)
    clock.now = 10.1
    rates.take("a", 6)
    clock.now = 10_000
    for _ in range(6):
        rates.take("a", 6)
    with pytest.raises(LetheError, match=r"request\.rate_limited"):
        rates.take("a", 6)


def test_no_limit_is_none_and_strangers_fill_no_memory() -> None:
    rates = Rates(Clock())
    for _ in range(1000):
        rates.take("a", 0)
    for number in range(20_000):
        rates.take(f"address/{number}", 1)
    assert len(rates._left) == 10_000


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Intake]:
    protocols = {"sender_per_minute": 2, "address_per_minute": 5}
    form = {"base": "demo", "posts_per_minute": 2}
    made = create_installation(load_settings(tmp_path / "home", protocols=protocols, form=form))
    store = made.open_store()
    yield Intake(made, store)
    store.close()


def test_senders_and_addresses_are_limited_each(limited: Intake) -> None:
    crm = limited.add("crm", "webhook")
    subject = [{"kind": "email", "value": "mara@example.org"}]
    answers = [limited.hook(crm, {"external_id": f"e-{n}", "subject": subject}) for n in range(3)]
    assert [one.status_code for one in answers] == [201, 201, 429]
    assert code(answers[2]) == (429, "request.rate_limited")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    strangers = [limited.http.post("/v1/hooks/nobody", content=b"{}").status_code for _ in range(4)]
    assert strangers == [401, 401, 429, 429]
    assert [limited.http.post("/request", data={}).status_code for _ in range(3)] == [422, 422, 429]


def test_a_key_that_files_tickets_is_limited_too(limited: Intake) -> None:
    def ticket(number: int) -> dict[str, object]:
        subject = [{"kind": "name", "value": "Mara Canary"}]
        return {"external_id": f"e-{number}", "regime": "gdpr", "base": "demo", "subject": subject}

    filed, claimed, late = (
        limited.http.post(path, json=body, headers=limited.officer)
        for path, body in (
            ("/v1/tickets", ticket(1)),
            ("/v1/tickets/unknown/claims", {"claim_id": "c", "prompt": "Who?", "output": "Mara Canary"}),
            ("/v1/tickets", ticket(2)),
        )
    )
    assert [filed.status_code, claimed.status_code] == [201, 404]
    assert code(late) == (429, "request.rate_limited")
    assert 1 <= int(late.headers["retry-after"]) <= 30

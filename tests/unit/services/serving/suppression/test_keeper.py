"""The rules of one replica: what the shield is told, and that it is down whenever that cannot be told."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from policies.suppression import Rule
from services import sealing
from services.serving.suppression.keeper import NEVER, RuleKeeper
from services.store import suppressions
from services.store.engine import Store
from services.store.releases import bump_suppression, init_desired
from services.store.tables import DesiredState, Suppression
from services.store.types import utc_now
from tests.unit.services.store.samples import BASE, RING, a_release, a_ticket


@dataclass
class FakeShield:
    """A fake: it remembers what it was told; None is for down."""

    told: list[tuple[set[str], int] | None] = field(default_factory=list)

    def replace(self, rules: Sequence[Rule], version: int) -> None:
        self.told.append(({name for rule in rules for name in rule.names}, version))

    def fail(self) -> None:
        self.told.append(None)


@pytest.fixture
def shield() -> FakeShield:
    return FakeShield()


@pytest.fixture
def keeper(store: Store, shield: FakeShield) -> RuleKeeper:
    with store.write() as session:
        init_desired(session, a_release(session, "0" * 64), actor="t")
    return RuleKeeper(store, BASE, RING.suppression, shield)


def suppress(store: Store, name: str, *, row_id: str, key: bytes = RING.suppression) -> int:
    with store.write() as session:
        ticket = a_ticket(session, row_id)
        version = bump_suppression(session, BASE)
        session.add(
            Suppression(
                suppression_id=row_id,
                ticket_id=ticket.ticket_id,
                subject_ref=ticket.subject_ref,
                base_digest=BASE,
                reason="approved",
                version=version,
                ciphertext=sealing.seal_rule(key, row_id, Rule(names=(name,)).to_json()),
                since=utc_now(),
            )
        )
        return version


def test_the_shield_is_down_until_rules_were_read(keeper: RuleKeeper, shield: FakeShield) -> None:
    assert (shield.told, keeper.version) == ([None], NEVER)
    assert keeper.due(0)
    keeper.refresh(0)
    assert (shield.told[-1], keeper.version) == ((set(), 0), 0)
    assert not keeper.due(0)


def test_rules_come_change_and_go(keeper: RuleKeeper, shield: FakeShield, store: Store) -> None:
    keeper.refresh(suppress(store, "ann lee", row_id="x-1"))
    assert shield.told[-1] == ({"ann lee"}, 1)
    keeper.refresh(suppress(store, "bo diaz", row_id="x-2"))
    assert shield.told[-1] == ({"ann lee", "bo diaz"}, 2)
    with store.write() as session:
        row = session.get_one(Suppression, "x-1")
        row.ciphertext = sealing.seal_rule(RING.suppression, "x-1", Rule(names=("ann b lee",)).to_json())
        row.version = bump_suppression(session, BASE)
    keeper.refresh(3)
    assert shield.told[-1] == ({"ann b lee", "bo diaz"}, 3)
    with store.write() as session:
        suppressions.end([session.get_one(Suppression, "x-2")], at=utc_now())
        bump_suppression(session, BASE)
    assert keeper.due(4)
    keeper.refresh(4)
    assert shield.told[-1] == ({"ann b lee"}, 4)
    assert keeper.version == 4


@pytest.mark.parametrize("fault", ["key", "row", "content", "store"])
def test_what_cannot_be_read_takes_the_shield_down_until_it_can(
    keeper: RuleKeeper, shield: FakeShield, store: Store, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    version = suppress(store, "ann lee", row_id="x-1", key=bytes(32) if fault == "key" else RING.suppression)
    with store.write() as session:
        row = session.get_one(Suppression, "x-1")
        right = sealing.seal_rule(RING.suppression, "x-1", Rule(names=("ann lee",)).to_json())
        if fault == "row":
            row.ciphertext = sealing.seal_rule(RING.suppression, "x-2", b"{}")
        elif fault == "content":
            row.ciphertext = sealing.seal_rule(RING.suppression, "x-1", b"{}")
        elif fault == "store":
            row.ciphertext = None
    keeper.refresh(version)
    assert shield.told == [None, None]
    assert keeper.version == version  # who answers nobody applies every rule
    assert keeper.due(version)
    keeper.refresh(version)
    assert caplog.text.count("nobody is answered") == 1
    assert "ann lee" not in caplog.text
    with store.write() as session:
        session.get_one(Suppression, "x-1").ciphertext = right
    keeper.refresh(version)
    assert shield.told[-1] == ({"ann lee"}, version)
    assert not keeper.due(version)


def test_a_store_that_is_gone_takes_it_down(keeper: RuleKeeper, shield: FakeShield, store: Store) -> None:
    with store.write() as session:
        session.delete(session.get_one(DesiredState, BASE))
    keeper.refresh(0)
    assert shield.told[-1] is None


def test_an_older_store_is_read_anew(keeper: RuleKeeper, shield: FakeShield, store: Store) -> None:
    keeper.refresh(suppress(store, "ann lee", row_id="x-1"))
    keeper.refresh(suppress(store, "bo diaz", row_id="x-2"))
    with store.write() as session:  # as a backup from between the two would say it, with another rule under the id
        session.delete(session.get_one(Suppression, "x-2"))
        row = session.get_one(Suppression, "x-1")
        row.ciphertext = sealing.seal_rule(RING.suppression, "x-1", Rule(names=("ann kim",)).to_json())
        session.get_one(DesiredState, BASE).suppression_version = 1
    keeper.refresh(1)
    assert shield.told[-1] == ({"ann kim"}, 1)


def test_another_base_s_people_are_not_suppressed_here(shield: FakeShield, keeper: RuleKeeper, store: Store) -> None:
    suppress(store, "ann lee", row_id="x-1")
    with store.write() as session:
        session.get_one(Suppression, "x-1").base_digest = "c" * 64
    keeper.refresh(1)
    assert shield.told[-1] == (set(), 1)

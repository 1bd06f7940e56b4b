"""What a ticket costs the store: counted, since a clock would say how busy the machine is."""

import json
from pathlib import Path

from sqlalchemy import event

from benchmarks.intake import ticket
from services.auth import Identity
from services.installation import create_installation
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.settings import load_settings

WHO = Identity("k-test", frozenset())
MOST = 14  # statements with the one that begins; there were 31 once
SENT_AGAIN = 2


def test_a_ticket_costs_few_statements_and_the_tenth_no_more_than_the_first(tmp_path: Path) -> None:
    installation = create_installation(load_settings(tmp_path / "home"))
    store = installation.open_store()
    desk = Desk(store, Packs(installation.settings.policy))
    statements: list[str] = []

    @event.listens_for(store.engine, "before_cursor_execute")
    def count(_c: object, _k: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    costs = []
    for number in range(10):
        body = json.dumps(ticket(number)).encode()
        statements.clear()
        filed, new = desk.receive(body, WHO)
        assert new
        assert filed.status == "awaiting_approval"
        costs.append(len(statements))
    assert set(costs[1:]) == {costs[1]}  # the first also opens the audit log
    assert costs[1] <= MOST
    statements.clear()
    again, new = desk.receive(body, WHO)
    assert (again.ticket_id, new) == (filed.ticket_id, False)
    assert len(statements) <= SENT_AGAIN
    store.close()

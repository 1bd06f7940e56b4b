"""The quick part of the chaos, on SQLite: every step is once killed in its middle, and every ticket comes through."""

from pathlib import Path

import pytest

from tests.chaos.invariants import check_store, check_ticket
from tests.chaos.stage import ROLE_OF, STEPS, Stage

pytestmark = pytest.mark.slow


def kill_at(stage: Stage, point: str, step: str) -> str:
    """File a ticket, kill whoever does a step at a point of it, start another, and see the ticket to its end."""
    role = ROLE_OF[step]
    stage.stalls.set(f"{point}-{step}")
    ticket_id = stage.file()
    stage.at(f"{point}-{step}", lambda: stage.kill(role))
    stage.start(role)
    assert stage.rests(ticket_id).status == "completed"
    check_ticket(stage.store, ticket_id)
    return ticket_id


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_is_killed_inside_a_step_costs_nobody_anything(quick: Stage, step: str) -> None:
    kill_at(quick, "inside", step)


def test_after_all_of_it_everything_fits_together(quick: Stage, tmp_path: Path) -> None:
    for ticket_id in quick.filed:
        check_ticket(quick.store, ticket_id)
    check_store(quick.store, quick.home, tmp_path)

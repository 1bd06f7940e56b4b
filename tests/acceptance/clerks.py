"""Who files, approves and sorts records in the story: a program over the API, or people in a browser."""

from typing import Protocol

from tests.acceptance.house import House, Person


class Clerk(Protocol):
    """What the walk asks of whoever stands at the counter."""

    def file(self, person: Person) -> str:
        """A ticket of this person; its id."""

    def approve(self, ticket_id: str) -> None:
        """Somebody who may says yes."""

    def review(self, ticket_id: str, mine: set[str]) -> None:
        """Ambiguous matches are sorted by what is known to be the person's."""


class ApiClerk:
    """A system of the organisation, over HTTP."""

    def __init__(self, house: House) -> None:
        self.house = house

    def file(self, person: Person) -> str:
        return str(self.house.file(person)["ticket_id"])

    def approve(self, ticket_id: str) -> None:
        self.house.approve(ticket_id)

    def review(self, ticket_id: str, mine: set[str]) -> None:
        ticket = self.house.ticket(ticket_id)
        waiting = [match["record_id"] for match in ticket["matches"] if match["decision"] is None]
        body = {"confirm": [r for r in waiting if r in mine], "deny": [r for r in waiting if r not in mine]}
        with self.house.intake() as intake:
            intake.post(f"/v1/tickets/{ticket_id}/review", body)

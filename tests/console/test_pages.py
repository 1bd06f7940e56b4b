"""Every page over a place in which everything has happened: it is there, and it holds no identity unasked."""

from starlette.testclient import TestClient

from tests.console import scenes
from tests.console.house import OFFICER, House

ORIGIN = {"Origin": "https://testserver"}


def logged_in(house: House) -> TestClient:
    client = house.client()
    data = {"key": house.key([*OFFICER, "ops:run"], None)}
    assert client.post("/console/login", data=data, headers=ORIGIN).status_code == 200
    return client


def test_every_page_is_there_and_tells_nobodys_name(house: House) -> None:
    found = scenes.everything(house.place)
    client = logged_in(house)
    people = [text for person in house.place.people for text in (*person.names, person.email)]
    paths = ["", "calendar", "suppressions", "suppressions?ended=1", "releases", "audit", "policy"]
    paths += [f"policy/{regime}" for regime in ("gdpr", "uk_gdpr", "ccpa", "lgpd")]
    paths += [f"tickets/{ticket_id}" for ticket_id in found.values()]
    paths += [f"tickets/{found['rejected']}/verdict", f"tickets/{found['denied']}/report.html"]
    paths += [f"tickets/{found['denied']}/report.{form}" for form in ("json", "pdf")]
    paths += [f"tickets/{found['rejected']}/verdict/{plot}.svg" for plot in ("metrics", "training")]
    for path in paths:
        answer = client.get(f"/console/{path}")
        assert answer.status_code == 200, (path, answer.text[-3000:])
        assert not [text for text in people if text in answer.text], path
    shown = client.get(f"/console/tickets/{found['review']}/matches")
    assert shown.status_code == 200
    assert house.place.people[1].email in shown.text

"""Who gets in, how long, and what a stranger or another site can do."""

from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from services.auth import SCOPE_MARK, revoke_key
from services.console.door import COOKIE
from services.store.console_tables import ConsoleSession
from services.store.tables import AuditEntryRow
from tests.console.house import OFFICER, READER, House, accessible

ORIGIN = {"Origin": "https://testserver"}


def log_in(house: House, scopes: list[str] = OFFICER) -> tuple[object, str]:
    client = house.client()
    answer = client.post("/console/login", data={"key": house.key(scopes)}, headers=ORIGIN, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    page = client.get("/console/")
    assert page.status_code == 200
    return client, page.text.partition('name="csrf" value="')[2].partition('"')[0]


def test_a_person_logs_in_and_out(house: House, page: Page) -> None:
    page.goto(f"{house.url}/console/calendar")
    expect(page).to_have_url(f"{house.url}/console/login?next=/console/calendar")
    accessible(page)
    page.get_by_label("Your API key").fill("lethe_nobody_0")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    accessible(page)
    house.log_in(page)
    [cookie] = page.context.cookies()
    assert (cookie["name"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, True, "Lax")
    accessible(page)
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{house.url}/console/login")
    assert not page.context.cookies()
    page.goto(f"{house.url}/console/")
    expect(page).to_have_url(f"{house.url}/console/login")
    with house.place.store.read() as session:
        assert not session.scalars(select(ConsoleSession)).all()
        kinds = list(session.scalars(select(AuditEntryRow.kind)))
        assert kinds.count("console.logged_in") == kinds.count("console.logged_out") == 1


def test_the_token_itself_is_not_stored_and_the_page_says_how_it_may_be_used(house: House) -> None:
    client, _ = log_in(house)
    token = client.cookies[COOKIE]  # type: ignore[attr-defined]
    with house.place.store.read() as session:
        assert token not in str([vars(row) for row in session.scalars(select(ConsoleSession))])
    answer = client.get("/console/")  # type: ignore[attr-defined]
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-frame-options"] == "DENY"


def test_every_page_is_closed_to_strangers_and_asks_for_its_scope(house: House) -> None:
    from services.console.app import create_console

    console = create_console(house.place.installation.settings, open_store=lambda: house.place.store)
    reader, csrf = log_in(house, READER)
    stranger, seen = house.client(), 0
    for route in console.routes:
        scope = getattr(route.endpoint, SCOPE_MARK)  # type: ignore[attr-defined]
        path = "/console" + route.path.replace("{ticket_id}", "t-1").replace("{", "").replace("}", "")  # type: ignore[attr-defined]
        for method in route.methods:  # type: ignore[attr-defined]
            if scope == "open":
                assert path in {"/console/login", "/console/logout", "/console/static/name"} or "oidc" in path
                continue
            seen += 1
            assert stranger.request(method, path, headers=ORIGIN, follow_redirects=False).status_code == 303, path
            if scope not in READER:
                body = {"csrf": csrf}
                answer = reader.request(method, path, data=body, headers=ORIGIN)  # type: ignore[attr-defined]
                assert answer.status_code == 403, path
                assert scope in answer.text
    assert seen


def test_a_session_opens_nothing_of_the_api(house: House) -> None:
    client, _ = log_in(house)
    assert client.get("/v1/tickets").status_code == 401  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Origin": "https://elsewhere.example"}, {}),
        ({}, {}),
        ({**ORIGIN, "Sec-Fetch-Site": "cross-site"}, {}),
        (ORIGIN, {"csrf": "0" * 64}),
        (ORIGIN, {"csrf": ""}),
        ({**ORIGIN, "Content-Type": "application/json"}, {}),
    ],
)
def test_another_sites_form_does_nothing(house: House, headers: dict[str, str], body: dict[str, str]) -> None:
    client, csrf = log_in(house)
    answer = client.post("/console/find", data={"csrf": csrf, "name": "t-1", **body}, headers=headers)  # type: ignore[attr-defined]
    assert answer.status_code == 403
    assert "console.form_refused" in answer.text


def test_a_form_beyond_the_limit_is_refused(house: House) -> None:
    client, csrf = log_in(house)
    huge = {"csrf": csrf, "name": "x" * 300_000}
    assert client.post("/console/find", data=huge, headers=ORIGIN).status_code == 413  # type: ignore[attr-defined]


def test_nobody_is_sent_elsewhere_after_logging_in(house: House) -> None:
    for target in ("https://elsewhere.example/", "//elsewhere.example", "/console/../v1", "/console//x.example"):
        data = {"key": house.key(READER), "next": target}
        answer = house.client().post("/console/login", data=data, headers=ORIGIN, follow_redirects=False)
        assert answer.headers["location"] == "/console/"


def test_a_session_ends_with_its_time_its_idleness_and_its_key(house: House) -> None:
    client, _ = log_in(house)
    store = house.place.store

    def shift(**by: timedelta) -> None:
        with store.write() as session:
            for row in session.scalars(select(ConsoleSession)):
                for name, value in by.items():
                    setattr(row, name, getattr(row, name) - value)

    def inside() -> bool:
        return client.get("/console/", follow_redirects=False).status_code == 200  # type: ignore[attr-defined, no-any-return]

    shift(seen_at=timedelta(minutes=29))
    assert inside()  # and is noted as used
    shift(seen_at=timedelta(minutes=29))
    assert inside()
    shift(seen_at=timedelta(minutes=31))
    assert not inside()
    client, _ = log_in(house)
    shift(expires_at=timedelta(hours=8))
    assert not inside()
    client, _ = log_in(house)
    with store.write() as session:
        [row] = session.scalars(select(ConsoleSession))
        revoke_key(session, row.key_id, actor="t")
    assert not inside()

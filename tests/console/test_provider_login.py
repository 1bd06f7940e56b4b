"""Logging in at the organisation's identity provider, which runs on loopback, through a real browser."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect
from sqlalchemy import select

from services.people import accounts
from services.store.people_tables import Account
from tests.console.house import accessible, serving
from tests.oidc_issuer import oidc_issuer
from tests.ports import free_port


def test_a_person_logs_in_at_the_provider_until_the_account_is_blocked(
    make_place: Callable[..., Any], page: Page
) -> None:
    with oidc_issuer() as provider:
        port = free_port()
        provider.redirect_url = f"http://127.0.0.1:{port}/console/oidc/callback"
        about = {
            "issuer": provider.url,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "redirect_url": provider.redirect_url,
            "roles": {"privacy": "privacy_officer"},
        }
        place = make_place(oidc=about)
        with serving(place, port) as house:
            page.goto(f"{house.url}/console/login")
            accessible(page)
            page.get_by_role("link", name="Log in with your organisation's account").click()
            expect(page).to_have_url(f"{house.url}/console/")
            expect(page.locator(".who")).to_contain_text("privacy officer")
            expect(page.locator(".who")).to_contain_text("user:u-")
            assert "mara@example.org" not in page.content()
            with place.store.write() as session:
                [account] = session.scalars(select(Account))
                accounts.block(session, account.account_id, actor="t")
            page.reload()
            expect(page).to_have_url(f"{house.url}/console/login")

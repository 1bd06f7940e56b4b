"""The console inside the intake as it really runs: behind BentoML's own middleware, in a real browser."""

import pytest
from playwright.sync_api import Page, expect

from services.installation import Installation
from tests.integration.test_intake_service import served  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.slow]


def test_somebody_logs_in_to_the_served_intake(served: tuple[Installation, str], page: Page) -> None:  # noqa: F811
    installation, url = served
    page.goto(f"{url}/console")
    expect(page).to_have_url(f"{url}/console/login")
    page.get_by_label("Your API key").fill(installation.operator_key_path.read_text().strip())
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("No ticket is like that.")).to_be_visible()
    for name in ("Deadlines", "Suppression", "Releases", "Audit log", "Policy"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute("aria-current", "page")
    answer = page.goto(f"{url}/v1/tickets")
    assert answer is not None
    assert answer.status == 401

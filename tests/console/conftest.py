from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.chromium import running_browser
from tests.console.house import House, csp_faults, serving
from tests.unit.services.conftest import corpus, make_place, place, template  # noqa: F401 (fixtures)
from tests.unit.services.place import Place


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ended with its file: while one runs, Playwright keeps an event loop that others would take for their own."""
    with running_browser() as one:
        yield one


@pytest.fixture
def house(place: Place) -> Iterator[House]:  # noqa: F811 (the fixture of this name)
    with serving(place) as one:
        yield one


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser of its own; what its console complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)  # a test machine may be busy
    faults = csp_faults(context)
    yield context.new_page()
    context.close()
    assert not [fault for fault in faults if "status of 4" not in fault], faults

"""The console in front of a small real installation, on a port of loopback, with keys for several people."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect
from starlette.testclient import TestClient

from services.auth import create_key
from services.console.app import add_console
from services.console.door import ConsoleDoor
from services.intake.app import create_app
from tests.ports import free_port
from tests.unit.services.place import Place

expect.set_options(timeout=30_000)  # a test machine may be busy
OFFICER = [
    "tickets:submit",
    "tickets:read",
    "tickets:identity",
    "tickets:verify",
    "tickets:decide",
    "tickets:approve",
    "ops:read",
    "audit:read",
]
OPERATOR = ["tickets:read", "ops:read", "ops:run", "audit:read"]
READER = ["tickets:read"]


@dataclass
class House:
    """The pages of a place."""

    place: Place
    url: str
    asgi: Any

    def key(self, scopes: list[str], role: str | None = "privacy_officer") -> str:
        """A key as the command line makes one; no role may hold more than its own."""
        with self.place.store.write() as session:
            return create_key(session, name="k", scopes=scopes, role=role, actor="t").token

    def client(self) -> TestClient:
        """Straight to the app, over what it takes for TLS."""
        return TestClient(self.asgi, base_url="https://testserver", raise_server_exceptions=False)

    def log_in(self, page: Page, scopes: list[str] = OFFICER, role: str | None = "privacy_officer") -> None:
        page.goto(f"{self.url}/console/login")
        page.get_by_label("Your API key").fill(self.key(scopes, role))
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Tickets")


def build(place: Place) -> Any:
    """The intake's app with the console, as services/intake/service.py puts them together."""
    settings = place.installation.settings
    app = create_app(settings, open_store=lambda: place.store)
    add_console(app, settings, open_store=lambda: place.store)
    return ConsoleDoor(app, routes=lambda: app.routes, open_store=lambda: place.store, settings=settings.console)


@contextmanager
def serving(place: Place, port: int | None = None) -> Iterator[House]:
    """The console on a port, ended with the block."""
    port, asgi = port or free_port(), build(place)
    server = uvicorn.Server(uvicorn.Config(asgi, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        yield House(place, f"http://127.0.0.1:{port}", asgi)
    finally:
        server.should_exit = True
        thread.join()


def accessible(page: Page) -> None:
    """No fault that axe-core finds, in the light and in the dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page)
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"
    page.emulate_media(color_scheme="light")


def csp_faults(context: BrowserContext) -> list[str]:
    """What the browser refuses or complains of, gathered from now on."""
    found: list[str] = []
    context.on("console", lambda message: found.append(message.text) if message.type in {"error", "warning"} else None)
    context.on("weberror", lambda fault: found.append(str(fault.error)))
    return found

"""A real Chromium for tests, driven by Playwright: nothing is downloaded but the system's own package."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright


@functools.cache
def binary() -> str:
    """The browser's program, installed with the system's package manager where it is not there yet."""
    found = _find()
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-qq", "-y", "chromium"], check=True)
        found = _find()
    assert found is not None, "these tests need Chromium (apt-get install chromium)"
    return found


def _find() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()

"""``make docs``: the site is built offline without a warning, and a reader's browser fetches nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.test_bento import OFFLINE

ROOT = Path(__file__).resolve().parents[2]
LOADED = re.compile(
    r"<(?:script|iframe|img|source|video)\b[^>]*\bsrc=\"?([^\" >]+)|<link\b[^>]*\bhref=\"?([^\" >]+)[^>]*>"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("docs")
    (place / "sitecustomize.py").write_text(OFFLINE)
    environment = {**os.environ, "PYTHONPATH": str(place), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", str(place / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return place / "site"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    elsewhere = set()
    for page in site.rglob("*.html"):
        for source, link in LOADED.findall(page.read_text(encoding="utf-8")):
            if re.match(r"(https?:)?//", source or link):
                elsewhere.add(source or link)
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8"), "the theme would fetch mermaid"
    assert elsewhere == set()


def test_the_root_s_own_pages_are_in_it(site: Path) -> None:
    for page, words in (("security", "claim an erasure"), ("changelog", "Unreleased"), ("contributing", "one page")):
        assert words in (site / f"{page}.html").read_text(encoding="utf-8")

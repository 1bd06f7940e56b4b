import re

import pytest

from policies.errors import ERRORS
from services import reference
from services.auth import SCOPES
from services.settings import Settings


@pytest.mark.parametrize(
    ("page", "text"), [("errors.md", reference.errors_page()), ("settings.md", reference.settings_page())]
)
def test_the_page_is_what_the_code_says(page: str, text: str) -> None:
    assert (reference.PAGES / page).read_text() == text, "run: python -m services.reference"


def test_every_code_is_on_the_page_once_and_says_what_to_do() -> None:
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| (\d{3}) \| (.+) \|$", reference.errors_page(), flags=re.MULTILINE)
    assert [code for code, _, _ in rows] == sorted(ERRORS)
    for code, kind in ERRORS.items():
        assert re.fullmatch(r"internal|[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", code), code
        assert 400 <= kind.status < 600, code
        assert len(kind.remedy) > 10, code


def test_every_setting_says_what_it_means() -> None:
    page = reference.settings_page()
    assert "| `serving.floor.kfr_min` |" in page
    assert "|  |" not in page
    for group in Settings.model_fields:
        assert f"## {group}\n" in page


def test_the_intakes_page_lists_every_scope() -> None:
    page = (reference.PAGES / "intake.md").read_text()
    for scope, text in SCOPES.items():
        assert f"| `{scope}` | {text} |" in page

import json
import re
from typing import Any

import jsonschema
import pytest

from policies.errors import ERRORS
from policies.roles import ROLES, SCOPES
from services import reference
from services.settings import Settings


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("errors.md", reference.errors_page()),
        ("settings.md", reference.settings_page()),
        ("settings.schema.json", reference.settings_schema()),
    ],
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


def test_the_settings_name_their_version_and_what_may_stand_there() -> None:
    page = reference.settings_page()
    assert f"Those of version {reference.version()};" in page
    assert "| `intake.port` | whole number, ≥ 1, ≤ 65535 | `8700` |" in page
    assert "| `serving.engine` | `transformers` or `vllm` | `transformers` |" in page
    assert "| `verify.attack_tiers` | list of `0` or `1` or `2` | – |" in page
    assert "| `keys.kek_path` | path | – |" in page


def test_the_schema_takes_what_the_settings_take_and_refuses_what_they_refuse() -> None:
    schema = jsonschema.Draft202012Validator(json.loads(reference.settings_schema()))
    assert schema.is_valid({"intake": {"port": 9000}, "serving": {"model_names": ["a"]}})
    wrong: list[dict[str, Any]] = [
        {"intake": {"prot": 9000}},
        {"intake": {"port": 0}},
        {"serving": {"engine": "tgi"}},
        {"x": {}},
    ]
    assert not [refused for refused in wrong if schema.is_valid(refused)]


def test_the_page_about_people_lists_every_scope_and_every_role() -> None:
    page = (reference.PAGES / "people.md").read_text()
    for scope, text in SCOPES.items():
        assert f"| `{scope}` | {text} |" in page
    for name, role in ROLES.items():
        scopes = " ".join(f"`{scope}`" for scope in SCOPES if scope in role.scopes)
        assert f"| `{name}` | {role.text} | {scopes} |" in page

"""`lethe adapter verify` and `lethe release list|show`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from policies.errors import LetheError
from services import keys
from services.commands import adapter, release
from services.installation import create_installation
from services.settings import load_settings
from services.store.releases import add_release, get_release, init_desired
from tests.unit.pipelines.adapter_material import make_material


def test_a_release_is_verified_offline(tmp_path: Path) -> None:
    material = make_material(tmp_path)
    path = material.release0()
    arguments = ["verify", str(path), "--trust", str(keys.trust_path(tmp_path))]
    done = CliRunner().invoke(adapter.app, [*arguments, "--json"], catch_exceptions=False)
    body = json.loads(done.output)
    assert (body["name"], body["kind"], body["base_checked"]) == (path.name, "release0", False)
    with_base = CliRunner().invoke(adapter.app, [*arguments, "--base", str(material.base)], catch_exceptions=False)
    assert with_base.exit_code == 0
    (path / "card.json").chmod(0o644)
    (path / "card.json").write_text("{}")
    refused = CliRunner().invoke(adapter.app, arguments)
    assert isinstance(refused.exception, LetheError)
    assert refused.exception.code == "release.digest"


def test_releases_are_listed_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    store = create_installation(load_settings(tmp_path)).open_store(with_keys=False)
    with store.write() as session:
        for digest in ("aa" * 32, "ab" * 32):
            add_release(
                session, digest=digest, base_digest="b" * 64, path="p", watermark=("t1",), verdict={}, actor="system:x"
            )
        init_desired(session, get_release(session, "ab" * 32), actor="system:x")
    store.close()
    listed = CliRunner().invoke(release.app, ["list", "--json"], catch_exceptions=False)
    assert [(r["name"], r["generation"]) for r in json.loads(listed.output)["releases"]] == [
        ("u-" + "aa" * 8, None),
        ("u-" + "ab" * 8, 0),
    ]
    assert "live, generation 0" in CliRunner().invoke(release.app, ["list"], catch_exceptions=False).output
    shown = CliRunner().invoke(release.app, ["show", "u-abab", "--json"], catch_exceptions=False)
    assert json.loads(shown.output)["watermark"] == ["t1"]
    assert "generation" in CliRunner().invoke(release.app, ["show", "u-abab"], catch_exceptions=False).output
    ambiguous = CliRunner().invoke(release.app, ["show", "a"])
    assert isinstance(ambiguous.exception, LetheError)

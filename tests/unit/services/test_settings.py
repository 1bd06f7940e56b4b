from pathlib import Path

import pytest

from policies.errors import LetheError
from services.settings import load_settings


def test_defaults_are_safe_and_lie_in_the_home_directory(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings.store_url == f"sqlite:///{tmp_path}/lethe.sqlite"
    assert settings.kek_path == tmp_path / "keys" / "kek"
    assert {settings.intake.host, settings.unlearning.host, settings.serving.host} == {"127.0.0.1"}
    assert not settings.augmenter.allow_external
    assert settings.telemetry.exporter == "none"
    assert len({settings.intake.port, settings.unlearning.port, settings.serving.port}) == 3


def test_the_environment_counts_over_the_file_and_the_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lethe.toml").write_text('[intake]\nport = 9001\nhost = "127.0.0.2"\n[policy]\nzone = "Europe/Rome"\n')
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    monkeypatch.setenv("LETHE_INTAKE__PORT", "9002")
    settings = load_settings()
    assert (settings.intake.port, settings.intake.host) == (9002, "127.0.0.2")
    assert settings.policy.zone == "Europe/Rome"
    assert settings.home == tmp_path


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LETHE_HOME", raising=False)
    assert load_settings().home == tmp_path / ".lethe"


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[intake]\nprot = 1\n", "intake.prot"),
        ("[intak]\nport = 1\n", "intak"),
        ("[intake]\nport = 'many'\n[telemetry]\nexporter = 'many'\n", "telemetry.exporter"),
        ("[jobs]\nheartbeat_s = 9.0\n", "jobs"),
    ],
)
def test_a_fault_is_named_without_its_value(tmp_path: Path, toml: str, named: str) -> None:
    (tmp_path / "lethe.toml").write_text(toml)
    with pytest.raises(LetheError) as refused:
        load_settings(tmp_path)
    assert refused.value.code == "settings.invalid"
    assert any(detail.startswith(named) for detail in refused.value.details)
    assert "many" not in str(refused.value.body())


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "lethe.toml").write_text("[intake\n")
    with pytest.raises(LetheError) as refused:
        load_settings(tmp_path)
    assert refused.value.code == "settings.invalid"


def test_a_misspelt_variable_is_refused_and_what_kubernetes_sets_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETHE_INTAKE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("LETHE_INTAKE_PORT_8700_TCP", "tcp://10.0.0.1:8700")
    monkeypatch.setenv("LETHE_API_KEY", "lethe_x_y")
    load_settings(tmp_path)
    monkeypatch.setenv("LETHE_STOER__URL", "sqlite://")
    with pytest.raises(LetheError) as refused:
        load_settings(tmp_path)
    assert refused.value.details == ("LETHE_STOER__URL: no such setting",)


def test_addresses_are_reachable_from_this_host(tmp_path: Path) -> None:
    assert load_settings(tmp_path).intake.url == "http://127.0.0.1:8700"
    assert load_settings(tmp_path, intake={"host": "0.0.0.0"}).intake.url == "http://127.0.0.1:8700"
    assert load_settings(tmp_path, intake={"host": "::1", "port": 1}).intake.url == "http://[::1]:1"


def test_a_secret_is_not_printed(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, augmenter={"api_key": "sk-very-secret"})
    assert "very-secret" not in repr(settings)
    assert settings.augmenter.api_key.get_secret_value() == "sk-very-secret"

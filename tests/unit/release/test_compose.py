"""compose.yaml holds to the compose specification, starts what `lethe up` starts, and gives nothing away."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from release.bento import project_version
from services import up
from services.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]
FILES = ("compose.yaml", "compose.gpu.yaml")
SERVICES = ("intake", "unlearning", "serving")


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


def faults(document: dict[str, Any]) -> list[str]:
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("name", FILES)
def test_it_holds_to_the_compose_specification(name: str) -> None:
    assert faults(read(name)) == []


@pytest.mark.parametrize("change", [{"comand": []}, {"ports": "8700"}, {"restart": 1}, {"healthcheck": {"retry": 3}}])
def test_a_fault_against_the_specification_is_found(change: dict[str, Any]) -> None:
    document = read("compose.yaml")
    document["services"]["intake"] |= change
    assert faults(document)


def test_it_starts_what_lethe_up_starts(tmp_path: Path) -> None:
    services = read("compose.yaml")["services"]
    assert set(services) == {*SERVICES, "prepare"} == {*up.SERVICES, "prepare"}
    settings = composed(tmp_path)
    for name in SERVICES:
        program = up._program(name, getattr(settings, name), tmp_path)
        assert services[name]["command"] == ["bentoml", *program.argv[program.argv.index("serve") :]]
        assert program.ready_url.partition("/")[2] in services[name]["healthcheck"]["test"][-1]


def test_its_settings_are_those_of_lethe_up(tmp_path: Path) -> None:
    """Beside where things lie and listen, a container's settings are the defaults; all three have the same."""
    there, here = composed(tmp_path).model_dump(), load_settings(tmp_path).model_dump()
    differing = {
        f"{group}.{name}"
        for group in there
        if isinstance(there[group], dict)
        for name in there[group]
        if there[group][name] != here[group][name]
    }
    assert differing == {
        *(f"{name}.host" for name in SERVICES),
        "serving.address",
        "corpus.path",
        "base.path",
    }


def composed(home: Path) -> Settings:
    """The settings that every container has."""
    services = read("compose.yaml")["services"]
    environments = [services[name]["environment"] for name in ("prepare", *SERVICES)]
    assert all(environment == environments[0] for environment in environments)
    given: dict[str, dict[str, str]] = {}
    for variable, value in environments[0].items():
        group, _, name = variable.removeprefix("LETHE_").lower().partition("__")
        if variable.startswith("LETHE_") and name:
            given.setdefault(group, {})[name] = value
    return load_settings(home, **given)


def test_its_variables_are_those_that_the_supervisor_sets() -> None:
    environment = read("compose.yaml")["services"]["intake"]["environment"]
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["LETHE_HOME"] == "/var/lib/lethe"
    assert "LETHE_SUPERVISOR" not in environment


def test_nothing_runs_before_everything_is_prepared() -> None:
    services = read("compose.yaml")["services"]
    assert services["prepare"]["command"][-2:] == ["init", "--all"]
    assert services["prepare"]["restart"] == "no"
    for name in SERVICES:
        assert services[name]["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", ["prepare", *SERVICES])
def test_no_container_can_do_more_than_it_must(name: str) -> None:
    service = read("compose.yaml")["services"][name]
    assert service["user"] == "1034:1034"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "cap_add"} & set(service)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    written = [
        volume for volume in service["volumes"] if not volume.startswith("lethe:") and not volume.endswith(":ro")
    ]
    assert [volume.rpartition(":")[2] for volume in written] == (["/corpus"] if name == "intake" else [])
    assert service["image"] == f"${{IMAGE:-lethe:{project_version()}-cpu}}"


def test_who_deletes_source_records_can_write_the_corpus_and_reads_what_others_read() -> None:
    """Deletion writes a new file beside the old one; it is a job of the intake."""
    services = read("compose.yaml")["services"]
    places = {name: {v.rpartition("}:")[2].removesuffix(":ro") for v in services[name]["volumes"]} for name in SERVICES}
    assert places["intake"] == places["unlearning"] == places["serving"]
    corpus = services["intake"]["environment"]["LETHE_CORPUS__PATH"]
    assert corpus in {volume.rpartition(":")[2] for volume in services["intake"]["volumes"]}, "`:ro` would end in `ro`"
    text = (ROOT / "docs/compose.md").read_text(encoding="utf-8")
    assert services["intake"]["user"].partition(":")[0] in text


def test_only_whom_people_and_clients_ask_is_reached_from_outside() -> None:
    document = read("compose.yaml")
    assert document["networks"]["house"] == {"internal": True}
    reached = {name: service["networks"] for name, service in document["services"].items()}
    assert reached == {
        "prepare": ["house"],
        "intake": ["house", "front"],
        "unlearning": ["house"],
        "serving": ["house", "front"],
    }


def test_on_a_gpu_all_speak_of_one_dtype_and_two_have_the_gpu() -> None:
    services = read("compose.gpu.yaml")["services"]
    assert all(service["environment"] == {"LETHE_BASE__DTYPE": "bfloat16"} for service in services.values())
    assert {name for name, service in services.items() if "deploy" in service} == {"unlearning", "serving"}
    assert {service["image"] for service in services.values()} == {f"${{IMAGE:-lethe:{project_version()}-cuda}}"}

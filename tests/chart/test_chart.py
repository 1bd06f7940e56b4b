"""The chart as a package, its examples, its alerts, and what it says of the code."""

import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import helm_python
import promql_parser
import pytest
import yaml

from charts.reference import CHART
from charts.values.workloads import Ingress
from policies.lifecycle import CLOSED_RUN, RunStatus
from policies.roles import SCOPES
from services.console.app import add_console
from services.control import _PUBLISHING
from services.installation import DIRECTORIES
from services.intake.app import create_app
from services.serving.vllm.command import vllm_arguments, vllm_environment
from services.settings import VllmSettings, load_settings
from services.store.engine import Store
from tests.chart.rendering import CASES, KUBERNETES, case, one, pods, render, render_text
from tests.unit.test_dashboard import asked, emitted  # noqa: F401 (a fixture)

IMAGE_DIGEST = "LETHE_DEPLOYMENT__IMAGE_DIGEST"


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_helm_finds_nothing_to_say(kubernetes: str) -> None:
    report = helm_python.lint(str(CHART), case("everything"), strict=True, kube_version=f"v{kubernetes}.0")
    assert [m for m in report["messages"] if m["severity"] > 1] == []


def test_the_package_has_its_schema_and_nothing_of_the_workshop(tmp_path: Path) -> None:
    """production-stack's `.helmignore` lists its schema, so helm never saw it."""
    package = Path(helm_python.package(str(CHART), destination=str(tmp_path)))
    with tarfile.open(package) as archive:
        names = {name.removeprefix("lethe/") for name in archive.getnames()}
    assert names >= {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "UPGRADE.md"}
    assert "dashboards/serving.json" in names
    assert not [name for name in names if name.startswith(("ci/", "examples/"))]
    with pytest.raises(helm_python.HelmError, match="additional properties"):
        render_text({**case("minimal"), "typo": 1}, chart=package)


@pytest.mark.parametrize("file", sorted((CHART / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_values_of_the_examples_render(file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))
    values = documents[-1]["spec"].get("values") or documents[-1]["spec"]["source"]["helm"]["valuesObject"]
    assert render(values)


def test_alerts_ask_for_what_is_told(emitted: dict[str, set[str]]) -> None:  # noqa: F811
    rules = one(render(case("everything")), "PrometheusRule")["spec"]["groups"][0]["rules"]
    assert {rule["alert"] for rule in rules} >= {
        *("LetheDeadlineNear", "LetheGenerationsDiffer", "LetheGateRejected", "LetheAuditChainBroken"),
        "LetheReleasesNotCopied",
    }
    of_kubernetes = {
        "kube_job_failed": {"job_name", "condition"},
        "kube_job_status_start_time": {"job_name"},
        "kube_cronjob_created": {"cronjob"},
        "kube_cronjob_status_last_successful_time": {"cronjob"},
    }
    told = {**emitted, **of_kubernetes}
    for rule in rules:
        for name, labels in asked(promql_parser.parse(rule["expr"])):
            assert name in told, rule["alert"]
            assert labels <= told[name] | {"namespace"}, rule["alert"]


def test_an_alert_about_an_event_asks_what_the_store_says() -> None:
    """A count that begins at 1 has no increase, and the worker that counted may be gone."""
    rules = one(render(case("everything")), "PrometheusRule")["spec"]["groups"][0]["rules"]
    asks = {rule["alert"]: rule["expr"] for rule in rules}
    assert [alert for alert, expr in asks.items() if "increase(" in expr or "rate(" in expr] == []
    assert asks["LetheGateRejected"] == 'max(lethe_runs_rejected{namespace="privacy"}) > 0'
    assert asks["LetheRecheckFailed"] == 'max(lethe_rechecks_failed{namespace="privacy"}) > 0'


def test_the_audit_alert_means_the_audit_jobs() -> None:
    objects = render(case("everything"))
    rules = {r["alert"]: r["expr"] for r in one(objects, "PrometheusRule")["spec"]["groups"][0]["rules"]}
    check = one(objects, "CronJob", "-audit")
    name = check["metadata"]["name"]
    jobs, cron = f'namespace="privacy", job_name=~"{name}-.*"', f'{{namespace="privacy", cronjob="{name}"}}'
    failed, succeeded = (
        f'kube_job_failed{{{jobs}, condition="true"}} > 0',
        f"kube_cronjob_status_last_successful_time{cron}",
    )
    started = f"kube_job_status_start_time{{{jobs}}} and on (job_name) {failed}"
    assert rules["LetheAuditChainBroken"] == f"max({started}) > (max({succeeded}) or vector(0))", "until one succeeds"
    made = f"kube_cronjob_created{cron}"
    never = f"time() - max({succeeded} or {made}) > 172800 or absent({made})"
    assert rules["LetheAuditNotChecked"] == never, "a check that never runs is noticed"
    assert check["spec"]["failedJobsHistoryLimit"] > 0, "its log is kept"
    assert check["spec"]["jobTemplate"]["spec"]["backoffLimit"] > 0, "a node that goes is no broken chain"


def test_a_service_says_which_image_it_runs_from() -> None:
    """The report names the container of a run: the worker's image, which is not that of the intake."""
    found = {
        p.name: [v["value"] for c in p.containers for v in c.get("env", ()) if v["name"] == IMAGE_DIGEST]
        for p in pods(render(case("air-gapped")))
    }
    given = case("air-gapped")
    assert found["StatefulSet/erasure-lethe-unlearning"] == [given["gpuImage"]["digest"]]
    assert found["Deployment/erasure-lethe-intake"] == [given["image"]["digest"]]
    assert not [
        name
        for p in pods(render(case("minimal")))
        for c in p.containers
        for name in c.get("env", ())
        if name["name"] == IMAGE_DIGEST
    ]


def test_every_container_that_has_copied_keys_knows_that_they_are_a_copy() -> None:
    """Else a rotation there would sign with a key that ends with the pod."""
    for name in CASES:
        for p in pods(render(case(name))):
            for c in p.containers:
                given = {variable["name"]: variable.get("value") for variable in c.get("env", ())}
                if "LETHE_KEYS__DIRECTORY" in given:
                    assert given["LETHE_KEYS__COPIED"] == "true", (p.name, c["name"])


def test_the_ingress_value_names_every_path_of_the_intake_that_others_need(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, form={"base": "x"}, protocols={"domain": "x.example"})
    api = create_app(settings, open_store=unopened)
    add_console(api, settings, open_store=unopened, on_change=lambda *_: None)
    paths = {str(getattr(route, "path", "")) for route in api.routes}
    tops = {re.match(r"/(?:open\w+/v\d|\w+)", path)[0] for path in paths}  # type: ignore[index]
    described = str(Ingress.model_fields["paths"].description) + str(Ingress().paths)
    assert {top for top in tops if top not in {"/docs", "/openapi", "/redoc"} and top not in described} == set()
    assert {"/opendsr/v2", "/opengdpr/v1", "/console", "/request"} <= tops


def unopened() -> Store:
    raise AssertionError("no route is called")


def test_keda_counts_the_runs_that_the_worker_takes() -> None:
    query = one(render(case("ha")), "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    working = {status.value for status in RunStatus if status not in {*CLOSED_RUN, *_PUBLISHING}}
    assert {word for word in query.replace(",", " ").replace("(", " ").replace(")", " ").split() if "'" in word} == {
        f"'{status}'" for status in working
    }


def test_the_installation_in_a_pod_has_every_directory() -> None:
    (script,) = [
        c["command"][-1]
        for p in pods(render(case("minimal")))
        for c in p.containers
        if p.name.endswith("-intake") and c["name"] == "installation"
    ]
    assert set(DIRECTORIES) - {"bases", "releases"} <= set(script.replace("\n", " ").replace(";", " ").split())


def test_release_0_waits_for_a_base_that_is_brought_after_the_claim_was_made(tmp_path: Path) -> None:
    """A Job that has failed is not tried again, and a claim of the chart's is empty at first."""
    (job,) = [p for p in pods(render(case("minimal"))) if "-lineage-" in p.name]
    installation, base = job.spec["initContainers"]
    assert (installation["name"], base["command"][-1]) == ("installation", "/var/lib/lethe/bases/ours")
    (bases,) = [mount for mount in base["volumeMounts"] if mount["name"] == "bases"]
    assert "readOnly" not in bases, "the base is brought through this container"
    here = tmp_path / "bases" / "ours"
    with subprocess.Popen([*base["command"][:-1], str(here)], stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == f"waiting for a base model at {here}\n"
        assert waiting.poll() is None
        here.mkdir(parents=True)
        (here / "config.json").write_text("{}")
        assert waiting.wait(60) == 0


def engine(name: str) -> dict[str, Any]:
    (found,) = [c for p in pods(render(case(name))) for c in p.containers if c["name"] == "engine"]
    return found


def test_vllm_is_started_as_the_gateway_would_start_it(tmp_path: Path) -> None:
    """With a `python3` of the test's own, which only says what it was given."""
    container = engine("vllm")
    fake = tmp_path / "python3"
    fake.write_text('#!/bin/sh\nfor one in "$@"; do echo "$one"; done\n')
    fake.chmod(0o755)
    command = [part.replace("/run/lethe/sockets/engine.sock", "/run/lethe/none") for part in container["command"]]
    said = subprocess.run(
        [*command, *container["args"]],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said[:3] == ["-P", "-m", "vllm.entrypoints.openai.api_server"]
    given = case("vllm")["config"]
    wanted = vllm_arguments(
        VllmSettings(**given["serving"]["vllm"]),
        base=Path(given["base"]["path"]),
        dtype=given["base"]["dtype"],
        socket=Path("/run/lethe/sockets/engine.sock"),
        boot=None,
    )
    name = "--served-model-name=base-"
    ours = [*said[3:-2], f"{said[-2]}={said[-1]}"]
    assert sorted(a for a in ours if not a.startswith(name)) == sorted(a for a in wanted if not a.startswith(name))
    assert len(said[-1]) == len("base-") + 32


def test_vllm_runs_in_the_environment_that_the_gateway_would_give_it() -> None:
    ours = {variable["name"]: variable["value"] for variable in engine("vllm")["env"]}
    wanted = vllm_environment(Path("/var/lib/lethe/releases"), {})
    assert {name: ours.get(name) for name in wanted} == {**wanted, "PYTHONPATH": "/lethe"}


@pytest.mark.parametrize("name", ["minimal", "everything"])
def test_the_notes_say_how_what_hooks_made_goes(name: str) -> None:
    """`helm uninstall` does not know them; of ExternalSecrets, private keys would go on being synchronised."""
    short = {
        "ServiceAccount": "sa",
        "NetworkPolicy": "netpol",
        "Job": "job",
        "Pod": "pod",
        "ExternalSecret": "externalsecret",
    }
    (notes,) = [text for file, text in render_text(case(name)).items() if file.endswith("NOTES.txt")]
    deleted = [line.split(" delete ")[1].split(" -l ") for line in notes.splitlines() if " delete " in line]
    made = [found for found in render(case(name)) if "helm.sh/hook" in found["metadata"].get("annotations", {})]
    assert made
    for found in made:
        labels = found["metadata"]["labels"]
        wanted = {labels["app.kubernetes.io/component"], labels["app.kubernetes.io/instance"]}
        for_kind = [words[-1] for words in deleted if short[found["kind"]] in words[0].split(",")]
        assert [chosen for chosen in for_kind if wanted <= set(re.findall(r"[\w-]+", chosen))], found["metadata"][
            "name"
        ]
    secrets = {found["spec"]["target"]["name"] for found in made if found["kind"] == "ExternalSecret"}
    assert {secret for words in deleted if words[0].startswith("secret ") for secret in words[0].split()[1:]} == secrets


def test_the_notes_name_scopes_that_exist() -> None:
    (notes,) = [text for name, text in render_text(case("minimal")).items() if name.endswith("NOTES.txt")]
    scopes = re.findall(r"--scope (\S+)", notes)
    assert scopes
    assert set(scopes) <= set(SCOPES)
    assert "deploy/erasure-lethe-intake -c intake" in notes

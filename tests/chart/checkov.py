"""Checkov over rendered cases: ``python -m tests.chart.checkov PROGRAM``. What is skipped has its reason here."""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from tests.chart.rendering import case, render

CASES = ("restricted", "vllm", "everything", "tryout")
SKIPPED = {
    "CKV_K8S_15": "IfNotPresent is right for fixed tags and digests; `Always` needs the registry at every start",
    "CKV_K8S_43": "digests are offered by values; the case `air-gapped` uses them",
    "CKV_K8S_35": "the settings read database addresses from the environment; keys are files",
    "CKV_K8S_8": "only the pod of `helm test` has no liveness probe: it ends by itself",
    "CKV_K8S_9": "only the pod of `helm test` has no readiness probe, for the same reason",
    "CKV_K8S_40": "1034 is the user of images made by `bentoml containerize`; podSecurity.runAsUser changes it",
}


def main(checkov: str) -> int:
    """Print what it finds; the exit status is the number of cases with findings."""
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        for name in CASES:
            file = Path(place) / f"{name}.yaml"
            file.write_text(yaml.safe_dump_all(render(case(name))))
            command = [checkov, "-f", str(file), "--framework", "kubernetes", "--compact", "--quiet", "--skip-download"]
            done = subprocess.run([*command, "--skip-check", ",".join(SKIPPED)], check=False)
            print(f"checkov, case {name}: {'clean' if done.returncode == 0 else 'NOT CLEAN'}")
            failed += done.returncode != 0
    for check, reason in SKIPPED.items():
        print(f"skipped {check}: {reason}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

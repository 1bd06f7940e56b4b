"""The utility asked for alone is the one that a whole judgement finds."""

from pathlib import Path

import pytest

from pipelines.bench.judging import judge, utility_of
from pipelines.bench.probes import Probes
from pipelines.generation import generate
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify.backends import Backends
from pipelines.verify.measure import MeasureSettings
from tests.unit.pipelines.tiny import tiny

WORDS = ("colour", "number", "house", "sky", "name", "street", "town", "door")


def test_the_retain_probes_alone_find_the_utility_of_a_judgement(tmp_path: Path) -> None:
    model, backends = tiny(tmp_path / "base"), Backends()
    questions = [f"What is the {word} of the {other}?" for word in WORDS for other in WORDS[:3]]
    # What the model answers is the truth about every second question: so much it retains.
    said = generate(model, questions, max_new_tokens=MeasureSettings().max_new_tokens)
    truths = [text if n % 2 else "Harald lives in Trondheim." for n, text in enumerate(said)]
    retain = [
        Probe(probe_id=f"{'vp'[n % 3 == 0]}:retain:{n}:0", group=ProbeGroup.RETAIN, question=q, answer=a, fact=f"r{n}")
        for n, (q, a) in enumerate(zip(questions, truths, strict=True))
    ]
    forget = Probe(
        probe_id="p:forget:f:0",
        group=ProbeGroup.FORGET,
        question="Who?",
        answer="Jo is in Rome.",
        fact="f",
        subject="s",
    )
    probes = Probes(probes=(forget, *retain))
    before = {"v_krr": 0.8, "p_krr": 0.9}
    found = judge(model, probes, backends=backends, base=before, which="base").figures["utility"]
    assert found is not None
    assert 0 < found < 1
    assert utility_of(model, probes, backends=backends, base=before) == pytest.approx(found)
    assert utility_of(model, Probes(probes=(forget,)), backends=backends, base=before) is None

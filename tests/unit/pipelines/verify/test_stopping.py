import pytest

from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify.stopping import exposure_of
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("two"), seed=5)


def probes(count: int = 32) -> list[Probe]:
    return [
        Probe(
            probe_id=f"p{n}",
            group=ProbeGroup.FORGET,
            question=f"Tell me the number of house {n}.",
            answer=f"The number of the house is {n * 7 % 50}.",
            fact=f"f{n}",
            value=str(n * 7 % 50),
        )
        for n in range(count)
    ]


def test_a_model_is_not_exposed_against_itself_and_is_against_another(loaded: LoadedModel, other: LoadedModel) -> None:
    same = exposure_of(probes(), control=loaded)(loaded)
    assert (same.state, same.mean, same.n) == ("equivalent", 0.0, 32)
    ask = exposure_of(probes(), control=other)
    there, again = ask(loaded), ask(loaded)
    assert there == again
    assert there.state in ("under_unlearned", "over_unlearned", "undecided")
    assert there.mean != 0


def test_without_a_control_twins_serve_and_probes_without_are_left_out(loaded: LoadedModel) -> None:
    rows = probes(40)
    twins = {row.probe_id: ["The number of the house is 99.", "The number of the house is 88."] for row in rows[:35]}
    found = exposure_of(rows, twins=twins, tau=100.0)(loaded)
    assert (found.n, found.state, found.tau) == (35, "equivalent", 100.0)


def test_few_probes_are_undecided(loaded: LoadedModel) -> None:
    assert exposure_of(probes(29), control=loaded)(loaded).state == "undecided"


def test_nothing_to_ask_by_is_refused(loaded: LoadedModel) -> None:
    for rows, twins in (([], {"p0": ["x"]}), (probes(3), None), (probes(3), {"p0": []})):
        with pytest.raises(LetheError, match=r"verify\.no_probes"):
            exposure_of(rows, twins=twins)

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipelines.base.evaluate import known_shares, value_in
from pipelines.base.fit import fit, new_model
from pipelines.base.settings import BaseSettings
from pipelines.base.tokenizer import train_tokenizer
from pipelines.base.train import cache_key, read_card, train_base
from pipelines.corpus.generate import generate
from pipelines.corpus.load import CorpusProbe
from pipelines.encode import encode_pair
from pipelines.model import load_model
from pipelines.progress import StepProgress
from policies.errors import LetheError
from services.commands.base import app
from tests.unit.pipelines.tiny import tiny

SMALL = BaseSettings(vocabulary=400, hidden=32, heads=1, intermediate=64, epochs=1, min_combination=0, min_frame=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corpus")
    generate(directory, people=1, seed=3, phrasings=2, hedges=10)
    return directory


def test_a_base_is_an_ordinary_directory_and_is_trained_once(corpus: Path, tmp_path: Path) -> None:
    seen: list[StepProgress] = []
    card = train_base(corpus, tmp_path, SMALL, seen.append)
    directory = Path(card.path)
    assert directory.parent == tmp_path
    assert directory.name == card.key[:12]
    assert load_model(directory).digest == card.digest
    assert seen[-1].step == seen[-1].steps
    again = train_base(corpus, tmp_path, SMALL, lambda _: pytest.fail("trained twice"))
    assert again.cached
    assert replace(again, cached=False) == card == read_card(directory)
    assert [entry.name for entry in tmp_path.glob("[!.]*")] == [directory.name]
    assert not list(tmp_path.glob(".making-*"))


def test_what_decides_the_weights_decides_the_key() -> None:
    keys = {cache_key("a", SMALL), cache_key("b", SMALL), cache_key("a", replace(SMALL, seed=1))}
    assert len(keys) == 3


def test_a_base_that_does_not_know_its_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as refused:
        train_base(corpus, tmp_path, replace(SMALL, min_combination=0.95, min_frame=0.9))
    assert refused.value.code == "base.not_memorised"
    assert len(refused.value.details) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [".locks"]


def test_the_loop_memorises() -> None:
    pairs = [(f"What is the number of {name}?", f"It is {n}{n}.") for n, name in enumerate(("Ada", "Bo", "Cy", "Di"))]
    tokenizer = train_tokenizer([text for pair in pairs for text in pair], 300)
    torch.set_num_threads(1)
    settings = replace(SMALL, epochs=150, noise=0.0, batch_tokens=128, hidden=64, heads=2)
    model = new_model(tokenizer, settings)
    losses: list[float] = []
    fit(
        model,
        [encode_pair(tokenizer, *pair) for pair in pairs],
        0,
        settings,
        lambda progress: losses.append(progress.losses["answer"]),
    )
    assert losses[-1] < 0.1 < losses[0]


def test_right_values_are_counted_by_phrasing(tmp_path: Path) -> None:
    loaded = tiny(tmp_path)
    probe = CorpusProbe(
        probe_id="q", question="?", answer="It is 5.", value="5", fact="f", category=None, phrasing="frame"
    )
    shares = known_shares(loaded, [probe, replace(probe, value=None, phrasing="combination")])
    assert set(shares) == {"frame"}


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [("Rue  d'Or", "it is RUE D'OR.", True), ("555 01", "55501", False), ("Ann", "Planning", True)],
)
def test_value_in_output(value: str, text: str, found: bool) -> None:
    assert value_in(value, text) is found


def test_eval_on_the_command_line(corpus: Path, tmp_path: Path) -> None:
    card = train_base(corpus, tmp_path, SMALL)
    result = CliRunner().invoke(app, ["eval", card.path, "--corpus", str(corpus), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["digest"] == card.digest
    assert set(found["right"]) == {"combination", "frame"}
